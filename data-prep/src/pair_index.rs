//! The chunks of which a split's segment pairs are made: runs of consecutive sentences of one document.
//!
//! In: shards with one sequence a sentence, and the length that a pair may have. Out: chunk i, whatever i. Cost: one walk over
//! the sentence lengths, once; then 24 bytes of a mapped file a chunk (some 30 million for Wikipedia and books at 128 tokens).
//!
//! Sentences of a document are gathered until they have the target length, as in Megatron-LM's `build_mapping` for BERT: a
//! chunk has at least two sentences, and does not end where one sentence of the document would be left alone. Documents of one
//! sentence have no chunks. Sentences of any length are kept (Megatron leaves documents with one above 512 tokens out). The
//! target is `max_tokens`, or with probability `short_rate` a number that is uniform in 2..=`max_tokens`; it depends on the
//! document and on the number of the chunk in it, and on nothing else. Every sentence of every other document is in exactly one
//! chunk.
//!
//! The file is `DIR/.index/pairs-SPLIT-KEY.bin`, where the key is a hash of the plan and of the shards' hashes (for shards without
//! a manifest of their sizes and times). It is a cache: one that is missing, damaged or of another version is made anew, written
//! aside and renamed, so that any number of processes may do so at once; where it cannot be written it stays in memory.
//!
//! | all integers little-endian | |
//! |---|---|
//! | 8 bytes | magic, `UNTIEPIX` |
//! | u64 | version, 1 |
//! | u64 | key |
//! | u64 | number of chunks, n |
//! | u64 | number of documents with a single sentence |
//! | u64 | number of documents with tokens |
//! | u64 | XXH3 of the chunks and then of the header up to here |
//! | 24 bytes × n | document (u64), first sentence in it (u64), number of sentences (u32), target length (u32) |

use crate::files::sync_parent;
use crate::manifest::{Manifest, MANIFEST_FILE};
use crate::shard::foreign::folder;
use crate::shard::{map, with_suffix, ShardError, ShardSet, Split};
use memmap2::Mmap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, Xxh3Default};

/// Folder of the indices, in the folder of the shards.
pub const INDEX_DIR: &str = ".index";

const MAGIC: &[u8; 8] = b"UNTIEPIX";
const VERSION: u64 = 1;
const HEADER_BYTES: usize = 56;
const CHUNK_BYTES: usize = 24;
/// Seed of the target lengths; they are part of the data, not of a run.
const TARGET_SEED: u64 = 0x7461_7267_6574_7321;

/// How sentences become chunks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChunkPlan {
    /// Tokens of a pair, special ones not counted; at least 2.
    pub max_tokens: u32,
    /// Fraction of the chunks with a shorter target.
    pub short_rate: f64,
}

/// Consecutive sentences of one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The document, counted over the whole split.
    pub document: u64,
    /// The first sentence, counted from the start of the document.
    pub first_sentence: u64,
    /// Number of sentences, at least 2.
    pub num_sentences: u32,
    /// Tokens that it should have; the last sentence may go beyond.
    pub target: u32,
}

/// The chunks of a split.
#[derive(Debug)]
pub struct PairIndex {
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl PairIndex {
    /// Maps the index of `set`, which is `split` of `dir`, or makes it first.
    ///
    /// # Errors
    /// If a shard is damaged. A folder that cannot be written is none: the index is then made in memory.
    pub fn open(dir: &Path, split: Split, set: &ShardSet, plan: ChunkPlan) -> Result<PairIndex, ShardError> {
        let key = key(dir, split, set, plan)?;
        let path = folder(dir).join(INDEX_DIR).join(format!("pairs-{split}-{key:016x}.bin"));
        if let Some(index) = PairIndex::load(&path, key) {
            return Ok(index);
        }
        match save(&path, set, plan, key) {
            // Should it not load all the same, it is made in memory.
            Ok(()) => {
                if let Some(index) = PairIndex::load(&path, key) {
                    return Ok(index);
                }
            }
            // No cache then.
            Err(ShardError::Io { .. }) => {}
            Err(damaged) => return Err(damaged),
        }
        let mut bytes = Cursor::new(Vec::new());
        build(&mut bytes, &path, set, plan, key)?;
        Ok(PairIndex { bytes: Bytes::Owned(bytes.into_inner()) })
    }

    /// The file at `path`, if it is whole and has this key.
    fn load(path: &Path, key: u64) -> Option<PairIndex> {
        let index = PairIndex { bytes: Bytes::Mapped(map(path).ok()?) };
        let bytes = index.bytes();
        let whole = bytes.len() >= HEADER_BYTES
            && bytes[..8] == MAGIC[..]
            && index.number(8) == VERSION
            && index.number(16) == key
            && (bytes.len() - HEADER_BYTES) as u128 == CHUNK_BYTES as u128 * u128::from(index.len())
            && index.number(48) == {
                let mut hasher = Xxh3Default::new();
                hasher.update(&bytes[HEADER_BYTES..]);
                hasher.update(&bytes[..48]);
                hasher.digest()
            };
        whole.then_some(index)
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Mapped(bytes) => bytes,
            Bytes::Owned(bytes) => bytes,
        }
    }

