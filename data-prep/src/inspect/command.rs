//! The command line of `inspect`: arguments in, a report on stdout.

use super::{Folder, InspectError, Report};
use crate::cli::{fail, Console};
use crate::shard::ShardSet;
use serde::Serialize;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Documents and tokens of each that are shown.
const BEGINNINGS: (u64, u64) = (10, 40);

/// What a folder of shards holds.
#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    /// Folder of shards; or one pair of Megatron-LM's files, as PREFIX_text_document
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The tokenizer that made the shards (a Hugging Face directory, a tokenizer.json or a vocab.txt), for data without a manifest
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Fraction of Megatron-LM's documents to hold out, like `data.valid_fraction` of a run
    #[arg(long, value_name = "F", default_value_t = ShardSet::VALID_FRACTION)]
    pub valid_fraction: f64,
    /// Check the hash of every file
    #[arg(long)]
    pub verify: bool,
    /// Number of most frequent tokens to print
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(flatten)]
    texts: serde_json::Map<String, serde_json::Value>,
}

impl InspectArgs {
    /// Prints the statistics and the beginnings of ten documents; the exit code of the process.
    pub fn exit(&self) -> ExitCode {
        let result = self.open().and_then(|folder| {
            let report = self.report(&folder)?;
            self.print(&report, "beginnings", &folder.beginnings(BEGINNINGS.0, BEGINNINGS.1)?)
        });
        Self::exit_code(result)
    }

    /// Reports an error on stderr; the exit code of the process.
    pub fn exit_code(result: Result<(), InspectError>) -> ExitCode {
        let Err(error) = result else { return ExitCode::SUCCESS };
        let (hint, code) = (error.hint(), error.exit_code());
        fail(error, hint, code)
    }

    /// Opens the folder.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn open(&self) -> Result<Folder, InspectError> {
        Folder::open(&self.dir, self.tokenizer.as_deref(), self.verify, self.valid_fraction)
    }

    /// Reads every token, with progress and the speed on stderr.
    ///
    /// # Errors
    /// As [`Folder::report`].
    pub fn report(&self, folder: &Folder) -> Result<Report, InspectError> {
        if let Some(share) = folder.held_out() {
            eprintln!("held out: {share}");
        }
        let start = Instant::now();
        let report = folder.report(self.top, &Console::default())?;
        let (tokens, seconds) =
            (report.splits.iter().map(|split| split.tokens).sum::<u64>(), start.elapsed().as_secs_f64());
        eprintln!("read {tokens} tokens in {seconds:.2} s, {:.1} million a second", tokens as f64 / 1e6 / seconds);
        Ok(report)
    }

    /// Prints the report and numbered `texts` under `title`, as text or as one JSON object.
    ///
    /// # Errors
    /// If stdout cannot be written; a closed pipe has read enough.
    pub fn print(&self, report: &Report, title: &str, texts: &[String]) -> Result<(), InspectError> {
        let mut text = if self.json {
            let texts = [(title.to_owned(), serde_json::Value::from(texts))].into_iter().collect();
            serde_json::to_string_pretty(&Output { report, texts })
                .map_err(|error| InspectError::Output(error.into()))?
        } else {
            let lines: String =
                texts.iter().enumerate().map(|(index, text)| format!("{:>4}  {text}\n", index + 1)).collect();
            format!("{report}{title}\n{}", lines.trim_end())
        };
        text.push('\n');
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(InspectError::Output(error)),
            _ => Ok(()),
        }
    }
}
