//! Corpus files in, a complete folder of shards out.
//!
//! Two passes: the first reads and cleans the corpus, counts its words and keeps the text aside on disk, the second
//! tokenises that text and writes the shards in the order of the corpus. A preparation that was interrupted is taken up again
//! where it stood, within 64 MiB of text.
//! Memory: a few chunks of text, at most two million distinct words while a vocabulary is trained, and the hashes by which
//! duplicates are found. Disk: the shards, 2 bytes a token, 12 a sequence and 8 a document, and meanwhile the text once more,
//! compressed. The result depends on the input and the settings alone, not on workers, memory or interruptions.

mod config;
mod error;
mod journal;
mod looking;
mod output;
pub mod plan;
mod progress;
mod reading;
mod report;
mod source;
mod spill;
mod split_writers;
mod summary;
mod tokenising;
mod warnings;

pub use config::PrepareConfig;
pub use error::PrepareError;
pub use progress::Progress;
pub use report::{Report, Tally};
pub use summary::Summary;

use crate::corpus::{find_files, CorpusFile, Found};
use crate::hash::{self, Hasher};
use crate::manifest::{
    Counts, Manifest, Settings, ShardEntry, Source, TokenizerEntry, MANIFEST_FILE, PARTIAL_DIR, TOKENIZER_FILE,
    VOCAB_FILE,
};
use crate::shard::{FileChecksum, Split};
use crate::wordpiece;
use config::input_bytes;
use journal::Journal;
use output::{difference, Workplace};
use rayon::prelude::*;
use reading::Reading;
use source::Corpus;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokenizers::Tokenizer;

/// Unknown templates that the manifest names.
const NAMED_TEMPLATES: usize = 100;

/// Makes the folder `config.out`. If it is already there, complete and made from the same files with the same settings,
/// nothing is done and [`Summary::report`] is empty. If it is unfinished, the work goes on.
///
/// # Errors
/// See [`PrepareError`]. Whatever fails, no half-written folder can be taken for a whole one.
pub fn prepare(config: &PrepareConfig, progress: Arc<dyn Progress>) -> Result<Summary, PrepareError> {
    let started = Instant::now();
    config.validate()?;
    let settings = config.settings()?;
    let Found { files, passed_over } = find_files(&config.inputs, config.format)?;
    if let Some(first) = passed_over.first() {
        progress.warn(&format!(
            "{} files are passed over, because their names do not tell the format: `{}`{}",
            passed_over.len(),
            first.display(),
            if passed_over.len() > 1 { ", .." } else { "" }
        ));
    }
    let pool = workers(config)?;
    pool.install(|| looking::look(&files, &config.reader, progress.as_ref()))?;
    progress.stage("hashing the input", input_bytes(&files));
    let sources = pool.install(|| hash_sources(&files, &progress))?;
    if let Some(manifest) = find_existing(config, &settings, &sources)? {
        progress.finish();
        return Ok(Summary { manifest, report: None });
    }
    let fresh = Journal::new(settings, sources);
    let (workplace, mut journal) = Workplace::open(&config.out, fresh, config.force, progress.as_ref())?;
    let run = Run { config, files: &files, threads: pool.current_num_threads(), progress: &progress };
    let (tokenizer, shards) = match pool.install(|| run.make(workplace.path(), &mut journal)) {
        Ok(made) => made,
        Err(error) => {
            // A full disk can be emptied and the same command run again. What was read of files before a bad one stays good.
            if error.keeps_text() && journal.has_whole_files() {
                progress.warn("what was read so far is kept: change what the error names, and run it again");
            } else if error.exit_code() != 1 {
                workplace.discard();
            }
            return Err(error);
        }
    };
    let Journal { settings, sources, mut report, .. } = journal;
    report.seconds = started.elapsed().as_secs_f64();
    let manifest = Manifest {
        version: Manifest::VERSION,
        untie_data: env!("CARGO_PKG_VERSION").to_owned(),
        tokenizer,
        train: total(&shards, Split::Train),
        valid: total(&shards, Split::Valid),
        shards,
        sources,
        settings,
        unknown_templates: report::most_frequent(&report.gaps, NAMED_TEMPLATES)
            .into_iter()
            .map(|(name, number)| (name.to_owned(), number))
            .collect(),
    };
    workplace.publish(&manifest)?;
    progress.finish();
    Ok(Summary { manifest, report: Some(report) })
}

fn workers(config: &PrepareConfig) -> Result<rayon::ThreadPool, PrepareError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(config.workers)
        .build()
        .map_err(|error| PrepareError::Workers { workers: config.workers, message: error.to_string() })
}

fn total(shards: &[ShardEntry], split: Split) -> Counts {
    shards.iter().filter(|shard| shard.split == split).fold(Counts::default(), |sum, shard| Counts {
        documents: sum.documents + shard.counts.documents,
        sequences: sum.sequences + shard.counts.sequences,
        tokens: sum.tokens + shard.counts.tokens,
    })
}

