//! All shards of one split, read as one stream: the documents one after the other with one `[SEP]` behind each.
//!
//! In: a folder of shards, or a list of prefixes. Out: the stream, from any position. Cost: a binary search over the mapped
//! document indices a read (some 30 lookups for a billion documents), and two numbers of memory a shard.

use super::{with_suffix, Shard, ShardError};
use crate::manifest::{Manifest, MANIFEST_FILE, PARTIAL_DIR};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Which part of the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What a model learns from.
    Train,
    /// What it is measured on.
    Valid,
}

impl Split {
    /// Both, in the order in which they are reported.
    pub const ALL: [Split; 2] = [Split::Train, Split::Valid];

    /// The name, as in `train-00000.idx`.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
        }
    }

    /// The name of a shard of this split: `train-00000`.
    pub(crate) fn shard_name(self, number: usize) -> String {
        format!("{self}-{number:05}")
    }

    /// Whether `name` is a shard of this split: `train-` and digits.
    pub(crate) fn names(self, name: &str) -> bool {
        let digits = name.strip_prefix(self.as_str()).and_then(|rest| rest.strip_prefix('-'));
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

impl fmt::Display for Split {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The shards of one split.
#[derive(Debug)]
pub struct ShardSet {
    shards: Vec<Shard>,
    /// Where each shard starts in the stream, and the end of the last one.
    stream_starts: Vec<u64>,
    num_tokens: u64,
    num_documents: u64,
    vocab_size: Option<u32>,
}

impl ShardSet {
    /// Opens the shards of `split` in `dir`. With a manifest they are the ones it lists, and their sizes and counts and the
    /// range of their tokens are checked against it; without one (data of Megatron-LM) they are the files named
    /// `{split}-NNNNN.idx`, in the order of their numbers.
    ///
    /// # Errors
    /// If there are none, if one of them is invalid or does not match the manifest, or if the folder is left over from an
    /// interrupted preparation.
    pub fn open(dir: &Path, split: Split) -> Result<ShardSet, ShardError> {
        if dir.join(MANIFEST_FILE).exists() {
            let manifest = Manifest::load(dir)?;
            let shards = manifest.open_shards(dir, split)?;
            return Ok(ShardSet::new(shards).with_vocab_size(manifest.tokenizer.vocab_size));
        }
        if dir.join(PARTIAL_DIR).exists() {
            return Err(ShardError::Unfinished { path: dir.to_owned() });
        }
        let prefixes = find_prefixes(dir, split)?;
        if prefixes.is_empty() {
            return Err(ShardError::NoShards { path: dir.to_owned(), split });
        }
        ShardSet::from_prefixes(&prefixes)
    }

    /// Opens the given shards, each a path without `.idx` and `.bin`, in this order.
    ///
    /// # Errors
    /// If one of them is invalid.
    pub fn from_prefixes(prefixes: &[PathBuf]) -> Result<ShardSet, ShardError> {
        let shards: Result<Vec<Shard>, ShardError> = prefixes.iter().map(|prefix| Shard::open(prefix)).collect();
        Ok(ShardSet::new(shards?))
    }

    fn new(shards: Vec<Shard>) -> ShardSet {
        let mut set = ShardSet { stream_starts: vec![0], num_tokens: 0, num_documents: 0, vocab_size: None, shards };
        for shard in &set.shards {
            // Both are bounded by the sizes of real files, so the sums do not overflow.
            set.num_tokens += shard.num_tokens();
            set.num_documents += shard.num_documents();
            set.stream_starts.push(set.num_tokens + set.num_documents);
        }
        set
    }

    /// Refuses tokens from `vocab_size` on when they are read, so that they never reach an embedding.
    #[must_use]
    pub fn with_vocab_size(mut self, vocab_size: u32) -> ShardSet {
        self.vocab_size = Some(vocab_size);
        self
    }

    /// The shards, in stream order.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Number of tokens, separators not counted.
    pub fn num_tokens(&self) -> u64 {
        self.num_tokens
    }

    /// Number of documents.
    pub fn num_documents(&self) -> u64 {
        self.num_documents
    }

    /// Length of the stream: every token, and one separator a document.
    pub fn stream_len(&self) -> u64 {
        self.num_tokens + self.num_documents
    }

    /// Fills `out` with the stream from `position` on, with `sep` behind each document.
    ///
    /// # Errors
    /// If it ends behind the stream, or if a shard is damaged there.
    pub fn read_stream(&self, position: u64, sep: u32, out: &mut [u32]) -> Result<(), ShardError> {
        let end = position.saturating_add(out.len() as u64);
        if end > self.stream_len() {
            return Err(ShardError::StreamOutOfRange { got: end, limit: self.stream_len() });
        }
        let mut filled = 0;
        while filled < out.len() {
            let position = position + filled as u64;
            // The last shard that starts at or before `position`; empty shards start where the next one does.
            let index = self.stream_starts.partition_point(|&start| start <= position) - 1;
            let length = (self.stream_starts[index + 1] - position).min((out.len() - filled) as u64) as usize;
            let run = &mut out[filled..filled + length];
            self.read_shard(&self.shards[index], position, position - self.stream_starts[index], sep, run)?;
            filled += length;
        }
        Ok(())
    }

    /// Fills `out` from one shard, which holds all of it. `position` is the place in the stream, `local` in the shard's part.
    fn read_shard(
        &self,
        shard: &Shard,
        position: u64,
        local: u64,
        sep: u32,
        out: &mut [u32],
    ) -> Result<(), ShardError> {
        let mut document = find_document(shard, local)?;
        let mut start = shard.document_start(document)?;
        // A damaged index may send the search astray; a document that starts behind `local` shows it.
        let mut offset = local.checked_sub(start + document).ok_or_else(|| damaged(shard, document))?;
        let mut filled = 0;
        while filled < out.len() {
            if document >= shard.num_documents() {
                return Err(damaged(shard, document));
            }
            let end = shard.document_start(document + 1)?;
            let length = end.checked_sub(start).ok_or_else(|| damaged(shard, document))?;
            let rest = length.checked_sub(offset).ok_or_else(|| damaged(shard, document))?;
            let count = rest.min((out.len() - filled) as u64) as usize;
            let run = &mut out[filled..filled + count];
            shard.read_tokens(start + offset, run)?;
            self.check_vocabulary(position + filled as u64, run)?;
            filled += count;
            if filled < out.len() {
                out[filled] = sep;
                filled += 1;
            }
            (document, start, offset) = (document + 1, end, 0);
        }
        Ok(())
    }

    fn check_vocabulary(&self, position: u64, tokens: &[u32]) -> Result<(), ShardError> {
        let Some(vocab_size) = self.vocab_size else {
            return Ok(());
        };
        match tokens.iter().position(|&token| token >= vocab_size) {
            None => Ok(()),
            Some(offset) => Err(ShardError::TokenOutOfVocabulary {
                position: position + offset as u64,
                vocab_size,
                got: tokens[offset],
            }),
        }
    }
}

/// The document that holds place `local` of a shard's part of the stream, its separator included: document `d` starts at its
/// first token plus the `d` separators before it, which grows with every document, empty ones too.
fn find_document(shard: &Shard, local: u64) -> Result<u64, ShardError> {
    let (mut low, mut high) = (0, shard.num_documents());
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if shard.document_start(middle)? + middle <= local {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

fn damaged(shard: &Shard, document: u64) -> ShardError {
    ShardError::DocumentStarts { path: with_suffix(shard.prefix(), ".idx"), document }
}

fn find_prefixes(dir: &Path, split: Split) -> Result<Vec<PathBuf>, ShardError> {
    let failed = |source| ShardError::Io { path: dir.to_owned(), source };
    let mut prefixes = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".idx")) else {
            continue;
        };
        if split.names(stem) {
            prefixes.push(dir.join(stem));
        }
    }
    // By number where names have different widths: shorter numbers are smaller.
    prefixes.sort_by_key(|prefix| (prefix.as_os_str().len(), prefix.clone()));
    Ok(prefixes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_names_are_the_split_and_digits() {
        assert_eq!(Split::Valid.shard_name(7), "valid-00007");
        assert_eq!(Split::Train.shard_name(123_456), "train-123456");
        assert!(Split::Train.names("train-00000"));
        for name in ["train-", "train", "valid-00000", "train-0000a", "train--1", "train-0/../x", "xtrain-00000"] {
            assert!(!Split::Train.names(name), "{name}");
        }
    }

    #[test]
    fn sets_can_be_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<ShardSet>();
    }
}
