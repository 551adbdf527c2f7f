//! Documents of tokens in, one shard out.
//!
//! `.bin` is streamed to a temporary name while documents come; `.idx` follows at the end, both are synced and renamed into
//! place. Cost: 4 bytes of memory a sequence and 8 a document. A writer that is dropped unfinished leaves nothing, unless
//! [`ShardWriter::checkpoint`] was called: then [`ShardWriter::resume`] goes on from there.

use super::{with_suffix, ShardError, TokenType, HEADER_BYTES, MAGIC, VERSION};
use crate::files::sync_parent;
use crate::hash::{FileChecksum, Hasher};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 20;

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
    pub bin: FileChecksum,
    /// The index's file.
    pub idx: FileChecksum,
}

/// How far an unfinished shard is safely on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checkpoint {
    /// Number of documents.
    pub documents: u64,
    /// Number of sequences.
    pub sequences: u64,
}

/// Writes one shard.
#[derive(Debug)]
pub struct ShardWriter {
    prefix: PathBuf,
    token_type: TokenType,
    bin: HashedFile,
    sequence_lengths: Vec<i32>,
    document_indices: Vec<i64>,
    num_tokens: u64,
    scratch: Vec<u8>,
    /// Whether a checkpoint needs the temporary files.
    keep: bool,
}

impl ShardWriter {
    /// Starts the shard `PREFIX.bin` and `PREFIX.idx`.
    ///
    /// # Errors
    /// If the temporary file cannot be made.
    pub fn create(prefix: &Path, token_type: TokenType) -> Result<ShardWriter, ShardError> {
        let path = with_suffix(prefix, ".bin.tmp");
        let bin = HashedFile::create(&path).map_err(|source| ShardError::Io { path, source })?;
        Ok(ShardWriter {
            prefix: prefix.to_owned(),
            token_type,
            bin,
            sequence_lengths: Vec::new(),
            document_indices: vec![0],
            num_tokens: 0,
            scratch: Vec::new(),
            keep: false,
        })
    }

