//! Quantities with units, centuries, coordinates, heights, ordinals and currencies.

use super::arguments::Arguments;
use super::numbers;

/// Numbers first, with `between` them, then units, each with its power if that is not 1: `2000|m`, `15|km|/|h`, `10|m|2`.
pub(super) fn quantity(arguments: &Arguments, between: &str, language: &str) -> Option<String> {
    let mut positional = arguments.positional.as_slice();
    let (first, rest) = positional.split_first()?;
    if first.is_empty() {
        return None;
    }
    let mut out = numbers::format_first(first, language);
    positional = rest;
    if !between.is_empty() {
        // the same number of further numbers for every such template: all that are numbers
        while let Some((number, rest)) = positional.split_first().filter(|(text, _)| is_number(text)) {
            out.push_str(between);
            out.push_str(&numbers::format_first(number, language));
            positional = rest;
        }
    }
    while let Some((unit, rest)) = positional.split_first() {
        positional = rest;
        if unit.is_empty() {
            continue;
        }
        let is_sign = matches!(*unit, "/" | "·");
        if !is_sign && !out.ends_with('/') && !out.ends_with('·') {
            out.push(' ');
        }
        out.push_str(unit);
        // behind a unit stands its power
        if let Some((power, rest)) = positional.split_first().filter(|(text, _)| text.is_empty() || is_number(text)) {
            positional = rest;
            if !power.is_empty() && *power != "1" {
                out.push_str(&raised(power));
            }
        }
    }
    if let Some(power) = arguments.named("e") {
        out.push_str(&format!(" × 10{}", raised(power)));
    }
    if let Some(unit) = arguments.named("u").or(arguments.named("ul")).or(arguments.named("um")) {
        out.push_str(&format!(" {unit}"));
    }
    Some(out)
}

fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+', '−']);
    digits.starts_with(|first: char| first.is_ascii_digit())
}

/// Digits and signs above the line.
pub(super) fn raised(text: &str) -> String {
    const ABOVE: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let above = |character: char| match character {
        '-' | '−' | '–' => '⁻',
        '+' => '⁺',
        _ => character.to_digit(10).map_or(character, |digit| ABOVE[digit as usize]),
    };
    text.chars().map(above).collect()
}

/// `XX|e` is "XXe", `XX|e|XXI|e` is "XXe et XXIe" with the words around them; `*` is where an "s" makes a plural;
/// a word between two pairs takes the place of "et".
pub(super) fn centuries(arguments: &Arguments, before: &str, behind: &str) -> Option<String> {
    let all = arguments.all();
    let mut out = String::from(before);
    let (mut number, mut is_plural) = (0, false);
    let mut left = all.iter().peekable();
    while let Some(part) = left.next() {
        if is_roman(part) {
            if number > 0 && !out.ends_with(' ') {
                out.push_str(" et ");
                is_plural = true;
            }
            out.push_str(&part.to_uppercase());
            let is_ending =
                |next: &&&str| !is_roman(next) && next.chars().count() <= 2 && **next != "au" && **next != "et";
            out.push_str(left.next_if(is_ending).copied().unwrap_or(if part.eq_ignore_ascii_case("I") {
                "er"
            } else {
                "e"
            }));
            number += 1;
        } else {
            out.push_str(&format!(" {part} "));
        }
    }
    let plural = if is_plural { "s" } else { "" };
    (number > 0).then(|| match behind.split_once('*') {
        Some((word, rest)) => format!("{out}{word}{plural}{rest}"),
        None => format!("{out}{behind}"),
    })
}

fn is_roman(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| matches!(c.to_ascii_uppercase(), 'I' | 'V' | 'X' | 'L' | 'C'))
}

/// `{{XXe siècle}}`, `{{IIe}}`, `{{1re}}`: templates that are their own text.
pub(super) fn french_ordinal(name: &str) -> Option<String> {
    let (ordinal, century) = match name.strip_suffix(" siècle") {
        Some(ordinal) => (ordinal, " siècle"),
        None => (name, ""),
    };
    let endings = ["er", "re", "ère", "e", "es"];
    let number = endings.iter().find_map(|ending| Some((ordinal.strip_suffix(ending)?, ending)));
    let (number, ending) = number?;
    let is_arabic = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_arabic || is_roman(number)).then(|| format!("{}{ending}{century}", number.to_uppercase()))
}

