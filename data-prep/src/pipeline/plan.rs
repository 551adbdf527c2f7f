//! What a preparation will need, from a little of its input.
//!
//! In: a configuration. Out: sizes of text, tokens, shards and the disk in between, and the least time. The first few MB of
//! some of the files are read, cleaned and tokenised (with a vocabulary of their own, where one is to be trained); the rest is
//! proportion. Nothing is written.

use super::config::input_bytes;
use super::{looking, workers, PrepareConfig, PrepareError};
use crate::corpus::{find_files, CorpusFile, Record};
use crate::sentences::sentences;
use crate::shard::TokenType;
use crate::stages::StageOutcome;
use crate::wordpiece::{self, Encoder, SpecialTokens, WordCounter};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Files that are looked at, spread over all.
const MAX_FILES: usize = 4;
/// Text that is looked at, bytes.
const SAMPLE_BYTES: usize = 32 << 20;
/// Clean text on disk as a share of its size, Zstandard at its fastest.
const SPILL_SHARE: f64 = 0.42;

/// What a preparation will need. Estimates, save for the sizes of the input and the free disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Needs {
    /// Number of input files.
    pub num_files: usize,
    /// Size of the input as it is on disk, bytes.
    pub input_bytes: u64,
    /// Documents that will be kept.
    pub documents: f64,
    /// Their text, bytes.
    pub text_bytes: f64,
    /// Their tokens.
    pub tokens: f64,
    /// The part of them that is `[UNK]`.
    pub unknown: f64,
    /// The finished shards, bytes.
    pub shard_bytes: f64,
    /// Shards and text together, before the text is deleted, bytes.
    pub peak_disk_bytes: f64,
    /// What is free where the shards go, bytes; nothing if the system does not say.
    pub free_disk_bytes: Option<u64>,
    /// Memory that is kept within, bytes.
    pub memory_bytes: u64,
    /// Seconds at the speed of the sample on one thread, shared by all threads.
    pub seconds: f64,
}

/// Reads a little of the input.
///
/// # Errors
/// As [`prepare`](super::prepare) before it writes anything, and standard input, which can be read only once.
pub fn plan(config: &PrepareConfig) -> Result<Needs, PrepareError> {
    config.validate()?;
    let files = find_files(&config.inputs, config.format)?.files;
    if files.iter().any(CorpusFile::is_stdin) {
        return Err(PrepareError::PlanOfStdin);
    }
    let pool = workers(config)?;
    let threads = pool.current_num_threads();
    pool.install(|| looking::look(&files, &config.reader, &()))?;
    let started = Instant::now();
    let (texts, read_bytes) = sample(config, &files)?;
    if texts.is_empty() {
        return Err(PrepareError::EmptyCorpus { dropped: "all of the first documents".to_owned() });
    }
    let tokenizer = match &config.tokenizer {
        Some(path) => wordpiece::import(path, config.casing)?,
        None => {
            let mut counter = WordCounter::new(config.casing);
            counter.add(&texts);
            counter.train(config.vocab_size, config.limit_alphabet)?.tokenizer
        }
    };
    let (mut encoder, mut ids, mut sequences) = (Encoder::new(&tokenizer)?, Vec::new(), 0_usize);
    for text in &texts {
        encoder.encode(text, &mut ids)?;
        sequences += config.sentences.as_deref().map_or(1, |language| sentences(text, language).count());
    }
    let unk = SpecialTokens::of(&tokenizer)?.unk;
    let unknown = ids.iter().filter(|&&id| id == unk).count();
    let seconds = started.elapsed().as_secs_f64();
    let input_bytes = input_bytes(&files);
    let scale = input_bytes as f64 / read_bytes.max(1.0);
    let token_bytes =
        TokenType::for_vocab_size(config.vocab_size.max(wordpiece::vocab_size(&tokenizer) as usize)).size();
    let shard_bytes = scale * (token_bytes * ids.len() + 12 * sequences + 8 * texts.len()) as f64;
    let text_bytes = scale * texts.iter().map(String::len).sum::<usize>() as f64;
    Ok(Needs {
        num_files: files.len(),
        input_bytes,
        documents: scale * texts.len() as f64,
        text_bytes,
        tokens: scale * ids.len() as f64,
        unknown: unknown as f64 / ids.len().max(1) as f64,
        shard_bytes,
        peak_disk_bytes: shard_bytes + SPILL_SHARE * text_bytes,
        free_disk_bytes: free_bytes(&config.out),
        memory_bytes: config.memory_limit,
        seconds: seconds * scale / threads as f64,
    })
}

