//! Words to tokens, with the tag of a word on its first token, as transformers' run_ner.py does by default.

use tokenizers::{EncodeInput, InputSequence, Tokenizer, TruncationParams};

use crate::error::{Error, Result};
use crate::finetune::batch::{Example, Target};
use crate::finetune::custom::TaggedWords;

/// A tokenised sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct TaggedExample {
    /// As a model reads it; its target has a tag for the first token of each word.
    pub example: Example,
    /// The first token of each word; none for words behind the longest length, and for words without a token.
    pub firsts: Vec<Option<usize>>,
}

/// Tokenises sentences, at most `max_length` tokens each, and counts those that are cut.
///
/// # Errors
/// The tokenizer's own.
pub fn word_features(
    tokenizer: &Tokenizer,
    sentences: &[TaggedWords],
    max_length: usize,
) -> Result<(Vec<TaggedExample>, usize)> {
    let failed = |error: tokenizers::Error| Error::failed("the tokenizer fails").caused_by(error);
    let mut tokenizer = tokenizer.clone();
    let cut = TruncationParams { max_length, ..Default::default() };
    tokenizer.with_padding(None).with_truncation(Some(cut)).map_err(failed)?;
    let inputs: Vec<EncodeInput<'_>> =
        sentences.iter().map(|sentence| EncodeInput::Single(InputSequence::from(sentence.words.clone()))).collect();
    let mut num_cut = 0;
    let encodings = tokenizer.encode_batch(inputs, true).map_err(failed)?;
    let examples = encodings.iter().zip(sentences).map(|(encoding, sentence)| {
        num_cut += usize::from(!encoding.get_overflowing().is_empty());
        let mut firsts = vec![None; sentence.words.len()];
        for (token, word) in encoding.get_word_ids().iter().enumerate() {
            if let Some(first) = word.and_then(|word| firsts.get_mut(word as usize)) {
                first.get_or_insert(token);
            }
        }
        let target = match &sentence.tags {
            None => Target::Unknown,
            Some(tags) => {
                let mut of_tokens = vec![None; encoding.get_ids().len()];
                for (first, tag) in firsts.iter().zip(tags) {
                    if let Some(first) = *first {
                        of_tokens[first] = Some(*tag);
                    }
                }
                Target::Tags(of_tokens)
            }
        };
        let example =
            Example { token_ids: encoding.get_ids().to_vec(), token_types: encoding.get_type_ids().to_vec(), target };
        TaggedExample { example, firsts }
    });
    let examples = examples.collect();
    Ok((examples, num_cut))
}
