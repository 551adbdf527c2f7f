//! Parser functions and variables: what MediaWiki itself makes of `{{name:…}}` and `{{NAME}}`, as its documentation says
//! (Help:Magic words, Help:Extension:ParserFunctions).

use super::arguments::{split_first, Arguments};
use super::{dates, expression, is_blank, numbers, Context, Shown};
use crate::corpus::wikitext::HOLE;

/// Names in lower case, separated by `|`, with the names of other languages' wikis, and what they are.
const TABLE: &[(&str, Function)] = &[
    ("formatnum|formatnombre|zahlenformat|formateranum|formatonúmero|formatonumero|formatteernum|форматчисло|formatarnum|formatanum", Function::FormatNumber),
    ("lc|lce|minúsculas|minusculas|minuscule|kleinbuchstaben|нрег", Function::LowerCase),
    ("uc|mayúsculas|mayusculas|majuscule|grossbuchstaben|großbuchstaben|врег", Function::UpperCase),
    ("lcfirst|initminus|первая_маленькая|initial_klein", Function::LowerCaseFirst),
    ("ucfirst|initmaju|первая_большая|initial_gross|initial_groß", Function::UpperCaseFirst),
    ("padleft|bourragegauche|bourregauche", Function::PadLeft),
    ("padright|bourragedroite|bourredroite", Function::PadRight),
    ("plural|pluriel", Function::Plural),
    ("grammar|grammaire|grammatik", Function::Second),
    ("gender|genre|geschlecht", Function::Second),
    ("#if|#si|#wenn", Function::If),
    ("#ifeq|#sieq", Function::IfEqual),
    ("#ifexpr", Function::IfExpression),
    ("#iferror", Function::IfError),
    ("#ifexist", Function::Second),
    ("#switch", Function::Switch),
    ("#expr", Function::Expression),
    ("#time|#timel|#dateformat|#formatdate|formatdate|dateformat", Function::Time),
    ("#language|#sprache", Function::Language),
    ("anchorencode|#anchorencode", Function::AnchorEncode),
    ("urlencode|urlencodage", Function::UrlEncode),
    ("ns|nse|espacen|nr", Function::Namespace),
    ("#titleparts", Function::TitleParts),
    ("#tag", Function::Tag),
    // a message of the wiki, whose text is not in the dump
    ("int", Function::Unknown),
    ("#invoke|#property|#statements|#section|#lst|#section-h|#lsth|#babel|#related|localurl|fullurl|canonicalurl|filepath", Function::Unknown),
    ("defaultsort|defaultsortkey|defaultcategorysort|displaytitle|#seo|#coordinates|#related_articles|#widget|sortierung|seitentitel|ordena|cléDeTri|titreaffiché|tri|afficher_titre|защита|сортировка_по_умолчанию|ключ_сортировки|claveordenar|predefinisort|sortuj|domyślnie_sortuj|standaardsortering|standardsortering|noexternallanglinks|protectionlevel|cascadingsources|pagesincategory|#target|#ask|#set", Function::Nothing),
];

#[derive(Clone, Copy)]
enum Function {
    FormatNumber,
    LowerCase,
    UpperCase,
    LowerCaseFirst,
    UpperCaseFirst,
    PadLeft,
    PadRight,
    Plural,
    /// The second argument: the word that is declined, the form for a man, a page that exists.
    Second,
    If,
    IfEqual,
    IfExpression,
    IfError,
    Switch,
    Expression,
    Time,
    Language,
    AnchorEncode,
    UrlEncode,
    Namespace,
    TitleParts,
    Tag,
    Nothing,
    Unknown,
}

/// What `{{NAME}}` shows, if it is a variable. Unlike templates they are written in capitals.
pub(super) fn variable(name: &str, context: &Context) -> Option<Shown> {
    let title = context.title;
    let base = || title.rsplit_once('/').map_or(title, |(base, _)| base);
    Some(Shown::text(match name {
        "PAGENAME"
        | "FULLPAGENAME"
        | "SEITENNAME"
        | "NOMPAGE"
        | "NOMBREDEPAGINA"
        | "НАЗВАНИЕСТРАНИЦЫ"
        | "ARTICLEPAGENAME"
        | "SUBJECTPAGENAME"
        | "TITOLOPAGINA"
        | "NOMEDAPAGINA"
        | "NAZWASTRONY"
        | "PAGINANAAM"
        | "SIDNAMN" => title,
        "BASEPAGENAME" | "ROOTPAGENAME" => base(),
        "SUBPAGENAME" => title.rsplit('/').next().unwrap_or(title),
        "SITENAME" => "Wikipedia",
        "NAMESPACE" | "NAMESPACEE" | "TALKSPACE" => return Some(Shown::Nothing),
        "NAMESPACENUMBER" => "0",
        "CONTENTLANGUAGE" | "CONTENTLANG" => &context.wiki.language,
        "PAGENAMEE" | "FULLPAGENAMEE" => return Some(Shown::Text(title.replace(' ', "_"))),
        _ => return None,
    }))
}

