//! What most templates show, written down: text with places for arguments.
//!
//! `{1}` is the first positional argument, `{name}` a named one, `{text/2}` the first of them that is there, `{1=x}` the argument
//! or else `x`, `{1#}` a number as the wiki's language writes it, `{1^}` digits above the line, `{2?a:x}` is `x` if the second
//! argument is `a`. `[…]` is left out unless all arguments in it are there. If an
//! argument outside of brackets is missing, the template counts as unknown. A `; ` at the start is removed.

use super::arguments::Arguments;
use super::{numbers, quantities};

/// What `pattern` makes of the arguments, in the wiki of this language.
pub(super) fn fill(pattern: &str, arguments: &Arguments, language: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('[') {
        out.push_str(&part(&rest[..at], arguments, language)?);
        let end = at + rest[at..].find(']')?;
        out.push_str(&part(&rest[at + 1..end], arguments, language).unwrap_or_default());
        rest = &rest[end + 1..];
    }
    out.push_str(&part(rest, arguments, language)?);
    Some(out.trim_start_matches("; ").to_owned()).filter(|text| !text.is_empty() || !pattern.contains('['))
}

/// The same for a part without brackets; nothing if an argument is missing.
fn part(pattern: &str, arguments: &Arguments, language: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        let end = at + rest[at..].find('}')?;
        let place = &rest[at + 1..end];
        if let Some((name, condition)) = place.split_once('?') {
            let (value, text) = condition.split_once(':')?;
            if arguments.find(name) == Some(value) {
                out.push_str(text);
            }
            rest = &rest[end + 1..];
            continue;
        }
        let (names, default) = place.split_once('=').map_or((place, None), |(names, default)| (names, Some(default)));
        let bare = names.trim_end_matches(['#', '^']);
        let found = bare.split('/').find_map(|name| arguments.find(name)).or(default)?;
        match &names.as_bytes()[bare.len()..] {
            b"#" => out.push_str(&numbers::format_first(found, language)),
            b"^" => out.push_str(&quantities::raised(found)),
            _ => out.push_str(found),
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled() {
        let fill = |pattern, arguments| fill(pattern, &Arguments::new(Some(arguments)), "en");
        assert_eq!(fill("{1} ({2})", "a|b").as_deref(), Some("a (b)"));
        assert_eq!(fill("{1} ({2})", "a").as_deref(), None);
        assert_eq!(fill("{1}[ ({2})]", "a|").as_deref(), Some("a"));
        assert_eq!(fill("[{m} m][{ft} ft][ {in} in]", "ft=6|in=2").as_deref(), Some("6 ft 2 in"));
        assert_eq!(fill("{text/2/1}", "a|b").as_deref(), Some("b"));
        assert_eq!(fill("{1=x}{2#}", "|12345").as_deref(), Some("x12,345"));
        assert_eq!(fill("×10{1^}[; {2}]", "-12").as_deref(), Some("×10⁻¹²"));
        assert_eq!(fill("[a {a}][; b {b}]", "b=x").as_deref(), Some("b x"));
        assert_eq!(fill("{1}{2?a: b}", "V|a").as_deref(), Some("V b"));
        assert_eq!(fill("{1}{2?a: b}", "V").as_deref(), Some("V"));
        assert_eq!(fill("[a {a}]", "b=x").as_deref(), None);
        assert_eq!(fill("{3}", "a|3=c").as_deref(), Some("c"));
    }
}
