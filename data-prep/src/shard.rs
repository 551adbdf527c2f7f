//! One shard of tokens: Megatron-LM's indexed dataset, a pair of files `PREFIX.idx` and `PREFIX.bin`.
//!
//! In: the two files, mapped into memory and never trusted. Out: token counts, sequences, document starts and runs of tokens.
//! Cost: opening reads the header and a few entries of the index, whatever the size (10 billion tokens open in well under a
//! millisecond); a lookup is O(1); no memory is kept per sequence, per document or per token.
//!
//! The layout is that of `megatron/core/datasets/indexed_dataset.py` in NVIDIA/Megatron-LM, all integers little-endian:
//!
//! | `.idx` | |
//! |---|---|
//! | 9 bytes | magic, `MMIDIDX` and two zero bytes |
//! | u64 | version, 1 |
//! | u8 | token type: 8 is uint16, 4 is int32 |
//! | u64 | number of sequences, n |
//! | u64 | number of document indices, m: one more than there are documents |
//! | i32 × n | length of each sequence in tokens |
//! | i64 × n | where each sequence starts in `.bin`, in bytes |
//! | i64 × m | the first sequence of each document, from 0, and n at the end |
//!
//! `.bin` holds the tokens alone, sequence after sequence. Special tokens are not stored.

mod error;
pub(crate) mod foreign;
mod set;
mod split;
mod writer;

pub use crate::hash::FileChecksum;
pub use error::ShardError;
pub use set::{Piece, ShardSet, Share};
pub use split::Split;
pub use writer::{Checkpoint, ShardWriter, WrittenShard};

use crate::corpus::kind::{self, Other};
pub(crate) use crate::files::with_suffix;
use memmap2::Mmap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 9] = b"MMIDIDX\x00\x00";
const VERSION: u64 = 1;
const HEADER_BYTES: usize = 34;

/// How a token is stored in `.bin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenType {
    /// uint16, for vocabularies below 65,500 tokens.
    U16,
    /// int32, for larger ones.
    I32,
}

impl TokenType {
    /// The type that Megatron-LM picks for a vocabulary of this size.
    pub fn for_vocab_size(vocab_size: usize) -> TokenType {
        if vocab_size < 65_500 {
            TokenType::U16
        } else {
            TokenType::I32
        }
    }

    /// Bytes a token.
    pub fn size(self) -> usize {
        match self {
            TokenType::U16 => 2,
            TokenType::I32 => 4,
        }
    }

    fn code(self) -> u8 {
        match self {
            TokenType::U16 => 8,
            TokenType::I32 => 4,
        }
    }

    fn from_code(code: u8) -> Option<TokenType> {
        [TokenType::U16, TokenType::I32].into_iter().find(|token_type| token_type.code() == code)
    }

    fn max_token(self) -> u32 {
        match self {
            TokenType::U16 => u32::from(u16::MAX),
            TokenType::I32 => i32::MAX.unsigned_abs(),
        }
    }
}

/// A shard opened for reading.
#[derive(Debug)]
pub struct Shard {
    prefix: PathBuf,
    idx: Mmap,
    bin: Mmap,
    /// What the two files are to the system: their devices and inodes.
    identities: [(u64, u64); 2],
    token_type: TokenType,
    num_sequences: u64,
    num_document_indices: u64,
}

