//! JSON values that are not one a line in, each value as it is written out.
//!
//! Arrays of objects (`DataFrame.to_json(orient="records")`, `json.dump` of a list), objects that take several lines (jq's
//! default, `indent=2`) and objects one behind the other are all the same here: values between brackets, commas and white
//! space. Only strings and brackets are looked at. Cost: one value; a longer one than the limit is read past.

use crate::corpus::lines::{decode, without_mark, Line};
use crate::corpus::{CorpusError, Input, Position, ReaderOptions};
use std::io::BufRead;

/// Whether a file that starts so is split here: it begins with an array, or with an object that goes on behind its line or is
/// not alone on it.
pub(super) fn has_values(start: &[u8]) -> bool {
    let start = without_mark(start);
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'\x1e';
    let at = start.iter().position(|byte| !is_space(byte)).unwrap_or(start.len());
    let start = &start[at..];
    match start.first() {
        Some(b'[') => return true,
        Some(b'{') => {}
        _ => return false,
    }
    let mut nesting = Nesting::default();
    for (at, &byte) in start.iter().enumerate() {
        if byte == b'\n' && nesting.depth > 0 {
            // a line that was cut is followed by the next object, not by a field
            let next = start[at..].iter().find(|byte| !is_space(byte));
            return !nesting.is_string && next.is_some_and(|&byte| byte != b'{');
        }
        nesting.step(byte);
        if nesting.depth == 0 {
            let behind = start[at + 1..].iter().take_while(|&&byte| byte != b'\n').find(|byte| !is_space(byte));
            return behind.is_some();
        }
    }
    false
}

/// How deep in brackets a place is.
#[derive(Clone, Copy, Debug, Default)]
struct Nesting {
    depth: usize,
    is_string: bool,
    is_escaped: bool,
}

impl Nesting {
    fn step(&mut self, byte: u8) {
        if self.is_string {
            let ends = byte == b'"' && !self.is_escaped;
            self.is_escaped = byte == b'\\' && !self.is_escaped;
            self.is_string = !ends;
            return;
        }
        match byte {
            b'"' => self.is_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// The values of a file.
pub(in crate::corpus) struct JsonValues {
    input: Input,
    strict: bool,
    /// The line on which the array starts that the next value is in.
    array: Option<u64>,
    /// The line of the next byte, from 1.
    next_line: u64,
    /// The line that the value returned last starts on.
    pub(super) line: u64,
}

impl JsonValues {
    pub(super) fn new(input: Input, options: &ReaderOptions) -> JsonValues {
        JsonValues { input, strict: options.strict, array: None, next_line: 1, line: 1 }
    }

    /// The next value if it has up to `limit` bytes; a longer one is read past.
    pub(super) fn next(&mut self, limit: usize) -> Result<Option<Line>, CorpusError> {
        let Some(first) = self.start_of_value()? else {
            return match self.array {
                Some(line) => Err(CorpusError::JsonEnd { position: Position::Line(line) }),
                None => Ok(None),
            };
        };
        self.line = self.next_line;
        let position = Position::Line(self.line);
        let (mut bytes, mut num_bytes, mut nesting) = (Vec::new(), 0, Nesting::default());
        let is_scalar = !matches!(first, b'{' | b'[' | b'"');
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() && !is_scalar {
                return Err(CorpusError::JsonEnd { position });
            }
            let mut length = 0;
            let mut is_whole = buffer.is_empty();
            for &byte in buffer {
                if is_scalar
                    && num_bytes + length > 0
                    && (is_separator(byte) || matches!(byte, b']' | b'}' | b'{' | b'['))
                {
                    is_whole = true;
                    break;
                }
                length += 1;
                self.next_line += u64::from(byte == b'\n');
                nesting.step(byte);
                if !is_scalar && nesting.depth == 0 && !nesting.is_string {
                    is_whole = true;
                    break;
                }
            }
            num_bytes += length;
            if num_bytes <= limit {
                bytes.extend_from_slice(&buffer[..length]);
            }
            self.input.consume(length);
            if is_whole {
                break;
            }
        }
        if num_bytes > limit {
            return Ok(Some(Line::TooLong));
        }
        let (text, replaced) = decode(&bytes, self.strict, position)?;
        Ok(Some(Line::Text { text, replaced }))
    }

    /// Reads up to the next value, and says how it starts; nothing at the end of the file.
    fn start_of_value(&mut self) -> Result<Option<u8>, CorpusError> {
        loop {
            let Some(&byte) = self.input.fill_buf()?.first() else { return Ok(None) };
            match byte {
                b'[' if self.array.is_none() => self.array = Some(self.next_line),
                b']' if self.array.is_some() => self.array = None,
                byte if is_separator(byte) => self.next_line += u64::from(byte == b'\n'),
                byte => return Ok(Some(byte)),
            }
            self.input.consume(1);
        }
    }
}

/// White space, commas, the separator of JSON text sequences, and the bytes of a byte order mark.
fn is_separator(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b',' | b'\x1e' | b'\xef' | b'\xbb' | b'\xbf')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor};

