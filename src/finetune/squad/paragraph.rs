//! A paragraph, and whether an answer stands where its offset says.

use std::sync::Arc;

use super::python;
use super::question::Answer;

/// A paragraph with what its questions share.
pub(super) struct Paragraph {
    pub(super) title: Arc<str>,
    pub(super) context: Arc<str>,
    /// The byte at which each character begins, and the end.
    bytes: Vec<usize>,
}

impl Paragraph {
    pub(super) fn new(title: Arc<str>, context: String) -> Self {
        Self { title, bytes: boundaries(&context), context: context.into() }
    }

    pub(super) fn characters(&self) -> usize {
        self.bytes.len() - 1
    }

    /// Whether the answer stands at its offset, or does once white space is normalised.
    pub(super) fn holds(&self, answer: &Answer) -> bool {
        let end = answer.start.saturating_add(answer.text.chars().count());
        let Some(&end_byte) = self.bytes.get(end) else { return false };
        self.context[self.bytes[answer.start]..end_byte] == answer.text
            || touched_words(&self.context, answer.start, end).contains(&joined(python::split(&answer.text)))
    }
}

/// The byte at which each character of `text` begins, and the end.
pub(super) fn boundaries(text: &str) -> Vec<usize> {
    text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect()
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

/// The words from the one at character `start` to the one before `end`, joined by one space. Words are separated by the
/// white space that transformers' `squad.py` knows; a separator belongs to the word before it.
fn touched_words(context: &str, start: usize, end: usize) -> String {
    let is_separator = |character: char| matches!(character, ' ' | '\t' | '\r' | '\n' | '\u{202f}');
    let mut words: Vec<String> = Vec::new();
    let (mut first, mut last, mut is_new) = (0, 0, true);
    for (at, character) in context.chars().enumerate() {
        if is_separator(character) {
            is_new = true;
        } else if let (false, Some(word)) = (is_new, words.last_mut()) {
            word.push(character);
        } else {
            words.push(character.into());
            is_new = false;
        }
        if at == start {
            first = words.len().saturating_sub(1);
        }
        if at < end {
            last = words.len();
        }
    }
    words[first.min(last)..last].join(" ")
}
