//! JSON lines in, one document a line out.
//!
//! Each line is an object with its text in one string field (by default `text`) and perhaps a string `title`;
//! other fields are passed over. Blank lines are no documents. Newlines within the text separate paragraphs. Cost: one line
//! in memory, refused above [`MAX_DOCUMENT_BYTES`].

use super::text::Lines;
use super::{CorpusError, CorpusReader, Document, Input, Record, Records, MAX_DOCUMENT_BYTES};
use serde_json::{Map, Value};

/// One JSON object a line.
#[derive(Clone, Debug)]
pub struct Jsonl {
    /// Name of the field that holds the text.
    pub text_field: String,
}

impl CorpusReader for Jsonl {
    fn read(&self, input: Input) -> Records {
        let mut lines = Lines::new(input, MAX_DOCUMENT_BYTES);
        let field = self.text_field.clone();
        let mut finished = false;
        Box::new(std::iter::from_fn(move || {
            if finished {
                return None;
            }
            let record = next_document(&mut lines, &field).transpose();
            finished = !matches!(record, Some(Ok(_)));
            record.map(|document| document.map(Record::Document))
        }))
    }
}

fn next_document(lines: &mut Lines, field: &str) -> Result<Option<Document>, CorpusError> {
    loop {
        let Some(line) = lines.next_line()? else {
            return Ok(None);
        };
        if line.trim().is_empty() {
            continue;
        }
        let parsed: Result<Map<String, Value>, _> = serde_json::from_str(line);
        let line = lines.number;
        let mut object = parsed.map_err(|source| CorpusError::Json { line, source })?;
        let Some(Value::String(text)) = object.remove(field) else {
            return Err(CorpusError::MissingField { line, field: field.to_owned() });
        };
        let title = match object.remove("title") {
            Some(Value::String(title)) => Some(title),
            _ => None,
        };
        return Ok(Some(Document { title, text }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn read(reader: &Jsonl, text: &str) -> Vec<Result<Record, String>> {
        let input: Input = Box::new(Cursor::new(text.as_bytes().to_vec()));
        reader.read(input).map(|record| record.map_err(|error| error.to_string())).collect()
    }

    fn reader(text_field: &str) -> Jsonl {
        Jsonl { text_field: text_field.to_owned() }
    }

    fn document(title: Option<&str>, text: &str) -> Result<Record, String> {
        Ok(Record::Document(Document { title: title.map(str::to_owned), text: text.to_owned() }))
    }

    #[test]
    fn a_line_is_a_document() {
        let text = "{\"id\": 1, \"title\": \"T\", \"text\": \"a\\nb\"}\n\n{\"text\": \"c\", \"title\": 7}";
        assert_eq!(read(&reader("text"), text), [document(Some("T"), "a\nb"), document(None, "c")]);
    }

    #[test]
    fn the_text_field_can_be_named() {
        let reader = Jsonl { text_field: "body".to_owned() };
        assert_eq!(read(&reader, "{\"body\": \"a\"}"), [document(None, "a")]);
    }

    #[test]
    fn a_bad_line_is_named_and_ends_the_stream() {
        let errors = [
            ("{\"text\": \"a\"}\n{\"text\": 5}\n{\"text\": \"b\"}", "line 2 has no string field `text`"),
            ("{\"text\": \"a\"}\n[\"text\"]\n", "line 2 is not a JSON object"),
            ("{\"text\": \"a\"}\n{\"text\": \"b", "line 2 is not a JSON object"),
        ];
        for (text, message) in errors {
            let records = read(&reader("text"), text);
            assert_eq!(records.len(), 2, "{text}");
            assert!(records[1].as_ref().unwrap_err().starts_with(message), "{records:?}");
        }
    }
}