/// Degrees, minutes and seconds up to a letter of the compass, or two decimal numbers.
pub(super) fn coordinates(arguments: &Arguments) -> Option<String> {
    if arguments.named("display").is_some_and(|display| matches!(display, "title" | "t")) {
        return Some(String::new());
    }
    let parts = arguments.all();
    let is_compass = |text: &str| matches!(text, "N" | "S" | "E" | "W" | "O");
    let marks = ['°', '′', '″'];
    let mut groups: Vec<String> = Vec::new();
    let mut group = String::new();
    let mut index = 0;
    for part in &parts {
        if is_compass(part) {
            groups.push(std::mem::take(&mut group) + part);
            index = 0;
        } else if is_number(part) && index < marks.len() {
            group.push_str(part);
            group.push(marks[index]);
            index += 1;
        } else {
            break;
        }
    }
    if let [latitude, longitude] = groups.as_slice() {
        return Some(format!("{latitude} {longitude}"));
    }
    let decimal = |text: &str, letters: [char; 2]| {
        let (size, letter) = match text.strip_prefix(['-', '−']) {
            Some(size) => (size, letters[1]),
            None => (text, letters[0]),
        };
        is_number(size).then(|| format!("{size}°{letter}"))
    };
    match parts.as_slice() {
        [latitude, longitude, ..] if groups.is_empty() => {
            Some(format!("{} {}", decimal(latitude, ['N', 'S'])?, decimal(longitude, ['E', 'W'])?))
        }
        _ => None,
    }
}

/// A height in the units that it is given in.
pub(super) fn height(arguments: &Arguments) -> Option<String> {
    const UNITS: [(&str, &str); 4] = [("m", "m"), ("cm", "cm"), ("ft", "ft"), ("in", "in")];
    let parts: Vec<String> =
        UNITS.iter().filter_map(|(key, unit)| Some(format!("{} {unit}", arguments.named(key)?))).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// `1st`, `12th`, `23rd`.
pub(super) fn ordinal(number: &str) -> Option<String> {
    let value: u64 = number.parse().ok()?;
    let ending = match (value % 100, value % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    Some(format!("{number}{ending}"))
}

/// Whole years from the first date to the second; that until today nobody knows.
pub(super) fn age(arguments: &Arguments) -> Option<String> {
    let number = |index: usize| arguments.get(index)?.parse::<i64>().ok();
    let (born, then) = ((number(1)?, number(2)?, number(3)?), (number(4)?, number(5)?, number(6)?));
    let is_before_birthday = (then.1, then.2) < (born.1, born.2);
    Some((then.0 - born.0 - i64::from(is_before_birthday)).to_string())
}

/// Rupees, with a letter for the Indian or the Western power of ten.
pub(super) fn rupees(arguments: &Arguments) -> Option<String> {
    let amount = arguments.get(1)?;
    let power = match arguments.get(2).or(arguments.named("scale")) {
        Some("t" | "k") => " thousand",
        Some("l") => " lakh",
        Some("c") => " crore",
        Some("lc") => " lakh crore",
        Some("m") => " million",
        Some("b") => " billion",
        _ => "",
    };
    Some(format!("₹{amount}{power}"))
}

/// An amount and the code or sign of its currency.
pub(super) fn currency(arguments: &Arguments) -> Option<String> {
    let (amount, code) = (arguments.get(1)?, arguments.get(2).or(arguments.named("type")).unwrap_or("USD"));
    let sign = match code.to_uppercase().as_str() {
        "USD" | "US" => "US$",
        "GBP" | "UK" => "£",
        "EUR" | "EU" => "€",
        "INR" => "₹",
        "JPY" | "JP" => "¥",
        "AUD" | "AU" => "A$",
        "CAD" | "CA" => "CA$",
        "NZD" | "NZ" => "NZ$",
        "CNY" | "CN" => "CN¥",
        "KRW" => "₩",
        code => return Some(format!("{code} {amount}")),
    };
    Some(format!("{sign}{amount}"))
}
