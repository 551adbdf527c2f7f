//! Documents of tokens in, one shard out.
//!
//! `.bin` is streamed to a temporary name while documents come; `.idx` follows at the end, both are synced and renamed into
//! place. Cost: 4 bytes of memory a sequence and 8 a document. A writer that is dropped unfinished leaves nothing.

use super::{with_suffix, ShardError, TokenType, HEADER_BYTES, MAGIC, VERSION};
use crate::files::sync_parent;
use crate::hash::Hasher;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 20;

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileStamp {
    /// Size in bytes.
    pub bytes: u64,
    /// XXH3, 64 bits, 16 hexadecimal digits.
    pub xxh3: String,
}

/// What a finished shard holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenShard {
    /// Number of documents.
    pub num_documents: u64,
    /// Number of sequences.
    pub num_sequences: u64,
    /// Number of tokens.
    pub num_tokens: u64,
    /// The tokens' file.
    pub bin: FileStamp,
    /// The index's file.
    pub idx: FileStamp,
}

/// Writes one shard.
#[derive(Debug)]
pub struct ShardWriter {
    prefix: PathBuf,
    token_type: TokenType,
    bin: StampedFile,
    sequence_lengths: Vec<i32>,
    document_indices: Vec<i64>,
    num_tokens: u64,
    scratch: Vec<u8>,
}

impl ShardWriter {
    /// Starts the shard `PREFIX.bin` and `PREFIX.idx`.
    ///
    /// # Errors
    /// If the temporary file cannot be made.
    pub fn create(prefix: &Path, token_type: TokenType) -> Result<ShardWriter, ShardError> {
        let path = with_suffix(prefix, ".bin.tmp");
        let bin = StampedFile::create(&path).map_err(|source| ShardError::Io { path, source })?;
        Ok(ShardWriter {
            prefix: prefix.to_owned(),
            token_type,
            bin,
            sequence_lengths: Vec::new(),
            document_indices: vec![0],
            num_tokens: 0,
            scratch: Vec::new(),
        })
    }

    /// Appends one document of any number of sequences, none too.
    ///
    /// # Errors
    /// If a token does not fit the token type or a sequence the format (both before anything is written), or if the disk
    /// fails, after which the writer is of no more use.
    pub fn push_document(&mut self, sequences: &[&[u32]]) -> Result<(), ShardError> {
        self.check(sequences)?;
        self.scratch.clear();
        for sequence in sequences {
            match self.token_type {
                TokenType::U16 => {
                    self.scratch.extend(sequence.iter().flat_map(|&token| (token as u16).to_le_bytes()));
                }
                TokenType::I32 => self.scratch.extend(sequence.iter().flat_map(|&token| token.to_le_bytes())),
            }
        }
        self.bin
            .write_all(&self.scratch)
            .map_err(|source| ShardError::Io { path: with_suffix(&self.prefix, ".bin.tmp"), source })?;
        for sequence in sequences {
            self.sequence_lengths.push(sequence.len() as i32);
            self.num_tokens += sequence.len() as u64;
        }
        self.document_indices.push(self.sequence_lengths.len() as i64);
        Ok(())
    }

    fn check(&self, sequences: &[&[u32]]) -> Result<(), ShardError> {
        let limit = self.token_type.max_token();
        for sequence in sequences {
            if i32::try_from(sequence.len()).is_err() {
                return Err(ShardError::SequenceTooLong {
                    path: self.prefix.clone(),
                    got: sequence.len() as u64,
                    limit: u64::from(i32::MAX.unsigned_abs()),
                });
            }
            if let Some(&got) = sequence.iter().find(|&&token| token > limit) {
                return Err(ShardError::TokenTooLarge { path: self.prefix.clone(), got, limit });
            }
        }
        Ok(())
    }

    /// Number of tokens so far.
    pub fn num_tokens(&self) -> u64 {
        self.num_tokens
    }

    /// Writes the index, syncs both files and renames them into place.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn finish(mut self) -> Result<WrittenShard, ShardError> {
        let idx_tmp = with_suffix(&self.prefix, ".idx.tmp");
        let bin_tmp = with_suffix(&self.prefix, ".bin.tmp");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ShardError::Io { path, source }
        };
        let mut idx = StampedFile::create(&idx_tmp).map_err(failed(&idx_tmp))?;
        self.write_index(&mut idx).map_err(failed(&idx_tmp))?;
        let idx = idx.finish().map_err(failed(&idx_tmp))?;
        let bin = self.bin.finish().map_err(failed(&bin_tmp))?;
        for (from, suffix) in [(&bin_tmp, ".bin"), (&idx_tmp, ".idx")] {
            fs::rename(from, with_suffix(&self.prefix, suffix)).map_err(failed(from))?;
        }
        sync_parent(&self.prefix).map_err(failed(&self.prefix))?;
        Ok(WrittenShard {
            num_documents: self.document_indices.len() as u64 - 1,
            num_sequences: self.sequence_lengths.len() as u64,
            num_tokens: self.num_tokens,
            bin,
            idx,
        })
    }

    fn write_index(&self, idx: &mut StampedFile) -> io::Result<()> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.push(self.token_type.code());
        header.extend((self.sequence_lengths.len() as u64).to_le_bytes());
        header.extend((self.document_indices.len() as u64).to_le_bytes());
        idx.write_all(&header)?;
        for length in &self.sequence_lengths {
            idx.write_all(&length.to_le_bytes())?;
        }
        let mut pointer: i64 = 0;
        for &length in &self.sequence_lengths {
            idx.write_all(&pointer.to_le_bytes())?;
            pointer += i64::from(length) * self.token_type.size() as i64;
        }
        for index in &self.document_indices {
            idx.write_all(&index.to_le_bytes())?;
        }
        Ok(())
    }
}

impl Drop for ShardWriter {
    fn drop(&mut self) {
        // After `finish` neither exists any more; before, nobody may take them for a shard. A failed removal changes nothing.
        for suffix in [".bin.tmp", ".idx.tmp"] {
            let _ = fs::remove_file(with_suffix(&self.prefix, suffix));
        }
    }
}

/// A buffered file that hashes what is written.
#[derive(Debug)]
struct StampedFile {
    file: BufWriter<File>,
    hasher: Hasher,
    bytes: u64,
}

impl StampedFile {
    fn create(path: &Path) -> io::Result<StampedFile> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
        Ok(StampedFile { file, hasher: Hasher::default(), bytes: 0 })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<FileStamp> {
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        Ok(FileStamp { bytes: self.bytes, xxh3: self.hasher.hex() })
    }
}
