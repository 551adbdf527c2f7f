//! Corpus files in, a complete folder of shards out.
//!
//! Two passes: the first reads and cleans the corpus, counts its words and keeps the text aside on disk, the second
//! tokenises that text in parallel and writes the shards in the order of the input (save for a document that was kept back to
//! be held out, and then was not). With a given tokenizer one pass does.
//! Memory: a few chunks of text and one entry a distinct word. Disk: the shards, 2 bytes a token and 20 bytes a document, and
//! while a vocabulary is trained the text once more, compressed. The result depends on the input and the settings alone, not
//! on the number of workers.

mod error;
mod output;
mod source;
mod summary;

pub use error::PrepareError;
pub use summary::{Report, Summary};

use crate::corpus::{Format, ReaderOptions};
use crate::hash;
use crate::manifest::{
    Counts, Manifest, Settings, ShardStamp, Source, TokenizerStamp, MANIFEST_FILE, PARTIAL_DIR, TOKENIZER_FILE,
    VOCAB_FILE,
};
use crate::shard::{FileStamp, Split, TokenType};
use crate::wordpiece::{self, SpecialTokens, WordCounter};
use output::{Dealer, Tokenised, Workplace};
use rayon::prelude::*;
use source::{read_corpus, read_spill, Chunk, SpillWriter};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokenizers::Tokenizer;
use xxhash_rust::xxh3::xxh3_64;

/// What to prepare, and how.
#[derive(Clone, Debug)]
pub struct PrepareConfig {
    /// Corpus files, read in this order.
    pub inputs: Vec<PathBuf>,
    /// The folder to make.
    pub out: PathBuf,
    /// Layout of the corpus files; default by their names.
    pub format: Format,
    /// What their readers are told.
    pub reader: ReaderOptions,
    /// A `tokenizer.json` or `vocab.txt` to use; default none, a vocabulary is trained.
    pub tokenizer: Option<PathBuf>,
    /// Number of tokens to train, special tokens included; default 30,522, as BERT.
    pub vocab_size: usize,
    /// Whether text is lower-cased and stripped of accents, where a vocabulary is trained or a `vocab.txt` given; default
    /// true.
    pub lowercase: bool,
    /// Fraction of the documents to hold out; default 0.01. 0 holds out none, anything more at least one.
    pub valid_fraction: f64,
    /// Tokens after which a shard is full; default 100 million.
    pub shard_tokens: u64,
    /// Threads that tokenise; default 0, one a core.
    pub workers: usize,
    /// Whether to replace a folder that is complete and different; default false.
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
            tokenizer: None,
            vocab_size: 30_522,
            lowercase: true,
            valid_fraction: 0.01,
            shard_tokens: 100_000_000,
            workers: 0,
            force: false,
        }
    }

    fn validate(&self) -> Result<(), PrepareError> {
        if self.inputs.is_empty() {
            return Err(PrepareError::NoInput);
        }
        if !(0.0..1.0).contains(&self.valid_fraction) {
            return Err(PrepareError::ValidFraction { got: self.valid_fraction });
        }
        if self.shard_tokens == 0 {
            return Err(PrepareError::ShardTokens);
        }
        for path in &self.inputs {
            let failed = |source| PrepareError::Input { path: path.clone(), source };
            if fs::metadata(path).map_err(failed)?.is_dir() {
                return Err(PrepareError::InputIsFolder { path: path.clone() });
            }
            if self.format.reader(path, &self.reader).is_none() {
                return Err(PrepareError::UnknownFormat { path: path.clone() });
            }
        }
        Ok(())
    }

    fn settings(&self) -> Result<Settings, PrepareError> {
        let tokenizer = match &self.tokenizer {
            None => None,
            Some(path) => {
                let failed = |source| wordpiece::TokenizerError::Io { path: path.clone(), source };
                Some(hash::stamp(path).map_err(failed)?.xxh3)
            }
        };
        let decides_itself = self.tokenizer.as_deref().is_some_and(wordpiece::is_json);
        Ok(Settings {
            format: self.format,
            reader: self.reader.clone(),
            vocab_size: tokenizer.is_none().then_some(self.vocab_size),
            tokenizer,
            lowercase: (!decides_itself).then_some(self.lowercase),
            valid_fraction: self.valid_fraction,
            shard_tokens: self.shard_tokens,
        })
    }
}

