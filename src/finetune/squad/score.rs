//! Exact match and F1.
//!
//! In: questions with their reference answers, and predictions. Out: [`Scores`] as fractions; [`Scores::official`] has
//! the official names and percent. They are those of `squad_evaluate` in the `squad_metrics` of transformers 4.x, which
//! is the official `evaluate-v2.0.py` for both versions of SQuAD. (`evaluate-v1.1.py` differs only where a text is
//! nothing but articles and punctuation: there such a reference answer counts, and its F1 is 0.)
//!
//! A text is compared in lower case, without ASCII punctuation, without the words `a`, `an` and `the`, its white space
//! normalised; a question's score is the best over its reference answers. Cost: linear in the texts, and one sort of
//! the odds.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::answers::Prediction;
use super::python;
use super::question::Question;
use crate::error::{Error, Result};

/// The normal form in which answers are compared.
pub fn normalize(text: &str) -> String {
    let plain: String = text.to_lowercase().chars().filter(|character| !character.is_ascii_punctuation()).collect();
    let mut kept = String::with_capacity(plain.len());
    let mut rest = plain.as_str();
    while let Some(first) = rest.chars().next() {
        // A run of word characters, or one of others: `\b` stands only between them, so that an article that the
        // official expression `\b(a|an|the)\b` finds is always a whole run.
        let is_word = python::is_word(first);
        let end = rest.find(|character| python::is_word(character) != is_word).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(end);
        kept.push_str(if matches!(run, "a" | "an" | "the") { " " } else { run });
        rest = behind;
    }
    python::split(&kept).collect::<Vec<_>>().join(" ")
}

/// How good one answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuestionScore {
    /// 1 when it equals a reference answer, else 0.
    pub exact: f64,
    /// The highest F1 of its words with those of a reference answer.
    pub f1: f64,
}

/// The score of `prediction`, given the reference answers; none, or none with any word, means "no answer".
pub fn question_score<'a>(references: impl IntoIterator<Item = &'a str>, prediction: &str) -> QuestionScore {
    let mut references: Vec<String> =
        references.into_iter().map(normalize).filter(|reference| !reference.is_empty()).collect();
    if references.is_empty() {
        references.push(String::new());
    }
    let prediction = normalize(prediction);
    references.iter().fold(QuestionScore::default(), |best, reference| QuestionScore {
        exact: best.exact.max(f64::from(u8::from(*reference == prediction))),
        f1: best.f1.max(f1(reference, &prediction)),
    })
}

/// F1 of the words of two normal forms.
fn f1(reference: &str, prediction: &str) -> f64 {
    if reference.is_empty() || prediction.is_empty() {
        return f64::from(u8::from(reference == prediction));
    }
    let mut unmatched: HashMap<&str, usize> = HashMap::new();
    let mut num_references = 0;
    for word in reference.split(' ') {
        *unmatched.entry(word).or_default() += 1;
        num_references += 1;
    }
    let (mut num_predicted, mut num_same) = (0, 0);
    for word in prediction.split(' ') {
        num_predicted += 1;
        if let Some(count) = unmatched.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            num_same += 1;
        }
    }
    if num_same == 0 {
        return 0.0;
    }
    let precision = f64::from(num_same) / f64::from(num_predicted);
    let recall = f64::from(num_same) / f64::from(num_references);
    2.0 * precision * recall / (precision + recall)
}

/// Mean scores of some questions, as fractions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// Exact match.
    pub exact: f64,
    /// F1.
    pub f1: f64,
    /// How many questions.
    pub total: usize,
}

impl Mean {
    fn of(scores: &[QuestionScore]) -> Option<Self> {
        let total = scores.len();
        let mean = |value: fn(&QuestionScore) -> f64| scores.iter().map(value).sum::<f64>() / total as f64;
        (total > 0).then(|| Self { exact: mean(|score| score.exact), f1: mean(|score| score.f1), total })
    }
}

/// The best mean that any null threshold gives, as a fraction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// The mean.
    pub score: f64,
    /// Questions whose odds exceed this are left without answer.
    pub threshold: f64,
}

/// The scores of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Of every question, in their order, before the threshold.
    pub questions: Vec<QuestionScore>,
    /// Over all questions.
    pub all: Mean,
    /// Over those with an answer.
    pub has_answer: Option<Mean>,
    /// Over the impossible ones.
    pub no_answer: Option<Mean>,
    /// Exact match with its best threshold.
    pub best_exact: Best,
    /// F1 with its best threshold.
    pub best_f1: Best,
}

