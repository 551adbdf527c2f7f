//! WikiExtractor's output in, one document an article out: `<doc id="…" url="…" title="…">` … `</doc>`, or, with its option
//! `--json`, one object a line.
//!
//! The first line tells which of the two it is. WikiExtractor repeats the title as the first line of a `<doc>`: it goes; and it
//! escapes `&`, `<` and `>`: they come back. Cost: one article in memory; a longer one than the limit is read past.

use super::jsonl::{Objects, Source};
use super::lines::{Line, Lines};
use super::{
    until_error, CorpusError, CorpusReader, Document, Input, Jsonl, Origin, Position, ReaderOptions, Record, Records,
    BROKEN_PAGE,
};

/// `wiki_00` and its siblings.
#[derive(Clone, Debug, Default)]
pub struct Wikiextractor {
    /// Of which all count.
    pub options: ReaderOptions,
}

impl CorpusReader for Wikiextractor {
    fn read(&self, input: Input) -> Records {
        let mut lines = Lines::new(input, self.options.strict);
        match first_line(&mut lines, self.options.limit()) {
            Err(error) => Box::new(std::iter::once(Err(error))),
            Ok(None) => Box::new(std::iter::empty()),
            Ok(Some(Line::Text { text, .. })) if text.starts_with("<doc ") => {
                let mut blocks = Blocks { lines, opening: Some(text), options: self.options.clone() };
                until_error(move || blocks.next_record())
            }
            Ok(Some(line)) if matches!(&line, Line::Text { text, .. } if !text.starts_with('{')) => {
                let message = "expected `<doc …>` or a JSON object".to_owned();
                Box::new(std::iter::once(Err(CorpusError::Wikiextractor { position: lines.position(), message })))
            }
            Ok(Some(line)) => Objects::new(Source::Lines { first: Some(line), lines }, &self.options).into_records(),
        }
    }

    fn finish(&self, mut document: Document) -> Result<Record, CorpusError> {
        let Origin::Line(line) = document.origin else {
            return Ok(Record::Document(document));
        };
        if document.text.starts_with('{') {
            let record = Jsonl { options: self.options.clone() }.finish(document)?;
            let Record::Document(mut document) = record else {
                return Ok(record);
            };
            document.text = unescape(&document.text);
            return Ok(Record::Document(document));
        }
        let (opening, body) = document.text.split_once('\n').unwrap_or((&document.text, ""));
        let title = title(opening);
        let mut paragraphs: Vec<&str> = body.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        if paragraphs.first().is_some_and(|first| Some(unescape(first)) == title) {
            paragraphs.remove(0);
        }
        let text = unescape(&paragraphs.join("\n"));
        document = Document { title, text, origin: Origin::Finished, ..document };
        self.options.keep(document, Position::Line(line))
    }
}

/// The first line that is not blank.
fn first_line(lines: &mut Lines, limit: usize) -> Result<Option<Line>, CorpusError> {
    loop {
        match lines.next_line(limit)? {
            Some(Line::Text { text, .. }) if text.trim_start().is_empty() => {}
            line => return Ok(line),
        }
    }
}

/// The title in `<doc id="1" url="…" title="A "quoted" title">`, of which WikiExtractor escapes nothing.
fn title(opening: &str) -> Option<String> {
    let (_, title) = opening.split_once(" title=\"")?;
    let title = title.trim_end().strip_suffix("\">")?;
    Some(unescape(title)).filter(|title| !title.is_empty())
}

/// Undoes Python's `html.escape(text, quote=False)`.
fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// The raw `<doc>` elements of a file, up to the first error.
struct Blocks {
    lines: Lines,
    /// A `<doc …>` that was already read.
    opening: Option<String>,
    options: ReaderOptions,
}