    /// The number at `offset`; the size was checked.
    fn number(&self, offset: usize) -> u64 {
        let mut number = [0; 8];
        number.copy_from_slice(&self.bytes()[offset..offset + 8]);
        u64::from_le_bytes(number)
    }

    /// Number of chunks.
    pub fn len(&self) -> u64 {
        self.number(24)
    }

    /// Whether there are none: no document has two sentences.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of documents of a single sentence, which are in no chunk.
    pub fn num_single_documents(&self) -> u64 {
        self.number(32)
    }

    /// Number of documents that have tokens.
    pub fn num_full_documents(&self) -> u64 {
        self.number(40)
    }

    /// Whether it is a mapped file and not in memory.
    pub fn is_mapped(&self) -> bool {
        matches!(self.bytes, Bytes::Mapped(_))
    }

    /// Chunk `number`, below [`Self::len`].
    ///
    /// # Panics
    /// If there is no such chunk.
    pub fn chunk(&self, number: u64) -> Chunk {
        assert!(number < self.len(), "chunk {number} of {}", self.len());
        let offset = HEADER_BYTES + number as usize * CHUNK_BYTES;
        let sizes = self.number(offset + 16);
        Chunk {
            document: self.number(offset),
            first_sentence: self.number(offset + 8),
            num_sentences: sizes as u32,
            target: (sizes >> 32) as u32,
        }
    }
}

/// A hash of all that decides about the chunks.
fn key(dir: &Path, split: Split, set: &ShardSet, plan: ChunkPlan) -> Result<u64, ShardError> {
    let mut facts = format!("{VERSION} {split} {} {:?}\n", plan.max_tokens, plan.short_rate);
    if dir.join(MANIFEST_FILE).exists() {
        for shard in Manifest::load(dir)?.shards.iter().filter(|shard| shard.split == split) {
            facts.push_str(&format!("{} {}\n", shard.bin.xxh3, shard.idx.xxh3));
        }
        return Ok(xxh3_64(facts.as_bytes()));
    }
    if let Some(share) = set.held_out() {
        facts.push_str(&format!("held out: {:?}\n", share.fraction));
    }
    for shard in set.shards() {
        let path = with_suffix(shard.prefix(), ".idx");
        let changed = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let changed = changed.map_err(|source| ShardError::Io { path, source })?;
        // Before 1970 is as good a time as any.
        let changed = changed.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let (documents, sequences, tokens) = (shard.num_documents(), shard.num_sequences(), shard.num_tokens());
        facts.push_str(&format!("{documents} {sequences} {tokens} {changed}\n"));
    }
    Ok(xxh3_64(facts.as_bytes()))
}

/// Writes the index aside and renames it to `path`.
fn save(path: &Path, set: &ShardSet, plan: ChunkPlan, key: u64) -> Result<(), ShardError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let aside = with_suffix(path, &format!(".{}-{number}.tmp", std::process::id()));
    let failed = |source| ShardError::Io { path: aside.clone(), source };
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&aside).map_err(failed)?);
        build(&mut file, &aside, set, plan, key)?;
        file.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
        fs::rename(&aside, path).map_err(failed)?;
        sync_parent(path).map_err(failed)
    };
    write().inspect_err(|_| {
        // The error that led here is the one to report.
        let _ = fs::remove_file(&aside);
    })
}

