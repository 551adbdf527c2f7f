//! Every way in which a file can be wrong, with its message.

use std::fs;

use serde_json::{json, Value};
use untie::finetune::squad::{read, Dataset, Skip, Split, Version};

use super::tiny;

/// One paragraph with these questions.
fn file(version: &str, context: &str, questions: Value) -> Value {
    json!({ "version": version, "data": [{ "title": "T", "paragraphs": [{ "context": context, "qas": questions }] }] })
}

fn asked(id: &str, answers: Value) -> Value {
    json!({ "id": id, "question": "Who?", "answers": answers })
}

fn asked2(id: &str, answers: Value, is_impossible: bool) -> Value {
    json!({ "id": id, "question": "Who?", "answers": answers, "is_impossible": is_impossible })
}

fn answer(text: &str, start: i64) -> Value {
    json!([{ "text": text, "answer_start": start }])
}

fn parse(bytes: impl AsRef<[u8]>, version: Version, split: Split) -> untie::error::Result<Dataset> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("squad.json");
    fs::write(&path, bytes).unwrap();
    read(&path, version, split)
}

/// The report, without the folder's name.
fn failure(bytes: impl AsRef<[u8]>, version: Version, split: Split) -> String {
    let error = parse(bytes, version, split).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let report = error.report();
    let (_, rest) = report.split_once("/squad.json` ").unwrap_or_else(|| panic!("{report}"));
    rest.to_owned()
}

/// Of v1.1, the same for both splits.
fn failure1(value: &Value) -> String {
    let (train, dev) = (Split::Train, Split::Dev);
    let report = failure(value.to_string(), Version::V1, train);
    assert_eq!(report, failure(value.to_string(), Version::V1, dev));
    report
}

const CONTEXT: &str = "Zoë met Ína in Århus.";

#[test]
fn questions_keep_their_order_and_share_their_context() {
    let questions = tiny(Version::V2);
    assert_eq!(questions.len(), 19);
    assert_eq!((questions[0].id.as_str(), &*questions[0].title), ("tiny-01", "Skerry_Point"));
    assert!(std::sync::Arc::ptr_eq(&questions[0].context, &questions[5].context));
    assert!(!std::sync::Arc::ptr_eq(&questions[5].context, &questions[6].context));
    assert_eq!(questions.iter().filter(|question| question.is_impossible).count(), 4);
    for question in &questions {
        for answer in &question.answers {
            let text: String = question.context.chars().skip(answer.start).take(answer.text.chars().count()).collect();
            assert_eq!(text, answer.text);
        }
    }
    assert_eq!(tiny(Version::V1).len(), 15);
}