impl Blocks {
    fn next_record(&mut self) -> Result<Option<Record>, CorpusError> {
        let limit = self.options.limit();
        let opening = match self.opening.take() {
            Some(opening) => opening,
            None => match first_line(&mut self.lines, limit)? {
                None => return Ok(None),
                Some(Line::Text { text, .. }) if text.starts_with("<doc ") => text,
                Some(_) => return self.stray().map(Some),
            },
        };
        let first = self.lines.number;
        let (mut text, mut replaced, mut is_too_long) = (opening, 0, false);
        loop {
            match self.lines.next_line(limit)? {
                None => return Err(self.error("the file ends inside a <doc>")),
                Some(Line::TooLong) => is_too_long = true,
                Some(Line::Text { text: line, .. }) if line.trim_end() == "</doc>" => break,
                Some(Line::Text { text: line, .. }) if line.starts_with("<doc ") => {
                    self.opening = Some(line);
                    let error = self.error("expected </doc>, found <doc>");
                    return self.options.refuse(BROKEN_PAGE, error).map(Some);
                }
                Some(Line::Text { text: line, replaced: count }) => {
                    replaced += count;
                    is_too_long |= text.len() + line.len() > limit;
                    if !is_too_long {
                        text.push('\n');
                        text.push_str(&line);
                    }
                }
            }
        }
        if is_too_long {
            return self.options.too_long(Position::Line(first)).map(Some);
        }
        Ok(Some(Record::Document(Document { replaced, origin: Origin::Line(first), ..Document::plain(text) })))
    }

    /// Reads past what stands between two `<doc>` elements.
    fn stray(&mut self) -> Result<Record, CorpusError> {
        let error = self.error("expected <doc>");
        loop {
            match self.lines.next_line(self.options.limit())? {
                None => break,
                Some(Line::Text { text, .. }) if text.starts_with("<doc ") => {
                    self.opening = Some(text);
                    break;
                }
                Some(_) => {}
            }
        }
        self.options.refuse(BROKEN_PAGE, error)
    }

    fn error(&self, message: &str) -> CorpusError {
        CorpusError::Wikiextractor { position: self.lines.position(), message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn read(text: &str, strict: bool) -> Vec<Result<Record, String>> {
        let options = ReaderOptions { strict, max_document_bytes: 100, ..ReaderOptions::default() };
        let reader = Wikiextractor { options };
        let finish = |record| match record {
            Record::Document(document) => reader.finish(document),
            skipped => Ok(skipped),
        };
        let records = reader.read(Box::new(Cursor::new(text.as_bytes().to_vec())));
        records.map(|record| record.and_then(finish).map_err(|error| error.to_string())).collect()
    }

    fn document(title: &str, text: &str) -> Result<Record, String> {
        Ok(Record::Document(Document { title: Some(title.into()), ..Document::plain(text.into()) }))
    }

    fn doc(title: &str, body: &str) -> String {
        format!("<doc id=\"1\" url=\"u\" title=\"{title}\">\n{body}\n</doc>\n")
    }

    #[test]
    fn elements_are_documents() {
        let text = doc("A \"b\" & c", "A \"b\" &amp; c\n\nOne &lt;b&gt; two.\nThree.\n") + "\n" + &doc("B", "B is.\nB");
        let expected = [document("A \"b\" & c", "One <b> two.\nThree."), document("B", "B is.\nB")];
        assert_eq!(read(&text, true), expected);
    }

    #[test]
    fn lines_of_json_are_documents() {
        let text = "{\"id\": \"1\", \"title\": \"A\", \"text\": \"One &amp; two.\\nThree.\"}\n";
        assert_eq!(read(text, true), [document("A", "One & two.\nThree.")]);
    }

    #[test]
    fn broken_elements_are_skipped_or_named() {
        let good = doc("A", "Text.");
        let long = doc("L", &"x".repeat(90));
        for (bad, reason, message) in [
            (
                "<doc title=\"x\">\nlost\n",
                BROKEN_PAGE,
                "invalid WikiExtractor output at line 6: expected </doc>, found <doc>",
            ),
            ("stray\nlines\n", BROKEN_PAGE, "invalid WikiExtractor output at line 4: expected <doc>"),
            (long.as_str(), super::super::TOO_LONG, "the document at line 4 is larger than 100 bytes"),
            (&doc("E", "E"), super::super::EMPTY, "the document at line 4 is empty"),
        ] {
            let text = format!("{good}{bad}{good}");
            let expected = [document("A", "Text."), Ok(Record::Skipped(reason)), document("A", "Text.")];
            assert_eq!(read(&text, false), expected, "{bad}");
            assert_eq!(read(&text, true)[1], Err(message.to_owned()), "{bad}");
        }
    }

    #[test]
    fn another_file_or_a_cut_one_is_an_error() {
        for (text, message) in [
            ("some text\n", "invalid WikiExtractor output at line 1: expected `<doc …>` or a JSON object"),
            (
                "<doc id=\"1\" title=\"A\">\nText.\n",
                "invalid WikiExtractor output at line 2: the file ends inside a <doc>",
            ),
        ] {
            assert_eq!(read(text, false), [Err(message.to_owned())]);
        }
        assert_eq!(read("\n", false), []);
    }
}