    /// The values and their lines, read `step` bytes at a time.
    fn values(bytes: &[u8], step: usize, limit: usize) -> Vec<Result<(u64, String), String>> {
        let input = Box::new(BufReader::with_capacity(step, Cursor::new(bytes.to_vec())));
        let mut values = JsonValues::new(input, &ReaderOptions::default());
        let mut all = Vec::new();
        loop {
            match values.next(limit) {
                Ok(None) => return all,
                Ok(Some(Line::Text { text, .. })) => all.push(Ok((values.line, text))),
                Ok(Some(Line::TooLong)) => all.push(Ok((values.line, "too long".to_owned()))),
                Err(error) => {
                    all.push(Err(error.to_string()));
                    return all;
                }
            }
        }
    }

    #[test]
    fn values_stand_in_arrays_and_on_several_lines() {
        let file = b"\xef\xbb\xbf[\n  {\"a\": \"}]\\\"\",\n \"b\": [1, {}]},\n7,\"x y\", [1],]\n{}{\"c\":\n1}\n";
        let expected: Vec<_> = [
            (2, "{\"a\": \"}]\\\"\",\n \"b\": [1, {}]}"),
            (4, "7"),
            (4, "\"x y\""),
            (4, "[1]"),
            (5, "{}"),
            (5, "{\"c\":\n1}"),
        ]
        .map(|(line, text)| Ok((line, text.to_owned())))
        .into();
        for step in 1..40 {
            assert_eq!(values(file, step, 100), expected, "{step}");
        }
        assert_eq!(values(file, 7, 20)[0], Ok((2, "too long".to_owned())));
        for end in [4, 10, 20, 33, 50] {
            let last = values(&file[..end], 5, 100).pop().unwrap();
            assert!(last.clone().unwrap_err().starts_with("the file ends inside the JSON value"), "{end}: {last:?}");
        }
    }

    #[test]
    fn lines_are_told_from_other_layouts() {
        for (start, expected) in [
            ("{\"a\": 1}\n{\"a\": 2}\n", false),
            ("{\"a\": 1}", false),
            ("\u{feff}\n {\"a\": [1, {}]} \r\n", false),
            ("{\"a\": \"cut\n{\"a\": 1}\n", false),
            ("{\"a\": 1,\n{\"a\": 1}\n", false),
            ("{\"a\": \"long", false),
            ("words\n", false),
            ("", false),
            ("[\n{\"a\": 1}", true),
            ("[{\"a\": 1}]", true),
            ("{\n  \"a\": 1\n}\n", true),
            ("{\"a\": [\n1]}\n", true),
            ("{\"a\": 1}{\"a\": 2}\n", true),
            ("{\"a\": 1},\n{\"a\": 2}\n", true),
        ] {
            assert_eq!(has_values(start.as_bytes()), expected, "{start}");
        }
    }
}
