//! Plain UTF-8 text in, one document a file ([`Text`]) or one document a block of lines ([`Blocks`]) out.
//!
//! Blank lines separate paragraphs in `Text` and documents in `Blocks`. In `Text` the lines of a paragraph are joined by a
//! space, so that hard-wrapped books read as prose; in `Blocks` each line is a paragraph of its own (Google's BERT puts one
//! sentence a line). A document above the limit is cut into several at the last paragraph end below it, or white space.
//! Cost: twice the limit.

use super::lines::Lines;
use super::{CorpusError, CorpusReader, Document, Input, Position, ReaderOptions, Record, Records};
use std::collections::VecDeque;

/// One document a file.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// Of which the limit and the strictness count.
    pub options: ReaderOptions,
}

/// Several documents a file, separated by blank lines.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    /// Of which the limit and the strictness count.
    pub options: ReaderOptions,
}

impl CorpusReader for Text {
    fn read(&self, input: Input) -> Records {
        Box::new(Documents::new(input, &self.options, Layout::Whole))
    }
}

impl CorpusReader for Blocks {
    fn read(&self, input: Input) -> Records {
        Box::new(Documents::new(input, &self.options, Layout::Blocks))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Whole,
    Blocks,
}

/// Bytes of a line that are read at once.
const PIECE_BYTES: usize = 1 << 20;

struct Documents {
    lines: Lines,
    layout: Layout,
    options: ReaderOptions,
    /// The document so far.
    text: String,
    replaced: u64,
    /// The line that the document starts with.
    first_line: u64,
    between_paragraphs: bool,
    /// Whether the file had a document: in a file of blank lines the one document is empty.
    any: bool,
    ready: VecDeque<Document>,
    finished: bool,
}

impl Iterator for Documents {
    type Item = Result<Record, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && !self.finished {
            if let Err(error) = self.advance() {
                (self.finished, self.any) = (true, true);
                self.ready.clear();
                return Some(Err(error));
            }
        }
        if let Some(document) = self.ready.pop_front() {
            self.any = true;
            return Some(Ok(Record::Document(document)));
        }
        if self.any || self.layout == Layout::Blocks {
            return None;
        }
        self.any = true;
        let record = self.options.keep(Document::default(), Position::Line(1));
        Some(record)
    }
}

impl Documents {
    fn new(input: Input, options: &ReaderOptions, layout: Layout) -> Documents {
        Documents {
            lines: Lines::new(input, options.strict),
            layout,
            options: options.clone(),
            text: String::new(),
            replaced: 0,
            first_line: 1,
            between_paragraphs: false,
            any: false,
            ready: VecDeque::new(),
            finished: false,
        }
    }

    /// Reads until a document is ready or the input ends.
    fn advance(&mut self) -> Result<(), CorpusError> {
        while self.ready.is_empty() {
            let Some(piece) = self.lines.next_piece(PIECE_BYTES.min(self.options.limit()))? else {
                self.finished = true;
                self.end();
                break;
            };
            self.replaced += piece.replaced;
            if !piece.starts_line {
                self.push(None, &piece.text)?;
                continue;
            }
            let line = piece.text.trim_start();
            let line = if piece.ends_line { line.trim_end() } else { line };
            if line.is_empty() {
                self.blank();
                continue;
            }
            if self.text.is_empty() {
                self.first_line = self.lines.number;
            }
            let is_paragraph = self.between_paragraphs || self.layout == Layout::Blocks;
            self.between_paragraphs = false;
            self.push(Some(if is_paragraph { '\n' } else { ' ' }), line)?;
        }
        Ok(())
    }

    fn blank(&mut self) {
        match self.layout {
            Layout::Whole => self.between_paragraphs = true,
            Layout::Blocks => self.end(),
        }
    }

    /// The document ends.
    fn end(&mut self) {
        let length = self.text.trim_end().len();
        self.text.truncate(length);
        if length > 0 {
            self.emit(false);
        }
    }

    fn emit(&mut self, is_cut: bool) {
        let (text, replaced) = (std::mem::take(&mut self.text), std::mem::take(&mut self.replaced));
        self.ready.push_back(Document { replaced, is_cut, ..Document::plain(text) });
    }

    fn push(&mut self, separator: Option<char>, piece: &str) -> Result<(), CorpusError> {
        if let Some(separator) = separator.filter(|_| !self.text.is_empty()) {
            self.text.push(separator);
        }
        self.text.push_str(piece);
        let limit = self.options.limit();
        while self.text.len() > limit {
            if self.options.strict {
                let position = Position::Line(self.first_line);
                return Err(CorpusError::TooLong { position, limit: self.options.max_document_bytes });
            }
            let rest = self.text.split_off(cut_point(&self.text, limit));
            let rest = rest.trim_start().to_owned();
            self.text.truncate(self.text.trim_end().len());
            if !self.text.is_empty() {
                self.emit(true);
            }
            self.text = rest;
        }
        Ok(())
    }
}

