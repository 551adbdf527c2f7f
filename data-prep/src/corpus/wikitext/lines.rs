//! Pass 5: lines. Rules go, the marks of headings and lists go, lines that belong together become one paragraph.
//!
//! A blank line ends a paragraph, and so does a line of which only removed markup was left (an infobox, a figure). List items
//! and lines that start with a space (preformatted) are paragraphs of their own. `; term : definition` stays in one.

use super::prose::Prose;
use super::{quotes, BREAK, HOLE};

/// Hands headings, paragraphs and list items to `prose`, still with entities and holes.
pub(super) fn paragraphs(text: &str, prose: &mut Prose) {
    let mut pass = Lines { paragraph: String::new(), in_open_table: false, prose };
    for line in text.split('\n') {
        pass.line(line);
    }
    pass.end_paragraph();
}

struct Lines<'a, 'b> {
    paragraph: String,
    /// After a `{|` that nothing closes, up to the next blank line or heading.
    in_open_table: bool,
    prose: &'a mut Prose<'b>,
}

impl Lines<'_, '_> {
    fn line(&mut self, line: &str) {
        let is_blank = line.trim().is_empty();
        let heading = heading(line);
        self.in_open_table &= !is_blank && heading.is_none();
        if is_blank || heading.is_some() {
            self.end_paragraph();
            if let Some((level, heading)) = heading {
                quotes::append(heading, &mut self.paragraph);
                self.prose.heading(level, &self.paragraph);
                self.paragraph.clear();
            }
            return;
        }
        for (index, part) in line.split(BREAK).enumerate() {
            if index > 0 {
                self.end_paragraph();
            }
            self.part(part);
        }
    }

    /// A line, or what lies between block elements in one.
    fn part(&mut self, part: &str) {
        let mut content = part.trim_start_matches([' ', '\t', HOLE]);
        if content.starts_with("{|") {
            self.in_open_table = true;
        }
        let is_empty = content.trim_end_matches([' ', '\t', HOLE]).is_empty();
        if self.in_open_table || is_empty || content.starts_with('|') {
            self.end_paragraph();
            return;
        }
        if content.starts_with("----") {
            self.end_paragraph();
            content = content.trim_start_matches(['-', ' ']);
        }
        let is_item = content.starts_with(LIST_MARKERS);
        let stands_alone = is_item || part.starts_with(' ');
        if stands_alone {
            self.end_paragraph();
            content = content.trim_start_matches(LIST_MARKERS);
        } else if !self.paragraph.is_empty() {
            self.paragraph.push(' ');
        }
        // what a line starts with may be a hole: the last pass must see it
        if part.starts_with(HOLE) {
            self.paragraph.push(HOLE);
        }
        quotes::append(content, &mut self.paragraph);
        if is_item {
            self.prose.list_item(&self.paragraph);
            self.paragraph.clear();
        } else if stands_alone {
            self.end_paragraph();
        }
    }

    fn end_paragraph(&mut self) {
        if !self.paragraph.is_empty() {
            self.prose.paragraph(&self.paragraph);
            self.paragraph.clear();
        }
    }
}

/// What starts an item of a list, an indented line or a term.
pub(super) const LIST_MARKERS: [char; 4] = ['*', '#', ':', ';'];

/// The level and the text of the heading that `line` is, if it is one.
fn heading(line: &str) -> Option<(usize, &str)> {
    const MAX_LEVEL: usize = 6;
    let line = line.trim_matches([' ', '\t', HOLE, BREAK]);
    if line.len() < 3 || !line.starts_with('=') || !line.ends_with('=') {
        return None;
    }
    let num_opening = line.len() - line.trim_start_matches('=').len();
    let num_closing = line.len() - line.trim_end_matches('=').len();
    let level = num_opening.min(num_closing).min((line.len() - 1) / 2).min(MAX_LEVEL);
    Some((level, &line[level..line.len() - level]))
}
