//! The paragraphs that are kept, in one string: pass 5 and the choice among headings and list items.

use super::{tidy, CleanOptions, ListItems, LINK_END, LINK_START};

/// A list item of this many words is prose if it ends as a sentence does.
const MIN_SENTENCE_WORDS: usize = 4;

/// A list item of this many words is prose however it ends.
const MIN_WORDS: usize = 12;

/// Collects the text of a page.
pub(super) struct Prose<'a> {
    options: &'a CleanOptions,
    text: String,
    /// Headings, with their levels, since which no paragraph came.
    headings: Vec<(usize, String)>,
}

impl Prose<'_> {
    pub(super) fn new(options: &CleanOptions, capacity: usize) -> Prose<'_> {
        Prose { options, text: String::with_capacity(capacity), headings: Vec::new() }
    }

    pub(super) fn into_text(self) -> String {
        self.text
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
        let start = self.text.len();
        for (_, heading) in &self.headings {
            tidy::append(heading, &mut self.text);
        }
        if tidy::append(paragraph, &mut self.text) {
            self.headings.clear();
        } else {
            self.text.truncate(start);
        }
    }

    pub(super) fn list_item(&mut self, item: &str) {
        if self.options.list_items == ListItems::All || is_prose(item) {
            self.paragraph(item);
        }
    }
}

/// The rule of [`ListItems::Prose`].
fn is_prose(item: &str) -> bool {
    let num_words = item.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).take(MIN_WORDS).count();
    let is_long = num_words >= if ends_as_sentence(item) { MIN_SENTENCE_WORDS } else { MIN_WORDS };
    is_long && !is_linked(item)
}

fn ends_as_sentence(item: &str) -> bool {
    let is_behind = |last: char| {
        last.is_whitespace()
            || last.is_control()
            || matches!(last, '"' | '\'' | ')' | ']' | '”' | '’' | '»' | '』' | '」')
    };
    item.trim_end_matches(is_behind).ends_with(['.', '!', '?', ':', '…', '。', '！', '？', '：', '।', '؟', '۔'])
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
