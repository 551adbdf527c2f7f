//! Texts to tokens: `[CLS] first [SEP]`, or `[CLS] first [SEP] second [SEP]`, cut at a longest length.
//!
//! The same as transformers' fast tokenizer gives with `truncation=True`: of a pair, the longer text loses tokens first. Cost:
//! a few microseconds a sentence, on all cores.

use tokenizers::{EncodeInput, Tokenizer, TruncationParams};

use crate::error::{Error, Result};
use crate::finetune::batch::{Example, Target};
use crate::finetune::glue::{Label, RawExample};

/// Examples that are tokenised at once.
const CHUNK: usize = 1 << 14;

/// Tokenised examples.
#[derive(Debug)]
pub struct Features {
    /// In the order of the examples.
    pub examples: Vec<Example>,
    /// How many were longer than the longest length, and cut.
    pub num_cut: usize,
}

/// The same tokenizer, which gives at most `max_length` tokens and does not pad.
///
/// # Errors
/// As [`features`].
pub(super) fn truncating(tokenizer: &Tokenizer, max_length: usize) -> Result<Tokenizer> {
    const LEAST: usize = 5; // [CLS] a [SEP] b [SEP]
    if max_length < LEAST {
        return Err(Error::config(format!("`task.max_length` must be at least {LEAST}, got {max_length}")));
    }
    let mut tokenizer = tokenizer.clone();
    // The side that loses tokens is the tokenizer's own.
    let direction = tokenizer.get_truncation().map(|found| found.direction).unwrap_or_default();
    tokenizer
        .with_padding(None)
        .with_truncation(Some(TruncationParams { max_length, direction, ..Default::default() }))
        .map_err(failed)?;
    Ok(tokenizer)
}

pub(super) fn failed(error: tokenizers::Error) -> Error {
    Error::failed("the tokenizer fails").caused_by(error)
}

/// Tokenises `examples`, at most `max_length` tokens each.
///
/// # Errors
/// A length that leaves no room for text, and the tokenizer's own.
pub fn features(tokenizer: &Tokenizer, examples: &[RawExample], max_length: usize) -> Result<Features> {
    let tokenizer = truncating(tokenizer, max_length)?;
    let mut found = Features { examples: Vec::with_capacity(examples.len()), num_cut: 0 };
    for chunk in examples.chunks(CHUNK) {
        let inputs: Vec<EncodeInput<'_>> = chunk
            .iter()
            .map(|example| match &example.second {
                Some(second) => (example.first.as_str(), second.as_str()).into(),
                None => example.first.as_str().into(),
            })
            .collect();
        for (encoding, example) in tokenizer.encode_batch(inputs, true).map_err(failed)?.iter().zip(chunk) {
            found.num_cut += usize::from(!encoding.get_overflowing().is_empty());
            found.examples.push(Example {
                token_ids: encoding.get_ids().to_vec(),
                token_types: encoding.get_type_ids().to_vec(),
                target: match example.label {
                    None => Target::Unknown,
                    Some(Label::Class(class)) => Target::Class(class),
                    Some(Label::Score(score)) => Target::Score(score),
                },
            });
        }
    }
    Ok(found)
}