impl Shard {
    /// Maps `PREFIX.idx` and `PREFIX.bin` and checks the header, both sizes and the ends of the index. The rest of the index
    /// is checked as it is used.
    ///
    /// # Errors
    /// If a file cannot be opened, or if the pair is no indexed dataset of version 1 whose parts agree.
    pub fn open(prefix: &Path) -> Result<Shard, ShardError> {
        let idx_path = with_suffix(prefix, ".idx");
        let bin_path = with_suffix(prefix, ".bin");
        let idx = map(&idx_path)?;
        let bin = map(&bin_path)?;
        let identities = [identity(&idx_path)?, identity(&bin_path)?];

        refuse_pointer(&idx_path, &idx)?;
        refuse_pointer(&bin_path, &bin)?;
        if is_old(&idx) {
            return Err(ShardError::OldIndex { path: idx_path });
        }
        if idx.len() < HEADER_BYTES {
            return Err(ShardError::IndexTooShort {
                path: idx_path,
                expected: HEADER_BYTES as u64,
                got: idx.len() as u64,
            });
        }
        if idx[..MAGIC.len()] != MAGIC[..] {
            return Err(ShardError::Magic { path: idx_path });
        }
        let version = u64::from_le_bytes(bytes_at(&idx, 9));
        if version != VERSION {
            return Err(ShardError::Version { path: idx_path, expected: VERSION, got: version });
        }
        let token_type = TokenType::from_code(idx[17])
            .ok_or_else(|| ShardError::TokenType { path: idx_path.clone(), code: idx[17] })?;
        let num_sequences = u64::from_le_bytes(bytes_at(&idx, 18));
        let num_document_indices = u64::from_le_bytes(bytes_at(&idx, 26));

        // In 128 bits, so that no count in the file can overflow the sum.
        let expected = HEADER_BYTES as u128 + 12 * u128::from(num_sequences) + 8 * u128::from(num_document_indices);
        if idx.len() as u128 != expected {
            return Err(ShardError::IndexSize {
                path: idx_path,
                num_sequences,
                num_document_indices,
                expected,
                got: idx.len() as u64,
            });
        }
        let shard =
            Shard { prefix: prefix.to_owned(), idx, bin, identities, token_type, num_sequences, num_document_indices };
        shard.check_ends()?;
        Ok(shard)
    }

    fn check_ends(&self) -> Result<(), ShardError> {
        if self.num_document_indices == 0 {
            return Err(ShardError::NoDocumentIndex { path: self.idx_path() });
        }
        let first = self.document_index(0);
        if first != 0 {
            return Err(ShardError::FirstDocument { path: self.idx_path(), got: first });
        }
        let last = self.document_index(self.num_document_indices - 1);
        if u64::try_from(last) != Ok(self.num_sequences) {
            return Err(ShardError::LastDocument { path: self.idx_path(), expected: self.num_sequences, got: last });
        }
        let mut expected_bin_bytes = 0;
        if let Some(last) = self.num_sequences.checked_sub(1) {
            let first = self.pointer(0);
            if first != 0 {
                return Err(ShardError::FirstPointer { path: self.idx_path(), got: first });
            }
            let (pointer, length) = (self.pointer(last), self.sequence_length(last)?);
            expected_bin_bytes = i128::from(pointer) + i128::from(length) * self.token_type.size() as i128;
        }
        if expected_bin_bytes != self.bin.len() as i128 || !self.bin.len().is_multiple_of(self.token_type.size()) {
            return Err(ShardError::BinSize {
                path: with_suffix(&self.prefix, ".bin"),
                expected: expected_bin_bytes,
                got: self.bin.len() as u64,
            });
        }
        Ok(())
    }

    /// Checks that both files still have the sizes that they were mapped with. To read a part of a mapped file that is not there
    /// any more ends the process (SIGBUS), and nothing can tell before each read; this tells now and then. A file that is gone or
    /// has another in its place stays as it was for who has it mapped.
    ///
    /// # Errors
    /// A file that was changed in place.
    pub fn check_sizes(&self) -> Result<(), ShardError> {
        for ((suffix, mapped), before) in [(".idx", &self.idx), (".bin", &self.bin)].into_iter().zip(self.identities) {
            let path = with_suffix(&self.prefix, suffix);
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let (expected, got) = (mapped.len() as u64, metadata.len());
            if got != expected && (metadata.dev(), metadata.ino()) == before {
                return Err(ShardError::Changed { path, expected, got });
            }
        }
        Ok(())
    }

    /// Says whether the shard will be read from front to end, or here and there, as samples are: then what the kernel would
    /// read ahead around each is of no use (21 ms instead of 29 µs a sample of a new dataset of 20 GB, measured).
    pub fn will_be_read(&self, in_order: bool) {
        advise(&self.idx, in_order);
        advise(&self.bin, in_order);
    }

    /// The path of the pair without `.idx` and `.bin`.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// How tokens are stored.
    pub fn token_type(&self) -> TokenType {
        self.token_type
    }

    /// Number of sequences (sentences, or documents where a document is one sequence).
    pub fn num_sequences(&self) -> u64 {
        self.num_sequences
    }

    /// Number of documents.
    pub fn num_documents(&self) -> u64 {
        self.num_document_indices - 1
    }

