//! Gaps: places where a sentence lost words that the reader of the page sees, because a template or an element is unknown.
//!
//! While passes go over a page a gap is a mark and four digits behind a [`super::HOLE`]: control characters, which no
//! input holds at this point. In the end a gap counts if its paragraph is kept, and if it does not stand behind the end of a
//! sentence, where notes stand.

use super::endings::ends_as_sentence;
use std::collections::BTreeMap;

/// How often each name left a gap.
pub type Names = BTreeMap<String, u64>;

const MARK: char = '\u{5}';
const FIRST_DIGIT: u32 = 0x10;
const NUM_DIGITS: usize = 4;

/// The bytes of a gap in the text.
pub(super) const MARK_BYTES: usize = 1 + NUM_DIGITS;

/// The names of what left a gap on one page, in the order of their numbers.
#[derive(Default)]
pub(super) struct Gaps {
    names: Vec<String>,
}

impl Gaps {
    /// Appends the mark of a gap that `name` leaves. After 65,536 gaps on one page, further ones get the number of the
    /// last.
    pub(super) fn mark(&mut self, name: String, out: &mut String) {
        if self.names.len() < 1 << (4 * NUM_DIGITS) {
            self.names.push(name);
        }
        let number = self.names.len() as u32 - 1;
        out.push(MARK);
        for digit in (0..NUM_DIGITS as u32).rev() {
            out.extend(char::from_u32(FIRST_DIGIT + (number >> (4 * digit)) % 16));
        }
    }

    pub(super) fn name(&self, number: usize) -> &str {
        self.names.get(number).map_or("", String::as_str)
    }
}

/// The number of the gap whose mark `text` starts with.
pub(super) fn number(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(MARK)?.as_bytes().get(..NUM_DIGITS)?;
    digits.iter().try_fold(0, |number, &byte| {
        let digit = u32::from(byte).checked_sub(FIRST_DIGIT).filter(|&digit| digit < 16)?;
        Some(number * 16 + digit as usize)
    })
}

/// Whether the place `at` in a finished paragraph is inside a sentence, or at its start.
pub(super) fn is_inside(paragraph: &str, at: usize) -> bool {
    let (before, behind) = (paragraph[..at].trim_end(), &paragraph[at..]);
    // what a colon introduces is part of its sentence
    let is_ended = ends_as_sentence(before) && !before.ends_with([':', '：']);
    let is_apart = behind.is_empty() || behind.starts_with(' ') || paragraph[..at].ends_with(' ');
    !(is_apart && is_ended) && behind.chars().chain(before.chars()).any(char::is_alphanumeric)
}

/// `paragraph` without the sentences in which one of the places is, and how many those are.
pub(super) fn without_sentences(paragraph: &str, places: &[usize], language: &str) -> (String, u64) {
    let (mut out, mut num_dropped, mut start) = (String::new(), 0, 0);
    let sentences = sentencex::segment(language, paragraph);
    for (index, sentence) in sentences.iter().enumerate() {
        let found = paragraph[start..].find(*sentence).map_or(start, |offset| start + offset);
        let is_last = index + 1 == sentences.len();
        let end = if is_last { paragraph.len() } else { found + sentence.len() };
        // a gap at the border of two sentences belongs to the second, of which it is the first word
        let has_gap = places.iter().any(|&at| (start..end).contains(&at) || (is_last && at == end));
        if has_gap {
            num_dropped += 1;
        } else {
            out.push_str(&paragraph[start..end]);
        }
        start = end;
    }
    (out.trim().to_owned(), num_dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_numbers() {
        let (mut gaps, mut out) = (Gaps::default(), String::new());
        for number in 0..300 {
            gaps.mark(format!("n{number}"), &mut out);
        }
        for at in [0, 15, 16, 299] {
            assert_eq!(number(&out[at * MARK_BYTES..]), Some(at));
            assert_eq!(gaps.name(at), format!("n{at}"));
        }
        assert_eq!((number("\u{5}x"), number("x")), (None, None));
    }

    #[test]
    fn sentences_with_a_gap_go() {
        let text = "One is here. Two is not there. Three is.";
        let at = text.find("not").unwrap();
        assert_eq!(without_sentences(text, &[at], "en"), ("One is here. Three is.".to_owned(), 1));
        assert_eq!(without_sentences(text, &[text.len() - 1], "en").1, 1);
        assert_eq!(without_sentences(text, &[text.find("Three").unwrap()], "en").0, "One is here. Two is not there.");
        assert_eq!(without_sentences("他是。我不是。", &[3], "zh"), ("我不是。".to_owned(), 1));
        assert!(is_inside(text, at) && !is_inside(text, "One is here.".len()));
    }
}
