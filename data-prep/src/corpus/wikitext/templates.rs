//! Templates, parser functions and variables: what each shows.
//!
//! In: what stands between the braces of one template, inner templates already resolved. Out: wikitext in its place, or nothing,
//! or the name of what is not known here. Cost: linear in that text.
//!
//! A new template is a row of the table of its language in [`tables`]; one that computes is a [`Shows`] and its line in
//! [`shown`]. A row of the wiki's own language goes before one of the English table, which holds in all languages, as its
//! templates have been copied to most wikis.

mod arguments;
mod context;
mod dates;
mod expression;
mod functions;
mod measures;
mod names;
mod numbers;
mod pattern;
mod quantities;
mod shows;
mod silent;
mod tables;

use super::BREAK;
use arguments::Arguments;
pub(super) use context::{is_blank, Context, Shown};
use dates::Order;
use shows::Shows;
use tables::find;

/// The longest name of a table, with room for blanks around it.
const MAX_NAME_BYTES: usize = 96;

/// What the template with this `content` leaves.
pub(super) fn render(content: &str, context: &Context) -> Shown {
    let content = without_prefix(content);
    let bytes = content.as_bytes();
    let end = bytes.iter().take(MAX_NAME_BYTES + 1).position(|&byte| byte == b'|');
    let colon = bytes[..end.unwrap_or(bytes.len()).min(MAX_NAME_BYTES)].iter().position(|&byte| byte == b':');
    if let Some(colon) = colon {
        if let Some(shown) = functions::function(&content[..colon], &content[colon + 1..], context) {
            return shown;
        }
    }
    let name_end = end.unwrap_or(content.len());
    if name_end > MAX_NAME_BYTES {
        return Shown::Unknown(String::new());
    }
    let raw = content[..name_end].trim_matches(|c: char| c.is_whitespace() || c.is_control());
    if end.is_none() {
        if let Some(shown) = functions::variable(raw, context) {
            return shown;
        }
    }
    let name = normal_name(raw);
    let arguments = Arguments::new(content.get(name_end + 1..));
    let language = context.wiki.language.as_str();
    match find(language, &name) {
        _ if name.is_empty() => Shown::Nothing,
        Some(shows) => match shown(shows, &arguments, language) {
            Some(text) if text.is_empty() => Shown::Nothing,
            Some(text) => Shown::Text(text),
            None => Shown::Unknown(name),
        },
        None => match by_form(&name, &arguments, language) {
            Some(text) => Shown::Text(text),
            None if silent::is_silent(&name) => Shown::Nothing,
            None => Shown::Unknown(name),
        },
    }
}

