//! One split in, its counts out: every token is read once, in parallel over runs of documents.
//!
//! Memory: 8 bytes a document for its hash (1 GB for 125 million documents), a count a token of the vocabulary and the longest
//! sequence on each thread.

use super::lengths::Lengths;
use crate::pipeline::Progress;
use crate::shard::{with_suffix, Shard, ShardError, ShardSet};
use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3Default;

/// A run of documents for one thread has about this many tokens.
const RUN_TOKENS: u64 = 1 << 20;

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// How often each token occurs, by id.
    pub tokens: Vec<u64>,
    pub documents: Lengths,
    pub sequences: Lengths,
    /// Hash of the tokens of each document, in no order.
    pub hashes: Vec<u64>,
}

/// Documents `first` to `end` of a shard.
struct Run<'a> {
    shard: &'a Shard,
    first: u64,
    end: u64,
}

pub(super) fn scan(set: &ShardSet, vocab_size: u32, progress: &dyn Progress) -> Result<Scan, ShardError> {
    let mut runs = Vec::new();
    set.shards().iter().for_each(|shard| shard.will_be_read(true));
    for piece in set.pieces() {
        let shard = &set.shards()[piece.shard];
        let share = u128::from(shard.num_documents()) * u128::from(RUN_TOKENS) / u128::from(shard.num_tokens().max(1));
        let step = u64::try_from(share).unwrap_or(u64::MAX).clamp(1, RUN_TOKENS);
        let mut first = piece.documents.start;
        while first < piece.documents.end {
            let end = piece.documents.end.min(first + step);
            runs.push(Run { shard, first, end });
            first = end;
        }
    }
    let empty = || Scan { tokens: vec![0; vocab_size as usize], ..Scan::default() };
    runs.par_iter()
        .try_fold(empty, |mut scan, run| {
            let tokens = scan.read(run)?;
            progress.advance(tokens * run.shard.token_type().size() as u64);
            Ok(scan)
        })
        .try_reduce(empty, |left, right| Ok(left.merge(right)))
}

impl Scan {
    /// Reads a run of documents; the number of their tokens.
    fn read(&mut self, run: &Run) -> Result<u64, ShardError> {
        let mut total = 0;
        for document in run.first..run.end {
            let start = run.shard.document_start(document)?;
            // `document_start` has checked that both lie in order within the shard.
            let sequences = run.shard.document_index(document)..run.shard.document_index(document + 1);
            let (mut length, mut hasher) = (0, Xxh3Default::new());
            for sequence in sequences {
                let tokens = run.shard.sequence(sequence.unsigned_abs())?;
                for (offset, &token) in tokens.iter().enumerate() {
                    let Some(count) = self.tokens.get_mut(token as usize) else {
                        return Err(ShardError::TokenOutOfVocabulary {
                            path: with_suffix(run.shard.prefix(), ".bin"),
                            position: start + length + offset as u64,
                            vocab_size: self.tokens.len() as u32,
                            got: token,
                        });
                    };
                    *count += 1;
                }
                for piece in tokens.chunks(HASH_TOKENS) {
                    let mut bytes = [0; 4 * HASH_TOKENS];
                    for (place, token) in bytes.chunks_exact_mut(4).zip(piece) {
                        place.copy_from_slice(&token.to_le_bytes());
                    }
                    hasher.update(&bytes[..4 * piece.len()]);
                }
                self.sequences.add(tokens.len() as u64);
                length += tokens.len() as u64;
            }
            self.documents.add(length);
            self.hashes.push(hasher.digest());
            total += length;
        }
        Ok(total)
    }

    fn merge(mut self, other: Scan) -> Scan {
        for (count, more) in self.tokens.iter_mut().zip(other.tokens) {
            *count += more;
        }
        self.documents.merge(other.documents);
        self.sequences.merge(other.sequences);
        self.hashes.extend(other.hashes);
        self
    }
}

/// Tokens hashed at a time.
const HASH_TOKENS: usize = 256;