/// Names, sizes and hashes; standard input gets its own once it is read.
fn hash_sources(files: &[CorpusFile], progress: &Arc<dyn Progress>) -> Result<Vec<Source>, PrepareError> {
    let checksum = |file: &CorpusFile| {
        if file.is_stdin() {
            return Ok(Source { name: "-".to_owned(), checksum: FileChecksum { bytes: 0, xxh3: String::new() } });
        }
        let name = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let checksum = hash::checksum(file.path());
        let checksum = checksum.map_err(|source| PrepareError::Input { path: file.path().to_owned(), source })?;
        progress.advance(checksum.bytes);
        Ok(Source { name, checksum })
    };
    files.par_iter().map(checksum).collect()
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
            Ok(manifest) => match difference((&manifest.settings, &manifest.sources), (settings, sources)) {
                None => {
                    output::tidy(out);
                    return Ok(Some(manifest));
                }
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

/// One preparation under way.
struct Run<'a> {
    config: &'a PrepareConfig,
    files: &'a [CorpusFile],
    threads: usize,
    progress: &'a Arc<dyn Progress>,
}

impl Run<'_> {
    /// Writes the tokenizer and the shards into `dir`, as far as the journal says that they are not there.
    fn make(&self, dir: &Path, journal: &mut Journal) -> Result<(TokenizerEntry, Vec<ShardEntry>), PrepareError> {
        let tokenizer = self.tokenizer(dir, journal)?;
        self.progress.stage("tokenising", journal.report.text_bytes);
        let shards = tokenising::tokenise(self.config, dir, &tokenizer, journal, self.progress)?;
        let num_tokens = shards.iter().map(|shard| shard.counts.tokens).sum();
        if let Some(message) = warnings::of_unknown(self.config, &tokenizer, &journal.report, num_tokens) {
            self.progress.warn(&message);
        }
        if shards.is_empty() {
            return Err(PrepareError::EmptyCorpus { dropped: report::list(&journal.report.dropped) });
        }
        let checksum = |name: &str| {
            let path = dir.join(name);
            hash::checksum(&path).map_err(|source| PrepareError::Output { path, source })
        };
        let casing = wordpiece::casing(&tokenizer);
        let tokenizer = TokenizerEntry {
            vocab_size: wordpiece::vocab_size(&tokenizer),
            lowercase: casing.map(|casing| casing.lowercase),
            strip_accents: casing.and_then(|casing| casing.strip_accents),
            json: checksum(TOKENIZER_FILE)?,
            vocab: checksum(VOCAB_FILE)?,
        };
        Ok((tokenizer, shards))
    }

    /// Reads the corpus to its end and brings the tokenizer.
    fn tokenizer(&self, dir: &Path, journal: &mut Journal) -> Result<Tokenizer, PrepareError> {
        if journal.has_tokenizer {
            return Ok(wordpiece::import(&dir.join(TOKENIZER_FILE), self.config.casing)?);
        }
        let given = match &self.config.tokenizer {
            Some(path) => Some(self.given(path)?),
            None => None,
        };
        let corpus = Corpus {
            files: self.files,
            options: &self.config.reader,
            threads: self.threads,
            chunk_bytes: self.config.chunk_bytes(),
            segment_bytes: self.config.segment_bytes,
        };
        let mut reading = Reading::new(self.config, dir, &corpus, journal.segments);
        if journal.segments > 0 && reading.has_forgotten(journal) {
            self.progress.stage("taking up what was read", journal.report.text_bytes);
            reading.recall(journal, self.progress)?;
        }
        if !journal.is_read {
            self.progress.stage("reading", input_bytes(self.files));
            let stdin = Arc::new(Mutex::new((Hasher::default(), 0)));
            let hashed = Arc::clone(&stdin);
            let is_stdin: Vec<bool> = self.files.iter().map(CorpusFile::is_stdin).collect();
            let meter = move |file: usize, bytes: &[u8]| {
                if is_stdin[file] {
                    let (hasher, length) = &mut *hashed.lock().unwrap_or_else(PoisonError::into_inner);
                    hasher.update(bytes);
                    *length += bytes.len() as u64;
                }
            };
            reading.run(&corpus, journal, self.progress, meter)?;
            let (hasher, bytes) = &*stdin.lock().unwrap_or_else(PoisonError::into_inner);
            for source in journal.sources.iter_mut().filter(|source| source.name == "-") {
                source.checksum = FileChecksum { bytes: *bytes, xxh3: hasher.hex() };
            }
        }
        if journal.report.num_texts == 0 {
            return Err(PrepareError::EmptyCorpus { dropped: report::list(&journal.report.dropped) });
        }
        let mut tokenizer = match given {
            Some(tokenizer) => tokenizer,
            None => self.train(reading)?,
        };
        // What the stages did to the text is part of what the model knows.
        wordpiece::normalize_first(&mut tokenizer, self.config.stages.normalize)?;
        wordpiece::save(&tokenizer, dir)?;
        journal.has_tokenizer = true;
        journal.save(dir).map_err(|source| PrepareError::Output { path: dir.to_owned(), source })?;
        Ok(tokenizer)
    }

    /// The tokenizer that was given, with what may surprise told.
    fn given(&self, path: &Path) -> Result<Tokenizer, PrepareError> {
        let found = wordpiece::open(path, self.config.casing)?;
        found.notes.iter().for_each(|note| self.progress.warn(note));
        if let Some(casing) = wordpiece::casing(&found.tokenizer) {
            let told = warnings::of_case(path, self.config.casing, casing);
            told.iter().for_each(|message| self.progress.warn(message));
        }
        Ok(found.for_shards()?)
    }

    fn train(&self, reading: Reading<'_>) -> Result<Tokenizer, PrepareError> {
        self.progress.stage("training the vocabulary", 0);
        let counter = reading.into_counter().unwrap_or_else(|| wordpiece::WordCounter::new(self.config.casing));
        let trained = counter.train(self.config.vocab_size, self.config.limit_alphabet)?;
        warnings::of_training(self.config, &trained).iter().for_each(|message| self.progress.warn(message));
        Ok(trained.tokenizer)
    }
}