/// The first documents of some files after their stages, and the bytes of the files that hold them.
fn sample(config: &PrepareConfig, files: &[CorpusFile]) -> Result<(Vec<String>, f64), PrepareError> {
    let number = files.len().min(MAX_FILES);
    let (mut texts, mut read_bytes) = (Vec::new(), 0.0);
    for index in 0..number {
        let file = &files[index * files.len() / number];
        let failed = |source| PrepareError::Corpus { path: file.path().to_owned(), source };
        let reader = file.reader(&config.reader);
        let read = Arc::new(AtomicU64::new(0));
        let meter = Arc::clone(&read);
        let metered = move |bytes: &[u8]| {
            meter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        };
        let mut reach = Reach::default();
        let mut is_whole = true;
        for record in file.read(&config.reader, 1, metered).map_err(failed)? {
            let Record::Document(document) = record.map_err(failed)? else { continue };
            reach.step(document.text.len() as u64, read.load(Ordering::Relaxed));
            if let Record::Document(document) = reader.finish(document).map_err(failed)? {
                if let StageOutcome::Keep(text, _) = config.stages.apply(&document.text) {
                    texts.push(text);
                }
            }
            if reach.text as usize >= SAMPLE_BYTES / number {
                is_whole = false;
                break;
            }
        }
        read_bytes += if is_whole { read.load(Ordering::Relaxed) as f64 } else { reach.file_bytes() };
    }
    Ok((texts, read_bytes))
}

/// How much of a file holds the text that came out of it. Decoders read ahead in large steps, so what counts is the text
/// from one step to another.
#[derive(Default)]
struct Reach {
    text: u64,
    file: u64,
    /// Text and file at the first and the last step.
    steps: Option<[(u64, u64); 2]>,
}

impl Reach {
    fn step(&mut self, text: u64, file: u64) {
        if file > self.file {
            let first = self.steps.map_or((self.text, file), |steps| steps[0]);
            self.steps = Some([first, (self.text, file)]);
            self.file = file;
        }
        self.text += text;
    }

    fn file_bytes(&self) -> f64 {
        match self.steps {
            Some([first, last]) if last.0 > first.0 => {
                self.text as f64 * (last.1 - first.1) as f64 / (last.0 - first.0) as f64
            }
            _ => self.file as f64,
        }
    }
}

fn free_bytes(out: &Path) -> Option<u64> {
    let absolute: PathBuf = std::path::absolute(out).ok()?;
    let existing = absolute.ancestors().find(|folder| folder.exists())?;
    let system = rustix::fs::statvfs(existing).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

impl fmt::Display for Needs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |bytes: f64| match bytes {
            bytes if bytes >= 1e12 => format!("{:.2} TB", bytes / 1e12),
            bytes if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
            bytes => format!("{:.2} MB", bytes / 1e6),
        };
        let (files, input) = (self.num_files, size(self.input_bytes as f64));
        writeln!(formatter, "input              {files} files, {input}")?;
        writeln!(formatter, "text               about {} in {:.0} documents", size(self.text_bytes), self.documents)?;
        writeln!(formatter, "tokens             about {:.1} million", self.tokens / 1e6)?;
        writeln!(formatter, "shards             about {}", size(self.shard_bytes))?;
        write!(formatter, "disk at its peak   about {}", size(self.peak_disk_bytes))?;
        match self.free_disk_bytes {
            Some(free) if (free as f64) < self.peak_disk_bytes => {
                writeln!(formatter, ", NOT ENOUGH: {} are free", size(free as f64))?;
            }
            Some(free) => writeln!(formatter, ", {} are free", size(free as f64))?,
            None => writeln!(formatter)?,
        }
        writeln!(formatter, "memory             at most {}", size(self.memory_bytes as f64))?;
        write!(formatter, "time               about {:.0} s at the speed of the sample", self.seconds.max(1.0))
    }
}
