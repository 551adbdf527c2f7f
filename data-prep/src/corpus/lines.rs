//! A byte stream in, its lines as UTF-8 out, of bounded length.
//!
//! Invalid UTF-8 becomes U+FFFD, counted, or with `strict` an error; a byte order mark before the first line goes. Cost: one
//! line, or a piece of one, in memory.

pub(super) use super::kind::without_mark;
use super::{CorpusError, Input, Position};
use std::io::{BufRead, Read};

/// The lines of an input.
pub(super) struct Lines {
    input: Input,
    buffer: Vec<u8>,
    /// Bytes of the last piece that are the start of a character.
    tail: Vec<u8>,
    is_inside_line: bool,
    strict: bool,
    /// Number of the line last returned, from 1.
    pub(super) number: u64,
}

/// A line, or a part of a long one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Without the newline.
    pub(super) text: String,
    /// Invalid sequences that were replaced.
    pub(super) replaced: u64,
    pub(super) starts_line: bool,
    pub(super) ends_line: bool,
}

/// A whole line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text { text: String, replaced: u64 },
    TooLong,
}

impl Lines {
    pub(super) fn new(input: Input, strict: bool) -> Lines {
        Lines { input, buffer: Vec::new(), tail: Vec::new(), is_inside_line: false, strict, number: 0 }
    }

    pub(super) fn position(&self) -> Position {
        Position::Line(self.number)
    }

    /// The next line, or its next `limit` bytes; nothing at the end.
    pub(super) fn next_piece(&mut self, limit: usize) -> Result<Option<Piece>, CorpusError> {
        self.buffer.clear();
        self.buffer.append(&mut self.tail);
        // a character has up to 4 bytes: a smaller limit could never yield one
        let wanted = limit.max(4);
        let room = (wanted - self.buffer.len()) as u64;
        let num_bytes = self.input.by_ref().take(room).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let ends_line = self.buffer.last() == Some(&b'\n') || num_bytes == 0 || self.buffer.len() < wanted;
        let starts_line = !self.is_inside_line;
        self.is_inside_line = !ends_line;
        self.number += u64::from(starts_line);
        if !ends_line {
            self.tail = self.buffer.split_off(whole_characters(&self.buffer));
        }
        let mut bytes = self.buffer.as_slice();
        if self.number == 1 && starts_line {
            bytes = without_mark(bytes);
        }
        if let Some(rest) = bytes.strip_suffix(b"\n") {
            bytes = rest.strip_suffix(b"\r").unwrap_or(rest);
        }
        let (text, replaced) = decode(bytes, self.strict, self.position())?;
        Ok(Some(Piece { text, replaced, starts_line, ends_line }))
    }

    /// The next line if it has up to `limit` bytes; a longer one is read past.
    pub(super) fn next_line(&mut self, limit: usize) -> Result<Option<Line>, CorpusError> {
        // room for a byte order mark and "\r\n", so that the limit is that of the text
        let Some(piece) = self.next_piece(limit.saturating_add(5))? else {
            return Ok(None);
        };
        if !piece.ends_line {
            self.tail.clear();
            self.is_inside_line = false;
            self.input.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong));
        }
        if piece.text.len() > limit {
            return Ok(Some(Line::TooLong));
        }
        Ok(Some(Line::Text { text: piece.text, replaced: piece.replaced }))
    }
}

/// The text and the number of sequences that were replaced, or with `strict` an error.
pub(super) fn decode(bytes: &[u8], strict: bool, position: Position) -> Result<(String, u64), CorpusError> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok((text.to_owned(), 0));
    }
    if strict {
        return Err(CorpusError::Utf8 { position });
    }
    let replaced = bytes.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count() as u64;
    Ok((String::from_utf8_lossy(bytes).into_owned(), replaced))
}

/// The length without a character that the end of `bytes` cuts.
fn whole_characters(bytes: &[u8]) -> usize {
    let last = bytes.len().saturating_sub(3);
    let start = bytes[last..].iter().rposition(|byte| byte & 0b1100_0000 == 0b1100_0000).map(|index| last + index);
    match start {
        Some(start) if std::str::from_utf8(&bytes[start..]).is_err_and(|error| error.error_len().is_none()) => start,
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn lines(bytes: &[u8]) -> Lines {
        Lines::new(Box::new(Cursor::new(bytes.to_vec())), false)
    }

    fn line(text: &str, replaced: u64) -> Option<Line> {
        Some(Line::Text { text: text.to_owned(), replaced })
    }

    #[test]
    fn lines_are_repaired_and_bounded() {
        let mut lines = lines(b"\xef\xbb\xbf12345678\r\n\n123456789\xff\n\xff\xfe1\xe2\x82\n\xe2\x82");
        assert_eq!(lines.next_line(8).unwrap(), line("12345678", 0));
        assert_eq!(lines.next_line(8).unwrap(), line("", 0));
        assert_eq!(lines.next_line(8).unwrap(), Some(Line::TooLong));
        assert_eq!(lines.position(), Position::Line(3));
        assert_eq!(lines.next_line(20).unwrap(), line("\u{fffd}\u{fffd}1\u{fffd}", 3));
        assert_eq!(lines.next_line(20).unwrap(), line("\u{fffd}", 1));
        assert_eq!(lines.next_line(20).unwrap(), None);
    }

    #[test]
    fn pieces_cut_no_character() {
        let text = "añ€𝄞x".repeat(40);
        for limit in 1..40 {
            let mut lines = lines(text.as_bytes());
            let mut joined = String::new();
            let mut starts = 0;
            while let Some(piece) = lines.next_piece(limit).unwrap() {
                assert_eq!(piece.replaced, 0, "{limit}");
                assert!(piece.text.len() <= limit.max(4));
                starts += u64::from(piece.starts_line);
                joined += &piece.text;
            }
            assert_eq!((joined == text, starts), (true, 1), "{limit}");
        }
    }
}
