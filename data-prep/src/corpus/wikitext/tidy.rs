//! Pass 6: a paragraph's last touch: entities, white space, and the punctuation around holes.
//!
//! `Foo ({{lang-el|…}}; born 1970) {{x}}, bar` reads `Foo (born 1970), bar`. Only punctuation beside a hole is touched: `f()`
//! and the spaced punctuation of French stay.

use super::{entities, gaps, HOLE, LINK_END, LINK_START};

/// A gap in the text: where, and of which number.
pub(super) struct Gap {
    pub(super) at: usize,
    pub(super) number: usize,
}

/// Appends `paragraph` to `prose` on a line of its own, unless no letter or digit is left in it; returns the gaps in it if it
/// did. A gap goes where the brackets around it do.
pub(super) fn append(paragraph: &str, prose: &mut String) -> Option<Vec<Gap>> {
    let line_start = prose.len();
    if line_start > 0 {
        prose.push('\n');
    }
    let start = prose.len();
    let mut line = Line { out: prose, start, at_hole: false, gaps: Vec::new() };
    line.run(paragraph);
    line.trim_space();
    let Line { gaps, .. } = line;
    let has_text = prose[start..].contains(char::is_alphanumeric);
    if !has_text {
        prose.truncate(line_start);
    }
    has_text.then(|| gaps.into_iter().map(|gap| Gap { at: gap.at.min(prose.len()), ..gap }).collect())
}

struct Line<'a> {
    out: &'a mut String,
    start: usize,
    /// Only white space came since the last hole.
    at_hole: bool,
    gaps: Vec<Gap>,
}

impl Line<'_> {
    fn run(&mut self, mut rest: &str) {
        while let Some(character) = rest.chars().next() {
            let mut length = character.len_utf8();
            match character {
                HOLE => self.at_hole = true,
                LINK_START | LINK_END => {}
                _ if character.is_control() && gaps::number(rest).is_some() => {
                    length = gaps::MARK_BYTES;
                    self.gaps.extend(gaps::number(rest).map(|number| Gap { at: self.out.len(), number }));
                }
                '&' => match entities::decode(rest) {
                    Some((decoded, bytes)) => {
                        length = bytes;
                        self.character(decoded);
                    }
                    None => self.character('&'),
                },
                '[' | ']' | '{' | '}' => {
                    length = run_length(rest, character);
                    if length == 1 {
                        self.bracket(character);
                    } else {
                        self.at_hole = true;
                    }
                }
                '|' if self.text().ends_with('{') => self.undo(),
                '~' if run_length(rest, '~') >= 3 => {
                    length = run_length(rest, '~');
                    self.at_hole = true;
                }
                '_' => match magic_word(rest) {
                    Some(bytes) => {
                        length = bytes;
                        self.at_hole = true;
                    }
                    None => self.character('_'),
                },
                _ => self.character(character),
            }
            rest = &rest[length..];
        }
    }

    fn text(&self) -> &str {
        &self.out[self.start..]
    }

    fn undo(&mut self) {
        self.out.pop();
        self.at_hole = true;
    }

    fn trim_space(&mut self) {
        if self.text().ends_with(' ') {
            self.out.pop();
        }
    }

    /// A single bracket, unless removed markup makes it one half of `[[`, `}}` or `|}`.
    fn bracket(&mut self, bracket: char) {
        if self.text().ends_with(bracket) || (bracket == '}' && self.text().ends_with('|')) {
            self.undo();
        } else {
            self.character(bracket);
        }
    }

    /// A character that is no markup.
    fn character(&mut self, character: char) {
        if is_ignorable(character) {
            return;
        }
        if character.is_whitespace() || character.is_control() {
            if !self.text().is_empty() && !self.text().ends_with(' ') {
                self.out.push(' ');
            }
            return;
        }
        if self.at_hole {
            let is_gone = self.closes_hole(character);
            // what the hole's neighbours lost was behind the gap's place
            let end = self.out.len();
            self.gaps.iter_mut().rev().take_while(|gap| gap.at > end).for_each(|gap| gap.at = end);
            if is_gone {
                return;
            }
        }
        self.out.push(character);
        self.at_hole = false;
    }

    /// Tidies what lies before a hole now that `next` follows it; returns whether `next` goes as well.
    fn closes_hole(&mut self, next: char) -> bool {
        if self.text().is_empty() {
            return is_joining(next) || is_dash(next) || next == '.';
        }
        if self.ends_with_opening_quote(next) {
            self.out.pop();
            return true;
        }
        let text = self.text().trim_end_matches(' ');
        if text.ends_with(OPENING) || next == '.' || is_closing(next) || is_joining(next) {
            self.out.truncate(self.start + text.len());
        }
        if is_joining(next) {
            let text = self.text();
            return text.ends_with(OPENING) || text.ends_with(is_joining);
        }
        if is_closing(next) || next == '.' {
            let kept = self.text().trim_end_matches(|last| last == ' ' || is_joining(last)).len();
            self.out.truncate(self.start + kept);
        }
        if is_closing(next) && self.text().ends_with(OPENING) {
            self.out.pop();
            let end = self.out.len();
            self.gaps.retain(|gap| gap.at <= end);
            return true;
        }
        false
    }

    /// Whether the text ends with the other half of the quotation marks that `next` would close.
    fn ends_with_opening_quote(&self, next: char) -> bool {
        let opening = match next {
            '"' => '"',
            '”' => '“',
            '’' => '‘',
            '»' => '«',
            _ => return false,
        };
        match self.text().strip_suffix(opening) {
            Some(before) => before.is_empty() || before.ends_with([' ', '(', '（']),
            None => false,
        }
    }
}

const OPENING: [char; 2] = ['(', '（'];

fn is_closing(character: char) -> bool {
    matches!(character, ')' | '）')
}

/// Punctuation that needs something on both sides.
fn is_joining(character: char) -> bool {
    matches!(character, ',' | ';' | ':' | '，' | '、' | '；')
}

/// What separates a list item's template from its description.
fn is_dash(character: char) -> bool {
    matches!(character, '-' | '–' | '—')
}

/// Characters that show nothing and only split words: soft hyphen, zero-width space, direction marks, word joiner, BOM.
fn is_ignorable(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}' | '\u{feff}')
}

fn run_length(text: &str, character: char) -> usize {
    text.len() - text.trim_start_matches(character).len()
}

/// The bytes of the behaviour switch, such as `__NOTOC__`, that `text` starts with.
fn magic_word(text: &str) -> Option<usize> {
    const WORDS: [&str; 17] = [
        "TOC",
        "NOTOC",
        "FORCETOC",
        "NOEDITSECTION",
        "NEWSECTIONLINK",
        "NONEWSECTIONLINK",
        "NOGALLERY",
        "HIDDENCAT",
        "NOCONTENTCONVERT",
        "NOCC",
        "NOTITLECONVERT",
        "NOTC",
        "INDEX",
        "NOINDEX",
        "STATICREDIRECT",
        "DISAMBIG",
        "EXPECTUNUSEDCATEGORY",
    ];
    let rest = text.strip_prefix("__")?;
    WORDS.iter().find_map(|word| {
        let rest = rest.strip_prefix(word)?;
        rest.starts_with("__").then_some(word.len() + 4)
    })
}
