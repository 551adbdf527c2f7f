//! Answers are those that transformers' `utils_qa.py` chooses from the same logits.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;
use serde_json::Value;
use untie::finetune::squad::{
    answers, windows, write_predictions, AnswerConfig, Prediction, Question, SpanLogits, Version, Window, WindowConfig,
};

use super::{expected, tiny, tiny_tokenizer};

#[derive(Deserialize)]
struct Expected {
    max_length: usize,
    stride: usize,
    logits: Vec<(Vec<f32>, Vec<f32>)>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    version: u8,
    n_best: usize,
    max_answer_length: usize,
    threshold: f64,
    predictions: BTreeMap<String, String>,
    null_odds: BTreeMap<String, f64>,
    nbest: BTreeMap<String, Vec<(String, f64, f32, f32)>>,
}

struct Setup {
    questions: Vec<Question>,
    windows: Vec<Window>,
    expected: Expected,
}

impl Setup {
    fn new() -> Self {
        let expected: Expected = expected("squad-answers.json");
        let kept = |index: usize| index == 0 || index >= 6; // as make_squad.py keeps them
        let questions: Vec<Question> = tiny(Version::V2)
            .into_iter()
            .enumerate()
            .filter(|(index, _)| kept(*index))
            .map(|(_, question)| question)
            .collect();
        let config = WindowConfig { max_length: expected.max_length, stride: expected.stride };
        let windows = windows(&tiny_tokenizer(), &questions, &config, false).unwrap();
        Self { questions, windows, expected }
    }

    fn answers(&self, case: &Case) -> Vec<Prediction> {
        let logits = pairs(&self.expected.logits);
        let (version, config) = settings(case);
        answers(&self.questions, &self.windows, &logits, version, &config).unwrap()
    }

    fn failure(&self, change: impl Fn(&mut Vec<(Vec<f32>, Vec<f32>)>)) -> String {
        let mut logits = self.expected.logits.clone();
        change(&mut logits);
        let (version, config) = (Version::V2, AnswerConfig::default());
        answers(&self.questions, &self.windows, &pairs(&logits), version, &config).unwrap_err().report()
    }
}

fn pairs(logits: &[(Vec<f32>, Vec<f32>)]) -> Vec<SpanLogits<'_>> {
    logits.iter().map(|(start, end)| SpanLogits { start, end }).collect()
}

fn settings(case: &Case) -> (Version, AnswerConfig) {
    let version = if case.version == 1 { Version::V1 } else { Version::V2 };
    let (n_best, max_answer_length) = (case.n_best, case.max_answer_length);
    (version, AnswerConfig { n_best, max_answer_length, null_score_diff_threshold: case.threshold })
}

#[test]
fn answers_and_n_best_are_those_of_utils_qa() {
    let setup = Setup::new();
    let (mut candidates, mut empty, mut unanswered) = (0, 0, 0);
    for case in &setup.expected.cases {
        let found = setup.answers(case);
        assert_eq!(found.len(), case.predictions.len());
        for (prediction, question) in found.iter().zip(&setup.questions) {
            let id = &prediction.id;
            let name = format!("v{} n_best {} `{id}`", case.version, case.n_best);
            assert_eq!(id, &question.id);
            assert_eq!(prediction.text, case.predictions[id], "{name}");
            assert_eq!(prediction.null_odds, case.null_odds.get(id).copied(), "{name}");
            empty += usize::from(prediction.candidates[0].text == "empty");
            unanswered += usize::from(prediction.text.is_empty());
            // Of the longest lists only some are in the fixture.
            let Some(expected) = case.nbest.get(id) else { continue };
            assert_eq!(prediction.candidates.len(), expected.len(), "{name}");
            for (candidate, (text, probability, start_logit, end_logit)) in prediction.candidates.iter().zip(expected) {
                assert_eq!(
                    (&candidate.text, candidate.start_logit, candidate.end_logit),
                    (text, *start_logit, *end_logit),
                    "{name}"
                );
                // The reference takes its softmax in fp32.
                assert!((candidate.probability - probability).abs() < 1e-6, "{name}: {candidate:?}, {probability}");
                candidates += 1;
            }
        }
    }
    println!("{candidates} candidates compared");
    assert!(candidates > 400 && empty > 0 && unanswered > 5, "{candidates} {empty} {unanswered}");
}

#[test]
fn padding_is_not_looked_at() {
    let setup = Setup::new();
    let mut padded = setup.expected.logits.clone();
    for (start, end) in &mut padded {
        start.resize(start.len() + 7, 1e6);
        end.resize(end.len() + 7, f32::NAN);
    }
    for case in &setup.expected.cases {
        let (version, config) = settings(case);
        let found = answers(&setup.questions, &setup.windows, &pairs(&padded), version, &config).unwrap();
        assert_eq!(found, setup.answers(case));
    }
}

