//! Pass 4: lines. Headings and rules go, list markers go, lines that belong together become one paragraph.
//!
//! A blank line ends a paragraph, and so does a line of which only removed markup was left (an infobox, a figure). List items
//! and lines that start with a space (preformatted) are paragraphs of their own. `; term : definition` stays in one.

use super::{quotes, BREAK, HOLE};

/// Hands each paragraph to `emit`, still with entities and holes.
pub(super) fn paragraphs(text: &str, emit: impl FnMut(&str)) {
    let mut pass = Lines { paragraph: String::new(), in_open_table: false, emit };
    for line in text.split('\n') {
        pass.line(line);
    }
    pass.end_paragraph();
}

struct Lines<E> {
    paragraph: String,
    /// After a `{|` that nothing closes, up to the next blank line or heading.
    in_open_table: bool,
    emit: E,
}

impl<E: FnMut(&str)> Lines<E> {
    fn line(&mut self, line: &str) {
        let is_blank = line.trim().is_empty();
        let is_heading = is_heading(line);
        self.in_open_table &= !is_blank && !is_heading;
        if is_blank || is_heading {
            self.end_paragraph();
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
        let stands_alone = part.starts_with(' ') || content.starts_with(LIST_MARKERS);
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
        if stands_alone {
            self.end_paragraph();
        }
    }

    fn end_paragraph(&mut self) {
        if !self.paragraph.is_empty() {
            (self.emit)(&self.paragraph);
            self.paragraph.clear();
        }
    }
}

const LIST_MARKERS: [char; 4] = ['*', '#', ':', ';'];

fn is_heading(line: &str) -> bool {
    let line = line.trim_matches([' ', '\t', HOLE, BREAK]);
    line.len() >= 3 && line.starts_with('=') && line.ends_with('=')
}
