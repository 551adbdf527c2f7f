//! Pass 2, in wikis of languages with two scripts or vocabularies: `-{…}-`, which says how a word is converted between them.
//!
//! As a page without a variant shows it (MediaWiki's `LanguageConverter`): `-{text}-` is its text, `-{zh-hans:A; zh-hant:B}-` the
//! first of the language's variants, and rules for the rest of the page (`-{H|…}-`, `-{T|…}-`) show nothing. Cost: linear; nesting
//! is resolved from the inside, [`MAX_DEPTH`] deep.

use super::HOLE;

const MAX_DEPTH: usize = 8;

/// Languages with a converter, and their variants in the order in which a page without one takes them.
const LANGUAGES: [(&str, &[&str]); 14] = [
    ("zh", &["zh-hans", "zh-hant", "zh-cn", "zh-tw", "zh-hk", "zh-sg", "zh-mo", "zh-my", "zh"]),
    ("wuu", &["wuu-hans", "wuu-hant", "zh-hans", "zh-hant", "zh-cn", "zh-tw"]),
    ("gan", &["gan-hans", "gan-hant", "gan"]),
    ("sr", &["sr-ec", "sr-el", "sr"]),
    ("sh", &["sh-latn", "sh-cyrl", "sh"]),
    ("crh", &["crh-latn", "crh-cyrl", "crh"]),
    ("kk", &["kk-cyrl", "kk-latn", "kk-arab", "kk-kz", "kk-tr", "kk-cn", "kk"]),
    ("ku", &["ku-latn", "ku-arab", "ku"]),
    ("uz", &["uz-latn", "uz-cyrl", "uz"]),
    ("tg", &["tg-cyrl", "tg-latn", "tg"]),
    ("iu", &["ike-cans", "ike-latn", "iu"]),
    ("shi", &["shi-tfng", "shi-latn", "shi"]),
    ("ban", &["ban-latn", "ban-bali", "ban"]),
    ("mni", &["mni-mtei", "mni-beng", "mni"]),
];

/// Replaces the markup by what it shows.
pub(super) fn resolve(text: String, language: &str) -> String {
    let stem = language.split('-').next().unwrap_or_default();
    let Some((_, variants)) = LANGUAGES.iter().find(|row| row.0 == stem).filter(|_| text.contains("-{")) else {
        return text;
    };
    let mut out = String::with_capacity(text.len());
    // where each open rule starts in `out`, and how deep the rules within it are nested
    let mut open: Vec<(usize, usize)> = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = text[at..].find(['-', '}']) {
        at += found;
        let is_opening = text[at..].starts_with("-{");
        if !is_opening && (open.is_empty() || !text[at..].starts_with("}-")) {
            at += 1;
            continue;
        }
        out.push_str(&text[copied..at]);
        at += 2;
        copied = at;
        if is_opening {
            open.push((out.len(), 0));
        } else if let Some((start, depth)) = open.pop() {
            let shown = if depth < MAX_DEPTH { shown(&out[start..], variants) } else { None };
            out.truncate(start);
            match shown {
                Some(shown) => out.push_str(&shown),
                None => out.push(HOLE),
            }
            if let Some(outer) = open.last_mut() {
                outer.1 = outer.1.max(depth + 1);
            }
        }
    }
    out.push_str(&text[copied..]);
    out
}

/// What the rule with this content shows; nothing if it is one for the rest of the page.
fn shown(content: &str, variants: &[&str]) -> Option<String> {
    let is_code = |code: &str| variants.iter().any(|known| known.eq_ignore_ascii_case(code));
    let (flags, rule) = match content.split_once('|') {
        Some((flags, rule)) if flags.split(';').all(|flag| is_flag(flag.trim()) || is_code(flag.trim())) => {
            (flags, rule)
        }
        _ => ("", content),
    };
    let has = |flag: &str| flags.split(';').any(|found| found.trim() == flag);
    if has("H") || has("T") || has("-") || has("N") {
        return None;
    }
    if has("R") {
        return Some(rule.to_owned());
    }
    let rules: Vec<(&str, &str)> =
        split(rule, &is_code).into_iter().filter_map(|part| code_of(part, &is_code)).collect();
    if rules.is_empty() {
        return Some(rule.to_owned());
    }
    let chosen = variants.iter().find_map(|variant| rules.iter().find(|(code, _)| code.eq_ignore_ascii_case(variant)));
    Some(chosen.unwrap_or(&rules[0]).1.trim().to_owned())
}

fn is_flag(flag: &str) -> bool {
    matches!(flag, "A" | "T" | "R" | "D" | "-" | "H" | "N" | "S" | "+" | "")
}

/// `zh-hans:text`, or `text=>zh-hans:text`, as code and text.
fn code_of<'a>(part: &'a str, is_code: &impl Fn(&str) -> bool) -> Option<(&'a str, &'a str)> {
    let part = part.split_once("=>").map_or(part, |(_, part)| part);
    let (code, text) = part.split_once(':')?;
    is_code(code.trim()).then_some((code.trim(), text))
}

/// Splits at each `;` behind which another rule, or nothing, stands: entities and text have some too.
fn split<'a>(rule: &'a str, is_code: &impl Fn(&str) -> bool) -> Vec<&'a str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    for (at, _) in rule.match_indices(';') {
        let behind = &rule[at + 1..];
        let first = behind.split(';').next().unwrap_or_default();
        if behind.trim().is_empty() || code_of(first, is_code).is_some() {
            parts.push(&rule[start..at]);
            start = at + 1;
        }
    }
    parts.push(&rule[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MediaWiki's documentation of LanguageConverter, for a page in no variant.
    #[test]
    fn rules_show_one_variant() {
        for (wikitext, expected) in [
            ("a -{b}- c", "a b c"),
            ("-{zh-hans:计算机; zh-hant:電腦;}-的", "计算机的"),
            ("-{zh-tw:計程車;zh-cn:出租车}-", "出租车"),
            ("-{zh-hk:的士}-", "的士"),
            ("x-{H|zh-cn:A;zh-tw:B}-y", "x\u{1}y"),
            ("-{T|zh-cn:A;zh-tw:B}-", "\u{1}"),
            ("-{A|zh-cn:A;zh-tw:B}-", "A"),
            ("-{R|文}-", "文"),
            ("-{zh-hans;zh-hant|文}-", "文"),
            ("-{zh-hans:甲&nbsp;乙;zh-hant:丙}-", "甲&nbsp;乙"),
            ("-{zh-hans:[[甲|乙]];zh-hant:丙}-", "[[甲|乙]]"),
            ("-{zh-hans:a-{b}-c;zh-hant:d}-", "abc"),
            ("-{H|甲=>zh-cn:乙}-", "\u{1}"),
            ("-{ unclosed", " unclosed"),
            ("stray }- -{a}-", "stray }- a"),
            ("-{[[甲|乙]]}-", "[[甲|乙]]"),
        ] {
            assert_eq!(resolve(wikitext.to_owned(), "zh"), expected, "{wikitext}");
        }
        assert_eq!(resolve("-{sr-el:Beograd;sr-ec:Београд}-".to_owned(), "sr"), "Београд");
        assert_eq!(resolve("-{a}-".to_owned(), "en"), "-{a}-");
    }
}
