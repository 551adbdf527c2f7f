//! Scores are those of transformers' `squad_metrics`.

use std::collections::BTreeMap;

use serde::Deserialize;
use untie::finetune::squad::score::{normalize, question_score};
use untie::finetune::squad::{evaluate, Answer, Prediction, Question};

use super::expected;

#[derive(Deserialize)]
struct Expected {
    /// Reference answers, prediction, null odds, exact match, F1.
    rows: Vec<(Vec<String>, String, f64, f64, f64)>,
    evaluations: Vec<Evaluation>,
    normal: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Evaluation {
    subset: String,
    odds: bool,
    threshold: f64,
    scores: BTreeMap<String, f64>,
}

fn question(number: usize, answers: &[String]) -> Question {
    Question {
        id: number.to_string(),
        title: "".into(),
        question: "why?".into(),
        context: "".into(),
        answers: answers.iter().map(|text| Answer { text: text.clone(), start: 0 }).collect(),
        is_impossible: answers.is_empty(),
    }
}

fn prediction(number: usize, text: &str, null_odds: Option<f64>) -> Prediction {
    Prediction { id: number.to_string(), text: text.into(), null_odds, candidates: Vec::new() }
}

#[test]
fn normal_forms_are_those_of_the_official_script() {
    let expected: Expected = expected("squad-scores.json");
    assert!(expected.normal.len() > 400);
    for (text, normal) in &expected.normal {
        assert_eq!(&normalize(text), normal, "{text:?}");
    }
}

#[test]
fn a_thousand_predictions_score_as_in_squad_metrics() {
    let expected: Expected = expected("squad-scores.json");
    assert_eq!(expected.rows.len(), 1000);
    let mut fractions = 0;
    for (references, text, _, exact, f1) in &expected.rows {
        let score = question_score(references.iter().map(String::as_str), text);
        assert_eq!(score.exact, *exact, "{references:?} {text:?}");
        assert!((score.f1 - f1).abs() < 1e-12, "{references:?} {text:?}: {} {f1}", score.f1);
        fractions += usize::from(*f1 > 0.0 && *f1 < 1.0);
    }
    assert!(fractions > 100, "{fractions}");
}

#[test]
fn means_and_best_thresholds_are_those_of_squad_evaluate() {
    let expected: Expected = expected("squad-scores.json");
    let mut largest: f64 = 0.0;
    assert_eq!(expected.evaluations.len(), 12);
    for case in &expected.evaluations {
        let chosen = |references: &[String]| match case.subset.as_str() {
            "answerable" => !references.is_empty(),
            "impossible" => references.is_empty(),
            _ => true,
        };
        let rows = || expected.rows.iter().enumerate().filter(|(_, row)| chosen(&row.0));
        let questions: Vec<Question> = rows().map(|(number, row)| question(number, &row.0)).collect();
        let mut predictions: Vec<Prediction> =
            rows().map(|(number, row)| prediction(number, &row.1, case.odds.then_some(row.2))).collect();
        predictions.reverse(); // their order is of no account
        let scores = evaluate(&questions, &predictions, case.threshold).unwrap();
        let official: BTreeMap<String, f64> = scores.official().into_iter().collect();
        let names = |scores: &BTreeMap<String, f64>| scores.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&official), names(&case.scores));
        for (name, value) in &case.scores {
            largest = largest.max((official[name] - value).abs());
            assert!((official[name] - value).abs() < 1e-9, "{} {name}: {} {value}", case.subset, official[name]);
        }
        assert_eq!(scores.questions.len(), questions.len());
    }
    println!("largest difference {largest:e}");
}

/// By hand: two of three words of the prediction are two of two words of the answer, F1 = 2·(2/3·1)/(2/3 + 1) = 0.8.
#[test]
fn f1_by_hand() {
    let score = question_score(["The red boat."], "a RED, boat sank");
    assert_eq!(score.exact, 0.0);
    assert!((score.f1 - 0.8).abs() < 1e-15);
    assert_eq!(question_score(["x"], "").f1, 0.0);
    assert_eq!(question_score([], "the").exact, 1.0);
}

#[test]
fn predictions_that_do_not_fit_the_questions_are_named() {
    let questions = [question(1, &["one".into()]), question(2, &[])];
    let (one, two) = (prediction(1, "one", Some(-1.0)), prediction(2, "", Some(1.0)));
    let failure = |questions: &[Question], predictions: &[Prediction]| {
        evaluate(questions, predictions, f64::INFINITY).unwrap_err().report()
    };
    assert!(evaluate(&questions, &[one.clone(), two.clone()], f64::INFINITY).is_ok());
    assert_eq!(failure(&questions, std::slice::from_ref(&one)), "error: question `2` has no prediction");
    assert_eq!(failure(&questions, &[one.clone(), one.clone()]), "error: question `1` has two predictions");
    let report = failure(&questions[..1], &[one.clone(), two]);
    assert_eq!(report, "error: expected predictions of the file's questions only, got one of `2`");
    let report = failure(&questions, &[one, prediction(2, "", Some(f64::NAN))]);
    assert_eq!(report, "error: question `2`: expected null odds, got NaN");
    assert_eq!(failure(&[], &[]), "error: there is no question to score");
}
