//! The command line of `prepare`: arguments in, exit code out. `untie-data prepare` and `untie prepare` are the same.

use crate::corpus::{Format, ReaderOptions};
use crate::pipeline::{plan, prepare, PrepareConfig, PrepareError, Progress};
use crate::stages::dedup::Dedup;
use crate::stages::{Filter, Normalization, StagesConfig};
use crate::wordpiece::Casing;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

/// Turn raw text into token shards.
#[derive(Clone, Debug, clap::Args)]
pub struct PrepareArgs {
    /// Files, folders, quoted globs, or - for standard input; read in this order
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub input: Vec<PathBuf>,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Layout of the corpus files
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Field of JSONL, or column of Parquet, that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub text_field: String,
    /// Stop at invalid UTF-8, broken lines and broken pages; without it they are repaired or skipped, and counted
    #[arg(long)]
    pub strict: bool,
    /// Keep the headings of Wikipedia articles, each as a paragraph
    #[arg(long)]
    pub headings: bool,
    /// Drop sentences of Wikipedia articles with an unknown template or a formula; without it these sentences have a gap
    #[arg(long)]
    pub drop_incomplete_sentences: bool,
    /// Largest document: longer text is cut at a paragraph, longer lines and pages are skipped; both are counted
    #[arg(long, value_name = "SIZE", default_value = "16MB", value_parser = parse_size)]
    pub max_document: u64,
    /// Keep the licence texts of Project Gutenberg and Smashwords
    #[arg(long)]
    pub keep_boilerplate: bool,
    /// Unicode normal form of the text
    #[arg(long, value_enum, default_value_t)]
    pub normalize: Normalization,
    /// Drop documents with fewer words than this
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub min_words: u64,
    /// Quality filters, in this order
    #[arg(long, value_enum, num_args = 1.., value_name = "NAME")]
    pub filter: Vec<Filter>,
    /// Drop exact duplicates; the first one stays
    #[arg(long, value_enum, num_args = 1.., value_name = "WHAT")]
    pub dedup: Vec<Dedup>,
    /// Store each sentence as a separate sequence, for next-sentence and sentence-order prediction; LANG is a code such as en,
    /// de, ja
    #[arg(long, value_name = "LANG", num_args = 0..=1, default_missing_value = "en")]
    pub sentences: Option<String>,
    /// Use this tokenizer instead of training a vocabulary: a Hugging Face directory, a tokenizer.json or a vocab.txt
    #[arg(long, value_name = "PATH", conflicts_with = "vocab_size")]
    pub tokenizer: Option<PathBuf>,
    /// Size of the vocabulary to train, special tokens included
    #[arg(long, value_name = "N", default_value_t = 30_522)]
    pub vocab_size: usize,
    /// Largest number of different characters in a trained vocabulary; rarer ones become `[UNK]` [default: the 1000 most
    /// frequent, and further ones that are frequent or fit in, as in Chinese]
    #[arg(long, value_name = "N", conflicts_with = "tokenizer")]
    pub limit_alphabet: Option<usize>,
    /// Keep case, and accents without `--strip-accents on`; for a trained vocabulary, and for a vocab.txt without
    /// tokenizer_config.json
    #[arg(long)]
    pub cased: bool,
    /// Remove accents and other nonspacing marks from letters [default: off with --cased, else on]
    #[arg(long, value_enum, value_name = "WHETHER")]
    pub strip_accents: Option<Switch>,
    /// Fraction of the documents to hold out; the hash of the text decides; at least one document, unless 0
    #[arg(long, value_name = "F", default_value_t = 0.01)]
    pub valid_fraction: f64,
    /// Largest number of tokens in a shard
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    pub shard_tokens: u64,
    /// Number of threads; 0: one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub workers: usize,
    /// Memory limit; it does not change the result
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = parse_size)]
    pub memory_limit: u64,
    /// Read a little, print the time, memory and disk space to expect, then stop
    #[arg(long)]
    pub dry_run: bool,
    /// Replace a folder that was prepared differently; start an unfinished one from the beginning
    #[arg(long)]
    pub force: bool,
}

impl PrepareArgs {
    /// Prepares, with progress on stderr, and prints the result to stdout, or the error and its hint to stderr; the exit
    /// code of the process.
    pub fn run(self) -> ExitCode {
        let dry_run = self.dry_run;
        let config = self.into_config();
        if dry_run {
            return exit(plan::plan(&config));
        }
        exit(prepare(&config, Arc::new(Console::default())))
    }

