//! Every way in which a file can be wrong, with its message.

use std::fs;

use serde_json::{json, Value};
use untie::finetune::squad::{find, read, Dataset, Skip, Split, Version, NOWHERE};

use super::{fixture, questions, tiny};

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
    assert!(v1(br#"{"data": [{"context": "\ud800"}]}"#).contains("is not in SQuAD's JSON layout: "));
    let missing = read(std::path::Path::new("nowhere/train-v1.1.json"), Version::V1, Split::Train).unwrap_err();
    assert!(missing.report().starts_with("error: cannot read `nowhere/train-v1.1.json`"), "{}", missing.report());
    assert_eq!(missing.exit_code(), 3);
}

#[test]
fn a_byte_order_mark_is_no_matter() {
    let text = format!("\u{feff}{}", file("1.1", CONTEXT, json!([asked("a", answer("Zoë", 0))])));
    assert_eq!(parse(text, Version::V1, Split::Train).unwrap().questions.len(), 1);
}

/// SQuADs of other languages name themselves (`KorQuAD_v1.0_dev`, `JaQuAD-version-0.1.0`), or not at all.
#[test]
fn the_questions_tell_the_version() {
    for name in
        [json!("1.1"), json!("v2.0"), json!("KorQuAD_v1.0_dev"), json!("JaQuAD-version-0.1.0"), json!(1.0), Value::Null]
    {
        let mut value = file("", CONTEXT, json!([asked("a", answer("Zoë", 0))]));
        value["version"] = name.clone();
        for version in [Version::V1, Version::V2] {
            let questions = parse(value.to_string(), version, Split::Train).unwrap().questions;
            assert!(questions.len() == 1 && !questions[0].is_impossible, "{name}");
        }
        value.as_object_mut().unwrap().remove("version");
        assert_eq!(parse(value.to_string(), Version::V1, Split::Dev).unwrap().questions.len(), 1);
    }
}

/// The layouts of GermanQuAD (ids that are numbers, keys of its own), CMRC 2018, and files without `is_impossible`.
#[test]
fn other_languages_are_read() {
    let german = json!({ "data": [{ "paragraphs": [{
        "qas": [{ "question": "Wer?", "id": 51870, "answers": [{ "answer_id": 53778, "document_id": 43958, "question_id": 51870,
            "text": "Zoë", "answer_start": 0, "answer_category": "SHORT" }], "is_impossible": false }],
        "context": CONTEXT, "document_id": 43958 }] }] });
    let found = parse(german.to_string(), Version::V1, Split::Train).unwrap().questions;
    assert_eq!((found[0].id.as_str(), &*found[0].title), ("51870", ""));
    let chinese = json!({ "version": "v1.0", "data": [{ "id": "DEV_0", "title": 7, "paragraphs": [{ "id": "DEV_0",
        "context": "《战国无双3》是由光荣开发的", "qas": [{ "question": "谁开发？", "id": "DEV_0_QUERY_0",
        "answers": [{ "text": "光荣", "answer_start": 10 }, { "text": "光荣", "answer_start": -1 }, { "text": "光荣" }] }] }] }] });
    let found = parse(chinese.to_string(), Version::V1, Split::Dev).unwrap().questions;
    assert_eq!((&*found[0].title, found[0].answers[0].start), ("7", 10));
    assert!(found[0].answers[1..].iter().all(|answer| answer.start == NOWHERE));
    // Without a word, a question without answers is impossible.
    let silent = file("2.0", CONTEXT, json!([asked("a", json!([])), asked("b", answer("Zoë", 0))]));
    let found = parse(silent.to_string(), Version::V2, Split::Train).unwrap().questions;
    assert_eq!(found.iter().map(|question| question.is_impossible).collect::<Vec<_>>(), [true, false]);
    // As Hugging Face's run_qa.py takes it: the context beside the question.
    let flat = json!({ "version": "0.1.0", "data": [
        { "id": "a", "title": "T", "context": CONTEXT, "question": "Who?", "answers": { "text": ["Zoë"], "answer_start": [0] } },
        { "id": "b", "title": "T", "context": CONTEXT, "question": "Who?", "answers": { "text": [], "answer_start": [] } },
    ] });
    let found = parse(flat.to_string(), Version::V2, Split::Train).unwrap().questions;
    assert_eq!((found[0].answers[0].text.as_str(), found[1].is_impossible), ("Zoë", true));
}

/// Written by tests/fixtures/finetune/make_squad_parquet.py with pyarrow, from the JSON files of the same names: a struct of lists
/// in the first, a list of structs in the second.
#[test]
fn parquet_holds_the_questions_of_json() {
    for (name, version) in [("squad-tiny-v1.1", Version::V1), ("squad-tiny-v2.0", Version::V2)] {
        for split in [Split::Train, Split::Dev] {
            let [json, parquet] = ["json", "parquet"]
                .map(|end| questions(&fixture(&format!("{name}.{end}")), version, split))
                .map(|found| found.into_iter().map(|one| (one.id, one.title, one.question, one.context, one.answers)));
            assert!(json.eq(parquet), "{name}");
        }
        let shared = questions(&fixture(&format!("{name}.parquet")), version, Split::Dev);
        assert!(std::sync::Arc::ptr_eq(&shared[0].context, &shared[1].context));
    }
    let of_v2 = read(&fixture("squad-tiny-v2.0.parquet"), Version::V1, Split::Dev).unwrap_err().report();
    assert!(
        of_v2.contains("has a question without answers in `row ") && of_v2.contains("hint: `squad2` is the task"),
        "{of_v2}"
    );
    let other = read(&fixture("glue/sst2/hub/validation-00000-of-00001.parquet"), Version::V1, Split::Dev);
    assert!(other.unwrap_err().report().contains("has no column `"));
}

#[test]
fn a_set_is_found_under_the_names_that_downloads_give() {
    let folder = tempfile::tempdir().unwrap();
    let missing = find(folder.path(), Version::V1, Split::Dev).unwrap_err().report();
    assert!(
        missing.contains("no `dev` set in ") && missing.contains("`dev-v1.1.json`, `dev.json`, `validation.json`"),
        "{missing}"
    );
    let put = |name: &str| {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), "").unwrap();
    };
    let found = |split| -> Vec<String> {
        let paths = find(folder.path(), Version::V1, split).unwrap();
        paths.iter().map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string()).collect()
    };
    put("plain_text/train-00000-of-00002.parquet");
    put("plain_text/train-00001-of-00002.parquet");
    put("plain_text/validation-00000-of-00001.parquet");
    assert_eq!(found(Split::Train).len(), 2);
    assert_eq!(found(Split::Dev), ["plain_text/validation-00000-of-00001.parquet"]);
    put("validation.json");
    assert_eq!(found(Split::Dev), ["validation.json"]);
    put("dev-v1.1.json");
    assert_eq!(found(Split::Dev), ["dev-v1.1.json"]);
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
    let missing = failure(with(Value::Null).to_string(), Version::V1, Split::Train);
    assert_eq!(missing, format!("{place} of `Zoë` in characters, got none or null"));
    assert!(failure1(&with(json!(1.5))).contains("invalid type: floating point `1.5`, expected i64 at line 1 column"));
    assert!(failure1(&with(json!("3"))).contains("invalid type: string \"3\", expected i64"));
    let textless = file("1.1", CONTEXT, json!([asked("a", json!([{ "answer_start": 0 }]))]));
    assert!(failure1(&textless).contains("(id `a`): expected `text`, got none or null"));
    // No place in the context: 21 characters, 24 bytes, and the limit is in characters.
    let mut questions = vec![asked("right", answer("Zoë", 0))];
    questions.extend([-1, 21, 22, i64::MAX].map(|start| asked(&start.to_string(), answer("Zoë", start))));
    let text = file("1.1", CONTEXT, Value::from(questions)).to_string();
    let train = parse(&text, Version::V1, Split::Train).unwrap();
    assert_eq!((train.questions.len(), train.skipped.answer_not_at_offset.count), (1, 4));
    assert_eq!(parse(&text, Version::V1, Split::Dev).unwrap().questions.len(), 5);
}

#[test]
fn answers_that_contradict_the_question_are_named() {
    let place = "in `data[0].paragraphs[0].qas[0]` (id `a`)";
    let none = format!("has a question without answers {place}: expected at least one, got none");
    let squad2 = "\nhint: `squad2` is the task of files with questions that the context does not answer";
    assert_eq!(failure1(&file("1.1", CONTEXT, json!([asked("a", json!([]))]))), format!("{none}{squad2}"));
    let v2 = |question: Value| failure(file("v2.0", CONTEXT, json!([question])).to_string(), Version::V2, Split::Dev);
    let hint = "\nhint: in v2.0 a question that the context does not answer says `\"is_impossible\": true`";
    assert_eq!(v2(asked2("a", json!([]), false)), format!("{none}{hint}"));
    assert_eq!(
        v2(asked2("a", answer("Zoë", 0), true)),
        format!("has an impossible question with answers {place}: expected none, got 1")
    );
    let impossible = file("1.1", CONTEXT, json!([asked2("a", json!([]), true)]));
    let hint = "\nhint: `squad2` is the task of files with such questions";
    assert_eq!(failure1(&impossible), format!("has an impossible question {place}: v1.1 has none{hint}"));
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
