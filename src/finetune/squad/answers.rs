//! Start and end logits → answers.
//!
//! In: questions, their windows, and two logits a token. Out: [`Prediction`]s in the questions' order. The rules are those of transformers' `utils_qa.py`: a window's
//! candidates pair its `n_best` highest starts with its `n_best` highest ends, both in the context, not in reverse order
//! and not too long; a question keeps the `n_best` candidates of all its windows with the highest sums. In v2.0 one more
//! candidate is "no answer", the sum at [`CLS`] of the window where that is lowest, and it wins when it exceeds the best
//! answer by more than the threshold. Where no candidate has any text, the answer is the word `empty`. Sums are taken in
//! fp32 and ties keep transformers' order of candidates, so that the order is the same.
//!
//! Two rules are ours: equal logits rank by position, where NumPy's `argsort` leaves it open; and logits behind a
//! window's last token, of padding, are not looked at, so that an answer does not depend on what a window was batched
//! with (transformers lets padding take places among the `n_best`, and then drops it).
//!
//! Cost: two sorts a window and at most n_best² candidates, in parallel over questions.

use std::cmp::Ordering;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::question::{Question, Version};
use super::windows::{Window, CLS};
use crate::error::{Error, Result};

/// How answers are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerConfig {
    /// Number of starts, of ends and of candidates that are kept. Default: 20.
    pub n_best: usize,
    /// Longest answer, in tokens. Default: 30.
    pub max_answer_length: usize,
    /// Version 2.0: the result is "no answer" if its score is higher than that of the best answer by more than this. Default: 0.
    pub null_score_diff_threshold: f64,
}

impl Default for AnswerConfig {
    fn default() -> Self {
        Self { n_best: 20, max_answer_length: 30, null_score_diff_threshold: 0.0 }
    }
}

/// One window's logits, one a token; those behind the window's last token are ignored.
#[derive(Clone, Copy, Debug)]
pub struct SpanLogits<'a> {
    /// That the answer starts here.
    pub start: &'a [f32],
    /// That the answer ends here.
    pub end: &'a [f32],
}

/// One possible answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// As it stands in the context; empty for "no answer".
    pub text: String,
    /// Among the candidates that were kept.
    pub probability: f64,
    /// Logit of its first token.
    pub start_logit: f32,
    /// Logit of its last token.
    pub end_logit: f32,
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The question's id.
    pub id: String,
    /// The answer; empty for "no answer".
    pub text: String,
    /// v2.0: the score of "no answer" less that of the best answer.
    pub null_odds: Option<f64>,
    /// The best candidates, best first.
    pub candidates: Vec<Candidate>,
}

