//! What to prepare, and how.

use super::PrepareError;
use crate::corpus::{CorpusFile, Format, ReaderOptions};
use crate::manifest::Settings;
use crate::stages::StagesConfig;
use crate::wordpiece::{self, Casing};
use std::path::PathBuf;

/// The least memory that a preparation can do with, bytes.
const MIN_MEMORY: u64 = 256 << 20;

/// What to prepare, and how.
#[derive(Clone, Debug)]
pub struct PrepareConfig {
    /// Corpus files, folders, globs, or `-` for standard input, read in this order.
    pub inputs: Vec<PathBuf>,
    /// The folder to make.
    pub out: PathBuf,
    /// Layout of the corpus files; default by their names.
    pub format: Format,
    /// What their readers are told.
    pub reader: ReaderOptions,
    /// What happens to documents before they are tokenised.
    pub stages: StagesConfig,
    /// Language of the sentences that become sequences of their own (`en`); default none, a document is one sequence.
    pub sentences: Option<String>,
    /// A tokenizer to use, as [`wordpiece::open`] takes it; default none, a vocabulary is trained.
    pub tokenizer: Option<PathBuf>,
    /// Number of tokens to train, special tokens included; default 30,522, as BERT.
    pub vocab_size: usize,
    /// The most different characters that a trained vocabulary has; default by its size, as [`wordpiece::Alphabet`] says.
    pub limit_alphabet: Option<usize>,
    /// How case and accents are treated, where a vocabulary is trained or one is given without a word about case; default lower
    /// case without accents.
    pub casing: Casing,
    /// Fraction of the documents to hold out; default 0.01. 0 holds out none, anything more at least one.
    pub valid_fraction: f64,
    /// Tokens after which a shard is full; default 100 million.
    pub shard_tokens: u64,
    /// Threads; default 0, one a core.
    pub workers: usize,
    /// Bytes of memory to keep within; default 1 GB. It decides how much text is worked on at once and how many duplicates can
    /// be remembered, never the result.
    pub memory_limit: u64,
    /// Bytes of text between two points from which an interrupted preparation can continue; default 64 MiB. Rare words
    /// are forgotten there too, so that it is no matter of taste.
    pub segment_bytes: usize,
    /// Whether to replace a folder that is complete and different, and to start anew where one is unfinished; default false.
    pub force: bool,
}

impl PrepareConfig {
    /// The defaults for these files.
    pub fn new(inputs: Vec<PathBuf>, out: PathBuf) -> PrepareConfig {
        PrepareConfig {
            inputs,
            out,
            format: Format::Auto,
            reader: ReaderOptions::default(),
            stages: StagesConfig::default(),
            sentences: None,
            tokenizer: None,
            vocab_size: 30_522,
            limit_alphabet: None,
            casing: true.into(),
            valid_fraction: 0.01,
            shard_tokens: 100_000_000,
            workers: 0,
            memory_limit: 1_000_000_000,
            segment_bytes: 64 << 20,
            force: false,
        }
    }

    pub(super) fn validate(&self) -> Result<(), PrepareError> {
        if self.inputs.is_empty() {
            return Err(PrepareError::NoInput);
        }
        if !(0.0..1.0).contains(&self.valid_fraction) {
            return Err(PrepareError::ValidFraction { got: self.valid_fraction });
        }
        if self.shard_tokens == 0 {
            return Err(PrepareError::ShardTokens);
        }
        if self.memory_limit < MIN_MEMORY {
            return Err(PrepareError::MemoryLimit { expected: MIN_MEMORY, got: self.memory_limit });
        }
        Ok(())
    }

    /// Text to work on at once: in the making and under way there are three chunks, raw, clean and as tokens.
    pub(super) fn chunk_bytes(&self) -> usize {
        (self.memory_limit / 128).clamp(1 << 20, 32 << 20) as usize
    }

    /// Memory for the hashes of each kind of duplicates.
    pub(super) fn dedup_bytes(&self) -> u64 {
        self.memory_limit / 2 / self.stages.dedup.len().max(2) as u64
    }

    pub(super) fn settings(&self) -> Result<Settings, PrepareError> {
        let (tokenizer, says_case) = match &self.tokenizer {
            None => (None, false),
            Some(path) => (Some(wordpiece::files_hash(path)?), wordpiece::open(path, self.casing)?.says_case),
        };
        Ok(Settings {
            format: self.format,
            reader: self.reader.clone(),
            stages: self.stages.clone(),
            sentences: self.sentences.clone(),
            vocab_size: tokenizer.is_none().then_some(self.vocab_size),
            limit_alphabet: self.limit_alphabet.filter(|_| tokenizer.is_none()),
            tokenizer,
            lowercase: (!says_case).then_some(self.casing.lowercase),
            strip_accents: self.casing.strip_accents.filter(|_| !says_case),
            valid_fraction: self.valid_fraction,
            shard_tokens: self.shard_tokens,
        })
    }
}

/// Compressed size of the files together; standard input has none.
pub(super) fn input_bytes(files: &[CorpusFile]) -> u64 {
    files.iter().filter_map(|file| std::fs::metadata(file.path()).ok()).map(|metadata| metadata.len()).sum()
}