/// Hears how a preparation gets on. `()` does not listen.
pub trait Progress: Send + Sync {
    /// A stage begins that will read `total` bytes.
    fn stage(&self, name: &str, total: u64);
    /// The stage has read `bytes` more.
    fn advance(&self, bytes: u64);
    /// Something the user should know.
    fn warn(&self, message: &str);
    /// The last stage is over.
    fn finish(&self);
}

impl Progress for () {
    fn stage(&self, _name: &str, _total: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn warn(&self, _message: &str) {}
    fn finish(&self) {}
}

/// Makes the folder `config.out`. If it is already there, complete and made from the same files with the same settings,
/// nothing is done and [`Summary::report`] is empty.
///
/// # Errors
/// See [`PrepareError`]. Whatever fails, no half-written folder can be taken for a whole one.
pub fn prepare(config: &PrepareConfig, progress: Arc<dyn Progress>) -> Result<Summary, PrepareError> {
    let started = Instant::now();
    config.validate()?;
    let settings = config.settings()?;
    let sources = stamp_sources(config)?;
    if let Some(manifest) = find_existing(config, &settings, &sources)? {
        return Ok(Summary { manifest, report: None });
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(config.workers)
        .build()
        .map_err(|error| PrepareError::Workers { workers: config.workers, message: error.to_string() })?;

    let workplace = Workplace::create(&config.out)?;
    let mut run = Run { config, progress: &progress, dir: workplace.path(), report: Report::default() };
    let (tokenizer, shards) = pool.install(|| run.make())?;
    let mut report = run.report;
    let manifest = Manifest {
        version: Manifest::VERSION,
        untie_data: env!("CARGO_PKG_VERSION").to_owned(),
        tokenizer,
        train: total(&shards, Split::Train),
        valid: total(&shards, Split::Valid),
        shards,
        sources,
        settings,
    };
    workplace.publish(&manifest)?;
    progress.finish();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(Summary { manifest, report: Some(report) })
}

fn total(shards: &[ShardStamp], split: Split) -> Counts {
    shards.iter().filter(|shard| shard.split == split).fold(Counts::default(), |sum, shard| Counts {
        documents: sum.documents + shard.counts.documents,
        sequences: sum.sequences + shard.counts.sequences,
        tokens: sum.tokens + shard.counts.tokens,
    })
}

fn stamp_sources(config: &PrepareConfig) -> Result<Vec<Source>, PrepareError> {
    let stamp = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stamp = hash::stamp(path).map_err(|source| PrepareError::Input { path: path.clone(), source })?;
        Ok(Source { name, stamp })
    };
    config.inputs.par_iter().map(stamp).collect()
}

/// The manifest of a folder that needs no work; nothing for one that is to be made.
fn find_existing(
    config: &PrepareConfig,
    settings: &Settings,
    sources: &[Source],
) -> Result<Option<Manifest>, PrepareError> {
    let out = &config.out;
    if config.force || !out.exists() {
        return Ok(None);
    }
    if out.join(MANIFEST_FILE).exists() {
        let difference = match Manifest::check(out) {
            Err(error) => Some(error.to_string()),
            Ok(manifest) => match difference(&manifest, settings, sources) {
                None => return Ok(Some(manifest)),
                difference => difference,
            },
        };
        let difference = difference.unwrap_or_default();
        return Err(PrepareError::OutputExists { path: out.clone(), difference });
    }
    let files = output::shard_files(out).map_err(|source| PrepareError::Output { path: out.clone(), source })?;
    if !files.is_empty() && !out.join(PARTIAL_DIR).exists() {
        return Err(PrepareError::OutputHasShards { path: out.clone() });
    }
    Ok(None)
}

/// How a folder differs from what is asked for.
fn difference(manifest: &Manifest, settings: &Settings, sources: &[Source]) -> Option<String> {
    if manifest.sources != sources {
        return Some("it was made from other input files".to_owned());
    }
    let as_value = |settings: &Settings| serde_json::to_value(settings).unwrap_or_default();
    let (before, now) = (as_value(&manifest.settings), as_value(settings));
    let fields = now.as_object()?;
    let (field, now) = fields.iter().find(|(field, now)| before.get(field) != Some(now))?;
    Some(format!("`{field}` was {}, now {now}", before.get(field).unwrap_or(&serde_json::Value::Null)))
}

/// One preparation under way.
struct Run<'a> {
    config: &'a PrepareConfig,
    progress: &'a Arc<dyn Progress>,
    dir: &'a Path,
    report: Report,
}