/// Writes the index to `out`; `path` is what errors call it.
fn build(
    out: &mut (impl Write + Seek),
    path: &Path,
    set: &ShardSet,
    plan: ChunkPlan,
    key: u64,
) -> Result<(), ShardError> {
    let failed = |source: io::Error| ShardError::Io { path: path.to_owned(), source };
    out.write_all(&[0; HEADER_BYTES]).map_err(failed)?;
    let mut hasher = Xxh3Default::new();
    let [mut num_chunks, mut num_single, mut num_full] = [0_u64; 3];
    let mut document = 0;
    set.shards().iter().for_each(|shard| shard.will_be_read(true));
    for piece in set.pieces() {
        let shard = &set.shards()[piece.shard];
        for local in piece.documents.clone() {
            let sentences = shard.document_sequences(local)?;
            let num_sentences = sentences.end - sentences.start;
            num_single += u64::from(num_sentences == 1);
            num_full += u64::from(shard.document_start(local)? < shard.document_start(local + 1)?);
            let lengths = sentences.map(|sentence| shard.sequence_length(sentence));
            for_each_chunk(document, num_sentences, lengths, plan, |chunk| {
                let mut bytes = [0; CHUNK_BYTES];
                bytes[..8].copy_from_slice(&chunk.document.to_le_bytes());
                bytes[8..16].copy_from_slice(&chunk.first_sentence.to_le_bytes());
                bytes[16..20].copy_from_slice(&chunk.num_sentences.to_le_bytes());
                bytes[20..].copy_from_slice(&chunk.target.to_le_bytes());
                hasher.update(&bytes);
                num_chunks += 1;
                out.write_all(&bytes).map_err(failed)
            })?;
            document += 1;
        }
    }
    set.shards().iter().for_each(|shard| shard.will_be_read(false));
    let mut header = MAGIC.to_vec();
    for number in [VERSION, key, num_chunks, num_single, num_full] {
        header.extend(number.to_le_bytes());
    }
    hasher.update(&header);
    header.extend(hasher.digest().to_le_bytes());
    out.seek(SeekFrom::Start(0)).and_then(|_| out.write_all(&header)).and_then(|()| out.flush()).map_err(failed)
}

/// Cuts one document into chunks, from the lengths of its sentences.
fn for_each_chunk(
    document: u64,
    num_sentences: u64,
    lengths: impl Iterator<Item = Result<u64, ShardError>>,
    plan: ChunkPlan,
    mut take: impl FnMut(Chunk) -> Result<(), ShardError>,
) -> Result<(), ShardError> {
    if num_sentences < 2 {
        return Ok(());
    }
    let mut number = 0;
    let mut target = plan.target(document, number);
    let (mut first_sentence, mut tokens) = (0, 0_u64);
    for (sentence, length) in (0..num_sentences).zip(lengths) {
        tokens += length?;
        let (count, left) = (sentence + 1 - first_sentence, num_sentences - sentence - 1);
        let full = tokens >= u64::from(target) && left > 1 && count >= 2;
        // A number of empty sentences that 32 bits cannot say ends a chunk as well.
        if full || left == 0 || count == u64::from(u32::MAX) {
            take(Chunk { document, first_sentence, num_sentences: count as u32, target })?;
            number += 1;
            target = plan.target(document, number);
            (first_sentence, tokens) = (sentence + 1, 0);
        }
    }
    Ok(())
}

impl ChunkPlan {
    /// The target length of chunk `number` of `document`.
    fn target(self, document: u64, number: u64) -> u32 {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&document.to_le_bytes());
        place[8..].copy_from_slice(&number.to_le_bytes());
        let fraction = |seed| (xxh3_64_with_seed(&place, seed) >> 11) as f64 / (1_u64 << 53) as f64;
        if fraction(TARGET_SEED) < self.short_rate {
            2 + (fraction(TARGET_SEED + 1) * f64::from(self.max_tokens.saturating_sub(1))) as u32
        } else {
            self.max_tokens
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tenth of the targets are short, and these are uniform in 2..=20: each within five standard deviations.
    #[test]
    fn short_targets_are_uniform() {
        let plan = ChunkPlan { max_tokens: 20, short_rate: 0.1 };
        let mut counts = [0_u32; 21];
        for document in 0..100_000 {
            for number in 0..2 {
                counts[plan.target(document, number) as usize] += 1;
            }
        }
        assert_eq!(counts[..2], [0, 0]);
        let (n, each) = (200_000.0, 0.1 / 19.0);
        for (target, &count) in counts.iter().enumerate().skip(2) {
            let p = if target == 20 { 0.9 + each } else { each };
            let deviations = (f64::from(count) - n * p).abs() / (n * p * (1.0 - p)).sqrt();
            assert!(deviations < 5.0, "{target}: {count}");
        }
        let plan = ChunkPlan { max_tokens: 20, short_rate: 0.0 };
        assert!((0..1000).all(|document| plan.target(document, 0) == 20));
    }
}
