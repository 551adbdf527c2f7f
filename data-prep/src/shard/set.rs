//! All shards of one split, read as one stream: the documents one after the other with separators behind each.
//!
//! In: a folder of shards, or a list of prefixes. Out: the stream, from any position. Cost: a binary search over the mapped
//! document indices a read (some 30 lookups for a billion documents), and a few numbers of memory a shard, or where documents
//! are held out of it ([`super::foreign`]), one of these.

use super::{foreign, natural_order, with_suffix, Shard, ShardError, Split};
use crate::manifest::{Manifest, MANIFEST_FILE, PARTIAL_DIR};
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Consecutive documents of one shard that are all of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of the shard among [`ShardSet::shards`].
    pub shard: usize,
    /// Its documents, by their numbers there.
    pub documents: Range<u64>,
}

/// The shards of one split.
#[derive(Debug)]
pub struct ShardSet {
    shards: Vec<Shard>,
    /// The documents of the split.
    pieces: Vec<Piece>,
    /// What lies before each piece, and all there is at the end.
    starts: Vec<Start>,
    vocab_size: Option<u32>,
    held_out: Option<Share>,
}

/// How documents were held out of shards without a held-out part of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// The fraction that was asked for.
    pub fraction: f64,
    /// Documents that are held out.
    pub documents: u64,
    /// Documents that there are.
    pub of: u64,
}

impl fmt::Display for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.documents as f64 / self.of.max(1) as f64;
        write!(formatter, "{} of {} documents ({percent:.2} %), by the hash of their tokens", self.documents, self.of)
    }
}

/// Tokens and documents before a place.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    tokens: u64,
    documents: u64,
}

impl Start {
    /// The place in a stream with `num_separators` behind each document. Both counts are bounded by the sizes of real files.
    fn in_stream(self, num_separators: usize) -> u64 {
        self.tokens.saturating_add(self.documents.saturating_mul(num_separators as u64))
    }
}

impl ShardSet {
    /// The fraction of the documents that is held out where nothing else is said.
    pub const VALID_FRACTION: f64 = 0.01;

    /// As [`Self::open_with`], with the fraction [`Self::VALID_FRACTION`].
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(dir: &Path, split: Split) -> Result<ShardSet, ShardError> {
        ShardSet::open_with(dir, split, ShardSet::VALID_FRACTION)
    }

    /// Opens the shards of `split` in `dir`. With a manifest they are the ones it lists, and their sizes and counts and the
    /// range of their tokens are checked against it; without one they are the files named `{split}-NNNNN.idx`, in the order of
    /// their numbers. Else they are files of Megatron-LM by their own names, in `dir` or, where `dir` is no folder, with this
    /// prefix; where their names say no split, `valid_fraction` of their documents is held out.
    ///
    /// # Errors
    /// If there are none, if one of them is invalid or does not match the manifest, or if the folder is left over from an
    /// interrupted preparation.
    pub fn open_with(dir: &Path, split: Split, valid_fraction: f64) -> Result<ShardSet, ShardError> {
        if dir.join(MANIFEST_FILE).exists() {
            let manifest = Manifest::load(dir)?;
            let shards = manifest.open_shards(dir, split)?;
            return Ok(ShardSet::new(shards)?.with_vocab_size(manifest.tokenizer.vocab_size));
        }
        if dir.join(PARTIAL_DIR).exists() {
            return Err(ShardError::Unfinished { path: dir.to_owned() });
        }
        let mut names = if dir.is_dir() { shard_names(dir)? } else { Vec::new() };
        if names.is_empty() {
            let files = foreign::find(dir, split)?;
            let set = ShardSet::from_prefixes(&files.prefixes)?;
            let set = if files.is_split { set } else { set.part(split, valid_fraction)? };
            return set.or_none(dir, split);
        }
        names.retain(|name| split.names(name));
        natural_order(&mut names);
        let prefixes: Vec<PathBuf> = names.iter().map(|name| dir.join(name)).collect();
        ShardSet::from_prefixes(&prefixes)?.or_none(dir, split)
    }

    /// Opens the given shards, each a path without `.idx` and `.bin`, in this order.
    ///
    /// # Errors
    /// If one of them is invalid.
    pub fn from_prefixes(prefixes: &[PathBuf]) -> Result<ShardSet, ShardError> {
        let shards: Result<Vec<Shard>, ShardError> = prefixes.iter().map(|prefix| Shard::open(prefix)).collect();
        ShardSet::new(shards?)
    }

    fn new(shards: Vec<Shard>) -> Result<ShardSet, ShardError> {
        let whole = |(number, shard): (usize, &Shard)| Piece { shard: number, documents: 0..shard.num_documents() };
        let pieces = shards.iter().enumerate().map(whole).collect();
        ShardSet::of_pieces(shards, pieces)
    }

