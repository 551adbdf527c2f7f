//! `manifest.json`: what a folder of shards holds, and the sign that it is complete.
//!
//! In: the folder. Out: counts, sizes and hashes, checked. Cost: [`Manifest::check`] reads the size of every file and the header
//! of every index; [`Manifest::verify`] reads every byte.

use crate::corpus::{Format, ReaderOptions};
use crate::files::write_aside;
use crate::hash;
use crate::shard::{with_suffix, FileChecksum, Shard, ShardError, Split, TokenType};
use crate::stages::StagesConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Name of the manifest in its folder.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of the tokenizer beside it.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// Name of the vocabulary beside it, one token a line.
pub const VOCAB_FILE: &str = "vocab.txt";
/// Folder in which a preparation works; without a manifest beside it, the preparation is unfinished.
pub const PARTIAL_DIR: &str = ".partial";

const VERSION: u32 = 1;

/// The content of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format, 1.
    pub version: u32,
    /// Version of `untie-data` that wrote it.
    pub untie_data: String,
    /// The tokenizer that made the tokens.
    pub tokenizer: TokenizerEntry,
    /// Counts of the training documents.
    pub train: Counts,
    /// Counts of the held-out documents.
    pub valid: Counts,
    /// Every shard, `train` first, in stream order.
    pub shards: Vec<ShardEntry>,
    /// The corpus files, in the order in which they were read.
    pub sources: Vec<Source>,
    /// The settings of the preparation that decide its result.
    pub settings: Settings,
    /// The templates that are not known and stood in sentences of wikitext: the most frequent ones, and how often each did.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown_templates: BTreeMap<String, u64>,
}

/// The tokenizer of a folder of shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerEntry {
    /// Number of tokens in the vocabulary, special tokens included.
    pub vocab_size: u32,
    /// Whether it lower-cases text; nothing if its normaliser does not say.
    pub lowercase: Option<bool>,
    /// Whether it strips accents; nothing if its normaliser does not say, and then it does where it lower-cases.
    #[serde(default)]
    pub strip_accents: Option<bool>,
    /// `tokenizer.json`.
    pub json: FileChecksum,
    /// `vocab.txt`.
    pub vocab: FileChecksum,
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Documents.
    pub documents: u64,
    /// Sequences.
    pub sequences: u64,
    /// Tokens.
    pub tokens: u64,
}

/// One shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// File name without `.bin` and `.idx`.
    pub name: String,
    /// The split it belongs to.
    pub split: Split,
    /// How tokens are stored.
    pub token_type: TokenType,
    /// What it holds.
    #[serde(flatten)]
    pub counts: Counts,
    /// The tokens' file.
    pub bin: FileChecksum,
    /// The index's file.
    pub idx: FileChecksum,
}

/// One corpus file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// File name, without its folder.
    pub name: String,
    /// Size and hash of the file as it was read, compressed or not.
    #[serde(flatten)]
    pub checksum: FileChecksum,
}

/// What was asked of a preparation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Layout of the corpus files.
    pub format: Format,
    /// What their readers were told.
    pub reader: ReaderOptions,
    /// What happened to documents before they were tokenised.
    #[serde(default = "before_stages")]
    pub stages: StagesConfig,
    /// Language of the sentences that are sequences of their own; nothing if a document is one sequence.
    #[serde(default)]
    pub sentences: Option<String>,
    /// Hash of the tokenizer files that were given; nothing if the vocabulary was trained.
    pub tokenizer: Option<String>,
    /// Requested size of the vocabulary; nothing if it was given.
    pub vocab_size: Option<usize>,
    /// The most different characters in it; nothing if that was left to its size, or the vocabulary was given.
    #[serde(default)]
    pub limit_alphabet: Option<usize>,
    /// Whether text was to be lower-cased; nothing if a tokenizer was given that says so itself.
    pub lowercase: Option<bool>,
    /// Whether accents were to be stripped; nothing if that was left to `lowercase`, or to a tokenizer that was given.
    #[serde(default)]
    pub strip_accents: Option<bool>,
    /// Fraction of the documents that is held out.
    pub valid_fraction: f64,
    /// Tokens after which a shard is full.
    pub shard_tokens: u64,
}

/// What manifests of the time before there were stages stand for.
fn before_stages() -> StagesConfig {
    StagesConfig { keep_boilerplate: true, ..Default::default() }
}

impl Manifest {
    /// The version of manifests that this crate writes and reads.
    pub const VERSION: u32 = VERSION;

    /// Reads the manifest of `dir` and checks that it adds up; looks at no other file.
    ///
    /// # Errors
    /// If there is none, or if it is invalid or of another version.
    pub fn load(dir: &Path) -> Result<Manifest, ShardError> {
        #[derive(Deserialize)]
        struct VersionOnly {
            version: u32,
        }
        let path = dir.join(MANIFEST_FILE);
        let bytes = fs::read(&path).map_err(|source| ShardError::Io { path: path.clone(), source })?;
        let invalid = |source| ShardError::ManifestJson { path: path.clone(), source };
        let found: VersionOnly = serde_json::from_slice(&bytes).map_err(invalid)?;
        if found.version != VERSION {
            return Err(ShardError::ManifestVersion { path, expected: VERSION, got: found.version });
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(invalid)?;
        manifest.check_sums(&path)?;
        Ok(manifest)
    }

    /// Writes the manifest of `dir`, aside first.
    pub(crate) fn save(&self, dir: &Path) -> std::io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        write_aside(&dir.join(MANIFEST_FILE), text.as_bytes())
    }