/// All logits equal: the lowest positions, in the order in which pairs are found.
#[test]
fn ties_rank_by_position() {
    let setup = Setup::new();
    let even: Vec<_> =
        setup.windows.iter().map(|window| (vec![0.0; window.ids.len()], vec![0.0; window.ids.len()])).collect();
    let config = AnswerConfig { n_best: 400, ..AnswerConfig::default() };
    let found = answers(&setup.questions, &setup.windows, &pairs(&even), Version::V1, &config).unwrap();
    let first = setup.windows[0].span(setup.windows[0].context().start).unwrap();
    assert_eq!(found[0].text, setup.questions[0].context[first.bytes.clone()]);
    let probability = 1.0 / found[0].candidates.len() as f64;
    assert!(found[0].candidates.iter().all(|candidate| (candidate.probability - probability).abs() < 1e-12));
}

#[test]
fn the_files_hold_what_the_official_scripts_read() {
    let setup = Setup::new();
    let case = &setup.expected.cases[1];
    assert_eq!(case.version, 2);
    let found = setup.answers(case);
    let folder = tempfile::tempdir().unwrap();
    write_predictions(folder.path(), &found).unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let predictions: BTreeMap<String, String> = serde_json::from_str(&read("predictions.json")).unwrap();
    assert_eq!(predictions, case.predictions);
    let odds: BTreeMap<String, f64> = serde_json::from_str(&read("null_odds.json")).unwrap();
    assert_eq!(odds, case.null_odds);
    let nbest: BTreeMap<String, Vec<BTreeMap<String, Value>>> =
        serde_json::from_str(&read("nbest_predictions.json")).unwrap();
    assert_eq!(nbest.len(), found.len());
    for prediction in &found {
        let first = &nbest[&prediction.id][0];
        let keys: Vec<&str> = first.keys().map(String::as_str).collect();
        assert_eq!(keys, ["end_logit", "probability", "start_logit", "text"]);
        assert_eq!(first["text"], prediction.candidates[0].text);
        assert_eq!(first["start_logit"], f64::from(prediction.candidates[0].start_logit));
    }
    // In the questions' order, on which ties of the best threshold depend.
    let text = read("null_odds.json");
    let places: Vec<usize> = setup.questions.iter().map(|one| text.find(&format!("\"{}\"", one.id)).unwrap()).collect();
    assert!(places.is_sorted());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);

    let without = tempfile::tempdir().unwrap();
    write_predictions(without.path(), &setup.answers(&setup.expected.cases[0])).unwrap();
    assert!(!without.path().join("null_odds.json").exists());
    let error = write_predictions(&without.path().join("nowhere"), &found).unwrap_err();
    assert!(error.report().starts_with("error: cannot write `"), "{}", error.report());
}

#[test]
fn logits_that_are_not_numbers_are_named() {
    let setup = Setup::new();
    let report = setup.failure(|logits| logits[1].0[3] = f32::NAN);
    assert!(
        report.starts_with("error: question `tiny-01`: expected finite start logits, got NaN at token 3\nhint: "),
        "{report}"
    );
    let report = setup.failure(|logits| logits[0].1[7] = f32::INFINITY);
    assert!(report.contains("question `tiny-01`: expected finite end logits, got inf at token 7"), "{report}");
    // Of several the first question's, whichever thread was faster.
    let report = setup.failure(|logits| logits.iter_mut().for_each(|pair| pair.0[0] = f32::NAN));
    assert!(report.contains("`tiny-01`"), "{report}");
}

#[test]
fn logits_that_do_not_fit_the_windows_are_named() {
    let setup = Setup::new();
    let count = setup.windows.len();
    let report = setup.failure(|logits| drop(logits.pop()));
    assert_eq!(report, format!("error: expected logits of {count} windows, got {}", count - 1));
    let report = setup.failure(|logits| {
        logits[2].1.pop();
    });
    assert!(report.contains("expected 48 end logits of a window, got 47"), "{report}");

    let logits = pairs(&setup.expected.logits);
    let (version, config) = (Version::V2, AnswerConfig::default());
    let fewer = answers(&setup.questions[..2], &setup.windows, &logits, version, &config).unwrap_err();
    assert!(fewer.report().contains("expected one of 2"), "{}", fewer.report());
    let none = answers(&setup.questions, &[], &[], version, &config).unwrap_err();
    assert_eq!(none.report(), "error: question `tiny-01` has no window");
    let config = AnswerConfig { n_best: 0, ..config };
    let error = answers(&setup.questions, &setup.windows, &logits, version, &config).unwrap_err();
    assert_eq!((error.exit_code(), error.report().contains("`n_best`")), (2, true));
}