    fn of_pieces(shards: Vec<Shard>, pieces: Vec<Piece>) -> Result<ShardSet, ShardError> {
        let mut starts = vec![Start::default()];
        let mut end = Start::default();
        for Piece { shard, documents } in &pieces {
            let shard = &shards[*shard];
            let tokens = if *documents == (0..shard.num_documents()) {
                shard.num_tokens()
            } else {
                let [from, to] = [documents.start, documents.end].map(|document| shard.document_start(document));
                let (from, to) = (from?, to?);
                to.checked_sub(from).ok_or_else(|| damaged(shard, documents.start))?
            };
            // Both are bounded by the sizes of real files, so the sums do not overflow.
            end = Start { tokens: end.tokens + tokens, documents: end.documents + (documents.end - documents.start) };
            starts.push(end);
        }
        Ok(ShardSet { shards, pieces, starts, vocab_size: None, held_out: None })
    }

    /// What `fraction` holds out, for `valid`, or for `train` the rest.
    fn part(self, split: Split, fraction: f64) -> Result<ShardSet, ShardError> {
        let held_out = foreign::held_out(&self.shards, fraction)?;
        let documents = held_out.iter().map(|documents| documents.len() as u64).sum();
        let share = Share { fraction, documents, of: self.num_documents() };
        let mut pieces = Vec::new();
        for (number, (shard, held_out)) in self.shards.iter().zip(held_out.iter()).enumerate() {
            let mut add = |documents: Range<u64>| {
                if !documents.is_empty() {
                    pieces.push(Piece { shard: number, documents });
                }
            };
            match split {
                Split::Valid => held_out.iter().for_each(|&document| add(document..document + 1)),
                Split::Train => {
                    let mut next = 0;
                    for &document in held_out {
                        add(next..document);
                        next = document + 1;
                    }
                    add(next..shard.num_documents());
                }
            }
        }
        Ok(ShardSet { held_out: Some(share), ..ShardSet::of_pieces(self.shards, pieces)? })
    }

    /// This set, unless the split has no shards.
    fn or_none(self, dir: &Path, split: Split) -> Result<ShardSet, ShardError> {
        if self.pieces.is_empty() {
            return Err(ShardError::NoShards { path: dir.to_owned(), split });
        }
        Ok(self)
    }

    /// All there is.
    fn end(&self) -> Start {
        self.starts[self.pieces.len()]
    }

    /// Refuses tokens from `vocab_size` on when they are read, so that they never reach an embedding.
    #[must_use]
    pub fn with_vocab_size(mut self, vocab_size: u32) -> ShardSet {
        self.vocab_size = Some(vocab_size);
        self
    }

    /// The shards, in stream order. Not all of their documents need be of this split.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The documents of the split, in stream order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// How documents were held out, if the files had no held-out part of their own.
    pub fn held_out(&self) -> Option<Share> {
        self.held_out
    }

    /// [`Shard::check_sizes`] of each.
    ///
    /// # Errors
    /// A file that was changed in place since it was opened.
    pub fn check_sizes(&self) -> Result<(), ShardError> {
        self.shards.iter().try_for_each(Shard::check_sizes)
    }

    /// Number of tokens, separators not counted.
    pub fn num_tokens(&self) -> u64 {
        self.end().tokens
    }

    /// Number of documents.
    pub fn num_documents(&self) -> u64 {
        self.end().documents
    }

    /// Length of the stream: every token, and `num_separators` a document.
    pub fn stream_len(&self, num_separators: usize) -> u64 {
        self.end().in_stream(num_separators)
    }

    /// The document of the split that holds place `position` of the stream, the separators behind it included.
    ///
    /// # Errors
    /// If the stream ends before, or if a shard is damaged there.
    pub fn document_at(&self, position: u64, num_separators: usize) -> Result<u64, ShardError> {
        let limit = self.stream_len(num_separators);
        if position >= limit {
            return Err(ShardError::StreamOutOfRange { got: position, limit });
        }
        let index = self.piece_at(position, num_separators);
        let Piece { shard, documents } = &self.pieces[index];
        let (shard, num_separators) = (&self.shards[*shard], num_separators as u64);
        let start = self.starts[index];
        let local = position - start.in_stream(num_separators as usize);
        let local = local + shard.document_start(documents.start)? + num_separators * documents.start;
        let found = find_document(shard, documents.clone(), local, num_separators)?;
        Ok(start.documents + found - documents.start)
    }

    /// The last piece that starts at or before `position`; empty ones start where the next one does.
    fn piece_at(&self, position: u64, num_separators: usize) -> usize {
        self.starts.partition_point(|start| start.in_stream(num_separators) <= position) - 1
    }

