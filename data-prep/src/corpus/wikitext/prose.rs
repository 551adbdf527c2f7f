//! The paragraphs that are kept, in one string: pass 6 and the choice among headings and list items.

use super::endings::ends_as_sentence;
use super::gaps::{self, Gaps};
use super::{tidy, CleanOptions, Cleaned, ListItems, LINK_END, LINK_START};
use crate::words::words_in;

/// A list item of this many words is prose if it ends as a sentence does.
const MIN_SENTENCE_WORDS: f64 = 4.0;

/// A list item of this many words is prose however it ends.
const MIN_WORDS: f64 = 12.0;

/// Collects the text of a page.
pub(super) struct Prose<'a> {
    options: &'a CleanOptions,
    language: &'a str,
    gaps: &'a Gaps,
    cleaned: Cleaned,
    /// Headings, with their levels, since which no paragraph came.
    headings: Vec<(usize, String)>,
}

impl Prose<'_> {
    pub(super) fn new<'a>(options: &'a CleanOptions, language: &'a str, gaps: &'a Gaps, capacity: usize) -> Prose<'a> {
        let cleaned = Cleaned { text: String::with_capacity(capacity), ..Cleaned::default() };
        Prose { options, language, gaps, cleaned, headings: Vec::new() }
    }

    pub(super) fn into_cleaned(self) -> Cleaned {
        self.cleaned
    }

    /// Keeps a heading for the first paragraph of its section: a section without text leaves nothing.
    pub(super) fn heading(&mut self, level: usize, heading: &str) {
        if self.options.headings {
            while self.headings.last().is_some_and(|&(above, _)| above >= level) {
                self.headings.pop();
            }
            self.headings.push((level, heading.to_owned()));
        }
    }

    pub(super) fn paragraph(&mut self, paragraph: &str) {
        let start = self.cleaned.text.len();
        for (_, heading) in &self.headings {
            // a gap in a heading is in no sentence
            tidy::append(heading, &mut self.cleaned.text);
        }
        let before = self.cleaned.text.len();
        let is_kept = match tidy::append(paragraph, &mut self.cleaned.text) {
            None => false,
            Some(found) => found.is_empty() || self.settle(before, &found),
        };
        if is_kept {
            self.headings.clear();
        } else {
            self.cleaned.text.truncate(start);
        }
    }

    /// Counts the gaps of the paragraph behind `before`, and drops its sentences if that is asked; whether anything is left.
    fn settle(&mut self, before: usize, found: &[tidy::Gap]) -> bool {
        let start = before + usize::from(before > 0);
        let paragraph = &self.cleaned.text[start..];
        let mut places = Vec::new();
        for gap in found.iter().filter(|gap| gaps::is_inside(paragraph, gap.at - start)) {
            *self.cleaned.gaps.entry(self.gaps.name(gap.number).to_owned()).or_default() += 1;
            places.push(gap.at - start);
        }
        if places.is_empty() || !self.options.drop_incomplete_sentences {
            return true;
        }
        let (left, num_dropped) = gaps::without_sentences(paragraph, &places, self.language);
        self.cleaned.num_dropped += num_dropped;
        self.cleaned.text.truncate(start);
        self.cleaned.text.push_str(&left);
        left.contains(char::is_alphanumeric)
    }

    pub(super) fn list_item(&mut self, item: &str) {
        if self.options.list_items == ListItems::All || is_prose(item) {
            self.paragraph(item);
        }
    }
}

/// The rule of [`ListItems::Prose`].
fn is_prose(item: &str) -> bool {
    let words = item.split_whitespace().filter(|word| word.contains(char::is_alphanumeric));
    let num_words: f64 = words.map(words_in).sum();
    let is_long = num_words >= if ends_as_sentence(item) { MIN_SENTENCE_WORDS } else { MIN_WORDS };
    is_long && !is_linked(item)
}

/// Whether less than a quarter of the item's letters and digits are outside of links.
fn is_linked(item: &str) -> bool {
    let (mut inside, mut all) = (0, 0);
    let mut link_start = None;
    for character in item.chars() {
        match character {
            LINK_START => link_start = Some(all),
            LINK_END => inside += link_start.take().map_or(0, |start| all - start),
            _ => all += usize::from(character.is_alphanumeric()),
        }
    }
    4 * (all - inside) < all
}