#[test]
fn what_is_not_squads_json_is_named() {
    let v1 = |bytes: &[u8]| failure(bytes, Version::V1, Split::Dev);
    assert_eq!(v1(b""), "is empty: expected SQuAD's JSON");
    assert_eq!(v1(b"\xef\xbb\xbf \n"), "is empty: expected SQuAD's JSON");
    let report = v1(b"{\"version\": \"1.1\",\n\"data\": [}");
    assert!(report.starts_with("is not in SQuAD's JSON layout: expected value at line 2 column"), "{report}");
    assert!(v1(b"question\tanswer\n").contains("expected value at line 1 column 1"));
    assert!(v1(b"{\"version\": \"1.1\", \"data\": {}}").contains("invalid type: map, expected a sequence at line 1"));
    assert!(v1(b"{\"version\": \"1.1\", \"data\": [\"\xff\"]}").contains("invalid"));
    assert!(v1(br#"{"version": "\ud800"}"#).contains("is not in SQuAD's JSON layout: "));
    let missing = read(std::path::Path::new("nowhere/train-v1.1.json"), Version::V1, Split::Train).unwrap_err();
    assert!(missing.report().starts_with("error: cannot read `nowhere/train-v1.1.json`"), "{}", missing.report());
    assert_eq!(missing.exit_code(), 3);
}

#[test]
fn a_byte_order_mark_is_no_matter() {
    let text = format!("\u{feff}{}", file("1.1", CONTEXT, json!([asked("a", answer("Zoë", 0))])));
    assert_eq!(parse(text, Version::V1, Split::Train).unwrap().questions.len(), 1);
}

#[test]
fn another_version_is_named() {
    let value = file("v2.0", CONTEXT, json!([]));
    let hint = "\nhint: `squad1` reads v1.1, `squad2` reads v2.0";
    assert_eq!(failure1(&value), format!("is another version of SQuAD: expected `1.1`, got `v2.0`{hint}"));
    let report = failure(file("1.1", CONTEXT, json!([])).to_string(), Version::V2, Split::Dev);
    assert_eq!(report, format!("is another version of SQuAD: expected `v2.0`, got `1.1`{hint}"));
    assert!(failure(r#"{"data": []}"#, Version::V1, Split::Dev).starts_with("has no `version` in `the file`"));
    for (name, version) in [("v1.1", Version::V1), ("1.1", Version::V1), ("2.0", Version::V2), ("v2.0", Version::V2)] {
        let value = file(name, CONTEXT, json!([asked2("a", answer("Zoë", 0), false)]));
        assert_eq!(parse(value.to_string(), version, Split::Train).unwrap().questions.len(), 1);
    }
}

#[test]
fn missing_keys_are_named_with_their_place() {
    let whole =
        file("v2.0", CONTEXT, json!([asked2("a", answer("Zoë", 0), false), asked2("b", answer("Zoë", 0), false)]));
    let question = "data[0].paragraphs[0].qas[1]";
    let cases = [
        ("/data", "the file"),
        ("/data/0/paragraphs", "data[0]"),
        ("/data/0/paragraphs/0/qas", "data[0].paragraphs[0]"),
        ("/data/0/paragraphs/0/context", "data[0].paragraphs[0]"),
        ("/data/0/paragraphs/0/qas/1/id", question),
        ("/data/0/paragraphs/0/qas/1/question", question),
        ("/data/0/paragraphs/0/qas/1/answers", question),
        ("/data/0/paragraphs/0/qas/1/is_impossible", question),
    ];
    for (pointer, place) in cases {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let expected = format!("has no `{key}` in `{place}`: expected a value, got none or null");
        let mut null = whole.clone();
        *null.pointer_mut(pointer).unwrap() = Value::Null;
        assert_eq!(failure(null.to_string(), Version::V2, Split::Dev), expected);
        let mut absent = whole.clone();
        absent.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
        assert_eq!(failure(absent.to_string(), Version::V2, Split::Train), expected);
    }
    let mut untitled = whole;
    untitled["data"][0].as_object_mut().unwrap().remove("title");
    assert_eq!(&*parse(untitled.to_string(), Version::V2, Split::Dev).unwrap().questions[0].title, "");
}

#[test]
fn an_id_that_comes_twice_is_named() {
    let value = file(
        "1.1",
        CONTEXT,
        json!([asked("a", answer("Zoë", 0)), asked("b", answer("Zoë", 0)), asked("a", answer("Zoë", 0))]),
    );
    let expected = "has the id `a` twice: in `data[0].paragraphs[0].qas[0]` and in `data[0].paragraphs[0].qas[2]`";
    assert_eq!(failure1(&value), expected);
}

#[test]
fn no_question_is_named() {
    assert_eq!(failure1(&json!({ "version": "1.1", "data": [] })), "holds no question");
    assert_eq!(failure1(&file("1.1", CONTEXT, json!([]))), "holds no question");
    let value = file("1.1", CONTEXT, json!([asked("a", answer("Jörg", 0))]));
    assert_eq!(
        failure(value.to_string(), Version::V1, Split::Train),
        "holds no question to train on: 1 questions skipped: 1 with answer not at its offset (`a`)"
    );
}

#[test]
fn answer_starts_that_cannot_be_are_named() {
    let place = "has a bad answer 0 in `data[0].paragraphs[0].qas[0]` (id `a`): expected `answer_start`";
    let with =
        |start: Value| file("1.1", CONTEXT, json!([asked("a", json!([{ "text": "Zoë", "answer_start": start }]))]));
    assert_eq!(failure1(&with(Value::Null)), format!("{place} of `Zoë` in characters, got none or null"));
    // 21 characters, 24 bytes: the limit is in characters.
    for start in [-1, 21, 22, i64::MAX] {
        assert_eq!(failure1(&with(start.into())), format!("{place} within the context's 21 characters, got {start}"));
    }
    assert!(failure1(&with(json!(1.5))).contains("invalid type: floating point `1.5`, expected i64 at line 1 column"));
    assert!(failure1(&with(json!("3"))).contains("invalid type: string \"3\", expected i64"));
    let second = json!([{ "text": "Zoë", "answer_start": 0 }, { "text": "Zoë", "answer_start": -3 }]);
    assert!(failure1(&file("1.1", CONTEXT, json!([asked("a", second)]))).starts_with("has a bad answer 1 in "));
    let textless = file("1.1", CONTEXT, json!([asked("a", json!([{ "answer_start": 0 }]))]));
    assert!(failure1(&textless).contains("(id `a`): expected `text`, got none or null"));
}

#[test]
fn answers_that_contradict_the_question_are_named() {
    let place = "in `data[0].paragraphs[0].qas[0]` (id `a`)";
    let hint = "\nhint: in v2.0 a question that the context does not answer says `\"is_impossible\": true`";
    let none = format!("has a question without answers {place}: expected at least one, got none{hint}");
    assert_eq!(failure1(&file("1.1", CONTEXT, json!([asked("a", json!([]))]))), none);
    let v2 = |question: Value| failure(file("v2.0", CONTEXT, json!([question])).to_string(), Version::V2, Split::Dev);
    assert_eq!(v2(asked2("a", json!([]), false)), none);
    assert_eq!(
        v2(asked2("a", answer("Zoë", 0), true)),
        format!("has an impossible question with answers {place}: expected none, got 1")
    );
    let impossible = file("1.1", CONTEXT, json!([asked2("a", json!([]), true)]));
    assert_eq!(failure1(&impossible), format!("has an impossible question {place}: v1.1 has none"));
}

#[test]
fn what_cannot_be_learned_is_skipped_in_training_and_counted() {
    let mut questions = vec![
        asked("right", answer("Ína", 8)),
        asked("shifted", answer("Ína", 3)),
        asked("bytes", answer("Århus", 17)),
        asked("too long", answer("Århus. And", 15)),
        asked("no text", answer("", 4)),
        json!({ "id": "blank", "question": " \u{a0}\t", "answers": answer("Zoë", 0) }),
    ];
    questions.extend((0..6).map(|number| asked(&format!("wrong-{number}"), answer("Jörg", number))));
    let text = file("1.1", CONTEXT, Value::from(questions)).to_string();
    let Dataset { questions, skipped } = parse(&text, Version::V1, Split::Train).unwrap();
    assert_eq!(questions.iter().map(|question| question.id.as_str()).collect::<Vec<_>>(), ["right"]);
    let first = ["shifted", "bytes", "too long", "wrong-0", "wrong-1"].map(String::from).to_vec();
    assert_eq!(skipped.answer_not_at_offset, Skip { count: 9, first });
    assert_eq!(skipped.empty_answer, Skip { count: 1, first: vec!["no text".into()] });
    assert_eq!(skipped.empty_question, Skip { count: 1, first: vec!["blank".into()] });
    assert_eq!(
        skipped.to_string(),
        "11 questions skipped: 9 with answer not at its offset (`shifted`, `bytes`, `too long`, `wrong-0`, `wrong-1`, …); \
         1 with empty answer (`no text`); 1 with empty question (`blank`)"
    );

    let dev = parse(&text, Version::V1, Split::Dev).unwrap();
    assert_eq!((dev.questions.len(), dev.skipped.count()), (12, 0));
}

/// As transformers' squad.py: the words that the offsets touch contain the answer, white space apart.
#[test]
fn white_space_may_differ_between_answer_and_context() {
    let context = "  Zoë\tmet\n\nÍna  in\u{202f}Århus.";
    let questions = json!([
        asked("tab", answer("Zoë met", 2)),
        asked("newlines", answer(" met  Ína ", 6)),
        asked("narrow", answer("in Århus", 16)),
        asked("inside a word", answer("rhus", 19)),
        asked("leading", answer("Zoë", 0)),
        asked("another word", answer("met", 2)),
        asked("one space too few", answer("Zoëmet", 2)),
    ]);
    let dataset = parse(file("1.1", context, questions).to_string(), Version::V1, Split::Train).unwrap();
    let kept: Vec<&str> = dataset.questions.iter().map(|question| question.id.as_str()).collect();
    assert_eq!(kept, ["tab", "newlines", "narrow", "inside a word", "leading"]);
}
