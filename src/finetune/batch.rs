//! Tokenised examples to the tensors of a micro-batch.
//!
//! Sequences are padded to the longest of them, rounded up to a multiple of eight. Padding is hidden from attention and from
//! the loss, so that the result for an example does not depend on the others.

use tch::{Device, Tensor};

use crate::batch::place;
use crate::error::{Error, Result};
use crate::model::Input;

/// Lengths are multiples of this, so that there are few shapes to make kernels for.
const MULTIPLE: usize = 8;

/// An example as a model reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Its tokens, special ones included.
    pub token_ids: Vec<u32>,
    /// The segment of each token.
    pub token_types: Vec<u32>,
    /// What is to be predicted.
    pub target: Target,
}

/// What is to be predicted for an example.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// Nobody knows: test sets.
    Unknown,
    /// A class, from 0.
    Class(usize),
    /// A number.
    Score(f64),
    /// The positions of the first and last token of an answer.
    Span {
        /// First.
        start: usize,
        /// Last.
        end: usize,
    },
    /// A class for some of the tokens, as many as there are.
    Tags(Vec<Option<usize>>),
}

impl Target {
    /// Tokens that have a class.
    pub fn num_tags(&self) -> usize {
        match self {
            Self::Tags(tags) => tags.iter().flatten().count(),
            _ => 0,
        }
    }
}

/// The class of tokens that count nowhere; libtorch's and transformers' number.
pub const IGNORED: i64 = -100;

/// The targets of a micro-batch.
#[derive(Debug)]
pub enum Targets {
    /// None.
    Unknown,
    /// int64 `[B]`.
    Classes(Tensor),
    /// float32 `[B]`.
    Scores(Tensor),
    /// int64 `[B]` of starts and `[B]` of ends.
    Spans(Tensor, Tensor),
    /// int64 [B, T], [`IGNORED`] for tokens without one.
    Tags(Tensor),
}

/// A micro-batch on its device: B examples of T tokens.
#[derive(Debug)]
pub struct TaskBatch {
    /// int64 [B, T].
    token_ids: Tensor,
    /// int64 [B, T].
    token_types: Tensor,
    /// int64 [B, T], 1 for tokens; none: no padding.
    pub attention_mask: Option<Tensor>,
    /// int64 `[B]`; none: no dropout.
    pub dropout_keys: Option<Tensor>,
    /// What is to be predicted.
    pub targets: Targets,
}

impl TaskBatch {
    /// The `examples`, padded with token `padding`; `dropout_keys` has one for each, or none.
    ///
    /// # Errors
    /// Targets of several kinds, and memory that cannot be had.
    pub fn new(examples: &[&Example], dropout_keys: &[i64], padding: u32, device: Device) -> Result<Self> {
        let longest = examples.iter().map(|example| example.token_ids.len()).max().unwrap_or(0);
        let length = longest.next_multiple_of(MULTIPLE);
        let shape = [examples.len() as i64, length as i64];
        let rows = |row: &dyn Fn(&Example) -> Vec<i64>, rest: i64| -> Result<Tensor> {
            let mut all = Vec::with_capacity(examples.len() * length);
            for (at, example) in examples.iter().enumerate() {
                all.extend(row(example));
                all.resize((at + 1) * length, rest);
            }
            place(Tensor::f_from_slice(&all)?.f_view(shape)?, device)
        };
        let widen = |values: &[u32]| values.iter().map(|&value| i64::from(value)).collect();
        let is_padded = examples.iter().any(|example| example.token_ids.len() < length);
        let mask = || rows(&|example| vec![1; example.token_ids.len()], 0);
        let has_keys = !dropout_keys.is_empty();
        Ok(Self {
            token_ids: rows(&|example| widen(&example.token_ids), i64::from(padding))?,
            token_types: rows(&|example| widen(&example.token_types), 0)?,
            attention_mask: if is_padded { Some(mask()?) } else { None },
            dropout_keys: if has_keys { Some(place(Tensor::f_from_slice(dropout_keys)?, device)?) } else { None },
            targets: targets(examples, length, device)?,
        })
    }

