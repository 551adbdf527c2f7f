//! Plain UTF-8 text in, one document a file ([`Text`]) or one document a block of lines ([`Blocks`]) out.
//!
//! Blank lines separate paragraphs in `Text` and documents in `Blocks`. In `Text` the lines of a paragraph are joined by a
//! space, so that hard-wrapped books read as prose; in `Blocks` each line is a paragraph of its own (Google's BERT puts one
//! sentence a line). Cost: one document in memory, refused above [`MAX_DOCUMENT_BYTES`].

use super::{CorpusError, CorpusReader, Document, Input, Record, Records, MAX_DOCUMENT_BYTES};
use std::io::{BufRead, Read};

/// One document a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

/// Several documents a file, separated by blank lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blocks;

impl CorpusReader for Text {
    fn read(&self, input: Input) -> Records {
        let mut lines = Lines::new(input, MAX_DOCUMENT_BYTES);
        let mut finished = false;
        Box::new(std::iter::from_fn(move || {
            if finished {
                return None;
            }
            finished = true;
            Some(whole(&mut lines).map(|text| Record::Document(Document { title: None, text })))
        }))
    }
}

fn whole(lines: &mut Lines) -> Result<String, CorpusError> {
    let limit = lines.limit;
    let mut text = String::new();
    let mut between_paragraphs = false;
    while let Some(line) = lines.next_line()? {
        let line = line.trim();
        if line.is_empty() {
            between_paragraphs = true;
            continue;
        }
        let separator = if between_paragraphs { '\n' } else { ' ' };
        push(&mut text, separator, line, limit)?;
        between_paragraphs = false;
    }
    Ok(text)
}

impl CorpusReader for Blocks {
    fn read(&self, input: Input) -> Records {
        let mut lines = Lines::new(input, MAX_DOCUMENT_BYTES);
        let mut finished = false;
        Box::new(std::iter::from_fn(move || {
            if finished {
                return None;
            }
            match block(&mut lines) {
                Ok(text) if text.is_empty() => {
                    finished = true;
                    None
                }
                Ok(text) => Some(Ok(Record::Document(Document { title: None, text }))),
                Err(error) => {
                    finished = true;
                    Some(Err(error))
                }
            }
        }))
    }
}

/// The next block of lines; empty at the end of the input.
fn block(lines: &mut Lines) -> Result<String, CorpusError> {
    let limit = lines.limit;
    let mut text = String::new();
    while let Some(line) = lines.next_line()? {
        let line = line.trim();
        if !line.is_empty() {
            push(&mut text, '\n', line, limit)?;
        } else if !text.is_empty() {
            break;
        }
    }
    Ok(text)
}

fn push(text: &mut String, separator: char, line: &str, limit: u64) -> Result<(), CorpusError> {
    if (text.len() + line.len()) as u64 >= limit {
        return Err(CorpusError::TooLong { limit });
    }
    if !text.is_empty() {
        text.push(separator);
    }
    text.push_str(line);
    Ok(())
}

/// Lines of UTF-8 of bounded length, counted, the buffer reused.
pub(super) struct Lines {
    input: Input,
    buffer: Vec<u8>,
    /// Number of the line last returned, from 1.
    pub(super) number: u64,
    limit: u64,
}

impl Lines {
    pub(super) fn new(input: Input, limit: u64) -> Lines {
        Lines { input, buffer: Vec::new(), number: 0, limit }
    }

    /// The next line without its newline and without a byte order mark before the first; nothing at the end.
    pub(super) fn next_line(&mut self) -> Result<Option<&str>, CorpusError> {
        self.buffer.clear();
        let num_bytes = self.input.by_ref().take(self.limit).read_until(b'\n', &mut self.buffer)?;
        if num_bytes == 0 {
            return Ok(None);
        }
        if num_bytes as u64 == self.limit && self.buffer.last() != Some(&b'\n') {
            return Err(CorpusError::TooLong { limit: self.limit });
        }
        self.number += 1;
        let line = std::str::from_utf8(&self.buffer).map_err(|_| CorpusError::Utf8 { line: self.number })?;
        let line = if self.number == 1 { line.trim_start_matches('\u{feff}') } else { line };
        Ok(Some(line.trim_end_matches(['\n', '\r'])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn input(bytes: &[u8]) -> Input {
        Box::new(Cursor::new(bytes.to_vec()))
    }

    fn texts(reader: &dyn CorpusReader, bytes: &[u8]) -> Vec<String> {
        reader
            .read(input(bytes))
            .map(|record| match record.unwrap() {
                Record::Document(document) => document.text,
                Record::Skipped(reason) => panic!("skipped: {reason}"),
            })
            .collect()
    }

    #[test]
    fn a_text_file_is_one_document_of_joined_paragraphs() {
        let bytes = "\u{feff}one\r\ntwo  \r\n\r\n \r\n  three\nfour\n\n".as_bytes();
        assert_eq!(texts(&Text, bytes), ["one two\nthree four"]);
        assert_eq!(texts(&Text, b""), [""]);
    }

    #[test]
    fn blank_lines_end_the_documents_of_blocks() {
        assert_eq!(texts(&Blocks, b"\n\none\ntwo\n\n\nthree"), ["one\ntwo", "three"]);
        assert_eq!(texts(&Blocks, b"\n \n"), [""; 0]);
    }

    #[test]
    fn invalid_utf8_names_its_line() {
        for reader in [&Text as &dyn CorpusReader, &Blocks] {
            let mut records = reader.read(input(b"one\n\xff\xfe\n"));
            let error = records.next().unwrap().unwrap_err();
            assert_eq!(error.to_string(), "line 2 is not valid UTF-8");
            assert!(records.next().is_none());
        }
    }

    #[test]
    fn a_line_or_a_document_above_the_limit_is_refused() {
        let mut lines = Lines::new(input(b"12345\n123456789"), 8);
        assert_eq!(lines.next_line().unwrap(), Some("12345"));
        assert_eq!(lines.next_line().unwrap_err().to_string(), "a document is larger than 8 bytes");
        let mut lines = Lines::new(input(b"12345\n123\n"), 8);
        assert!(matches!(whole(&mut lines), Err(CorpusError::TooLong { limit: 8 })));
    }
}