impl Run<'_> {
    /// Writes the tokenizer and the shards.
    fn make(&mut self) -> Result<(TokenizerStamp, Vec<ShardStamp>), PrepareError> {
        let (tokenizer, spill) = match &self.config.tokenizer {
            Some(path) => (wordpiece::import(path, self.config.lowercase)?, None),
            None => {
                let (tokenizer, spill) = self.train()?;
                (tokenizer, Some(spill))
            }
        };
        wordpiece::save(&tokenizer, self.dir)?;
        let shards = self.tokenise(&tokenizer, spill.as_deref())?;
        let stamp = TokenizerStamp {
            vocab_size: wordpiece::vocab_size(&tokenizer),
            lowercase: wordpiece::lowercase(&tokenizer),
            json: self.stamp(TOKENIZER_FILE)?,
            vocab: self.stamp(VOCAB_FILE)?,
        };
        Ok((stamp, shards))
    }

    fn stamp(&self, name: &str) -> Result<FileStamp, PrepareError> {
        let path = self.dir.join(name);
        hash::stamp(&path).map_err(|source| PrepareError::Output { path, source })
    }

    /// The first pass: trains a vocabulary, and keeps the text for the second.
    fn train(&mut self) -> Result<(Tokenizer, PathBuf), PrepareError> {
        self.progress.stage("reading", self.input_bytes());
        let mut counter = WordCounter::new(self.config.lowercase);
        let mut spill = SpillWriter::create(self.dir.join("text.zst"))?;
        read_corpus(self.config, self.progress, |chunk| {
            counter.add(&chunk.texts)?;
            chunk.texts.iter().try_for_each(|text| spill.push(text))?;
            self.report.read(&chunk);
            Ok(())
        })?;
        let spill = spill.finish()?;
        if self.report.num_texts == 0 {
            return Err(PrepareError::EmptyCorpus { skipped: self.report.num_skipped() });
        }
        self.progress.stage("training the vocabulary", 0);
        let tokenizer = counter.train(self.config.vocab_size)?;
        let vocab_size = wordpiece::vocab_size(&tokenizer) as usize;
        if vocab_size < self.config.vocab_size {
            self.progress.warn(&format!(
                "the vocabulary has {vocab_size} tokens instead of {}: the text has no more pieces that occur twice",
                self.config.vocab_size
            ));
        }
        Ok((tokenizer, spill))
    }

    /// The last pass: tokenises the text and deals it to the splits.
    fn tokenise(&mut self, tokenizer: &Tokenizer, spill: Option<&Path>) -> Result<Vec<ShardStamp>, PrepareError> {
        let unk = SpecialTokens::of(tokenizer)?.unk;
        let token_type = TokenType::for_vocab_size(wordpiece::vocab_size(tokenizer) as usize);
        let mut dealer = Dealer::new(self.dir, token_type, self.config);
        let text_bytes = self.report.text_bytes;
        let report = &mut self.report;
        let mut consume = |chunk: Chunk| {
            if spill.is_none() {
                report.read(&chunk);
            }
            let documents: Result<Vec<Tokenised>, PrepareError> =
                chunk.texts.par_iter().map(|text| tokenise(tokenizer, text)).collect();
            report.words += chunk.texts.par_iter().map(|text| text.split_whitespace().count() as u64).sum::<u64>();
            for document in documents? {
                if document.ids.is_empty() {
                    *report.skipped.entry("no tokens").or_default() += 1;
                    continue;
                }
                report.unknown += document.ids.iter().filter(|&&id| id == unk).count() as u64;
                dealer.push(document)?;
            }
            Ok(())
        };
        match spill {
            Some(spill) => {
                self.progress.stage("tokenising", text_bytes);
                read_spill(spill, self.progress, &mut consume)?;
            }
            None => {
                let input_bytes = input_bytes(self.config);
                self.progress.stage("tokenising", input_bytes);
                read_corpus(self.config, self.progress, &mut consume)?;
            }
        }
        let shards = dealer.finish()?;
        if shards.is_empty() {
            return Err(PrepareError::EmptyCorpus { skipped: self.report.num_skipped() });
        }
        Ok(shards)
    }

    fn input_bytes(&self) -> u64 {
        input_bytes(self.config)
    }
}

fn input_bytes(config: &PrepareConfig) -> u64 {
    config.inputs.iter().filter_map(|path| fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
}

fn tokenise(tokenizer: &Tokenizer, text: &str) -> Result<Tokenised, PrepareError> {
    let mut ids = Vec::new();
    wordpiece::encode(tokenizer, text, &mut ids)?;
    Ok(Tokenised { hash: xxh3_64(text.as_bytes()), ids })
}