/// What `{{name:rest}}` shows, if it is a function.
pub(super) fn function(name: &str, rest: &str, context: &Context) -> Option<Shown> {
    let name = name.trim_matches(|c: char| c.is_whitespace() || c == HOLE).replace(' ', "_").to_lowercase();
    let &(_, function) = TABLE.iter().find(|(names, _)| names.split('|').any(|known| known == name))?;
    let language = context.wiki.language.as_str();
    let (first, others) = split_first(rest);
    let arguments = Arguments::new(others);
    let unknown = || Shown::Unknown(format!("{name}:"));
    Some(match function {
        Function::FormatNumber => match arguments.get(1) {
            Some("R" | "r") => Shown::Text(numbers::plain(first, language)),
            Some(_) => Shown::text(first),
            None => Shown::Text(numbers::format(first, language)),
        },
        Function::LowerCase => Shown::Text(first.to_lowercase()),
        Function::UpperCase => Shown::Text(upper(first)),
        Function::LowerCaseFirst => Shown::Text(first_changed(first, |c| c.to_lowercase().collect())),
        Function::UpperCaseFirst => Shown::Text(first_changed(first, |c| c.to_uppercase().collect())),
        Function::PadLeft => Shown::Text(pad(first, &arguments) + first),
        Function::PadRight => Shown::Text(first.to_owned() + &pad(first, &arguments)),
        Function::Plural => Shown::text(plural(first, &arguments, language)),
        Function::Second => Shown::text(arguments.get(1).unwrap_or_default()),
        Function::If => choose(!is_blank(first), others),
        Function::IfEqual => {
            let (second, others) = split_first(others.unwrap_or_default());
            let number = |text: &str| text.parse::<f64>().ok();
            let equal = match (number(first), number(second)) {
                (Some(first), Some(second)) => first == second,
                _ => first == second,
            };
            choose(equal, others)
        }
        Function::IfExpression => match expression::evaluate(first) {
            Some(value) => choose(value != 0.0, others),
            None if is_blank(first) => choose(false, others),
            None => unknown(),
        },
        // an error is something that MediaWiki makes, and we make none
        Function::IfError => {
            Shown::text(if arguments.positional.len() > 1 { arguments.get(2).unwrap_or_default() } else { first })
        }
        Function::Switch => switch(first, others),
        Function::Expression => match expression::evaluate(first) {
            Some(value) => Shown::Text(expression::shown(value)),
            None if is_blank(first) => Shown::Nothing,
            None => unknown(),
        },
        Function::Time => {
            // {{#time: format | date}} and {{#dateformat: date | format}}
            let (format, date) =
                if name.starts_with("#time") { (first, arguments.get(1)) } else { ("j F Y", Some(first)) };
            match date.and_then(|date| dates::time(format, date, language)) {
                Some(text) => Shown::Text(text),
                None => unknown(),
            }
        }
        Function::Language => Shown::text(super::names::own_name(first).unwrap_or(first)),
        Function::AnchorEncode => Shown::Text(first.replace(' ', "_")),
        Function::UrlEncode => Shown::Text(url_encoded(first, arguments.get(1))),
        Function::Namespace => match context.wiki.namespace(first) {
            Some(name) => Shown::text(name),
            None => unknown(),
        },
        Function::TitleParts => {
            let number = arguments.get(1).and_then(|number| number.parse().ok()).filter(|&number| number > 0);
            let from = arguments.get(2).and_then(|number| number.parse::<usize>().ok()).unwrap_or(1).max(1);
            let parts: Vec<&str> = first.split('/').skip(from - 1).take(number.unwrap_or(usize::MAX)).collect();
            Shown::Text(parts.join("/"))
        }
        Function::Tag => match first {
            "nowiki" | "span" | "small" | "sub" | "sup" | "poem" => Shown::text(arguments.get(1).unwrap_or_default()),
            "math" | "chem" | "ce" | "hiero" | "score" => Shown::Unknown(format!("<{first}>")),
            _ => Shown::Nothing,
        },
        Function::Nothing => Shown::Nothing,
        Function::Unknown => Shown::Unknown(match first {
            "" => format!("{name}:"),
            _ => format!("{name}:{first}"),
        }),
    })
}

