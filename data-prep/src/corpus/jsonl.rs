//! JSON lines in, one document a line out.
//!
//! Each line is an object with its text in one string field (by default `text`) and perhaps a string `title`; other fields
//! are passed over. Blank lines are no documents. Newlines within the text separate paragraphs. Reading yields the lines,
//! finishing parses them. But reading parses as well until a line has the field: a file in which none has it was most
//! likely read with the wrong `--text-field`. Cost: one line in memory; a longer one than the limit is read past.

use super::lines::{Line, Lines};
use super::{
    until_error, CorpusError, CorpusReader, Document, Input, Origin, Position, ReaderOptions, Record, Records,
    NO_FIELD, NO_OBJECT,
};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// One JSON object a line.
#[derive(Clone, Debug, Default)]
pub struct Jsonl {
    /// Of which all count.
    pub options: ReaderOptions,
}

impl CorpusReader for Jsonl {
    fn read(&self, input: Input) -> Records {
        let lines = Lines::new(input, self.options.strict);
        JsonLines::new(lines, None, &self.options).into_records()
    }

    fn finish(&self, document: Document) -> Result<Record, CorpusError> {
        let Origin::Line(line) = document.origin else {
            return Ok(Record::Document(document));
        };
        let position = Position::Line(line);
        let field = &self.options.text_field;
        match parse(&document.text, field) {
            Err(source) => self.options.refuse(NO_OBJECT, CorpusError::Json { position, source }),
            Ok(Object { text: None, .. }) => {
                let error = CorpusError::MissingField { position, field: field.clone() };
                self.options.refuse(NO_FIELD, error)
            }
            Ok(Object { text: Some(text), title }) => {
                let finished = Document { title, text, origin: Origin::Finished, ..document };
                self.options.keep(finished, position)
            }
        }
    }
}

/// The lines of a file, up to the first error.
pub(super) struct JsonLines {
    lines: Lines,
    /// A line that was already read, to tell the format.
    first: Option<Line>,
    options: ReaderOptions,
    /// Whether a line with the field was seen.
    is_proven: bool,
    num_checked: u64,
    fields: Vec<String>,
}

impl JsonLines {
    /// `first` is the line that `lines` returned last, if it is to be read again.
    pub(super) fn new(lines: Lines, first: Option<Line>, options: &ReaderOptions) -> JsonLines {
        JsonLines { lines, first, options: options.clone(), is_proven: false, num_checked: 0, fields: Vec::new() }
    }

    pub(super) fn into_records(mut self) -> Records {
        until_error(move || self.next_record())
    }

    fn next_record(&mut self) -> Result<Option<Record>, CorpusError> {
        loop {
            let line = match self.first.take() {
                Some(line) => Some(line),
                None => self.lines.next_line(self.options.limit())?,
            };
            match line {
                None if self.num_checked > 0 && !self.is_proven => {
                    return Err(CorpusError::NoField {
                        field: self.options.text_field.clone(),
                        num_lines: self.num_checked,
                        fields: std::mem::take(&mut self.fields),
                    });
                }
                None => return Ok(None),
                Some(Line::TooLong) => return self.options.too_long(self.lines.position()).map(Some),
                Some(Line::Text { text, .. }) if text.trim_start().is_empty() => {}
                Some(Line::Text { text, replaced }) => {
                    if !self.is_proven {
                        self.check(&text);
                    }
                    let origin = Origin::Line(self.lines.number);
                    return Ok(Some(Record::Document(Document { replaced, origin, ..Document::plain(text) })));
                }
            }
        }
    }

    fn check(&mut self, line: &str) {
        self.num_checked += 1;
        self.is_proven = parse(line, &self.options.text_field).is_ok_and(|object| object.text.is_some());
        if !self.is_proven && self.fields.is_empty() {
            let object: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
            self.fields = object.into_iter().map(|(field, _)| field).collect();
        }
    }
}

/// What is wanted of a line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Object {
    title: Option<String>,
    text: Option<String>,
}

/// The text in `field`, where a dot leads into an object unless the name as a whole is there, and the title.
fn parse(line: &str, field: &str) -> Result<Object, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    let object = Fields(field).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(object)
}

/// Deserialises two fields of an object without building the others.
struct Fields<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Object;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut object = Object::default();
        while let Some(key) = map.next_key::<String>()? {
            let path = self.0.strip_prefix(&key).map(|rest| (rest.is_empty(), rest.strip_prefix('.')));
            match path {
                Some((true, _)) => object.text = string(map.next_value()?),
                Some((_, Some(rest))) => {
                    let nested = lookup(map.next_value()?, rest);
                    object.text = object.text.or(nested);
                }
                _ if key == "title" => object.title = string(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(object)
    }
}

fn string(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn lookup(mut value: Value, path: &str) -> Option<String> {
    for name in path.split('.') {
        value = value.get_mut(name)?.take();
    }
    string(value)
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
        let message = "none of 2 lines has the string field `text`: found `body`, `id`";
        assert_eq!(last("{\"id\": 1, \"body\": \"a\"}\n{}\n"), Some(Err(message.to_owned())));
        let message = "none of 1 lines has the string field `text`: found none";
        assert_eq!(last("one\n"), Some(Err(message.to_owned())));
        assert_eq!(last("{}\n{\"text\": \"a\"}\n"), Some(document(None, "a")));
        assert_eq!(last("\n"), None);
    }
}
