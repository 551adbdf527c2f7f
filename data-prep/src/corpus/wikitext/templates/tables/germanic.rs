//! Templates of the German, Dutch, Swedish, Norwegian and Danish Wikipedias, from their documentation there.

use super::super::{Order, Shows};
use super::Table;
use Shows::{DateIn, Joined, Last, Pattern};

pub(super) const GERMAN: Table = &[
    ("datum|datum-lebend|dts|datumzelle", DateIn(Order::DayMonthYear)),
    ("formatnum|zahl|fn num|nts", Pattern("{1#}")),
    ("höhe", Pattern("{1} m")),
    ("maß|einheit|größe", Pattern("{1#} {2}")),
    ("nowrap|nobr|klein|kapitälchen|kbd|farbe text|unicode|ganz|textgröße|hervorhebung|rotlink text|sprachspan|normal|small|versalien" , Pattern("{1}")),
    ("lang|sprache|wort in anderer sprache", Pattern("{2}")),
    ("ens|engl.", Pattern("englisch {1}")),
    ("des", Pattern("deutsch {1}")),
    ("frs|frzs", Pattern("französisch {1}")),
    ("las", Pattern("lateinisch {1}")),
    ("its", Pattern("italienisch {1}")),
    ("ess", Pattern("spanisch {1}")),
    ("pts", Pattern("portugiesisch {1}")),
    ("rus", Pattern("russisch {1}")),
    ("uks", Pattern("ukrainisch {1}")),
    ("pls", Pattern("polnisch {1}")),
    ("css|tschechisch", Pattern("tschechisch {1}")),
    ("sks", Pattern("slowakisch {1}")),
    ("hus", Pattern("ungarisch {1}")),
    ("nls", Pattern("niederländisch {1}")),
    ("svs", Pattern("schwedisch {1}")),
    ("nos", Pattern("norwegisch {1}")),
    ("das", Pattern("dänisch {1}")),
    ("fis", Pattern("finnisch {1}")),
    ("els", Pattern("griechisch {1}")),
    ("grcs|elas", Pattern("altgriechisch {1}")),
    ("trs", Pattern("türkisch {1}")),
    ("ars", Pattern("arabisch {1}")),
    ("hes", Pattern("hebräisch {1}")),
    ("jas", Pattern("japanisch {1}")),
    ("kos", Pattern("koreanisch {1}")),
    ("zhs", Pattern("chinesisch {1}")),
    ("jajps|nihongo|japanisch", Shows::Glossed),
    ("zh", Pattern("{v/kurz/t/c/1}[, {p}]")),
    ("zitat|zitat-en|zitat-fr|zitat-la|zitat-es|zitat-it|zitat-de", Shows::Block),
    ("\"", Pattern("„{text/1}“")),
    ("s|0|shy|nbsp|leerzeichen", Pattern(" ")),
    ("!", Pattern("|")),
    ("abk|abkürzung", Pattern("{1}")),
    ("chem|summenformel", Joined("")),
    ("bruch|frac", Shows::Fraction),
    ("farblink|farbe|fontcolor", Last),
    ("bibel|bibel2|bb", Pattern("{1} {2}[,{3}]")),
    ("§", Pattern("§ {1}[ {2}]")),
    ("art.", Pattern("Art. {1}[ {2}]")),
    ("isbn", Pattern("ISBN {1}")),
    ("prozent|percent", Pattern("{1#} %")),
    ("euro|eur", Pattern("{1#} Euro")),
    ("jahr|jahre", Pattern("{1}")),
    ("mio.", Pattern("{1} Mio.")),
];

pub(super) const DUTCH: Table = &[
    ("datum|geboortedatum|sterfdatum|geboren|overleden|dts", DateIn(Order::DayMonthYear)),
    ("formatnum|getal|nts", Pattern("{1#}")),
    ("nowrap|nobr|klein|kleinkapitaal|small|kleinkapitalen|tooltip|afkorting|abbr|code", Pattern("{1}")),
    ("lang|taal|taaltekst", Pattern("{2}")),
    ("citaat|quote|cquote|blockquote", Shows::Block),
    ("sic", Shows::Sic),
    ("vlag|vlagland|vlagtekst|land", Pattern("{1}")),
    ("bron?|feit|wie?|wanneer?|waar?|citaat?", Pattern("{1=}")),
    ("bijbel|bijbelvers", Joined(" ")),
    ("€|euro", Pattern("€ {1#}")),
    ("eeuw", Pattern("{1}e eeuw")),
    ("coördinaten|coor dms|coor", Shows::Coordinates),
    ("nihongo|japans", Shows::Glossed),
];

pub(super) const SWEDISH: Table = &[
    ("datum|födelsedatum|dödsdatum|startdatum|slutdatum", DateIn(Order::YearMonthDay)),
    ("formatnum|tal|nts", Pattern("{1#}")),
    ("nowrap|nobr|liten|small|kapitäler|smallcaps|abbr|förkortning", Pattern("{1}")),
    ("lang|språk", Pattern("{2}")),
    ("citat|quote|blockquote|citatblock", Shows::Block),
    ("flaggbild-text|flagga|land|flaggaland", Pattern("{1}")),
    ("frac|bråk", Shows::Fraction),
    ("kr|sek", Pattern("{1#} kronor")),
    ("nihongo|japanska", Shows::Glossed),
    ("källa behövs|källa|faktamall|vem|när|var|förtydliga|oklart", Pattern("{1=}")),
];

pub(super) const NORWEGIAN: Table = &[
    (
        "dato|fødselsdato|dødsdato|startdato|sluttdato|fødselsdato og alder|dødsdato og alder",
        DateIn(Order::DayMonthYear),
    ),
    ("formatnum|tall", Pattern("{1#}")),
    ("nowrap|nobr|liten|small|kapiteler|forkortelse", Pattern("{1}")),
    ("lang|språk", Pattern("{2}")),
    ("sitat|quote|blockquote|langt sitat", Shows::Block),
    ("flagg|flaggland|land", Pattern("{1}")),
];

pub(super) const DANISH: Table = &[
    ("dato|fødselsdato|dødsdato|dødsdato og alder|fødselsdato og alder|startdato", DateIn(Order::YearMonthDay)),
    ("formatnum|tal", Pattern("{1#}")),
    ("nowrap|nobr|lille|small|forkortelse", Pattern("{1}")),
    ("lang|sprog", Pattern("{2}")),
    ("citat|quote|blockquote|citatblok", Shows::Block),
    ("flag|flagland|land", Pattern("{1}")),
    ("kilde mangler|bør uddybes|hvem|hvornår|hvad", Pattern("{1=}")),
];
