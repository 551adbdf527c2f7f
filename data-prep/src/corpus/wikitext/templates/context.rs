//! What a template is rendered from and into.

use crate::corpus::wikitext::Wiki;

/// Where a template stands.
pub(in crate::corpus::wikitext) struct Context<'a> {
    pub(in crate::corpus::wikitext) wiki: &'a Wiki,
    pub(in crate::corpus::wikitext) title: &'a str,
}

/// What is left of a template.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::corpus::wikitext) enum Shown {
    Text(String),
    /// It shows nothing in running text.
    Nothing,
    /// It is not known here, by this name.
    Unknown(String),
}

impl Shown {
    pub(super) fn text(text: impl Into<String>) -> Shown {
        Shown::Text(text.into())
    }
}

/// Whether nothing is in `text` but blanks and what removed markup left.
pub(in crate::corpus::wikitext) fn is_blank(text: &str) -> bool {
    text.chars().all(|character| character.is_whitespace() || character.is_control())
}
