//! JSON in, one document an object out.
//!
//! Each object has its text in one string field (by default `text`) and perhaps a string `title`; other fields are passed
//! over. As a rule each line is an object; a file whose first line is not, because it is one array of objects, or because its
//! objects take several lines each, is split by [`values`] instead. Newlines within the text separate paragraphs. What is not
//! strictly JSON but what `json.dumps`, pandas and jq write or read is repaired by [`parse`].
//!
//! Reading yields the objects as they are written, finishing parses them. But reading parses as well until an object has the
//! field: a file in which none has it was most likely read with the wrong `--text-field`. Cost: one object in memory; a longer
//! one than the limit is read past.

mod parse;
mod values;

use super::lines::{Line, Lines};
use super::{
    until_error, CorpusError, CorpusReader, Document, Input, Origin, Position, ReaderOptions, Record, Records,
    NO_FIELD, NO_OBJECT,
};
use parse::{parse, Field, Object};
use values::{has_values, JsonValues};

/// Objects without the field after which no more are read.
const MOST_CHECKED: u64 = 1000;

/// JSON objects, one a line, several lines each, or in one array.
#[derive(Clone, Debug, Default)]
pub struct Jsonl {
    /// Of which all count.
    pub options: ReaderOptions,
}

impl CorpusReader for Jsonl {
    fn read(&self, mut input: Input) -> Records {
        let has_values = match input.fill_buf() {
            Ok(start) => has_values(start),
            Err(error) => return Box::new(std::iter::once(Err(error.into()))),
        };
        let source = if has_values {
            Source::Values(JsonValues::new(input, &self.options))
        } else {
            Source::Lines { first: None, lines: Lines::new(input, self.options.strict) }
        };
        Objects::new(source, &self.options).into_records()
    }

    fn finish(&self, document: Document) -> Result<Record, CorpusError> {
        let Origin::Line(line) = document.origin else {
            return Ok(Record::Document(document));
        };
        let position = Position::Line(line);
        match parse(&document.text, &self.options.text_field, self.options.strict) {
            Err(source) => self.options.refuse(NO_OBJECT, CorpusError::Json { position, source }),
            Ok(Object { text: Field::Text(text), title, replaced }) => {
                let replaced = document.replaced + replaced;
                let finished = Document { title, text, replaced, origin: Origin::Finished, ..document };
                self.options.keep(finished, position)
            }
            Ok(_) => {
                let error = CorpusError::MissingField { position, field: self.options.text_field.clone() };
                self.options.refuse(NO_FIELD, error)
            }
        }
    }
}

/// Where objects come from.
pub(super) enum Source {
    /// From lines, of which the first may already have been read, to tell the format.
    Lines {
        /// That line.
        first: Option<Line>,
        /// The lines behind it.
        lines: Lines,
    },
    /// From whatever stands between and around them.
    Values(JsonValues),
}

impl Source {
    fn next(&mut self, limit: usize) -> Result<Option<Line>, CorpusError> {
        match self {
            Source::Lines { first, lines } => match first.take() {
                Some(line) => Ok(Some(line)),
                None => lines.next_line(limit),
            },
            Source::Values(values) => values.next(limit),
        }
    }

    fn line(&self) -> u64 {
        match self {
            Source::Lines { lines, .. } => lines.number,
            Source::Values(values) => values.line,
        }
    }
}

/// The objects of a file as they are written, up to the first error.
pub(super) struct Objects {
    source: Source,
    options: ReaderOptions,
    /// Whether an object with the field was seen.
    is_proven: bool,
    num_checked: u64,
    /// What the first object has instead of the field.
    found: Option<Found>,
    /// Why the first that is no object is none.
    message: Option<String>,
}

/// An object without the field.
struct Found {
    fields: Vec<String>,
    /// What the field holds, if it is there.
    kind: Option<&'static str>,
}

impl Objects {
    pub(super) fn new(source: Source, options: &ReaderOptions) -> Objects {
        Objects { source, options: options.clone(), is_proven: false, num_checked: 0, found: None, message: None }
    }

    pub(super) fn into_records(mut self) -> Records {
        until_error(move || self.next_record())
    }

    fn next_record(&mut self) -> Result<Option<Record>, CorpusError> {
        loop {
            match self.source.next(self.options.limit())? {
                None if self.num_checked > 0 && !self.is_proven => return Err(self.unproven()),
                None => return Ok(None),
                Some(Line::TooLong) => return self.options.too_long(Position::Line(self.source.line())).map(Some),
                Some(Line::Text { text, .. }) if text.trim_start().is_empty() => {}
                Some(Line::Text { text, replaced }) => {
                    if !self.is_proven {
                        self.check(&text);
                        if !self.is_proven && self.num_checked == MOST_CHECKED {
                            return Err(self.unproven());
                        }
                    }
                    let origin = Origin::Line(self.source.line());
                    return Ok(Some(Record::Document(Document { replaced, origin, ..Document::plain(text) })));
                }
            }
        }
    }

