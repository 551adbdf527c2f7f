//! Files of JSON as Python, pandas and jq write them.

use super::{message, read, write};
use untie_data::corpus::{ReaderOptions, Record};

/// The texts of a file, `None` for what was left out; or the error and its hint.
fn texts(name: &str, file: &str) -> Result<Vec<Option<String>>, (String, String)> {
    let dir = tempfile::tempdir().unwrap();
    let records = read(&write(dir.path(), name, file), &ReaderOptions::default(), 1);
    records
        .into_iter()
        .map(|record| match record.map_err(message)? {
            Record::Document(document) => Ok(Some(document.text)),
            Record::Skipped(_) => Ok(None),
        })
        .collect()
}

fn some(texts: &[&str]) -> Result<Vec<Option<String>>, (String, String)> {
    Ok(texts.iter().map(|text| Some((*text).to_owned())).collect())
}

#[test]
fn arrays_and_objects_on_several_lines_are_read() {
    for file in [
        // json.dump(records), json.dump(records, indent=2), df.to_json(orient="records"), jq ., jq -c .[], jq --seq, jq -j
        "[{\"text\": \"a\", \"n\": NaN}, {\"text\": \"b }\"}]",
        "[\n  {\n    \"text\": \"a\"\n  },\n  {\n    \"text\": \"b }\"\n  }\n]\n",
        "[{\"text\":\"a\"},{\"text\":\"b }\"}]\n",
        "{\n  \"text\": \"a\"\n}\n{\n  \"text\": \"b }\"\n}\n",
        "{\"text\":\"a\"}\n{\"text\":\"b }\"}\n",
        "\u{1e}{\"text\":\"a\"}\n\u{1e}{\"text\":\"b }\"}\n",
        "{\"text\":\"a\"}{\"text\":\"b }\"}",
        // by hand, and put together by `cat`
        "[\n{\"text\": \"a\"},\n{\"text\": \"b }\"},\n]\n",
        "{\"text\": \"a\"},\n{\"text\": \"b }\"},\n",
        "\u{feff}[{\"text\": \"a\"}]\u{feff}[{\"text\": \"b }\"}]",
        "\u{feff}{\"text\": \"a\"}\n\u{feff}{\"text\": \"b }\"}\n",
    ] {
        assert_eq!(texts("a.json", file), some(&["a", "b }"]), "{file}");
    }
    // what is no object is left out and counted
    let mixed = texts("a.json", "[1, {\"text\": \"a\"}, null, [{\"text\": \"b\"}], \"c\"]").unwrap();
    assert_eq!(mixed, [None, Some("a".to_owned()), None, None, None]);
}

/// `json.loads` reads all 300; every third has half of a surrogate pair.
#[test]
fn no_document_is_lost_to_half_of_a_surrogate_pair() {
    let line = |number: u32| match number % 3 {
        0 => format!("{{\"text\": \"number {number} \\ud83d ends\"}}\n"),
        _ => format!("{{\"text\": \"number {number} \\ud83d\\ude00\"}}\n"),
    };
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "a.jsonl", (0..300).map(line).collect::<String>());
    let (mut replaced, mut whole) = (0, 0);
    for record in read(&path, &ReaderOptions::default(), 1) {
        let Ok(Record::Document(document)) = record else { panic!("{record:?}") };
        replaced += document.replaced;
        whole += usize::from(document.text.ends_with('\u{1f600}'));
    }
    assert_eq!((replaced, whole), (100, 200));
    let strict = ReaderOptions { strict: true, ..ReaderOptions::default() };
    let error = message(read(&path, &strict, 1).remove(0).unwrap_err()).0;
    assert!(error.starts_with("line 1 is not a JSON object: "), "{error}");
}

#[test]
fn files_without_texts_say_what_they_have() {
    for (file, expected, hint) in [
        (
            "{\"text\": {\"0\": \"a\", \"1\": \"b\"}}",
            "none of 1 objects has a string in the field `text`: found an object",
            "orient=\"records\"",
        ),
        (
            "{\"text\": [\"a\", \"b\"]}",
            "none of 1 objects has a string in the field `text`: found a list of strings",
            "orient",
        ),
        (
            "{\"text\": 5}\n{\"text\": 6}\n",
            "none of 2 objects has a string in the field `text`: found a number",
            "--text-field",
        ),
        (
            "{\"body\": \"a\", \"n\": NaN}\n",
            "none of 1 objects has the string field `text`: found `body`, `n`",
            "--text-field",
        ),
        (
            "{'text': 'a'}\n",
            "nothing in the file is a JSON object: strings are in single quotes, as Python prints a dictionary",
            "json.dumps",
        ),
        (
            "[{\"text\": \"a\"}, {\"text\": \"b",
            "the file ends inside the JSON value that starts at line 1",
            "cut short",
        ),
        ("[\n{\"text\": \"a\"},\n", "the file ends inside the JSON value that starts at line 1", "cut short"),
    ] {
        let (text, said) = texts("a.json", file).unwrap_err();
        assert_eq!(text, expected);
        assert!(said.contains(hint), "{said}");
    }
    // a long file is not read to its end to find that out
    let long = "{\"body\": \"a\"}\n".repeat(5000);
    assert_eq!(
        texts("a.jsonl", &long).unwrap_err().0,
        "none of 1000 objects has the string field `text`: found `body`"
    );
}
