//! Scores against those of scikit-learn and scipy: tests/fixtures/finetune/make_scores.py.

use serde::de::DeserializeOwned;
use serde_json::Value;
use untie::error::Result;
use untie::finetune::glue::{evaluate, row, Label};
use untie::finetune::scores::{accuracy, f1, macro_f1, matthews, pearson, spearman};
use untie::finetune::task::Task;

const TOLERANCE: f64 = 1e-9;

fn cases(key: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(super::fixture("scores.json")).unwrap();
    let mut fixture: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(fixture[key].take()).unwrap()
}

fn list<T: DeserializeOwned>(case: &Value, key: &str) -> Vec<T> {
    serde_json::from_value(case[key].clone()).unwrap()
}

/// Holds a score against the fixture's, where null stands for NaN.
#[track_caller]
fn hold(case: &Value, name: &str, score: Result<f64>) {
    let score = score.unwrap();
    let close = match &case[name] {
        Value::Null => score.is_nan(),
        expected => (score - expected.as_f64().unwrap()).abs() < TOLERANCE,
    };
    assert!(close, "{name} of {}: expected {}, got {score}", case["name"], case[name]);
}

#[test]
fn scores_of_classes_are_those_of_scikit_learn() {
    let cases = cases("classes");
    assert!(cases.len() > 20);
    for case in &cases {
        let (predictions, labels): (Vec<usize>, Vec<usize>) = (list(case, "predictions"), list(case, "labels"));
        hold(case, "accuracy", accuracy(&predictions, &labels));
        hold(case, "f1", f1(&predictions, &labels));
        hold(case, "macro_f1", macro_f1(&predictions, &labels));
        hold(case, "matthews", matthews(&predictions, &labels));
    }
}

#[test]
fn correlations_are_those_of_scipy() {
    let cases = cases("numbers");
    assert!(cases.iter().filter(|case| case["pearson"].is_null()).count() >= 5);
    for case in &cases {
        let (predictions, labels): (Vec<f64>, Vec<f64>) = (list(case, "predictions"), list(case, "labels"));
        hold(case, "pearson", pearson(&predictions, &labels));
        hold(case, "spearman", spearman(&predictions, &labels));
    }
}

/// `draw` of make_scores.py.
fn draw(num: usize, seed: u64) -> Vec<u64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state >> 32
    };
    (0..num).map(|_| next()).collect()
}

/// As many predictions as QQP has to test, and more than floating point sums can be careless with.
#[test]
fn large_sets_lose_nothing() {
    for case in &cases("large") {
        let drawn = draw(case["n"].as_u64().unwrap() as usize, case["seed"].as_u64().unwrap());
        let labels: Vec<usize> = drawn.iter().map(|value| (value % 3) as usize).collect();
        let guess = |value: &u64| if (value / 9).is_multiple_of(4) { value / 3 % 3 } else { value % 3 } as usize;
        let predictions: Vec<usize> = drawn.iter().map(guess).collect();
        hold(case, "accuracy", accuracy(&predictions, &labels));
        hold(case, "f1", f1(&predictions, &labels));
        hold(case, "macro_f1", macro_f1(&predictions, &labels));
        hold(case, "matthews", matthews(&predictions, &labels));

        let scores: Vec<f64> = drawn.iter().map(|value| (value % 1000) as f64 / 200.0).collect();
        let base = |value: u64| 3.0 + value as f64 / 2f64.powi(31) + (value / 1000 % 1000) as f64 / 100.0;
        let guesses: Vec<f64> = drawn.iter().zip(&scores).map(|(&value, score)| base(value) + score).collect();
        hold(case, "pearson", pearson(&guesses, &scores));
        hold(case, "spearman", spearman(&guesses, &scores));
    }
}

/// The scores of a task, from the functions that were held against scikit-learn above.
#[test]
fn a_task_has_its_scores_by_name() {
    let class = |numbers: &[usize]| numbers.iter().map(|&class| Label::Class(class)).collect::<Vec<_>>();
    let (predictions, labels) = ([1, 1, 0, 0, 1], [1, 0, 0, 0, 1]);
    let scores = evaluate(row(Task::Qqp).unwrap(), &class(&predictions), &class(&labels)).unwrap();
    // 2 true positives, 1 false positive: 0.8 right.
    assert_eq!(scores.keys().copied().collect::<Vec<_>>(), ["accuracy", "f1", "mean"]);
    assert!((scores["accuracy"] - 0.8).abs() + (scores["f1"] - 0.8).abs() + (scores["mean"] - 0.8).abs() < 1e-15);

    let score = |numbers: &[f64]| numbers.iter().map(|&score| Label::Score(score)).collect::<Vec<_>>();
    let scores = evaluate(row(Task::Stsb).unwrap(), &score(&[1.0, 2.0, 4.0]), &score(&[1.0, 2.0, 3.0])).unwrap();
    // Covariance 3, variances 14/3 and 2; the ranks are equal.
    let expected = 3.0 / (28.0 / 3.0_f64).sqrt();
    assert!((scores["pearson"] - expected).abs() < 1e-15 && (scores["spearman"] - 1.0).abs() < 1e-15);
    assert!((scores["mean"] - (1.0 + expected) / 2.0).abs() < 1e-15);

    let error = evaluate(row(Task::Stsb).unwrap(), &score(&[f64::NAN, 1.0]), &score(&[1.0, 2.0])).unwrap_err();
    assert_eq!(error.to_string(), "prediction 0 is NaN: expected a finite number");
    let error = evaluate(row(Task::Rte).unwrap(), &score(&[1.0]), &class(&[1])).unwrap_err();
    assert_eq!(error.to_string(), "expected a class, got the score 1");
}
