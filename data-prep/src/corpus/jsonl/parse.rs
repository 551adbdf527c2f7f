//! One JSON object as text in, its text and title out.
//!
//! Strict JSON is parsed as it is. Where that fails, what other writers take for JSON becomes JSON, and is parsed again:
//! `NaN`, `Infinity` and `-Infinity` (Python, pandas) become `null`, half of a surrogate pair becomes U+FFFD and is counted,
//! control characters within strings stay what they are, a comma before a closing bracket goes. Keys that come twice: the last
//! one counts, as with Python and jq.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// What is wanted of an object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) title: Option<String>,
    pub(super) text: Field,
    /// Halves of surrogate pairs that U+FFFD replaced.
    pub(super) replaced: u64,
}

/// The field that holds the text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Field {
    #[default]
    Missing,
    Text(String),
    /// Not a string, but this.
    Other(&'static str),
}

impl Field {
    /// What it holds instead of a string.
    pub(super) fn kind(&self) -> Option<&'static str> {
        match self {
            Field::Other(kind) => Some(kind),
            Field::Missing | Field::Text(_) => None,
        }
    }

    fn new(value: Value) -> Field {
        Field::Other(match value {
            Value::String(text) => return Field::Text(text),
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Array(items) if items.iter().all(Value::is_string) => "a list of strings",
            Value::Array(items) if items.iter().all(Value::is_object) => "a list of objects",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        })
    }
}

/// The text in `field`, where a dot leads into an object unless the name as a whole is there, and the title. With `strict`
/// nothing is repaired.
pub(super) fn parse(text: &str, field: &str, strict: bool) -> Result<Object, serde_json::Error> {
    // the separator of JSON text sequences, and a mark where files were put together
    let text = text.trim_start_matches(|start: char| matches!(start, '\u{1e}' | '\u{feff}') || start.is_whitespace());
    let error = match parse_strictly(text, field) {
        Err(error) if !strict => error,
        result => return result,
    };
    match repaired(text) {
        None => Err(error),
        Some((text, replaced)) => {
            parse_strictly(&text, field).map(|object| Object { replaced, ..object }).map_err(|_| error)
        }
    }
}

fn parse_strictly(text: &str, field: &str) -> Result<Object, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = Fields(field).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(object)
}

/// The names of the fields of an object.
pub(super) fn fields(text: &str) -> Vec<String> {
    let object: Map<String, Value> = serde_json::from_str(text)
        .or_else(|error| repaired(text).map_or(Err(error), |(text, _)| serde_json::from_str(&text)))
        .unwrap_or_default();
    object.into_iter().map(|(field, _)| field).collect()
}

/// Why `text` is no object.
pub(super) fn reason(text: &str, error: &serde_json::Error) -> String {
    if text.trim_start().starts_with("{'") {
        return "strings are in single quotes, as Python prints a dictionary".to_owned();
    }
    error.to_string()
}

/// JSON made of what is nearly JSON, and the number of halves of surrogate pairs that were replaced; nothing if there is
/// nothing to repair.
fn repaired(text: &str) -> Option<(String, u64)> {
    let (mut out, mut replaced) = (String::with_capacity(text.len()), 0);
    let (mut rest, mut is_string) = (text, false);
    while let Some(next) = rest.chars().next() {
        let mut length = next.len_utf8();
        match next {
            '"' => {
                is_string = !is_string;
                out.push('"');
            }
            '\\' if is_string => match Escape::of(rest) {
                Escape::HalfPair => {
                    length = 6;
                    replaced += 1;
                    out.push_str("\\ufffd");
                }
                Escape::Whole(escape) => {
                    length = escape.len();
                    out.push_str(escape);
                }
            },
            control if is_string && control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            ',' if !is_string && rest[1..].trim_start().starts_with(['}', ']']) => {}
            'N' | 'I' | '-' if !is_string => {
                match ["NaN", "Infinity", "-Infinity"].iter().find(|word| rest.starts_with(**word)) {
                    Some(word) => {
                        length = word.len();
                        out.push_str("null");
                    }
                    None => out.push(next),
                }
            }
            other => out.push(other),
        }
        rest = &rest[length..];
    }
    (out != text).then_some((out, replaced))
}

