//! Templates of the Russian, Ukrainian, Polish and Czech Wikipedias, from their documentation there.

use super::super::{Order, Shows};
use super::Table;
use Shows::{DateIn, Joined, Last, Pattern};

pub(super) const RUSSIAN: Table = &[
    ("датарождения|датасмерти|дата рождения|дата смерти|date|дата|датапубликации|сс2|birth date|death date|датаоснования", DateIn(Order::DayMonthYear)),
    ("сс|oldstyledate", Pattern("{1} {2}[ {3}]")),
    ("formatnum|число|num|чн", Pattern("{1#}")),
    ("s|nobr|nowrap|nw|small|мелко|капитель|smallcaps|абр|abbr|хинт|tooltip|аббр|подст|верх|низ|sup|sub|comment|подсказка|крупно|вертикально|без переноса|подчёркивание|текст|курсив|жирный", Pattern("{1}")),
    ("век", Pattern("{1} век")),
    ("до н. э.|до н.э.|до нэ", Pattern("[{1} ]до н. э.")),
    ("н. э.|н.э.", Pattern("[{1} ]н. э.")),
    ("год", Pattern("{1} год")),
    ("lang|язык|langi|lang2", Pattern("{2}")),
    ("langi-en|langi-la|langi-de|langi-fr|ref-text", Pattern("{1}")),
    ("япон|nihongo|нихонго", Shows::Glossed),
    ("китайский|кит", Pattern("кит. [{1}][, {пиньинь/2}]")),
    ("цитата|quote|начало цитаты|blockquote|стихи|стихотворение", Shows::Block),
    ("нет аи 2", Pattern("{1=}")),
    ("не переведено|не переведено 2|нп|нп1|нп2|нп3|нп4|нп5|не переведено 3|не переведено 5|iw|ill", Pattern("{2/1}")),
    ("флагификация|флаг|страна|флагификация2", Pattern("{1}")),
    ("рубль|руб|₽", Pattern("[{1#} ]₽")),
    ("доллар|$", Pattern("$[{1#}]")),
    ("евро|€", Pattern("€[{1#}]")),
    ("км|м|км²|°c", Pattern("{1#}")),
    ("коорд|coord", Shows::Coordinates),
    ("дробь|frac", Shows::Fraction),
    ("хим|chem", Joined("")),
    ("цвет|color|цветная ссылка", Last),
    ("тире|-|—", Pattern(" — ")),
    ("nbsp|нбп", Pattern(" ")),
    ("число с единицей|единица", Pattern("{1#} {2}")),
    ("библия", Joined(" ")),
];

pub(super) const UKRAINIAN: Table = &[
    ("дн|дс|дата народження|дата смерті|дата|датанародження|датасмерті|днр|дата початку", DateIn(Order::DayMonthYear)),
    ("formatnum|число|num", Pattern("{1#}")),
    ("s|nobr|nowrap|small|дрібно|капітель|абр|abbr|підказка|tooltip|sup|sub", Pattern("{1}")),
    ("до н. е.|до н.е.", Pattern("[{1} ]до н. е.")),
    ("н. е.|н.е.", Pattern("[{1} ]н. е.")),
    ("lang|мова", Pattern("{2}")),
    ("нп|нп5|iw|не перекладено|li|нп3", Pattern("{2/1}")),
    ("цитата|quote|blockquote|text start", Shows::Block),
    ("прапорець|прапор|країна|прапорифікація|прапорець2", Pattern("{1}")),
    ("нігонго|nihongo", Shows::Glossed),
    ("грн|гривня", Pattern("{1#} грн")),
];

pub(super) const POLISH: Table = &[
    ("data|data urodzenia|data śmierci", DateIn(Order::DayMonthYear)),
    ("formatnum|liczba", Pattern("{1#}")),
    ("nowrap|nobr|mały|small|kapitaliki|abbr|skrót|j|zobacz tekst|unicode|małe", Pattern("{1}")),
    ("lang|język|w języku|j. obcy", Pattern("{2}")),
    ("link-interwiki|link interwiki", Pattern("{tekst/pl/1}")),
    ("cytat|quote|blockquote|cytatd", Shows::Block),
    ("fakt|kto|kiedy|gdzie|kogo|doprecyzować|styl|potrzebne źródło|jaki|dlaczego|jak", Pattern("{1=}")),
    ("p.n.e.|pne", Pattern("[{1} ]p.n.e.")),
    ("n.e.|ne", Pattern("[{1} ]n.e.")),
    ("państwo|flaga tekst|kraj", Pattern("{1}")),
    ("wiek|w", Pattern("{1} w.")),
    ("ang.|ang", Pattern("ang.[ {1}]")),
    ("niem.|niem", Pattern("niem.[ {1}]")),
    ("fr.", Pattern("fr.[ {1}]")),
    ("łac.|łac", Pattern("łac.[ {1}]")),
    ("ros.", Pattern("ros.[ {1}]")),
    ("wł.", Pattern("wł.[ {1}]")),
    ("hiszp.", Pattern("hiszp.[ {1}]")),
    ("gr.", Pattern("gr.[ {1}]")),
    ("japoński|nihongo", Shows::Glossed),
    ("biblia|bib", Joined(" ")),
    ("chem|wzór chemiczny", Joined("")),
    ("kolor", Last),
];

pub(super) const CZECH: Table = &[
    (
        "datum|datum narození|datum úmrtí|datum narození a věk|datum úmrtí a věk|datum počátku",
        DateIn(Order::YearMonthDay),
    ),
    ("formatnum|číslo", Pattern("{1#}")),
    ("nowrap|nobr|malé|small|kapitálky|zkratka|abbr|celé", Pattern("{1}")),
    ("cizojazyčně|vjazyce2|lang|cj", Pattern("{2}")),
    ("citát|citace textu|quote|blockquote", Shows::Block),
    ("vlajka a název|vlajka|země", Pattern("{1}")),
    ("př. n. l.", Pattern("[{1} ]př. n. l.")),
    ("nihongo|japonsky", Shows::Glossed),
    ("$|usd", Pattern("{1#} $")),
    ("kč|czk", Pattern("{1#} Kč")),
];