    /// The configuration that the arguments stand for.
    pub fn into_config(self) -> PrepareConfig {
        PrepareConfig {
            format: self.format,
            reader: ReaderOptions {
                text_field: self.text_field,
                strict: self.strict,
                headings: self.headings,
                drop_incomplete_sentences: self.drop_incomplete_sentences,
                max_document_bytes: self.max_document,
            },
            stages: StagesConfig {
                keep_boilerplate: self.keep_boilerplate,
                normalize: self.normalize,
                min_words: self.min_words,
                filters: self.filter,
                dedup: self.dedup,
            },
            sentences: self.sentences,
            tokenizer: self.tokenizer,
            vocab_size: self.vocab_size,
            limit_alphabet: self.limit_alphabet,
            casing: Casing {
                lowercase: !self.cased,
                strip_accents: self.strip_accents.map(|switch| switch == Switch::On),
            },
            valid_fraction: self.valid_fraction,
            shard_tokens: self.shard_tokens,
            workers: self.workers,
            memory_limit: self.memory_limit,
            force: self.force,
            ..PrepareConfig::new(self.input, self.out)
        }
    }
}

/// Bytes from `800MB`, `1.5GB` or a plain number; units are powers of 1000.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "KB" | "K" => 1e3,
        "MB" | "M" => 1e6,
        "GB" | "G" => 1e9,
        "TB" | "T" => 1e12,
        _ => return Err("expected a size such as 800MB or 1.5GB".to_owned()),
    };
    match digits.trim().parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok((number * unit) as u64),
        _ => Err("expected a size such as 800MB or 1.5GB".to_owned()),
    }
}

fn exit(result: Result<impl fmt::Display, PrepareError>) -> ExitCode {
    match result {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let (hint, code) = (error.hint(), error.exit_code());
            fail(error, hint.as_deref(), code)
        }
    }
}

/// Reports an error as one chain, and what the user can do about it; the exit code of the process.
pub(crate) fn fail(error: impl Into<anyhow::Error>, hint: Option<&str>, code: u8) -> ExitCode {
    eprintln!("error: {:#}", error.into());
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(code)
}

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress on stderr: a bar on a terminal, a line now and then elsewhere.
#[derive(Default)]
pub struct Console {
    stage: Mutex<Option<Stage>>,
}

struct Stage {
    bar: ProgressBar,
    plain: bool,
    name: String,
    last_line: Instant,
}

impl Stage {
    fn line(&mut self) {
        self.last_line = Instant::now();
        let (name, done, rate) = (&self.name, self.bar.position() as f64 / 1e6, self.bar.per_sec() / 1e6);
        match self.bar.length() {
            Some(total) if total > 0 => {
                let (total, eta) = (total as f64 / 1e6, HumanDuration(self.bar.eta()));
                eprintln!("{name}: {done:.1} of {total:.1} MB, {rate:.2} MB/s, {eta} left");
            }
            _ => eprintln!("{name}: {done:.1} MB, {rate:.2} MB/s"),
        }
    }
}

impl Console {
    fn with_stage(&self, act: impl FnOnce(&mut Option<Stage>)) {
        act(&mut self.stage.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Progress for Console {
    fn stage(&self, name: &str, total: u64) {
        let plain = !std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if plain {
            eprintln!("{name}");
        } else {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            let template = "{msg:<24} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(name.to_owned());
        }
        self.with_stage(|stage| {
            if let Some(last) = stage.take() {
                last.bar.finish();
            }
            *stage = Some(Stage { bar, plain, name: name.to_owned(), last_line: Instant::now() });
        });
    }

    fn advance(&self, bytes: u64) {
        self.with_stage(|stage| {
            if let Some(stage) = stage {
                stage.bar.inc(bytes);
                if stage.plain && stage.last_line.elapsed() >= LINE_EVERY {
                    stage.line();
                }
            }
        });
    }

    fn warn(&self, message: &str) {
        self.with_stage(|stage| match stage {
            Some(stage) => stage.bar.suspend(|| eprintln!("warning: {message}")),
            None => eprintln!("warning: {message}"),
        });
    }

    fn finish(&self) {
        self.with_stage(|stage| {
            if let Some(last) = stage.take() {
                last.bar.finish();
            }
        });
    }
}
