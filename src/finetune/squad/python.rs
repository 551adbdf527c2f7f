//! The rules of Python's strings on which features and scores of the reference rest.
//!
//! Rust's own differ in a few places: `str.isspace` also knows the four separators U+001C to U+001F, and `\w` of `re`
//! means `str.isalnum`, which leaves out combining vowel signs and enclosed letters that Unicode calls alphabetic.
//! `str.lower` is [`str::to_lowercase`]: both take full case mappings (`İ` becomes two characters) and the final form of
//! sigma at the end of a word. Each language goes by its own version of Unicode, so characters that one of them does not
//! know yet may differ.

use unicode_normalization::char::is_combining_mark;

/// `str.isspace` of one character.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// `str.split()`.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Whether `\w` of Python's `re` matches: letters, numbers and the underscore.
pub(super) fn is_word(character: char) -> bool {
    // What is alphabetic without being a letter or a number: marks, and letters in circles and squares.
    let is_enclosed = matches!(character, '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f149}'
        | '\u{1f150}'..='\u{1f169}' | '\u{1f170}'..='\u{1f189}');
    character == '_' || (character.is_alphanumeric() && !is_combining_mark(character) && !is_enclosed)
}
