//! Pass 1: comments, tags and templates, in one scan with a stack of the braces that are open.
//!
//! A closing run of braces closes as MediaWiki does it: three for a parameter where both sides have three, else two for a
//! template, and what an opening run has left stays open. Braces pair across links and tags, which MediaWiki does only where
//! these are closed; the text is the same where the markup is sound.
//!
//! A reference that runs into the next `<ref` before its `</ref>` counts as unclosed (most often a forgotten `/`).

use super::gaps::Gaps;
use super::lines::LIST_MARKERS;
use super::tags::{self, Kind};
use super::templates::{self, Context, Shown};
use super::{entities, run_end, BREAK, HOLE};
use std::fmt::Write;

/// Removes comments, tags and templates; leaves [`HOLE`] and [`BREAK`] where it matters to later passes, and the marks of gaps.
pub(super) fn strip(source: &str, context: &Context) -> (String, Gaps) {
    let mut pass = Strip {
        source,
        context,
        gaps: Gaps::default(),
        out: String::with_capacity(source.len()),
        braces: Vec::new(),
        tables: Vec::new(),
        unclosed: Vec::new(),
    };
    pass.run();
    (pass.out, pass.gaps)
}

struct Strip<'a> {
    source: &'a str,
    context: &'a Context<'a>,
    gaps: Gaps,
    out: String,
    braces: Vec<Braces>,
    /// Where in `out` each open HTML table starts.
    tables: Vec<usize>,
    /// Names of elements (and `!--`) that nothing closes from here to the end: the search is not repeated.
    unclosed: Vec<&'static str>,
}

/// An opening run of braces, copied to the output until it is closed.
struct Braces {
    start: usize,
    count: usize,
    /// How deep the templates that left text within it are nested.
    depth: usize,
}

