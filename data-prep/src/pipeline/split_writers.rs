//! Tokens in, shards of both splits out.
//!
//! In: documents in the order of the corpus. Out: `train-NNNNN` and `valid-NNNNN`, each ended when it is full. At any document
//! the state can be written down ([`SplitWriters::checkpoint`]) and gone on from. Cost: as two [`ShardWriter`]s.

use super::PrepareError;
use crate::manifest::{Counts, ShardEntry};
use crate::shard::foreign::is_held_out;
use crate::shard::{Checkpoint, ShardWriter, Split, TokenType};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Which documents are held out: those whose hash, as a fraction of all hashes, is small. The choice depends on nothing but
/// a document's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct HoldOut {
    /// Documents below this fraction are held out; 0: none.
    pub(super) fraction: f64,
    /// The smallest hash so far: should the fraction hold nothing out, that document is.
    smallest: Option<u64>,
}

impl HoldOut {
    pub(super) fn new(fraction: f64) -> HoldOut {
        HoldOut { fraction, smallest: None }
    }

    /// The same for another fraction.
    pub(super) fn with_fraction(self, fraction: f64) -> HoldOut {
        HoldOut { fraction, ..self }
    }

    /// Sees the hash of every document before the first question.
    pub(super) fn see(&mut self, hash: u64) {
        self.smallest = Some(self.smallest.map_or(hash, |smallest| smallest.min(hash)));
    }

    /// The split of the next document.
    pub(super) fn split(&mut self, hash: u64) -> Split {
        if is_held_out(hash, self.fraction) {
            return Split::Valid;
        }
        if self.fraction > 0.0 && self.smallest == Some(hash) {
            // One of several equal documents is enough.
            self.smallest = None;
            return Split::Valid;
        }
        Split::Train
    }
}

/// A document that was tokenised.
pub(super) struct Tokenised {
    /// Hash of its text.
    pub(super) hash: u64,
    pub(super) ids: Vec<u32>,
    /// Lengths of its sequences, which add up to `ids`.
    pub(super) lengths: Vec<usize>,
}

/// What is safely on disk of both splits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SplitWritersState {
    train: SplitState,
    valid: SplitState,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SplitState {
    shards: Vec<ShardEntry>,
    open: Option<Checkpoint>,
}

/// Writes documents to the shards of both splits.
pub(super) struct SplitWriters {
    train: SplitWriter,
    valid: SplitWriter,
}

impl SplitWriters {
    pub(super) fn resume(
        dir: &Path,
        token_type: TokenType,
        shard_tokens: u64,
        state: SplitWritersState,
    ) -> Result<SplitWriters, PrepareError> {
        let writer = |split, state| SplitWriter::resume(dir.to_owned(), split, token_type, shard_tokens, state);
        Ok(SplitWriters { train: writer(Split::Train, state.train)?, valid: writer(Split::Valid, state.valid)? })
    }

    pub(super) fn push(&mut self, document: &Tokenised, split: Split) -> Result<(), PrepareError> {
        match split {
            Split::Train => self.train.push(document),
            Split::Valid => self.valid.push(document),
        }
    }

    pub(super) fn checkpoint(&mut self) -> Result<SplitWritersState, PrepareError> {
        Ok(SplitWritersState { train: self.train.checkpoint()?, valid: self.valid.checkpoint()? })
    }

    /// Ends the last shards; returns all of them, `train` first.
    pub(super) fn finish(self) -> Result<Vec<ShardEntry>, PrepareError> {
        let mut shards = self.train.finish()?;
        let valid = self.valid.finish()?;
        if shards.is_empty() && !valid.is_empty() {
            return Err(match valid.iter().map(|shard| shard.counts.documents).sum() {
                1 => PrepareError::TooFewDocuments { num_documents: 1 },
                num_documents => PrepareError::NoTraining { num_documents },
            });
        }
        shards.extend(valid);
        Ok(shards)
    }
}

/// Writes the shards of one split, one after the other.
struct SplitWriter {
    dir: PathBuf,
    split: Split,
    token_type: TokenType,
    shard_tokens: u64,
    open: Option<ShardWriter>,
    shards: Vec<ShardEntry>,
}

impl SplitWriter {
    fn resume(
        dir: PathBuf,
        split: Split,
        token_type: TokenType,
        shard_tokens: u64,
        SplitState { shards, open }: SplitState,
    ) -> Result<SplitWriter, PrepareError> {
        let prefix = dir.join(split.shard_name(shards.len()));
        let open = open.map(|from| ShardWriter::resume(&prefix, token_type, from)).transpose()?;
        Ok(SplitWriter { dir, split, token_type, shard_tokens, open, shards })
    }

    fn checkpoint(&mut self) -> Result<SplitState, PrepareError> {
        let open = self.open.as_mut().map(ShardWriter::checkpoint).transpose()?;
        Ok(SplitState { shards: self.shards.clone(), open })
    }

    fn push(&mut self, document: &Tokenised) -> Result<(), PrepareError> {
        let prefix = self.dir.join(self.split.shard_name(self.shards.len()));
        let mut writer = match self.open.take() {
            Some(writer) => writer,
            None => ShardWriter::create(&prefix, self.token_type)?,
        };
        let mut rest = document.ids.as_slice();
        let sequences: Vec<&[u32]> = document
            .lengths
            .iter()
            .map(|&length| {
                let (sequence, behind) = rest.split_at(length);
                rest = behind;
                sequence
            })
            .collect();
        writer.push_document(&sequences)?;
        if writer.num_tokens() >= self.shard_tokens {
            self.close(writer)
        } else {
            self.open = Some(writer);
            Ok(())
        }
    }

    fn close(&mut self, writer: ShardWriter) -> Result<(), PrepareError> {
        let written = writer.finish()?;
        self.shards.push(ShardEntry {
            name: self.split.shard_name(self.shards.len()),
            split: self.split,
            token_type: self.token_type,
            counts: Counts {
                documents: written.num_documents,
                sequences: written.num_sequences,
                tokens: written.num_tokens,
            },
            bin: written.bin,
            idx: written.idx,
        });
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<ShardEntry>, PrepareError> {
        if let Some(writer) = self.open.take() {
            self.close(writer)?;
        }
        Ok(self.shards)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_hashes_are_held_out_and_else_the_smallest() {
        let mut hold_out = HoldOut::new(0.25);
        let hashes = [u64::MAX / 8, u64::MAX / 3, u64::MAX / 2];
        hashes.iter().for_each(|&hash| hold_out.see(hash));
        assert_eq!(hashes.map(|hash| hold_out.split(hash)), [Split::Valid, Split::Train, Split::Train]);

        let mut hold_out = HoldOut::new(0.01);
        hashes.iter().for_each(|&hash| hold_out.see(hash));
        assert_eq!(hashes.map(|hash| hold_out.split(hash)), [Split::Valid, Split::Train, Split::Train]);

        // Of equal documents one.
        let mut hold_out = HoldOut::new(0.01);
        hold_out.see(hashes[1]);
        assert_eq!([hashes[1]; 3].map(|hash| hold_out.split(hash)), [Split::Valid, Split::Train, Split::Train]);

        let mut hold_out = HoldOut::new(0.0);
        hashes.iter().for_each(|&hash| hold_out.see(hash));
        assert_eq!(hashes.map(|hash| hold_out.split(hash)), [Split::Train; 3]);
    }
}