/// Where to cut `text`, which is longer than `limit`: at the last paragraph end, else white space, else character.
fn cut_point(text: &str, limit: usize) -> usize {
    let end = (0..=limit).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0);
    let first = text.chars().next().map_or(0, char::len_utf8);
    // the separator itself may be the first byte above the limit
    let window = &text[..end];
    if text[end..].starts_with('\n') {
        return end.max(first);
    }
    let at = window.rfind('\n').or_else(|| window.rfind(char::is_whitespace)).filter(|&at| at > 0);
    at.unwrap_or(end).max(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn options(strict: bool, max_document_bytes: u64) -> ReaderOptions {
        ReaderOptions { strict, max_document_bytes, ..ReaderOptions::default() }
    }

    fn readers(options: &ReaderOptions) -> [Box<dyn CorpusReader>; 2] {
        [Box::new(Text { options: options.clone() }), Box::new(Blocks { options: options.clone() })]
    }

    fn read(reader: &dyn CorpusReader, bytes: &[u8]) -> Vec<Result<Record, String>> {
        let records = reader.read(Box::new(Cursor::new(bytes.to_vec())));
        records.map(|record| record.map_err(|error| error.to_string())).collect()
    }

    fn documents(reader: &dyn CorpusReader, bytes: &[u8]) -> Vec<Document> {
        read(reader, bytes)
            .into_iter()
            .map(|record| match record {
                Ok(Record::Document(document)) => document,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn texts(reader: &dyn CorpusReader, bytes: &[u8]) -> Vec<String> {
        documents(reader, bytes).into_iter().map(|document| document.text).collect()
    }

    #[test]
    fn a_text_file_is_one_document_of_joined_paragraphs() {
        let bytes = "\u{feff}one\r\ntwo  \r\n\r\n \r\n  three\nfour\n\n".as_bytes();
        assert_eq!(texts(&Text::default(), bytes), ["one two\nthree four"]);
    }

    #[test]
    fn blank_lines_end_the_documents_of_blocks() {
        assert_eq!(texts(&Blocks::default(), b"\n\none\ntwo\n\n\nthree"), ["one\ntwo", "three"]);
        assert_eq!(texts(&Blocks::default(), b"\n \n"), [""; 0]);
    }

    #[test]
    fn an_empty_file_is_skipped_or_refused() {
        for bytes in [b"".as_slice(), b"\xef\xbb\xbf\n \n"] {
            let [text, _] = readers(&options(false, 100));
            assert_eq!(read(&*text, bytes), [Ok(Record::Skipped(super::super::EMPTY))]);
            let [text, _] = readers(&options(true, 100));
            assert_eq!(read(&*text, bytes), [Err("the document at line 1 is empty".to_owned())]);
        }
    }

    #[test]
    fn invalid_utf8_is_replaced_and_counted_or_refused() {
        for reader in readers(&options(false, 100)) {
            let expected = Document { replaced: 2, ..Document::plain("\u{fffd}\u{fffd}".into()) };
            assert_eq!(documents(&*reader, b"\n\xff\xfe\n"), [expected]);
        }
        for reader in readers(&options(true, 100)) {
            assert_eq!(read(&*reader, b"one\n\xff\xfe\n"), [Err("line 2 is not valid UTF-8".to_owned())]);
        }
    }

    #[test]
    fn a_long_document_is_cut_at_a_paragraph_end_then_at_white_space() {
        let [text, blocks] = readers(&options(false, 12));
        let cuts = |reader: &dyn CorpusReader, bytes: &[u8]| -> Vec<(String, bool)> {
            documents(reader, bytes).into_iter().map(|document| (document.text, document.is_cut)).collect()
        };
        let cut = |text: &str| (text.to_owned(), true);
        let last = |text: &str| (text.to_owned(), false);
        assert_eq!(cuts(&*text, b"one two\n\nthree four\n\nfive"), [cut("one two"), cut("three four"), last("five")]);
        assert_eq!(cuts(&*text, b"one two\nthree four"), [cut("one two"), last("three four")]);
        assert_eq!(
            cuts(&*blocks, b"one two\nfour\nthree\n\nfive"),
            [cut("one two\nfour"), last("three"), last("five")]
        );
        let long = "123456789012345678901234567890";
        assert_eq!(cuts(&*text, long.as_bytes()), [cut("123456789012"), cut("345678901234"), last("567890")]);
        let [text, _] = readers(&options(true, 12));
        let message = "the document at line 2 is larger than 12 bytes";
        assert_eq!(read(&*text, b"\none two\nthree four"), [Err(message.to_owned())]);
    }

    #[test]
    fn cutting_loses_nothing() {
        let paragraphs: Vec<String> = (1..200).map(|number| "añ€𝄞 ".repeat(number % 17).trim().to_owned()).collect();
        let long = paragraphs.join("\n\n");
        let without_spaces = |text: &str| -> String { text.split_whitespace().collect() };
        for limit in [1, 2, 5, 13, 64, 1000, 1 << 20] {
            let [text, _] = readers(&options(false, limit));
            let documents = documents(&*text, long.as_bytes());
            assert!(documents.iter().all(|document| document.text.len() as u64 <= limit.max(4)), "{limit}");
            let joined: String = documents.iter().map(|document| without_spaces(&document.text)).collect();
            assert_eq!(joined, without_spaces(&long), "{limit}");
        }
    }
}