    fn check(&mut self, text: &str) {
        self.num_checked += 1;
        match parse(text, &self.options.text_field, self.options.strict) {
            Ok(Object { text: Field::Text(_), .. }) => self.is_proven = true,
            Ok(Object { text: field, .. }) => {
                // an empty object says nothing
                if self.found.as_ref().is_none_or(|found| found.fields.is_empty()) {
                    self.found = Some(Found { fields: parse::fields(text), kind: field.kind() });
                }
            }
            Err(error) => {
                self.message.get_or_insert_with(|| parse::reason(text, &error));
            }
        }
    }

    fn unproven(&mut self) -> CorpusError {
        let (field, num_objects) = (self.options.text_field.clone(), self.num_checked);
        match (self.found.take(), self.message.take()) {
            (Some(Found { kind: Some(kind), .. }), _) => CorpusError::FieldKind { field, num_objects, kind },
            (Some(Found { fields, .. }), _) => CorpusError::NoField { field, num_objects, fields },
            (None, message) => CorpusError::NoObject { message: message.unwrap_or_default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn reader(text_field: &str, strict: bool) -> Jsonl {
        Jsonl {
            options: ReaderOptions {
                text_field: text_field.into(),
                strict,
                max_document_bytes: 60,
                ..Default::default()
            },
        }
    }

    fn read(reader: &Jsonl, text: impl Into<Vec<u8>>) -> Vec<Result<Record, String>> {
        let input: Input = Box::new(Cursor::new(text.into()));
        let finish = |record| match record {
            Record::Document(document) => reader.finish(document),
            skipped => Ok(skipped),
        };
        reader.read(input).map(|record| record.and_then(finish).map_err(|error| error.to_string())).collect()
    }

    fn document(title: Option<&str>, text: &str) -> Result<Record, String> {
        Ok(Record::Document(Document { title: title.map(str::to_owned), ..Document::plain(text.into()) }))
    }

    #[test]
    fn a_line_is_a_document() {
        let text = "\u{feff}{\"id\": [1], \"title\": \"T\", \"text\": \"a\\nb\"}\r\n\n{\"text\": \"c\", \"title\": 7}";
        assert_eq!(read(&reader("text", true), text), [document(Some("T"), "a\nb"), document(None, "c")]);
    }

    #[test]
    fn the_text_field_can_be_named_and_nested() {
        assert_eq!(read(&reader("body", true), "{\"body\": \"a\"}"), [document(None, "a")]);
        let lines =
            "{\"meta\": {\"text\": \"a\", \"title\": \"no\"}, \"title\": \"t\"}\n{\"meta.text\": \"b\", \"meta\": 5}";
        assert_eq!(read(&reader("meta.text", true), lines), [document(Some("t"), "a"), document(None, "b")]);
        assert_eq!(read(&reader("title", true), "{\"title\": \"a\"}"), [document(None, "a")]);
    }

    #[test]
    fn bad_lines_are_skipped_or_named() {
        let long = format!("{{\"text\": \"{}\"}}", "x".repeat(60));
        for (line, reason, message) in [
            ("{\"text\": 5}", NO_FIELD, "line 2 has no string field `text`"),
            ("{\"txt\": \"b\"}", NO_FIELD, "line 2 has no string field `text`"),
            ("[\"text\"]", NO_OBJECT, "line 2 is not a JSON object"),
            ("{\"text\": \"b", NO_OBJECT, "line 2 is not a JSON object"),
            ("{\"text\": \"b\"} x", NO_OBJECT, "line 2 is not a JSON object"),
            ("{\"text\": \" \"}", super::super::EMPTY, "the document at line 2 is empty"),
            (long.as_str(), super::super::TOO_LONG, "the document at line 2 is larger than 60 bytes"),
        ] {
            let text = format!("{{\"text\": \"a\"}}\n{line}\n{{\"text\": \"c\"}}\n");
            let expected = [document(None, "a"), Ok(Record::Skipped(reason)), document(None, "c")];
            assert_eq!(read(&reader("text", false), text.as_str()), expected, "{line}");
            assert_eq!(read(&reader("text", true), text)[1], Err(message.to_owned()), "{line}");
        }
    }

    #[test]
    fn invalid_utf8_is_replaced_and_counted_or_refused() {
        let bytes = b"{\"text\": \"caf\xe9 \xff\xfe\"}\n";
        let expected = Document { replaced: 3, ..Document::plain("caf\u{fffd} \u{fffd}\u{fffd}".into()) };
        assert_eq!(read(&reader("text", false), bytes), [Ok(Record::Document(expected))]);
        assert_eq!(read(&reader("text", true), bytes), [Err("line 1 is not valid UTF-8".to_owned())]);
    }

    #[test]
    fn a_file_without_the_field_is_an_error() {
        let last = |text: &str| read(&reader("text", false), text).pop();
        let message = "none of 2 objects has the string field `text`: found `body`, `id`";
        assert_eq!(last("{\"id\": 1, \"body\": \"a\"}\n{}\n"), Some(Err(message.to_owned())));
        let message = "nothing in the file is a JSON object: expected value at line 1 column 1";
        assert_eq!(last("one\n"), Some(Err(message.to_owned())));
        assert_eq!(last("{}\n{\"text\": \"a\"}\n"), Some(document(None, "a")));
        assert_eq!(last("\n"), None);
    }
}