/// `then|else`. (`=` is plain text in them, so [`Arguments`] must not split them.)
fn choose(is_true: bool, branches: Option<&str>) -> Shown {
    let (then, others) = split_first(branches.unwrap_or_default());
    let (otherwise, _) = split_first(others.unwrap_or_default());
    Shown::text(if is_true { then } else { otherwise })
}

/// `case = result`, cases without one fall through to the next result; `#default` or a last case without `=` is the rest.
fn switch(value: &str, cases: Option<&str>) -> Shown {
    let (mut is_met, mut default, mut left) = (false, "", cases);
    while let Some(cases) = left {
        let (case, others) = split_first(cases);
        left = others;
        match case.split_once('=') {
            Some((name, result)) => {
                is_met |= name.trim() == value;
                if is_met {
                    return Shown::text(result.trim());
                }
                if name.trim() == "#default" {
                    default = result.trim();
                }
            }
            None if left.is_none() => return Shown::text(case),
            None => is_met |= case == value,
        }
    }
    Shown::text(default)
}

/// Upper case; entities stay, for their names have a case.
fn upper(text: &str) -> String {
    let mut in_entity = false;
    text.split_inclusive(['&', ';'])
        .map(|part| {
            let is_name = in_entity && part.ends_with(';');
            in_entity = part.ends_with('&');
            if is_name {
                part.to_owned()
            } else {
                part.to_uppercase()
            }
        })
        .collect()
}

fn first_changed(text: &str, change: impl Fn(char) -> String) -> String {
    let mut rest = text.chars();
    rest.next().map_or(String::new(), |first| change(first) + rest.as_str())
}

/// What is missing of the length, of the characters to fill it with.
fn pad(text: &str, arguments: &Arguments) -> String {
    const MAX_LENGTH: usize = 500; // as in MediaWiki
    let length: usize = arguments.get(1).and_then(|length| length.parse().ok()).unwrap_or(0);
    let missing = length.min(MAX_LENGTH).saturating_sub(text.chars().count());
    arguments.get(2).unwrap_or("0").chars().cycle().take(missing).collect()
}

/// The form for a number, by the rules of the language (Unicode's CLDR); the last one where there are fewer.
fn plural<'a>(number: &str, forms: &Arguments<'a>, language: &str) -> &'a str {
    let plain = number.replace([',', '\u{a0}', '\u{202f}', ' '], "");
    if let Some(form) = forms.named(&plain) {
        return form;
    }
    let value: f64 = plain.parse().unwrap_or(2.0);
    let (tens, ones) = (value.abs() as u64 % 100, value.abs() as u64 % 10);
    let is_teen = (11..=14).contains(&tens);
    let index = match language {
        "ja" | "zh" | "ko" | "th" | "vi" | "id" | "ms" | "my" | "lo" | "km" | "bo" => 0,
        "fr" | "pt-br" | "oc" | "hy" => usize::from(value.abs() >= 2.0),
        "ru" | "uk" | "be" | "sr" | "hr" | "bs" | "sh" => match ones {
            1 if !is_teen => 0,
            2..=4 if !is_teen => 1,
            _ => 2,
        },
        "pl" => match ones {
            _ if value == 1.0 => 0,
            2..=4 if !is_teen => 1,
            _ => 2,
        },
        "cs" | "sk" => match value as u64 {
            1 => 0,
            2..=4 => 1,
            _ => 2,
        },
        _ => usize::from(value != 1.0),
    };
    let last = forms.positional.len().saturating_sub(1);
    forms.positional.get(index.min(last)).copied().unwrap_or_default()
}

fn url_encoded(text: &str, kind: Option<&str>) -> String {
    let space = match kind {
        Some("WIKI") => "_",
        Some("PATH") => "%20",
        _ => "+",
    };
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push_str(space),
            b'-' | b'_' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
