//! Tokens in, a complete folder out, or none.
//!
//! Everything is written into `OUT/.partial` and renamed into `OUT` at the end; the manifest comes last. A folder with
//! `.partial` and without a manifest is unfinished, readers refuse it, and the next preparation replaces it.

use super::{PrepareConfig, PrepareError};
use crate::files::sync_parent;
use crate::manifest::{Counts, Manifest, ShardStamp, MANIFEST_FILE, PARTIAL_DIR, TOKENIZER_FILE, VOCAB_FILE};
use crate::shard::{ShardWriter, Split, TokenType};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder in which a preparation works. Dropped before it is published, it leaves nothing.
pub(super) struct Workplace {
    out: PathBuf,
    partial: PathBuf,
    /// Whether `OUT` was not there before.
    new: bool,
    keep: bool,
}

impl Workplace {
    /// Makes `OUT/.partial`, without what an interrupted preparation left there.
    pub(super) fn create(out: &Path) -> Result<Workplace, PrepareError> {
        let partial = out.join(PARTIAL_DIR);
        let new = !out.exists();
        let make = || {
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            fs::create_dir_all(&partial)
        };
        make().map_err(|source| PrepareError::Output { path: partial.clone(), source })?;
        Ok(Workplace { out: out.to_owned(), partial, new, keep: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    /// Replaces whatever `OUT` holds by what was made here.
    pub(super) fn publish(mut self, manifest: &Manifest) -> Result<(), PrepareError> {
        // From here on only `.partial` tells that the folder is unfinished.
        self.keep = true;
        self.replace(manifest).map_err(|source| PrepareError::Output { path: self.out.clone(), source })
    }

    fn replace(&self, manifest: &Manifest) -> io::Result<()> {
        match fs::remove_file(self.out.join(MANIFEST_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => sync_parent(&self.partial)?,
        }
        for name in shard_files(&self.out)? {
            fs::remove_file(self.out.join(name))?;
        }
        let mut names: Vec<String> = vec![TOKENIZER_FILE.to_owned(), VOCAB_FILE.to_owned()];
        for shard in &manifest.shards {
            names.extend([format!("{}.bin", shard.name), format!("{}.idx", shard.name)]);
        }
        for name in names {
            fs::rename(self.partial.join(&name), self.out.join(&name))?;
        }
        sync_parent(&self.partial)?;
        manifest.save(&self.out)?;
        fs::remove_dir_all(&self.partial)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        if !self.keep {
            // The error that led here is the one to report.
            let _ = fs::remove_dir_all(&self.partial);
            if self.new {
                let _ = fs::remove_dir(&self.out);
            }
        }
    }
}

/// Names of the shard files in a folder.
pub(super) fn shard_files(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let stem = name.strip_suffix(".bin").or_else(|| name.strip_suffix(".idx"));
        if stem.is_some_and(|stem| Split::ALL.iter().any(|split| split.names(stem))) {
            names.push(name);
        }
    }
    Ok(names)
}

/// A document that was tokenised.
pub(super) struct Tokenised {
    /// Hash of its text, which decides about the split.
    pub(super) hash: u64,
    pub(super) ids: Vec<u32>,
}

/// Deals documents to the shards of both splits.
///
/// A document is held out if its hash, as a fraction of all hashes, is below `valid_fraction`: the choice depends on nothing
/// but its text. Should that hold nothing out, the document with the smallest hash is: until a first one is held out, the
/// smallest one so far is kept back.
pub(super) struct Dealer {
    train: SplitWriter,
    valid: SplitWriter,
    valid_fraction: f64,
    kept_back: Option<Tokenised>,
}

impl Dealer {
    pub(super) fn new(dir: &Path, token_type: TokenType, config: &PrepareConfig) -> Dealer {
        let writer = |split| SplitWriter {
            dir: dir.to_owned(),
            split,
            token_type,
            shard_tokens: config.shard_tokens,
            open: None,
            shards: Vec::new(),
        };
        Dealer {
            train: writer(Split::Train),
            valid: writer(Split::Valid),
            valid_fraction: config.valid_fraction,
            kept_back: None,
        }
    }

    pub(super) fn push(&mut self, document: Tokenised) -> Result<(), PrepareError> {
        if fraction(document.hash) < self.valid_fraction {
            self.valid.push(&document.ids)?;
            return match self.kept_back.take() {
                Some(kept_back) => self.train.push(&kept_back.ids),
                None => Ok(()),
            };
        }
        if self.valid_fraction == 0.0 || !self.valid.is_empty() {
            return self.train.push(&document.ids);
        }
        let larger = match self.kept_back.take() {
            None => {
                self.kept_back = Some(document);
                return Ok(());
            }
            Some(kept_back) if kept_back.hash <= document.hash => {
                self.kept_back = Some(kept_back);
                document
            }
            Some(kept_back) => {
                self.kept_back = Some(document);
                kept_back
            }
        };
        self.train.push(&larger.ids)
    }

    /// Ends the last shards; returns all of them, `train` first.
    pub(super) fn finish(mut self) -> Result<Vec<ShardStamp>, PrepareError> {
        if let Some(kept_back) = self.kept_back.take() {
            if self.train.is_empty() {
                return Err(PrepareError::TooFewDocuments { num_documents: 1 });
            }
            self.valid.push(&kept_back.ids)?;
        }
        let mut shards = self.train.finish()?;
        let valid = self.valid.finish()?;
        if shards.is_empty() && !valid.is_empty() {
            let num_documents = valid.iter().map(|shard| shard.counts.documents).sum();
            return Err(PrepareError::NoTraining { num_documents });
        }
        shards.extend(valid);
        Ok(shards)
    }
}

/// A hash as a fraction from 0 up to 1, by its upper 53 bits.
fn fraction(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// Writes the shards of one split, one after the other.
struct SplitWriter {
    dir: PathBuf,
    split: Split,
    token_type: TokenType,
    shard_tokens: u64,
    open: Option<ShardWriter>,
    shards: Vec<ShardStamp>,
}

impl SplitWriter {
    fn is_empty(&self) -> bool {
        self.open.is_none() && self.shards.is_empty()
    }

    fn push(&mut self, ids: &[u32]) -> Result<(), PrepareError> {
        let prefix = self.dir.join(self.split.shard_name(self.shards.len()));
        let mut writer = match self.open.take() {
            Some(writer) => writer,
            None => ShardWriter::create(&prefix, self.token_type)?,
        };
        writer.push_document(&[ids])?;
        if writer.num_tokens() >= self.shard_tokens {
            self.close(writer)
        } else {
            self.open = Some(writer);
            Ok(())
        }
    }

    fn close(&mut self, writer: ShardWriter) -> Result<(), PrepareError> {
        let written = writer.finish()?;
        self.shards.push(ShardStamp {
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

    fn finish(mut self) -> Result<Vec<ShardStamp>, PrepareError> {
        if let Some(writer) = self.open.take() {
            self.close(writer)?;
        }
        Ok(self.shards)
    }
}