/// Chooses an answer to every question; `logits` has one entry a window.
///
/// # Errors
/// When a question has no window, a window has too few logits, or a logit is not finite.
pub fn answers(
    questions: &[Question],
    windows: &[Window],
    logits: &[SpanLogits<'_>],
    version: Version,
    config: &AnswerConfig,
) -> Result<Vec<Prediction>> {
    if config.n_best == 0 || config.max_answer_length == 0 {
        return Err(Error::config("`n_best` and `max_answer_length` must be at least 1"));
    }
    if windows.len() != logits.len() {
        return Err(Error::failed(format!("expected logits of {} windows, got {}", windows.len(), logits.len())));
    }
    let mut of_question: Vec<Vec<(&Window, SpanLogits<'_>)>> = vec![Vec::new(); questions.len()];
    for (window, &logits) in windows.iter().zip(logits) {
        let Some(found) = of_question.get_mut(window.question) else {
            let (index, count) = (window.question, questions.len());
            return Err(Error::failed(format!("a window is of question {index}: expected one of {count}")));
        };
        found.push((window, logits));
    }
    // Results first, then the error: so that it is that of the first question, whichever thread was faster.
    let found: Vec<Result<Prediction>> = questions
        .par_iter()
        .zip(of_question)
        .map(|(question, windows)| choose(question, &windows, version, config))
        .collect();
    found.into_iter().collect()
}

/// A candidate before its text is cut out.
#[derive(Clone, Copy)]
struct Scored {
    /// In bytes of the context; `None` for "no answer".
    bytes: Option<(usize, usize)>,
    start_logit: f32,
    end_logit: f32,
}

impl Scored {
    fn score(&self) -> f32 {
        self.start_logit + self.end_logit
    }
}

fn choose(
    question: &Question,
    windows: &[(&Window, SpanLogits<'_>)],
    version: Version,
    config: &AnswerConfig,
) -> Result<Prediction> {
    let mut found = Vec::new();
    let mut null: Option<Scored> = None;
    for &(window, logits) in windows {
        let start = checked(&question.id, "start", logits.start, window.ids.len())?;
        let end = checked(&question.id, "end", logits.end, window.ids.len())?;
        let at_cls = Scored { bytes: None, start_logit: start[CLS], end_logit: end[CLS] };
        if null.is_none_or(|null| null.score() > at_cls.score()) {
            null = Some(at_cls);
        }
        add_candidates(&mut found, window, start, end, config);
    }
    let Some(null) = null else {
        return Err(Error::failed(format!("question `{}` has no window", question.id)));
    };
    if version == Version::V2 {
        found.push(null);
    }
    found.sort_by(|one, other| by_score(other, one)); // stable: ties stay as they were found
    found.truncate(config.n_best);
    if version == Version::V2 && found.iter().all(|scored| scored.bytes.is_some()) {
        found.push(null);
    }
    let mut candidates = probabilities(&found, &question.context);
    if candidates.iter().all(|candidate| candidate.text.is_empty()) {
        let empty = Scored { bytes: None, start_logit: 0.0, end_logit: 0.0 };
        found.insert(0, empty);
        candidates = probabilities(&found, &question.context);
        candidates[0].text = "empty".into();
    }
    let (text, null_odds) = match (version, candidates.iter().find(|candidate| !candidate.text.is_empty())) {
        (Version::V2, Some(best)) => {
            let odds = f64::from(null.score() - best.start_logit - best.end_logit);
            (if odds > config.null_score_diff_threshold { "" } else { &best.text }, Some(odds))
        }
        _ => (candidates.first().map_or("", |best| best.text.as_str()), None),
    };
    Ok(Prediction { id: question.id.clone(), text: text.into(), null_odds, candidates })
}

/// The logits of a window's own tokens.
fn checked<'a>(id: &str, name: &str, logits: &'a [f32], length: usize) -> Result<&'a [f32]> {
    let Some(logits) = logits.get(..length) else {
        let got = logits.len();
        return Err(Error::failed(format!("question `{id}`: expected {length} {name} logits of a window, got {got}")));
    };
    match logits.iter().position(|logit| !logit.is_finite()) {
        None => Ok(logits),
        Some(position) => Err(Error::not_finite(format!(
            "question `{id}`: expected finite {name} logits, got {} at token {position}",
            logits[position]
        ))
        .hint("the model has diverged: lower the learning rate, or train in bf16 or fp32 instead of fp16")),
    }
}

/// A window's candidates, in transformers' order: by start, then by end, each from the highest logit down.
fn add_candidates(found: &mut Vec<Scored>, window: &Window, start: &[f32], end: &[f32], config: &AnswerConfig) {
    let ends = highest(end, config.n_best);
    for first in highest(start, config.n_best) {
        for &last in &ends {
            if last < first || last - first >= config.max_answer_length {
                continue;
            }
            if let (Some(from), Some(to)) = (window.span(first), window.span(last)) {
                found.push(Scored {
                    bytes: Some((from.bytes.start, to.bytes.end)),
                    start_logit: start[first],
                    end_logit: end[last],
                });
            }
        }
    }
}

/// The positions of the `count` highest logits, highest first.
fn highest(logits: &[f32], count: usize) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..logits.len()).collect();
    positions.sort_by(|&one, &other| logits[other].partial_cmp(&logits[one]).unwrap_or(Ordering::Equal));
    positions.truncate(count);
    positions
}

fn by_score(one: &Scored, other: &Scored) -> Ordering {
    one.score().partial_cmp(&other.score()).unwrap_or(Ordering::Equal)
}

/// Cuts out the texts; softmax over the scores.
fn probabilities(found: &[Scored], context: &str) -> Vec<Candidate> {
    let highest = found.iter().map(|scored| f64::from(scored.score())).fold(f64::NEG_INFINITY, f64::max);
    let weight = |scored: &Scored| (f64::from(scored.score()) - highest).exp();
    let total: f64 = found.iter().map(weight).sum();
    found
        .iter()
        .map(|scored| Candidate {
            text: scored.bytes.and_then(|(start, end)| context.get(start..end)).unwrap_or_default().into(),
            probability: weight(scored) / total,
            start_logit: scored.start_logit,
            end_logit: scored.end_logit,
        })
        .collect()
}
