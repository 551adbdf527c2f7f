//! Pairs of segments: next-sentence prediction (Devlin et al. 2018, §3.1) and sentence-order prediction (Lan et al. 2019).
//!
//! In: a chunk of consecutive sentences of one document ([`untie_data::pair_index`]), and the random stream of the sample.
//! Out: `[CLS]` A `[SEP]` B `[SEP]` `[PAD]` … of T tokens. Cost: O(T), and a few lookups in the index.
//!
//! A is the first sentences of the chunk, 1 to all but one of them, each number as likely. B is the rest. With probability ½
//!
//! - NSP: B is replaced by sentences of another document, each document and each start in it as likely, until A and B have the
//!   target length of the chunk. The replaced sentences are not seen in this epoch (as Megatron-LM; Google's script
//!   begins its next chunk with them);
//! - SOP: A and B change places.
//!
//! What is longer than T − 3 tokens is cut: a token at a time from the longer segment, at its front or its end with
//! probability ½ (Google's `truncate_seq_pair`); both numbers are computed, not looped for.

use std::ops::Range;
use std::path::Path;

use untie_data::pair_index::{ChunkPlan, PairIndex};
use untie_data::shard::{ShardError, ShardSet, Split};
use untie_data::wordpiece::SpecialTokens;

use crate::batch::config::{DataConfig, Objective};
use crate::batch::random::SampleRandom;
use crate::batch::vocabulary::shard_error;
use crate::error::{Error, Result};

/// The pairs of a split.
#[derive(Debug)]
pub struct Pairs {
    index: PairIndex,
    /// Whether B is replaced (NSP) and not swapped (SOP).
    replaces: bool,
}

/// What a sequence holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Tokens of `[CLS]` A `[SEP]`.
    pub first: usize,
    /// Tokens of these and B `[SEP]`; the rest is padding.
    pub length: usize,
    /// 0 where B follows A, else 1.
    pub label: i64,
}

/// A run of tokens of one shard.
#[derive(Clone, Debug)]
struct Segment {
    shard: usize,
    tokens: Range<u64>,
}

impl Segment {
    fn len(&self) -> u64 {
        self.tokens.end - self.tokens.start
    }

    /// Cuts it to `length` tokens, each lost one at the front or at the end.
    fn trim(&mut self, length: u64, random: &mut SampleRandom) {
        self.tokens.start += random.heads(self.len() - length);
        self.tokens.end = self.tokens.start + length;
    }
}

impl Pairs {
    /// The pairs of `shards`, which are `split` of `dir`.
    ///
    /// # Errors
    /// Damaged shards, no document of two sentences, and for NSP no two documents.
    pub fn open(dir: &Path, config: &DataConfig, split: Split, shards: &ShardSet) -> Result<Self> {
        let max_tokens = config.sequence_length - config.num_special_tokens();
        let plan = ChunkPlan { max_tokens: max_tokens as u32, short_rate: config.short_sequence_rate };
        let index = PairIndex::open(dir, split, shards, plan).map_err(shard_error)?;
        if index.is_empty() {
            return Err(Error::data(format!(
                "`{}`: pairs need documents of at least two sentences, the {split} split has none",
                dir.display()
            ))
            .hint("prepare the data with `--sentences` (Megatron-LM: `--split-sentences`), or set `data.objective` to `mlm`"));
        }
        let replaces = config.objective == Objective::MlmNsp;
        if replaces && index.num_full_documents() < 2 {
            return Err(Error::data(format!(
                "`{}`: `mlm+nsp` needs at least two documents, the {split} split has {}",
                dir.display(),
                index.num_full_documents()
            ))
            .hint("prepare more text, hold out a larger fraction, or set `data.objective` to `mlm+sop`"));
        }
        Ok(Self { index, replaces })
    }

    /// Number of pairs.
    pub fn num_pairs(&self) -> u64 {
        self.index.len()
    }