    /// Makes everything so far survive the end of the process.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, ShardError> {
        let (bin_tmp, idx_tmp) = (with_suffix(&self.prefix, ".bin.tmp"), with_suffix(&self.prefix, ".idx.tmp"));
        self.bin.sync().map_err(|source| ShardError::Io { path: bin_tmp, source })?;
        self.write_index_to(&idx_tmp)?;
        self.keep = true;
        Ok(Checkpoint {
            documents: self.document_indices.len() as u64 - 1,
            sequences: self.sequence_lengths.len() as u64,
        })
    }

    /// Goes on with the shard `PREFIX` from a checkpoint, also when it was written on or finished since.
    ///
    /// # Errors
    /// If its files are gone or shorter than the checkpoint says.
    pub fn resume(prefix: &Path, token_type: TokenType, from: Checkpoint) -> Result<ShardWriter, ShardError> {
        for suffix in [".idx", ".bin"] {
            let (finished, path) = (with_suffix(prefix, suffix), with_suffix(prefix, &format!("{suffix}.tmp")));
            if finished.exists() {
                fs::rename(&finished, &path).map_err(|source| ShardError::Io { path, source })?;
            }
        }
        let index_path = with_suffix(prefix, ".idx.tmp");
        let bytes = fs::read(&index_path).map_err(|source| ShardError::Io { path: index_path.clone(), source })?;
        let (sequence_lengths, document_indices) =
            read_index(&bytes, from).ok_or(ShardError::CheckpointLost { path: index_path })?;
        let num_tokens: u64 = sequence_lengths.iter().map(|length| u64::from(length.unsigned_abs())).sum();
        let bin_path = with_suffix(prefix, ".bin.tmp");
        let bin = HashedFile::resume(&bin_path, num_tokens * token_type.size() as u64);
        let bin = bin.map_err(|source| ShardError::Io { path: bin_path.clone(), source })?;
        Ok(ShardWriter {
            prefix: prefix.to_owned(),
            token_type,
            bin: bin.ok_or(ShardError::CheckpointLost { path: bin_path })?,
            sequence_lengths,
            document_indices,
            num_tokens,
            scratch: Vec::new(),
            keep: true,
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
        let (bin_tmp, idx_tmp) = (with_suffix(&self.prefix, ".bin.tmp"), with_suffix(&self.prefix, ".idx.tmp"));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ShardError::Io { path, source }
        };
        let idx = self.write_index_to(&idx_tmp)?;
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

    /// Writes the index aside and renames it to `path`, which an earlier checkpoint may have made.
    fn write_index_to(&self, path: &Path) -> Result<FileChecksum, ShardError> {
        let aside = with_suffix(path, ".new");
        let write = || {
            let mut idx = HashedFile::create(&aside)?;
            self.write_index(&mut idx)?;
            let checksum = idx.finish()?;
            fs::rename(&aside, path)?;
            Ok(checksum)
        };
        write().map_err(|source| ShardError::Io { path: path.to_owned(), source })
    }

    fn write_index(&self, idx: &mut HashedFile) -> io::Result<()> {
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
        if self.keep {
            return;
        }
        // After `finish` neither exists any more; before, nobody may take them for a shard. A failed removal changes nothing.
        for suffix in [".bin.tmp", ".idx.tmp", ".idx.tmp.new"] {
            let _ = fs::remove_file(with_suffix(&self.prefix, suffix));
        }
    }
}

/// Sequence lengths and document indices of the first sequences and documents of an index; nothing if it holds fewer.
fn read_index(bytes: &[u8], from: Checkpoint) -> Option<(Vec<i32>, Vec<i64>)> {
    let count = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (num_sequences, num_indices) = (count(HEADER_BYTES - 16)?, count(HEADER_BYTES - 8)?);
    if bytes.len() as u128 != HEADER_BYTES as u128 + 12 * u128::from(num_sequences) + 8 * u128::from(num_indices)
        || num_sequences < from.sequences
        || num_indices <= from.documents
    {
        return None;
    }
    // All of it lies inside the bytes, so the numbers fit.
    let (lengths, indices) = (HEADER_BYTES, HEADER_BYTES + 12 * num_sequences as usize);
    let lengths = bytes[lengths..lengths + 4 * from.sequences as usize].chunks_exact(4);
    let lengths: Vec<i32> = lengths.map(|raw| i32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]])).collect();
    let indices = bytes[indices..indices + 8 * (from.documents as usize + 1)].chunks_exact(8);
    let indices: Vec<i64> = indices.map(|raw| i64::from_le_bytes(raw.try_into().unwrap_or_default())).collect();
    (indices.last() == Some(&(from.sequences as i64))).then_some((lengths, indices))
}

/// A buffered file that hashes what is written.
#[derive(Debug)]
struct HashedFile {
    file: BufWriter<File>,
    hasher: Hasher,
    bytes: u64,
}

impl HashedFile {
    fn create(path: &Path) -> io::Result<HashedFile> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
        Ok(HashedFile { file, hasher: Hasher::default(), bytes: 0 })
    }

    /// Opens a file to go on behind its first `bytes` bytes; nothing if it has fewer.
    fn resume(path: &Path, bytes: u64) -> io::Result<Option<HashedFile>> {
        let mut file = File::options().read(true).write(true).open(path)?;
        if file.metadata()?.len() < bytes {
            return Ok(None);
        }
        file.set_len(bytes)?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                num_bytes => hasher.update(&buffer[..num_bytes]),
            }
        }
        Ok(Some(HashedFile { file: BufWriter::with_capacity(BUFFER_BYTES, file), hasher, bytes }))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(&mut self) -> io::Result<FileChecksum> {
        self.sync()?;
        Ok(FileChecksum { bytes: self.bytes, xxh3: self.hasher.hex() })
    }
}