    /// Number of tokens.
    pub fn num_tokens(&self) -> u64 {
        (self.bin.len() / self.token_type.size()) as u64
    }

    /// Where document `document` starts, counted in tokens; `num_tokens()` for `num_documents()`, the end of the last one.
    ///
    /// # Errors
    /// If there is no such document, or if the index is damaged there.
    pub fn document_start(&self, document: u64) -> Result<u64, ShardError> {
        self.sequence_start(self.document_sequences(document)?.start)
    }

    /// The numbers of the sequences of document `document`; an empty range at the end for `num_documents()`.
    ///
    /// # Errors
    /// If there is no such document, or if the index is damaged there.
    pub fn document_sequences(&self, document: u64) -> Result<Range<u64>, ShardError> {
        if document > self.num_documents() {
            return Err(self.out_of_range("document", document, self.num_documents()));
        }
        let sequence = self.document_index(document);
        let next = if document == self.num_documents() { sequence } else { self.document_index(document + 1) };
        if sequence < 0 || next < sequence || next.unsigned_abs() > self.num_sequences {
            return Err(ShardError::DocumentOrder { path: self.idx_path(), document, got: sequence, next });
        }
        Ok(sequence.unsigned_abs()..next.unsigned_abs())
    }

    /// The tokens of sequence `sequence`.
    ///
    /// # Errors
    /// If there is no such sequence, or if the index or a token is damaged there.
    pub fn sequence(&self, sequence: u64) -> Result<Vec<u32>, ShardError> {
        let length = self.sequence_length(sequence)?;
        let start = self.sequence_start(sequence)?;
        let end = self.sequence_start(sequence + 1)?;
        if start.checked_add(length) != Some(end) {
            return Err(ShardError::SequenceEnd { path: self.idx_path(), sequence, start, length, next: end });
        }
        // `end` is at most `num_tokens`, so the allocation is bounded by the size of the file.
        let mut tokens = vec![0; length as usize];
        self.read_tokens(start, &mut tokens)?;
        Ok(tokens)
    }

    /// Fills `out` with the tokens from `start` on, sequence and document boundaries notwithstanding.
    ///
    /// # Errors
    /// If they end behind the last token, or if a token is negative.
    pub fn read_tokens(&self, start: u64, out: &mut [u32]) -> Result<(), ShardError> {
        let end = start.saturating_add(out.len() as u64);
        if end > self.num_tokens() {
            return Err(ShardError::OutOfRange {
                path: with_suffix(&self.prefix, ".bin"),
                what: "token",
                got: end,
                limit: self.num_tokens(),
            });
        }
        let size = self.token_type.size();
        let bytes = &self.bin[start as usize * size..end as usize * size];
        match self.token_type {
            TokenType::U16 => {
                for (token, raw) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *token = u32::from(u16::from_le_bytes([raw[0], raw[1]]));
                }
            }
            TokenType::I32 => {
                for (token, raw) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *token = u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
                }
                if let Some(offset) = out.iter().position(|&token| token > TokenType::I32.max_token()) {
                    return Err(ShardError::NegativeToken {
                        path: with_suffix(&self.prefix, ".bin"),
                        position: start + offset as u64,
                        got: out[offset] as i32,
                    });
                }
            }
        }
        Ok(())
    }

    /// Where sequence `sequence` starts, counted in tokens; `num_tokens()` for `num_sequences()`.
    ///
    /// # Errors
    /// If there is no such sequence, or if the index is damaged there.
    pub fn sequence_start(&self, sequence: u64) -> Result<u64, ShardError> {
        if sequence == self.num_sequences {
            return Ok(self.num_tokens());
        }
        self.check_sequence(sequence)?;
        let pointer = self.pointer(sequence);
        let size = self.token_type.size() as u64;
        match u64::try_from(pointer) {
            Ok(bytes) if bytes <= self.bin.len() as u64 && bytes % size == 0 => Ok(bytes / size),
            _ => Err(ShardError::SequencePointer {
                path: self.idx_path(),
                sequence,
                got: pointer,
                size,
                limit: self.bin.len() as u64,
            }),
        }
    }

    /// The tokens that the sequences `sequences` have together: from where to where.
    ///
    /// # Errors
    /// If there are no such sequences, or if the index is damaged there.
    pub fn token_range(&self, sequences: Range<u64>) -> Result<Range<u64>, ShardError> {
        let [start, end] = [self.sequence_start(sequences.start)?, self.sequence_start(sequences.end)?];
        if end < start {
            let (sequence, next) = (sequences.start, sequences.end);
            return Err(ShardError::SequenceOrder { path: self.idx_path(), sequence, start, next, end });
        }
        Ok(start..end)
    }

    /// Number of tokens of sequence `sequence`.
    ///
    /// # Errors
    /// If there is no such sequence, or if the index is damaged there.
    pub fn sequence_length(&self, sequence: u64) -> Result<u64, ShardError> {
        self.check_sequence(sequence)?;
        let length = i32::from_le_bytes(bytes_at(&self.idx, HEADER_BYTES + sequence as usize * 4));
        u64::try_from(length).map_err(|_| ShardError::NegativeLength { path: self.idx_path(), sequence, got: length })
    }

    fn check_sequence(&self, sequence: u64) -> Result<(), ShardError> {
        if sequence >= self.num_sequences {
            return Err(self.out_of_range("sequence", sequence, self.num_sequences));
        }
        Ok(())
    }

    fn out_of_range(&self, what: &'static str, got: u64, limit: u64) -> ShardError {
        ShardError::OutOfRange { path: self.idx_path(), what, got, limit }
    }

    fn pointer(&self, sequence: u64) -> i64 {
        let table = HEADER_BYTES + self.num_sequences as usize * 4;
        i64::from_le_bytes(bytes_at(&self.idx, table + sequence as usize * 8))
    }

    pub(crate) fn document_index(&self, document: u64) -> i64 {
        let table = HEADER_BYTES + self.num_sequences as usize * 12;
        i64::from_le_bytes(bytes_at(&self.idx, table + document as usize * 8))
    }

    fn idx_path(&self) -> PathBuf {
        with_suffix(&self.prefix, ".idx")
    }
}

