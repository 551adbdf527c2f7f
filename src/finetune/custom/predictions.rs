//! What a model puts out for texts, as a person reads it.

use serde::Serialize;

use super::Outputs;
use crate::error::{Error, Result};
use crate::finetune::glue::Label;
use crate::finetune::loss::Output;

/// What a model predicts for one text: a line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Prediction {
    /// The class with the highest probability, the first of equals.
    Class {
        /// Its word.
        label: String,
        /// Its number.
        #[serde(skip)]
        class: usize,
        /// Its probability, in [0, 1]: softmax of the logits.
        probability: f64,
    },
    /// A number.
    Number {
        /// As the model puts it out.
        score: f64,
    },
}

impl Prediction {
    /// As the scores compare it.
    pub fn as_label(&self) -> Label {
        match *self {
            Self::Class { class, .. } => Label::Class(class),
            Self::Number { score } => Label::Score(score),
        }
    }
}

/// The predictions of `outputs`, in their order.
///
/// # Errors
/// Outputs that are not finite, or not as many as there are classes.
pub fn predictions(of: &Outputs, outputs: &[Output]) -> Result<Vec<Prediction>> {
    outputs.iter().enumerate().map(|(at, output)| prediction(of, at, output)).collect()
}

fn prediction(of: &Outputs, at: usize, output: &Output) -> Result<Prediction> {
    let Output::Logits(logits) = output else { return Err(Error::failed("expected logits")) };
    check_finite(at, logits)?;
    let words = match of {
        Outputs::Number => return Ok(Prediction::Number { score: f64::from(logits[0]) }),
        Outputs::Classes(words) => words,
    };
    let best = best(logits);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - logits[best]).exp()).sum();
    let label = words.get(best).cloned().ok_or_else(|| Error::failed("a model with more outputs than labels"))?;
    Ok(Prediction::Class { label, class: best, probability: 1.0 / sum })
}

/// A sentence with the tags that a model predicts: a line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaggedSentence {
    /// As many as words; null for words behind the longest length.
    pub tags: Vec<Option<String>>,
}

/// The tags of sentences whose words have their first tokens at `firsts`.
///
/// # Errors
/// As [`predictions`].
pub fn tagged(tags: &[String], firsts: &[Vec<Option<usize>>], outputs: &[Output]) -> Result<Vec<TaggedSentence>> {
    let sentence = |(at, (firsts, output)): (usize, (&Vec<Option<usize>>, &Output))| {
        let Output::Tags(logits) = output else { return Err(Error::failed("expected logits of tokens")) };
        check_finite(at, logits)?;
        let tag = |token: usize| tags[best(&logits[token * tags.len()..][..tags.len()])].clone();
        Ok(TaggedSentence { tags: firsts.iter().map(|first| first.map(tag)).collect() })
    };
    firsts.iter().zip(outputs).enumerate().map(sentence).collect()
}

/// The place of the largest, the first of equals.
fn best(logits: &[f32]) -> usize {
    (0..logits.len()).rev().max_by(|&one, &other| logits[one].total_cmp(&logits[other])).unwrap_or(0)
}

fn check_finite(at: usize, logits: &[f32]) -> Result<()> {
    match logits.iter().find(|logit| !logit.is_finite()) {
        Some(wrong) => Err(Error::not_finite(format!("the model's output for example {at} is {wrong}"))
            .hint("the run has diverged: take a lower learning rate")),
        None => Ok(()),
    }
}

/// Predictions as JSON, a line each.
///
/// # Errors
/// A number that JSON does not have.
pub fn lines(predictions: &[impl Serialize]) -> Result<Vec<String>> {
    let line = |prediction| {
        let line = serde_json::to_string(prediction);
        line.map_err(|error| Error::failed("a prediction has no JSON form").caused_by(error))
    };
    predictions.iter().map(line).collect()
}