/// What a backslash begins.
enum Escape<'a> {
    /// An escape, or a surrogate pair, that stays.
    Whole(&'a str),
    /// A surrogate without its other half.
    HalfPair,
}

impl Escape<'_> {
    fn of(text: &str) -> Escape<'_> {
        let unit = |at: usize| -> Option<u16> {
            let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
            digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
        };
        match (unit(0), unit(6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => Escape::Whole(&text[..12]),
            (Some(0xd800..=0xdfff), _) => Escape::HalfPair,
            (Some(_), _) => Escape::Whole(&text[..6]),
            // the backslash and what follows, if anything does
            (None, _) => Escape::Whole(&text[..text.chars().take(2).map(char::len_utf8).sum()]),
        }
    }
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
        let (mut object, mut nested) = (Object::default(), Field::Missing);
        while let Some(key) = map.next_key::<String>()? {
            let path = self.0.strip_prefix(&key).map(|rest| (rest.is_empty(), rest.strip_prefix('.')));
            match path {
                Some((true, _)) => object.text = Field::new(map.next_value()?),
                Some((_, Some(rest))) => nested = lookup(map.next_value()?, rest),
                _ if key == "title" => {
                    object.title = match map.next_value()? {
                        Value::String(title) => Some(title),
                        _ => None,
                    };
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if object.text == Field::Missing {
            object.text = nested;
        }
        Ok(object)
    }
}

fn lookup(mut value: Value, path: &str) -> Field {
    for name in path.split('.') {
        match value.get_mut(name) {
            Some(inner) => value = inner.take(),
            None => return Field::Missing,
        }
    }
    Field::new(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Option<(String, u64)> {
        match parse(json, "text", false) {
            Ok(Object { text: Field::Text(text), replaced, .. }) => Some((text, replaced)),
            _ => None,
        }
    }

    /// What Python 3.13's `json.loads` makes of each, its lone surrogates then written with `errors="replace"`.
    #[test]
    fn what_other_programs_write_is_read() {
        for (json, expected, replaced) in [
            (r#"{"text": "a", "score": NaN, "x": [Infinity, -Infinity, -1]}"#, "a", 0),
            (r#"{"text": "NaN, ] Infinity", "x": NaN}"#, "NaN, ] Infinity", 0),
            (r#"{"text": "a \ud83d b \udce9"}"#, "a \u{fffd} b \u{fffd}", 2),
            (r#"{"text": "\udc00\ud83d\ud83d\ude00\\ud83d"}"#, "\u{fffd}\u{fffd}\u{1f600}\\ud83d", 2),
            (r#"{"text": "\ud83d\n\u00e9 \uD83D"}"#, "\u{fffd}\n\u{e9} \u{fffd}", 2),
            ("{\"text\": \"a\tb\u{1}\u{1f} \u{e9}\", \"x\": 1}", "a\tb\u{1}\u{1f} \u{e9}", 0),
            (r#"{"text": "a", "text": "b"}"#, "b", 0),
            ("\u{feff}{\"text\": \"a\"}", "a", 0),
            ("\u{1e}{\"text\": \"a\"}", "a", 0),
            (r#"{"text": "a, ]", "x": [1, 2, ], }"#, "a, ]", 0),
        ] {
            assert_eq!(text(json), Some((expected.to_owned(), replaced)), "{json}");
            // ours are the repairs
            let is_strict_json = serde_json::from_str::<Value>(json).is_ok();
            assert_eq!(
                parse(json, "text", true).is_ok(),
                is_strict_json || json.starts_with(['\u{feff}', '\u{1e}']),
                "{json}"
            );
        }
    }

    #[test]
    fn what_no_program_reads_is_refused() {
        for json in [
            r#"{"text": 'a'}"#,
            r#"{"text": "a\'b"}"#,
            r#"{"text": "\ud83"}"#,
            r#"{"text": nan}"#,
            r#"{"text": "a"#,
            "{\"text\": \"a\\",
        ] {
            assert!(parse(json, "text", false).is_err(), "{json}");
        }
    }
}