impl Scores {
    /// The names and numbers of the official script: scores in percent.
    pub fn official(&self) -> Vec<(String, f64)> {
        let mut named = Vec::new();
        let groups = [("", Some(self.all)), ("HasAns_", self.has_answer), ("NoAns_", self.no_answer)];
        for (prefix, mean) in groups.into_iter().filter_map(|(prefix, mean)| Some((prefix, mean?))) {
            named.push((format!("{prefix}exact"), 100.0 * mean.exact));
            named.push((format!("{prefix}f1"), 100.0 * mean.f1));
            named.push((format!("{prefix}total"), mean.total as f64));
        }
        for (name, best) in [("best_exact", self.best_exact), ("best_f1", self.best_f1)] {
            named.push((name.into(), 100.0 * best.score));
            named.push((format!("{name}_thresh"), best.threshold));
        }
        named
    }
}

/// Scores `predictions`, one a question in any order. A question whose null odds exceed `threshold` counts as answered
/// with "no answer", as `--na-prob-thresh` of the official script does; odds that are not there count as 0. Infinity
/// takes the predictions as they are.
///
/// Among questions of equal odds the best threshold depends on their order: it is that of `questions`, as in the files
/// that [`write_predictions`](super::write_predictions) writes.
///
/// # Errors
/// When there is no question, when a question has no prediction or two, when a prediction is of no question, and when
/// odds are NaN.
pub fn evaluate(questions: &[Question], predictions: &[Prediction], threshold: f64) -> Result<Scores> {
    let mut of_id: HashMap<&str, &Prediction> = HashMap::with_capacity(predictions.len());
    for prediction in predictions {
        let id = &prediction.id;
        if of_id.insert(id, prediction).is_some() {
            return Err(Error::data(format!("question `{id}` has two predictions")));
        }
        if prediction.null_odds.is_some_and(f64::is_nan) {
            return Err(Error::data(format!("question `{id}`: expected null odds, got NaN")));
        }
    }
    let mut answered = Vec::with_capacity(questions.len());
    for question in questions {
        let Some(prediction) = of_id.remove(question.id.as_str()) else {
            return Err(Error::data(format!("question `{}` has no prediction", question.id)));
        };
        let references = question.answers.iter().map(|answer| answer.text.as_str());
        answered.push(Answered {
            has_answer: !question.answers.is_empty(),
            is_predicted: !prediction.text.is_empty(),
            odds: prediction.null_odds.unwrap_or(0.0),
            score: question_score(references, &prediction.text),
        });
    }
    if let Some(id) = of_id.keys().min() {
        return Err(Error::data(format!("expected predictions of the file's questions only, got one of `{id}`")));
    }
    let means = |wanted: &dyn Fn(&Answered) -> bool| {
        let chosen = answered.iter().filter(|answered| wanted(answered));
        Mean::of(&chosen.map(|answered| answered.with_threshold(threshold)).collect::<Vec<_>>())
    };
    let all = means(&|_| true).ok_or_else(|| Error::data("there is no question to score"))?;
    let mut by_odds: Vec<&Answered> = answered.iter().collect();
    by_odds.sort_by(|one, other| one.odds.partial_cmp(&other.odds).unwrap_or(Ordering::Equal)); // stable
    Ok(Scores {
        all,
        has_answer: means(&|answered| answered.has_answer),
        no_answer: means(&|answered| !answered.has_answer),
        best_exact: best(&by_odds, |score| score.exact),
        best_f1: best(&by_odds, |score| score.f1),
        questions: answered.iter().map(|answered| answered.score).collect(),
    })
}

/// A question with its prediction's score.
struct Answered {
    has_answer: bool,
    is_predicted: bool,
    odds: f64,
    score: QuestionScore,
}

impl Answered {
    fn with_threshold(&self, threshold: f64) -> QuestionScore {
        if self.odds <= threshold {
            return self.score;
        }
        let right = f64::from(u8::from(!self.has_answer));
        QuestionScore { exact: right, f1: right }
    }
}

/// Starts with every question unanswered, answers one after the other from the lowest odds up, and keeps the best sum.
fn best(by_odds: &[&Answered], value: fn(&QuestionScore) -> f64) -> Best {
    let mut sum = by_odds.iter().filter(|answered| !answered.has_answer).count() as f64;
    let (mut highest, mut threshold) = (sum, 0.0);
    for answered in by_odds {
        sum += match (answered.has_answer, answered.is_predicted) {
            (true, _) => value(&answered.score),
            (false, true) => -1.0,
            (false, false) => 0.0,
        };
        if sum > highest {
            (highest, threshold) = (sum, answered.odds);
        }
    }
    Best { score: highest / by_odds.len() as f64, threshold }
}