/// Without the words that say how to take a template, and its namespace in English.
fn without_prefix(content: &str) -> &str {
    const PREFIXES: [&str; 6] = ["subst:", "safesubst:", "msg:", "msgnw:", "raw:", "template:"];
    let mut rest = content.trim_start();
    while let Some(prefix) =
        PREFIXES.iter().find(|prefix| rest.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
    {
        rest = rest[prefix.len()..].trim_start();
    }
    rest
}

/// MediaWiki takes underscores and several blanks of a name as one; the case of its first letter does not matter, and here
/// none does.
fn normal_name(name: &str) -> String {
    name.split(|c: char| c == '_' || c.is_whitespace())
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}

fn shown(shows: Shows, arguments: &Arguments, language: &str) -> Option<String> {
    Some(match shows {
        Shows::Pattern(pattern) => pattern::fill(pattern, arguments, language)?,
        Shows::Last => arguments.last()?.to_owned(),
        Shows::Joined(separator) => Some(arguments.all().join(separator)).filter(|text| !text.is_empty())?,
        Shows::Block => {
            let text = arguments.named("text").or(arguments.named("quote")).or(arguments.get(1))?;
            format!("{BREAK}{text}{BREAK}")
        }
        Shows::Glossed => glossed(arguments)?,
        Shows::Sic => {
            let text = arguments.all().concat();
            let space = if text.is_empty() { "" } else { " " };
            match arguments.named("hide") {
                Some(_) => text,
                None => format!("{text}{space}&#91;sic&#93;"),
            }
        }
        Shows::Fraction => measures::fraction(arguments)?,
        Shows::Measure => measures::measure(arguments)?,
        Shows::Value => measures::value(arguments)?,
        Shows::Date | Shows::AsOf if !is_english(language) => {
            dates::of_arguments(arguments, 1, Order::YearMonthDay, language)
                .filter(|_| dates::knows(language) && matches!(shows, Shows::Date))?
        }
        Shows::Date => measures::date(arguments)?,
        Shows::DateIn(order) => dates::of_arguments(arguments, 1, order, language)?,
        Shows::AsOf => measures::as_of(arguments)?,
        Shows::Language => in_language(arguments.get(1)?, arguments.get(2).or(arguments.named("text"))?, language)?,
        Shows::Ship("") => ship(arguments.get(1)?, &arguments.positional[1..])?,
        Shows::Ship(prefix) => ship(prefix, &arguments.positional)?,
        Shows::Coordinates => quantities::coordinates(arguments)?,
        Shows::Height => quantities::height(arguments)?,
        Shows::Choice(pairs) => {
            let key = arguments.get(1)?;
            let value = pairs.split(' ').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))?;
            value.to_owned()
        }
        Shows::Ordinal => quantities::ordinal(arguments.get(1)?)?,
        Shows::Age => quantities::age(arguments)?,
        Shows::Rupees => quantities::rupees(arguments)?,
        Shows::Currency => quantities::currency(arguments)?,
        Shows::Quantity(between) => quantities::quantity(arguments, between, language)?,
        Shows::Centuries(before, behind) => quantities::centuries(arguments, before, behind)?,
    })
}

/// Templates whose name says what they show: `{{lang-de|Köln}}`, `{{script/Arabic|…}}`, `{{XXe siècle}}`.
fn by_form(name: &str, arguments: &Arguments, language: &str) -> Option<String> {
    if let Some(code) = name.strip_prefix("lang-") {
        return in_language(code, arguments.get(1).or(arguments.named("text"))?, language);
    }
    if name.starts_with("script/") {
        return arguments.get(1).map(str::to_owned);
    }
    match language {
        "fr" => quantities::french_ordinal(name),
        _ => None,
    }
}

/// A foreign word with the name of its language, in the way of the wiki.
fn in_language(code: &str, text: &str, language: &str) -> Option<String> {
    let introduced = names::introduced(language, code.split('-').next()?);
    Some(match (introduced, names::english(code)) {
        (Some(name), _) if language == "nl" => format!("{name}: {text}"),
        (Some(name), _) if matches!(language, "es" | "pt") => format!("{name}: {text}"),
        (Some(name), _) => format!("{name} {text}"),
        (None, Some(name)) if is_english(language) => format!("{name}: {text}"),
        (None, _) => text.to_owned(),
    })
}

fn is_english(language: &str) -> bool {
    matches!(language, "en" | "simple")
}

/// Template:Ship of the English Wikipedia: prefix, name, hull number or year, and a digit that says which of them to show.
fn ship(prefix: &str, rest: &[&str]) -> Option<String> {
    let get = |index: usize| rest.get(index).copied().filter(|text| !text.is_empty());
    let name = get(0)?;
    let both = format!("{prefix} {name}");
    Some(match (get(1), get(2)) {
        (Some(number), Some("1")) => number.to_owned(),
        (_, Some("2")) => name.to_owned(),
        (Some(number), Some("4")) => format!("{prefix} {number}"),
        (Some(number), Some("5")) => format!("{name} ({number})"),
        (Some(number), None) => format!("{both} ({number})"),
        _ => both,
    })
}

fn glossed(arguments: &Arguments) -> Option<String> {
    let [first, glosses @ ..] = arguments.positional.as_slice() else {
        return None;
    };
    let glosses: Vec<&str> = glosses.iter().copied().filter(|gloss| !gloss.is_empty()).take(2).collect();
    Some(match (first.is_empty(), glosses.is_empty()) {
        (false, false) => format!("{first} ({})", glosses.join(", ")),
        (true, _) => glosses.join(", "),
        (_, true) => (*first).to_owned(),
    })
}