    /// The counts of one split.
    pub fn counts(&self, split: Split) -> Counts {
        match split {
            Split::Train => self.train,
            Split::Valid => self.valid,
        }
    }

    fn check_sums(&self, path: &Path) -> Result<(), ShardError> {
        for shard in &self.shards {
            // The name becomes part of a path, so it must not lead out of the folder.
            if !shard.split.names(&shard.name) {
                return Err(ShardError::ManifestName {
                    path: path.to_owned(),
                    name: shard.name.clone(),
                    split: shard.split,
                });
            }
        }
        for split in Split::ALL {
            let expected = self.counts(split);
            let sum = |count: fn(&Counts) -> u64| -> u64 {
                self.shards
                    .iter()
                    .filter(|shard| shard.split == split)
                    .fold(0, |sum, shard| sum.saturating_add(count(&shard.counts)))
            };
            let pairs = [
                ("documents", expected.documents, sum(|counts| counts.documents)),
                ("sequences", expected.sequences, sum(|counts| counts.sequences)),
                ("tokens", expected.tokens, sum(|counts| counts.tokens)),
            ];
            for (what, expected, got) in pairs {
                if expected != got {
                    return Err(ShardError::ManifestCounts { path: path.to_owned(), split, what, expected, got });
                }
            }
        }
        Ok(())
    }

    /// Opens the shards of one split and checks each against its entry: the sizes of both files, the counts, and every byte of
    /// the index. Cost: the index is read once, about 20 bytes a document.
    ///
    /// # Errors
    /// If the split has none, or if one is missing, invalid or different.
    pub fn open_shards(&self, dir: &Path, split: Split) -> Result<Vec<Shard>, ShardError> {
        let mut shards = Vec::new();
        for entry in self.shards.iter().filter(|entry| entry.split == split) {
            let prefix = dir.join(&entry.name);
            check_size(&with_suffix(&prefix, ".bin"), &entry.bin)?;
            check_size(&with_suffix(&prefix, ".idx"), &entry.idx)?;
            let shard = Shard::open(&prefix)?;
            let pairs = [
                ("documents", entry.counts.documents, shard.num_documents()),
                ("sequences", entry.counts.sequences, shard.num_sequences()),
                ("tokens", entry.counts.tokens, shard.num_tokens()),
            ];
            for (what, expected, got) in pairs {
                if expected != got {
                    return Err(ShardError::ShardCounts { path: prefix, what, expected, got });
                }
            }
            // Last: what the other checks find has a better sentence.
            check_hash(&with_suffix(&prefix, ".idx"), &entry.idx)?;
            shards.push(shard);
        }
        if shards.is_empty() {
            return Err(ShardError::NoShards { path: dir.to_owned(), split });
        }
        Ok(shards)
    }

    /// Checks the sizes and counts of every file of `dir` against its manifest, which it returns.
    ///
    /// # Errors
    /// If the manifest is invalid, or if a file is missing, invalid or of another size.
    pub fn check(dir: &Path) -> Result<Manifest, ShardError> {
        let manifest = Manifest::load(dir)?;
        for split in Split::ALL {
            if manifest.shards.iter().any(|shard| shard.split == split) {
                manifest.open_shards(dir, split)?;
            }
        }
        check_size(&dir.join(TOKENIZER_FILE), &manifest.tokenizer.json)?;
        check_size(&dir.join(VOCAB_FILE), &manifest.tokenizer.vocab)?;
        Ok(manifest)
    }

    /// Checks every file of `dir` against its manifest, which it returns, byte by byte.
    ///
    /// # Errors
    /// As [`Manifest::check`], and if the content of a file is another one.
    pub fn verify(dir: &Path) -> Result<Manifest, ShardError> {
        let manifest = Manifest::check(dir)?;
        for entry in &manifest.shards {
            let prefix = dir.join(&entry.name);
            check_hash(&with_suffix(&prefix, ".bin"), &entry.bin)?;
        }
        check_hash(&dir.join(TOKENIZER_FILE), &manifest.tokenizer.json)?;
        check_hash(&dir.join(VOCAB_FILE), &manifest.tokenizer.vocab)?;
        Ok(manifest)
    }
}

fn check_size(path: &Path, checksum: &FileChecksum) -> Result<(), ShardError> {
    let metadata = fs::metadata(path).map_err(|source| ShardError::Io { path: path.to_owned(), source })?;
    if metadata.len() != checksum.bytes {
        return Err(ShardError::FileSize { path: path.to_owned(), expected: checksum.bytes, got: metadata.len() });
    }
    Ok(())
}

fn check_hash(path: &Path, checksum: &FileChecksum) -> Result<(), ShardError> {
    let found = hash::checksum(path).map_err(|source| ShardError::Io { path: path.to_owned(), source })?;
    if found.xxh3 != checksum.xxh3 {
        return Err(ShardError::FileHash { path: path.to_owned(), expected: checksum.xxh3.clone(), got: found.xxh3 });
    }
    Ok(())
}