/// Refuses what a clone without git-lfs has in the place of a file.
fn refuse_pointer(path: &Path, start: &[u8]) -> Result<(), ShardError> {
    match kind::pointer(&start[..start.len().min(kind::KIND_BYTES)]) {
        Some(Other { what, .. }) => Err(ShardError::Pointer { path: path.to_owned(), what: what.into_owned() }),
        None => Ok(()),
    }
}

/// Whether an index is of the format that Megatron-LM had before, from fairseq.
fn is_old(start: &[u8]) -> bool {
    start.starts_with(b"TNTIDX\x00\x00")
}

/// Sorts names so that numbers in them count as such: `a_2` before `a_10`.
fn natural_order(names: &mut [String]) {
    let key = |name: &String| -> Vec<(String, usize, String)> {
        let is_digit = |letter: char| letter.is_ascii_digit();
        let mut parts = Vec::new();
        let mut rest = name.as_str();
        while !rest.is_empty() {
            let (text, behind) = rest.split_at(rest.find(is_digit).unwrap_or(rest.len()));
            let (number, behind) = behind.split_at(behind.find(|letter| !is_digit(letter)).unwrap_or(behind.len()));
            let digits = number.trim_start_matches('0');
            parts.push((text.to_owned(), digits.len(), digits.to_owned()));
            rest = behind;
        }
        parts
    };
    names.sort();
    names.sort_by_cached_key(key);
}

/// The bytes of a file, mapped.
pub(crate) fn map(path: &Path) -> Result<Mmap, ShardError> {
    let failed = |source| ShardError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // SAFETY: the map is read-only and only read as bytes, so any content is valid. Our files are written aside and renamed, never
    // changed in place; a process that truncates one under us gets us a SIGBUS, as with every mapped file.
    #[allow(unsafe_code)]
    let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
    advise(&map, false);
    Ok(map)
}

/// Device and inode.
fn identity(path: &Path) -> Result<(u64, u64), ShardError> {
    let metadata = std::fs::metadata(path).map_err(|source| ShardError::Io { path: path.to_owned(), source })?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Tells the kernel how a map will be read. It may ignore that, and so may we: nothing but speed depends on it.
fn advise(map: &Mmap, in_order: bool) {
    use memmap2::Advice;
    let _ = map.advise(if in_order { Advice::Sequential } else { Advice::Random });
}

/// `N` bytes at `offset`, which `Shard::open` proved to be inside the file.
fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[offset..offset + N]);
    array
}
