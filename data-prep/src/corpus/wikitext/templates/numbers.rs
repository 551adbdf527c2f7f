//! Numbers as the languages of Wikipedias write them: what MediaWiki's `{{formatnum:…}}` shows.

/// Languages, the mark between groups of three digits, the decimal mark, and how many digits a number has at least before it is
/// grouped: from MediaWiki's `languages/messages`. Others write as English does.
const SEPARATORS: &[(&str, &str, &str, usize)] = &[
    ("fr", "\u{202f}", ",", 4),
    ("sv nb no nn fi cs sk uk et lv lt hu it sq ka kk eo ce tt oc br wa af", "\u{a0}", ",", 4),
    ("pl ru es pt bg be hy uz ky", "\u{a0}", ",", 5),
    ("de nl da id tr vi el ro sl hr bs sr sh ca eu gl is mk az pt-br jv ms-arab", ".", ",", 4),
    ("gsw als", "’", ".", 4),
];

fn separators(language: &str) -> (&'static str, &'static str, usize) {
    let row = SEPARATORS.iter().find(|row| row.0.split(' ').any(|known| known == language));
    row.map_or((",", ".", 4), |&(_, group, decimal, digits)| (group, decimal, digits))
}

/// The number at the start of `text` as the language writes it, and what follows it as it is. A number that has marks of the
/// language already stays.
pub(super) fn format_first(text: &str, language: &str) -> String {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | ',' | '-' | '−' | '+')).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let is_plain = number.bytes().filter(|byte| matches!(byte, b'.' | b',')).count() <= 1 && !number.contains(',');
    match is_plain {
        true => format!("{}{rest}", format(number, language)),
        false => text.to_owned(),
    }
}

/// `{{formatnum:text}}`: the digits before the decimal point in groups, every `,` and `.` as the language writes it.
pub(super) fn format(text: &str, language: &str) -> String {
    let (group, decimal, min_digits) = separators(language);
    let (sign, digits) = match text.strip_prefix(['-', '−']) {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return translate(text, group, decimal);
    }
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let mut out = String::from(sign);
    let grouped = whole.len() >= min_digits;
    for (index, digit) in whole.char_indices() {
        if grouped && index > 0 && (whole.len() - index) % 3 == 0 {
            out.push_str(group);
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push_str(decimal);
        out.push_str(fraction);
    }
    out
}

fn translate(text: &str, group: &str, decimal: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            ',' => out.push_str(group),
            '.' => out.push_str(decimal),
            _ => out.push(character),
        }
    }
    out
}

/// `{{formatnum:text|R}}`: back to digits and a point.
pub(super) fn plain(text: &str, language: &str) -> String {
    let (group, decimal, _) = separators(language);
    let bare = text.replace(group, "").replace(['\u{a0}', '\u{202f}'], "");
    bare.replace(decimal, ".").replace('−', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the Wikipedias of these languages show.
    #[test]
    fn languages_group_in_their_own_way() {
        for (text, language, expected) in [
            ("1234567.891", "en", "1,234,567.891"),
            ("1234567.891", "de", "1.234.567,891"),
            ("45000", "fr", "45\u{202f}000"),
            ("6412", "sv", "6\u{a0}412"),
            ("6412", "pl", "6412"),
            ("64120", "pl", "64\u{a0}120"),
            ("-10", "sv", "-10"),
            ("999", "en", "999"),
            ("1234", "ja", "1,234"),
            ("x", "en", "x"),
            ("0.00001", "de", "0,00001"),
        ] {
            assert_eq!(format(text, language), expected, "{language}");
        }
        assert_eq!(plain("1.234,5", "de"), "1234.5");
        assert_eq!(plain("45\u{202f}000", "fr"), "45000");
        assert_eq!(format_first("2000 m", "fr"), "2\u{202f}000 m");
        assert_eq!(format_first("1,5", "fr"), "1,5");
    }
}