    /// Fills `ids` with pair `number`, below [`Self::num_pairs`].
    ///
    /// # Errors
    /// A shard that is damaged there.
    pub fn read(
        &self,
        shards: &ShardSet,
        special: &SpecialTokens,
        number: u64,
        random: &mut SampleRandom,
        ids: &mut [u32],
    ) -> std::result::Result<Pair, ShardError> {
        let chunk = self.index.chunk(number);
        let (shard, document) = shards.find_document(chunk.document)?;
        let start = shards.shards()[shard].document_sequences(document)?.start + chunk.first_sentence;
        let middle = start + 1 + u64::from(random.below(chunk.num_sentences.saturating_sub(1).max(1)));
        let end = start + u64::from(chunk.num_sentences);
        let segment = |sentences| Ok(Segment { shard, tokens: shards.shards()[shard].token_range(sentences)? });
        let (mut one, mut two) = (segment(start..middle)?, segment(middle..end)?);
        let label = random.below(2);
        if label == 1 && self.replaces {
            two = elsewhere(shards, chunk.document, u64::from(chunk.target).saturating_sub(one.len()), random)?;
        } else if label == 1 {
            (one, two) = (two, one);
        }
        let lengths = fit(one.len(), two.len(), ids.len() as u64 - 3);
        one.trim(lengths[0], random);
        two.trim(lengths[1], random);

        let first = one.len() as usize + 2;
        let length = first + two.len() as usize + 1;
        ids[0] = special.cls;
        shards.read_tokens(one.shard, one.tokens.start, &mut ids[1..first - 1])?;
        ids[first - 1] = special.sep;
        shards.read_tokens(two.shard, two.tokens.start, &mut ids[first..length - 1])?;
        ids[length - 1] = special.sep;
        ids[length..].fill(special.pad);
        Ok(Pair { first, length, label: i64::from(label) })
    }
}

/// Sentences of a random document other than `own`, from a random one on, until they have `wanted` tokens or the document
/// ends; at least one token, for which it is drawn again where there is none.
fn elsewhere(
    shards: &ShardSet,
    own: u64,
    wanted: u64,
    random: &mut SampleRandom,
) -> std::result::Result<Segment, ShardError> {
    loop {
        let other = random.below_wide(shards.num_documents() - 1);
        let (shard, document) = shards.find_document(other + u64::from(other >= own))?;
        let reader = &shards.shards()[shard];
        let sentences = reader.document_sequences(document)?;
        if sentences.is_empty() {
            continue;
        }
        let first = sentences.start + random.below_wide(sentences.end - sentences.start);
        let mut tokens = reader.token_range(first..first + 1)?;
        for end in first + 2..=sentences.end {
            if tokens.end - tokens.start >= wanted {
                break;
            }
            tokens = reader.token_range(first..end)?;
        }
        if !tokens.is_empty() {
            return Ok(Segment { shard, tokens });
        }
    }
}

/// What is left of `one` and `two` tokens when the longer one, of equals the second, loses a token until they have `limit`
/// together.
fn fit(one: u64, two: u64, limit: u64) -> [u64; 2] {
    let half = limit.div_ceil(2);
    if one + two <= limit {
        [one, two]
    } else if one <= half {
        [one, limit - one]
    } else if two <= limit - half {
        [limit - two, two]
    } else {
        [half, limit - half]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loop of Google's `truncate_seq_pair`, literally.
    fn truncated(mut one: u64, mut two: u64, limit: u64) -> [u64; 2] {
        while one + two > limit {
            if one > two {
                one -= 1;
            } else {
                two -= 1;
            }
        }
        [one, two]
    }

    #[test]
    fn lengths_are_those_of_the_loop() {
        for limit in 2..12 {
            for one in 0..25 {
                for two in 0..25 {
                    assert_eq!(fit(one, two, limit), truncated(one, two, limit), "{one} {two} {limit}");
                }
            }
        }
    }
}