    /// Fills `out` with the stream from `position` on, with `separators` behind each document.
    ///
    /// # Errors
    /// If it ends behind the stream, or if a shard is damaged there.
    pub fn read_stream(&self, position: u64, separators: &[u32], out: &mut [u32]) -> Result<(), ShardError> {
        let (end, limit) = (position.saturating_add(out.len() as u64), self.stream_len(separators.len()));
        if end > limit {
            return Err(ShardError::StreamOutOfRange { got: end, limit });
        }
        let mut filled = 0;
        while filled < out.len() {
            let position = position + filled as u64;
            let index = self.piece_at(position, separators.len());
            let [start, end] = [index, index + 1].map(|at| self.starts[at].in_stream(separators.len()));
            let length = (end - position).min((out.len() - filled) as u64) as usize;
            self.read_piece(index, position - start, separators, &mut out[filled..filled + length])?;
            filled += length;
        }
        Ok(())
    }

    /// Fills `out` from one piece, which holds all of it, from the place `local` of its part of the stream on.
    fn read_piece(&self, index: usize, local: u64, separators: &[u32], out: &mut [u32]) -> Result<(), ShardError> {
        let Piece { shard: number, documents } = &self.pieces[index];
        let shard = &self.shards[*number];
        let num_separators = separators.len() as u64;
        // The place in a stream of the whole shard.
        let local = local + shard.document_start(documents.start)? + num_separators * documents.start;
        let mut document = find_document(shard, documents.clone(), local, num_separators)?;
        let mut start = shard.document_start(document)?;
        // A damaged index may send the search astray; a document that starts behind `local` shows it.
        let mut offset =
            local.checked_sub(start + num_separators * document).ok_or_else(|| damaged(shard, document))?;
        let mut filled = 0;
        while filled < out.len() {
            if document >= documents.end {
                return Err(damaged(shard, document));
            }
            let end = shard.document_start(document + 1)?;
            let length = end.checked_sub(start).ok_or_else(|| damaged(shard, document))?;
            if offset > length + num_separators {
                return Err(damaged(shard, document));
            }
            let count = length.saturating_sub(offset).min((out.len() - filled) as u64) as usize;
            self.read_tokens(*number, start + offset.min(length), &mut out[filled..filled + count])?;
            filled += count;
            // All of them behind its tokens; where the run starts among them, the rest.
            let separators = &separators[offset.saturating_sub(length) as usize..];
            let count = separators.len().min(out.len() - filled);
            out[filled..filled + count].copy_from_slice(&separators[..count]);
            filled += count;
            (document, start, offset) = (document + 1, end, 0);
        }
        Ok(())
    }

    /// Fills `out` with the tokens of shard `shard`, one of [`Self::shards`], from its token `start` on.
    ///
    /// # Errors
    /// If they end behind the shard's last token, or if one is not in the vocabulary.
    pub fn read_tokens(&self, shard: usize, start: u64, out: &mut [u32]) -> Result<(), ShardError> {
        self.shards[shard].read_tokens(start, out)?;
        self.check_vocabulary(shard, start, out)
    }

    /// Where document `document` of the split is: the number of its shard, and its own number there.
    ///
    /// # Errors
    /// If there is no such document.
    pub fn find_document(&self, document: u64) -> Result<(usize, u64), ShardError> {
        if document >= self.num_documents() {
            return Err(ShardError::DocumentOutOfRange { got: document, limit: self.num_documents() });
        }
        let index = self.starts.partition_point(|start| start.documents <= document) - 1;
        let Piece { shard, documents } = &self.pieces[index];
        Ok((*shard, documents.start + document - self.starts[index].documents))
    }

    fn check_vocabulary(&self, shard: usize, start: u64, tokens: &[u32]) -> Result<(), ShardError> {
        let Some(vocab_size) = self.vocab_size else {
            return Ok(());
        };
        match tokens.iter().position(|&token| token >= vocab_size) {
            None => Ok(()),
            Some(offset) => Err(ShardError::TokenOutOfVocabulary {
                path: with_suffix(self.shards[shard].prefix(), ".bin"),
                position: start + offset as u64,
                vocab_size,
                got: tokens[offset],
            }),
        }
    }
}

/// The document that holds place `local` of a shard's part of the stream, its separators included: document `d` starts at its
/// first token plus the separators of the `d` documents before it, which grows with every document, empty ones too.
fn find_document(shard: &Shard, documents: Range<u64>, local: u64, num_separators: u64) -> Result<u64, ShardError> {
    let (mut low, mut high) = (documents.start, documents.end);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if shard.document_start(middle)? + num_separators * middle <= local {
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

/// Names of the shards of either split, without `.idx`.
fn shard_names(dir: &Path) -> Result<Vec<String>, ShardError> {
    let failed = |source| ShardError::Io { path: dir.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".idx")) else { continue };
        if Split::ALL.iter().any(|split| split.names(stem)) {
            names.push(stem.to_owned());
        }
    }
    Ok(names)
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