    /// What an encoder reads of it.
    pub fn input(&self) -> Input<'_> {
        Input {
            token_types: Some(&self.token_types),
            attention_mask: self.attention_mask.as_ref(),
            dropout_keys: self.dropout_keys.as_ref(),
            ..Input::full(&self.token_ids)
        }
    }
}

fn targets(examples: &[&Example], length: usize, device: Device) -> Result<Targets> {
    let integers = |of: &dyn Fn(&Target) -> Option<usize>| -> Result<Tensor> {
        let values: Option<Vec<i64>> =
            examples.iter().map(|example| of(&example.target).map(|value| value as i64)).collect();
        place(Tensor::f_from_slice(&values.ok_or_else(mixed)?)?, device)
    };
    let class = |target: &Target| match target {
        Target::Class(class) => Some(*class),
        _ => None,
    };
    let edge = |target: &Target, is_start: bool| match target {
        Target::Span { start, end } => Some(if is_start { *start } else { *end }),
        _ => None,
    };
    Ok(match examples.first().map(|example| &example.target) {
        None | Some(Target::Unknown) => Targets::Unknown,
        Some(Target::Class(_)) => Targets::Classes(integers(&class)?),
        Some(Target::Span { .. }) => {
            Targets::Spans(integers(&|target| edge(target, true))?, integers(&|target| edge(target, false))?)
        }
        Some(Target::Tags(_)) => {
            let mut all = Vec::with_capacity(examples.len() * length);
            for (at, example) in examples.iter().enumerate() {
                let Target::Tags(tags) = &example.target else { return Err(mixed()) };
                all.extend(tags.iter().map(|tag| tag.map_or(IGNORED, |tag| tag as i64)));
                all.resize((at + 1) * length, IGNORED);
            }
            Targets::Tags(place(Tensor::f_from_slice(&all)?.f_view([examples.len() as i64, length as i64])?, device)?)
        }
        Some(Target::Score(_)) => {
            let score = |example: &&Example| match example.target {
                Target::Score(score) => Ok(score as f32),
                _ => Err(mixed()),
            };
            let scores: Vec<f32> = examples.iter().map(score).collect::<Result<_>>()?;
            Targets::Scores(place(Tensor::f_from_slice(&scores)?, device)?)
        }
    })
}

fn mixed() -> Error {
    Error::failed("the examples of a batch have targets of several kinds")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(length: u32, target: Target) -> Example {
        Example { token_ids: (1..=length).collect(), token_types: vec![1; length as usize], target }
    }

    #[test]
    fn shorter_examples_are_padded_and_hidden() {
        let examples = [example(3, Target::Class(1)), example(9, Target::Class(0))];
        let batch = TaskBatch::new(&[&examples[0], &examples[1]], &[7, 8], 5, Device::Cpu).unwrap();
        assert_eq!(batch.token_ids.size(), [2, 16]);
        let ids = Vec::<Vec<i64>>::try_from(&batch.token_ids).unwrap();
        assert_eq!(ids[0], [1, 2, 3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]);
        let mask =
            Vec::<i64>::try_from(batch.attention_mask.as_ref().unwrap().sum_dim_intlist(1, false, None)).unwrap();
        assert_eq!(mask, [3, 9]);
        let whole = example(8, Target::Unknown);
        assert!(TaskBatch::new(&[&whole], &[], 0, Device::Cpu).unwrap().attention_mask.is_none());
    }

    #[test]
    fn a_batch_has_targets_of_one_kind() {
        let examples = [example(3, Target::Class(1)), example(3, Target::Score(1.0))];
        let error = TaskBatch::new(&[&examples[0], &examples[1]], &[], 0, Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("several kinds"), "{error}");
    }
}
