//! The templates that leave text: a table for each language, names in lower case and separated by `|`.

mod asian;
mod english;
mod germanic;
mod romance;
mod slavic;

use super::shows::{Shows, Table};
use std::collections::HashMap;
use std::sync::LazyLock;

/// The tables of all languages. (Those of `simple`, the Wikipedia in simple English, are the English ones.)
const TABLES: [(&str, Table); 17] = [
    ("fr", romance::FRENCH),
    ("es", romance::SPANISH),
    ("pt", romance::PORTUGUESE),
    ("it", romance::ITALIAN),
    ("ca", romance::CATALAN),
    ("de", germanic::GERMAN),
    ("nl", germanic::DUTCH),
    ("sv", germanic::SWEDISH),
    ("no", germanic::NORWEGIAN),
    ("da", germanic::DANISH),
    ("ru", slavic::RUSSIAN),
    ("uk", slavic::UKRAINIAN),
    ("pl", slavic::POLISH),
    ("cs", slavic::CZECH),
    ("ja", asian::JAPANESE),
    ("zh", asian::CHINESE),
    ("ko", asian::KOREAN),
];

/// What the template of this name shows in the wiki of this language.
pub(super) fn find(language: &str, name: &str) -> Option<Shows> {
    static OF_LANGUAGES: LazyLock<HashMap<&str, HashMap<&str, Shows>>> =
        LazyLock::new(|| TABLES.iter().map(|&(language, table)| (language, names(table))).collect());
    static ENGLISH: LazyLock<HashMap<&str, Shows>> = LazyLock::new(|| names(english::ENGLISH));
    let own = OF_LANGUAGES.get(language).and_then(|names| names.get(name));
    own.or_else(|| ENGLISH.get(name)).copied()
}

fn names(table: Table) -> HashMap<&'static str, Shows> {
    table.iter().flat_map(|&(names, shows)| names.split('|').map(move |name| (name, shows))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_are_looked_up_and_stand_once() {
        for (language, table) in TABLES.iter().chain(&[("en", english::ENGLISH)]) {
            let mut seen = std::collections::HashSet::new();
            for name in table.iter().flat_map(|row| row.0.split('|')) {
                assert!(seen.insert(name), "{language}: `{name}` stands twice");
                assert_eq!(super::super::normal_name(name), name, "{language}");
                assert!(name.len() < super::super::MAX_NAME_BYTES, "{language}: {name}");
            }
        }
    }
}