impl Strip<'_> {
    fn run(&mut self) {
        let bytes = self.source.as_bytes();
        let mut copied = 0;
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            let special = matches!(byte, b'<' | b'{' | b'}' | 0x7f) || (byte < b' ' && byte != b'\n' && byte != b'\t');
            if !special {
                at += 1;
                continue;
            }
            self.out.push_str(&self.source[copied..at]);
            at = match byte {
                b'<' => self.angle(at),
                b'{' => self.open_braces(at),
                b'}' => self.close_braces(at),
                _ => at + 1,
            };
            copied = at;
        }
        self.out.push_str(&self.source[copied..]);
    }

    /// Cuts the output at `keep` and leaves a hole there.
    fn cut(&mut self, keep: usize) {
        self.out.truncate(keep);
        self.out.push(HOLE);
        while self.braces.last().is_some_and(|open| open.start > keep) {
            self.braces.pop();
        }
        while self.tables.last().is_some_and(|&start| start > keep) {
            self.tables.pop();
        }
    }

    fn open_braces(&mut self, at: usize) -> usize {
        let end = run_end(self.source.as_bytes(), at);
        if end - at >= 2 {
            self.braces.push(Braces { start: self.out.len(), count: end - at, depth: 0 });
        }
        self.out.push_str(&self.source[at..end]);
        end
    }

    fn close_braces(&mut self, at: usize) -> usize {
        let end = run_end(self.source.as_bytes(), at);
        let mut left = end - at;
        while left >= 2 {
            let Some(open) = self.braces.last_mut() else {
                break;
            };
            let closed = if left >= 3 && open.count >= 3 { 3 } else { 2 };
            left -= closed;
            open.count -= closed;
            let keep = open.start + open.count;
            let depth = open.depth + 1;
            if open.count < 2 {
                self.braces.pop();
            }
            self.close_template(keep, closed, depth, end - left);
        }
        self.out.push_str(&self.source[end - left..end]);
        end
    }

    /// Replaces the template (two braces) or parameter (three) from `keep` to the end of the output by what it shows; in the
    /// source it ends at `end`.
    fn close_template(&mut self, keep: usize, num_braces: usize, depth: usize, end: usize) {
        // each level reads its text once more: this bounds the work
        const MAX_DEPTH: usize = 8;
        let content = &self.out[keep + num_braces..];
        let shown = match num_braces {
            _ if depth > MAX_DEPTH => Shown::Nothing,
            2 => templates::render(content, self.context),
            // a page of its own has no arguments, and shows the defaults
            _ => content.split_once('|').map_or(Shown::Nothing, |(_, default)| Shown::Text(default.to_owned())),
        };
        match shown {
            Shown::Text(text) => {
                self.cut(keep);
                self.out.pop();
                self.out.push_str(&text);
                if let Some(outer) = self.braces.last_mut() {
                    outer.depth = outer.depth.max(depth);
                }
            }
            Shown::Nothing => self.cut(keep),
            Shown::Unknown(name) => {
                let is_inline = self.is_inline(keep, end);
                self.cut(keep);
                if is_inline {
                    self.gaps.mark(name, &mut self.out);
                }
            }
        }
    }

    /// Whether what lies in the output from `keep` on, and ends in the source at `end`, has text beside it on its line. What
    /// stands alone is beside the text, not in it, and so is what has several lines.
    fn is_inline(&self, keep: usize, end: usize) -> bool {
        // a look at more would be repeated for each template of a long line
        const MAX_LOOK: usize = 256;
        if self.out[keep..].contains('\n') {
            return false;
        }
        let is_mark = |c: &char| {
            (c.is_whitespace() && *c != '\n') || (c.is_control() && !matches!(*c, '\n' | BREAK)) || *c == '\''
        };
        let before = self.out[..keep].chars().rev().take(MAX_LOOK).find(|c| !is_mark(c) && !LIST_MARKERS.contains(c));
        if before.is_some_and(|character| !matches!(character, '\n' | BREAK)) {
            return true;
        }
        let behind = self.source[end..].bytes().take(MAX_LOOK).find(|byte| !matches!(byte, b' ' | b'\t'));
        behind.is_some_and(|byte| !matches!(byte, b'\n' | b'{' | b'|' | b'}' | b'<' | b'['))
    }

    /// At `<`: returns where to go on.
    fn angle(&mut self, at: usize) -> usize {
        let bytes = self.source.as_bytes();
        if self.source[at..].starts_with("<!--") {
            return self.comment(at);
        }
        let is_closing = bytes.get(at + 1) == Some(&b'/');
        let name_start = at + 1 + usize::from(is_closing);
        let name_end = name_end(bytes, name_start);
        let Some((name, kind)) = tags::find(&self.source[name_start..name_end]) else {
            self.out.push('<');
            return at + 1;
        };
        let Some(tag_end) = tag_end(bytes, name_end) else {
            return name_end;
        };
        let is_empty = bytes[tag_end - 2] == b'/';
        match kind {
            Kind::Inline => {}
            Kind::Space => self.out.push(' '),
            Kind::Block => self.out.push(BREAK),
            Kind::Table => self.html_table(is_closing),
            Kind::Dropped | Kind::Literal | Kind::LiteralBlock if is_closing => {}
            Kind::Dropped => {
                if !is_empty {
                    let Some((_, end)) = self.closing_tag(name, tag_end) else {
                        return tag_end;
                    };
                    let keep = self.out.len();
                    self.out.push(HOLE);
                    if tags::is_read(name) && self.is_inline(keep, end) {
                        self.gaps.mark(format!("<{name}>"), &mut self.out);
                    }
                    return end;
                }
                self.out.push(HOLE);
            }
            Kind::Literal | Kind::LiteralBlock => {
                if !is_empty {
                    let Some((content_end, end)) = self.closing_tag(name, tag_end) else {
                        return tag_end;
                    };
                    self.literal(tag_end, content_end, kind == Kind::LiteralBlock);
                    return end;
                }
            }
        }
        tag_end
    }

    fn html_table(&mut self, is_closing: bool) {
        if !is_closing {
            self.tables.push(self.out.len());
        } else if let Some(start) = self.tables.pop() {
            self.cut(start);
        }
        self.out.push(BREAK);
    }

    /// Where the content of element `name` ends, and where its closing tag ends; searched from `from`.
    fn closing_tag(&mut self, name: &'static str, from: usize) -> Option<(usize, usize)> {
        if self.unclosed.contains(&name) {
            return None;
        }
        let bytes = self.source.as_bytes();
        let mut at = from;
        while let Some(found) = self.source[at..].find('<') {
            at += found + 1;
            let is_closing = bytes.get(at) == Some(&b'/');
            let name_start = at + usize::from(is_closing);
            let end = name_end(bytes, name_start);
            if !self.source[name_start..end].eq_ignore_ascii_case(name) {
                continue;
            }
            if is_closing {
                let blanks = bytes[end..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                if bytes.get(end + blanks) == Some(&b'>') {
                    return Some((at - 1, end + blanks + 1));
                }
            } else if name == "ref" {
                return None;
            }
        }
        self.unclosed.push(name);
        None
    }

    /// Writes markup characters as entities, which the last pass decodes.
    fn literal(&mut self, start: usize, end: usize, is_block: bool) {
        if is_block {
            self.out.push(BREAK);
        }
        let mut rest = &self.source[start..end];
        while let Some(character) = rest.chars().next() {
            let mut length = character.len_utf8();
            match character {
                '&' => {
                    length = entities::decode(rest).map_or(1, |(_, bytes)| bytes);
                    self.out.push_str(&rest[..length]);
                }
                '\n' if is_block => self.out.push(BREAK),
                '\n' | '\t' => self.out.push(character),
                _ if character.is_ascii_punctuation() => {
                    // writing to a String cannot fail
                    let _ = write!(self.out, "&#{};", u32::from(character));
                }
                _ if character.is_ascii_control() => {}
                _ => self.out.push(character),
            }
            rest = &rest[length..];
        }
        if is_block {
            self.out.push(BREAK);
        }
    }

    /// A comment that fills its line goes with the line, as in MediaWiki.
    fn comment(&mut self, at: usize) -> usize {
        const NAME: &str = "!--";
        let rest = &self.source[at..];
        let length =
            if self.unclosed.contains(&NAME) { None } else { rest[4..].find("-->").map(|found| 4 + found + 3) };
        let Some(length) = length else {
            if !self.unclosed.contains(&NAME) {
                self.unclosed.push(NAME);
            }
            return rest.find('\n').map_or(self.source.len(), |line| at + line);
        };
        let after = rest[length..].trim_start_matches([' ', '\t']);
        if after.starts_with('\n') {
            let kept = self.out.trim_end_matches([' ', '\t']).len();
            if kept == 0 || self.out[..kept].ends_with('\n') {
                self.out.truncate(kept);
                return self.source.len() - after.len() + 1;
            }
        }
        at + length
    }
}

fn name_end(bytes: &[u8], start: usize) -> usize {
    let name = bytes[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric());
    start + name.count()
}

/// Just past the `>` of a tag whose name ends at `from`; nothing if another tag or a blank line comes first.
fn tag_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut after_newline = false;
    for (offset, &byte) in bytes[from..].iter().enumerate() {
        match byte {
            b'>' => return Some(from + offset + 1),
            b'<' => return None,
            b'\n' if after_newline => return None,
            b'\n' => after_newline = true,
            _ => after_newline = false,
        }
    }
    None
}
