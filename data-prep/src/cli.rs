//! The command line of `prepare`: arguments in, exit code out. `untie-data prepare` and `untie prepare` are the same.

use crate::corpus::{Format, ReaderOptions};
use crate::pipeline::{prepare, PrepareConfig, PrepareError, Progress, Summary};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Raw text to token shards.
#[derive(Clone, Debug, clap::Args)]
pub struct PrepareArgs {
    /// Corpus files, read in this order
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub input: Vec<PathBuf>,
    /// Folder to make
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Layout of the corpus files
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Field of JSONL that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub text_field: String,
    /// Existing tokenizer.json or vocab.txt to use instead of training a vocabulary
    #[arg(long, value_name = "FILE", conflicts_with = "vocab_size")]
    pub tokenizer: Option<PathBuf>,
    /// Size of the vocabulary to train, special tokens included
    #[arg(long, value_name = "N", default_value_t = 30_522)]
    pub vocab_size: usize,
    /// Keep case and accents (for training a vocabulary and for vocab.txt)
    #[arg(long)]
    pub cased: bool,
    /// Fraction of the documents to hold out, chosen by the hash of their text; at least one unless 0
    #[arg(long, value_name = "F", default_value_t = 0.01)]
    pub valid_fraction: f64,
    /// Tokens after which a shard is full
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    pub shard_tokens: u64,
    /// Threads that tokenise; 0 is one a core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub workers: usize,
    /// Replace a folder that is complete but different
    #[arg(long)]
    pub force: bool,
}

impl PrepareArgs {
    /// Prepares, with progress on stderr. The caller prints the summary.
    ///
    /// # Errors
    /// See [`PrepareError`], which knows its exit code and its hint.
    pub fn run(self) -> Result<Summary, PrepareError> {
        prepare(&self.into_config(), Arc::new(Console::default()))
    }

    /// The configuration that the arguments stand for.
    pub fn into_config(self) -> PrepareConfig {
        PrepareConfig {
            inputs: self.input,
            out: self.out,
            format: self.format,
            reader: ReaderOptions { text_field: self.text_field },
            tokenizer: self.tokenizer,
            vocab_size: self.vocab_size,
            lowercase: !self.cased,
            valid_fraction: self.valid_fraction,
            shard_tokens: self.shard_tokens,
            workers: self.workers,
            force: self.force,
        }
    }
}

/// Prints the summary to stdout, or the error and its hint to stderr; the exit code of the process.
pub fn exit(result: Result<Summary, PrepareError>) -> ExitCode {
    match result {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let (hint, code) = (error.hint(), error.exit_code());
            eprintln!("error: {:#}", anyhow::Error::from(error));
            if let Some(hint) = hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(code)
        }
    }
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
        let (done, total) = (self.bar.position() as f64 / 1e6, self.bar.length().unwrap_or(0) as f64 / 1e6);
        let eta = self.bar.eta().as_secs();
        eprintln!("{}: {done:.1} of {total:.1} MB, {:.2} MB/s, {eta} s left", self.name, self.bar.per_sec() / 1e6);
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
