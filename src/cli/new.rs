//! `untie new`: from a text to a configuration and the two commands that use it.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use untie_data::corpus::Format;
use untie_data::pipeline::plan::{plan, Needs};
use untie_data::pipeline::{PrepareConfig, PrepareError};

use crate::config::ProcessOptions;
use crate::error::{io, Error, Result};
use crate::hub;
use crate::metrics::human::{human_count, human_duration};
use crate::starter::{choose, passes, Budget, ConfigFile, Estimate, Length, Size, Start, MOST_PASSES};
use crate::train::prepare_process;

/// Sizes of a vocabulary, from small texts to large ones: up to so many tokens of text each.
const VOCABULARIES: [(usize, f64); 5] = [(2048, 3e5), (4096, 2e6), (8192, 2e7), (16_384, 2e8), (30_522, f64::INFINITY)];
/// The largest for a tiny model, which has few weights for words; larger where this one does not know the text.
const TINY_VOCABULARY: usize = 8192;
/// Tokens of a sequence where a model is continued, unless it has fewer positions.
const LENGTH: usize = 128;
/// The part of a text that is held out, at least and at most.
const LEAST_HELD_OUT: f64 = 0.01;
const MOST_HELD_OUT: f64 = 0.05;
/// The part of a text that may be unknown before a larger vocabulary is taken.
const MOST_UNKNOWN: f64 = 1e-3;

/// Arguments of `untie new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the run: writes NAME.toml, for shards in data/NAME and a run in runs/NAME
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// Files, folders or quoted globs with the text, as for `untie prepare --input`
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    text: Vec<PathBuf>,
    /// Hours that the training may take on this machine
    #[arg(long, value_name = "H", default_value_t = 1.0)]
    hours: f64,
    /// Size of the model; auto: the largest that the text, the hours and the memory are enough for
    #[arg(long, value_enum, default_value_t = SizeArg::Auto)]
    size: SizeArg,
    /// Continue this model with its tokenizer: a Hugging Face directory, or the folder of a finished run
    #[arg(long, value_name = "DIR", conflicts_with = "size")]
    from: Option<PathBuf>,
    /// Folder for NAME.toml [default: the one that you are in]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Layout of the text files
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Field of JSONL, or column of Parquet, that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    text_field: String,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
}

/// What `--size` may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SizeArg {
    /// As large as makes sense
    Auto,
    /// 4 layers of 128: minutes on a CPU
    Tiny,
    /// 12 layers of 256: hours on a CPU
    Small,
    /// BERT-base, 12 layers of 768: hours on a GPU
    Base,
    /// BERT-large, 24 layers of 1024: days on a GPU
    Large,
}

impl SizeArg {
    fn given(self) -> Option<Size> {
        match self {
            Self::Auto => None,
            Self::Tiny => Some(Size::Tiny),
            Self::Small => Some(Size::Small),
            Self::Base => Some(Size::Base),
            Self::Large => Some(Size::Large),
        }
    }
}

/// What was decided.
struct Choice {
    start: Start,
    needs: Needs,
    /// Of the vocabulary to train; 0 with a model's own.
    vocab_size: usize,
    estimate: Estimate,
    /// The table that explains it, a line each.
    table: Vec<String>,
}

impl NewArgs {
    /// Looks at the text and the machine, explains on stderr, writes the file, and prints the commands to stdout.
    ///
    /// # Errors
    /// A text that cannot be read, a file that is there already, and those of [`Estimate::of`].
    pub fn run(&self) -> Result<()> {
        const MOST_HOURS: f64 = 10_000.0;
        if !(self.hours > 0.0 && self.hours <= MOST_HOURS) {
            return Err(Error::config(format!(
                "`--hours` must be above 0 and at most {MOST_HOURS}, got {}",
                self.hours
            )));
        }
        let path = self.path();
        if path.exists() {
            return Err(Error::config(format!("`{}` exists", path.display())).hint("choose another name, or remove it"));
        }
        let process = ProcessOptions { device: &self.device, threads: 0, deterministic: false, tf32: false };
        let device = prepare_process(process, None)?;
        let choice = match &self.from {
            Some(from) => self.continued(from, device)?,
            None => self.new_model(device)?,
        };
        let file = self.file(&choice)?;
        eprint!("{}", lines(&file.findings));
        if let Some(folder) = &self.out {
            fs::create_dir_all(folder).map_err(|error| io("create", folder, error))?;
        }
        fs::write(&path, file.to_string()).map_err(|error| io("write", &path, error))?;
        eprintln!("wrote              {}; the next two commands:", path.display());
        match std::io::stdout().write_all(lines(&file.commands).as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Error::failed("cannot write to stdout").caused_by(error))
            }
            _ => Ok(()),
        }
    }

    fn continued(&self, from: &Path, device: tch::Device) -> Result<Choice> {
        let folder = hub::model_folder(from)?;
        let bert = hub::load_config(&folder)?;
        let needs = self.look(Some(folder.clone()), 0)?;
        let sequence_length = usize::try_from(bert.max_position_embeddings).map_or(LENGTH, |most| most.min(LENGTH));
        let estimate = Estimate::of(&bert, sequence_length, device)?;
        let start = Start::From { init: from.to_owned(), sequence_length };
        Ok(Choice { start, needs, vocab_size: 0, estimate, table: Vec::new() })
    }

    fn new_model(&self, device: tch::Device) -> Result<Choice> {
        let mut looks = Vec::new();
        for (vocab_size, most) in VOCABULARIES {
            let needs = self.look(None, vocab_size)?;
            let is_enough = needs.tokens <= most && needs.unknown <= MOST_UNKNOWN;
            looks.push((vocab_size, needs));
            if is_enough {
                break;
            }
        }
        let last = looks.len() - 1;
        let knows = |(size, needs): &(usize, Needs)| *size >= TINY_VOCABULARY && needs.unknown <= MOST_UNKNOWN;
        let of_tiny = looks.iter().position(knows).unwrap_or(last);
        let look_of = |size| &looks[if size == Size::Tiny { of_tiny } else { last }];
        let budget = self.budget(&looks[last].1);
        let mut estimates = Vec::new();
        for size in Size::ALL {
            let longest = size.phases().iter().map(|phase| phase.sequence_length).max().unwrap_or(1);
            estimates.push((size, Estimate::of(&size.bert(look_of(size).0)?, longest, device)?));
        }
        let size = self.size.given().unwrap_or_else(|| choose(&estimates, budget));
        let table = estimates.iter().map(|(row, estimate)| row_of(*row, estimate, budget, *row == size)).collect();
        let estimate = estimates.iter().find(|(row, _)| *row == size).map_or(estimates[0].1, |(_, estimate)| *estimate);
        let (vocab_size, needs) = look_of(size).clone();
        Ok(Choice { start: Start::New(size), needs, vocab_size, estimate, table })
    }

    fn budget(&self, needs: &Needs) -> Budget {
        Budget { tokens: needs.tokens, seconds: self.hours * 3600.0 }
    }

    /// Reads a little of the text.
    fn look(&self, tokenizer: Option<PathBuf>, vocab_size: usize) -> Result<Needs> {
        let mut config = PrepareConfig::new(self.text.clone(), Path::new("data").join(&self.name));
        config.format = self.format;
        config.reader.text_field.clone_from(&self.text_field);
        if tokenizer.is_none() {
            config.vocab_size = vocab_size;
        }
        config.tokenizer = tokenizer;
        plan(&config).map_err(|error: PrepareError| {
            let hint = error.hint();
            let failed = Error::data("the text cannot be read").caused_by(error);
            match hint {
                Some(hint) => failed.hint(hint),
                None => failed,
            }
        })
    }

    fn file(&self, choice: &Choice) -> Result<ConfigFile> {
        let budget = self.budget(&choice.needs);
        let passes = passes(&choice.estimate, budget);
        let length = match passes > MOST_PASSES {
            true => Length::Epochs(MOST_PASSES),
            false => Length::Time(Duration::from_secs_f64(budget.seconds.round().max(1.0))),
        };
        let tokens = passes.min(MOST_PASSES) * budget.tokens;
        let Needs { num_files, text_bytes, documents, tokens: of_text, .. } = choice.needs;
        let count = |number: f64| human_count(number as u128);
        let mut findings = vec![format!(
            "text               {num_files} files, about {}B in {} documents, {} tokens",
            count(text_bytes),
            count(documents),
            count(of_text)
        )];
        findings.extend(choice.table.iter().cloned());
        findings.push(format!(
            "training           about {} tokens, {:.1} passes over the text, in {}",
            count(tokens),
            passes.min(MOST_PASSES),
            human_duration(tokens / choice.estimate.tokens_per_second)
        ));
        let (start, commands) = (choice.start.clone(), self.commands(choice)?);
        Ok(ConfigFile { start, data: self.data(), length, tokens, findings, commands })
    }

    /// Where the file goes.
    fn path(&self) -> PathBuf {
        self.out.clone().unwrap_or_default().join(format!("{}.toml", self.name))
    }

    fn data(&self) -> PathBuf {
        Path::new("data").join(&self.name)
    }

    /// The commands, for a shell.
    fn commands(&self, choice: &Choice) -> Result<Vec<String>> {
        let path = |path: &Path| path.display().to_string();
        let program = std::env::args().next().unwrap_or_else(|| "untie".to_owned());
        let mut prepare = vec![program.clone(), "prepare".to_owned(), "--input".to_owned()];
        prepare.extend(self.text.iter().map(|text| path(text)));
        match &choice.start {
            Start::From { init, .. } => prepare.extend(["--tokenizer".to_owned(), path(&hub::model_folder(init)?)]),
            Start::New(_) => prepare.extend(["--vocab-size".to_owned(), choice.vocab_size.to_string()]),
        }
        if let Some(format) = self.format.to_possible_value().filter(|_| self.format != Format::Auto) {
            prepare.extend(["--format".to_owned(), format.get_name().to_owned()]);
        }
        if self.text_field != "text" {
            prepare.extend(["--text-field".to_owned(), self.text_field.clone()]);
        }
        let held_out = held_out(&choice.needs);
        if held_out > LEAST_HELD_OUT {
            prepare.extend(["--valid-fraction".to_owned(), held_out.to_string()]);
        }
        prepare.extend(["--out".to_owned(), path(&self.data())]);
        let config = path(&self.path());
        let run = path(&Path::new("runs").join(&self.name));
        let train = [&program, "train", "--config", &config, "--run-dir", &run, "--resume"].map(quoted);
        let prepare: Vec<String> = prepare.iter().map(|word| quoted(word)).collect();
        Ok(vec![prepare.join(" "), train.join(" ")])
    }
}

/// The part of the documents to hold out: five documents and 50,000 tokens, within limits; in whole per cent.
fn held_out(needs: &Needs) -> f64 {
    let wanted = (5.0 / needs.documents).max(50_000.0 / needs.tokens);
    (wanted.clamp(LEAST_HELD_OUT, MOST_HELD_OUT) * 100.0).round() / 100.0
}

/// A size beside what it wants.
fn row_of(size: Size, estimate: &Estimate, budget: Budget, is_chosen: bool) -> String {
    let Estimate { parameters, wanted_tokens, .. } = *estimate;
    let short = wanted_tokens > MOST_PASSES * budget.tokens;
    let why = match (estimate.fits, short) {
        (false, _) => ", too large for the memory",
        (true, true) => ", more than the text has",
        (true, false) => "",
    };
    let count = |number: f64| human_count(number as u128);
    format!(
        "{:<5} {:>7} weights  wants {:>7} tokens, {:>7} here{why}{}",
        size.name(),
        count(parameters),
        count(wanted_tokens),
        human_duration(estimate.wanted_seconds()),
        if is_chosen { "  <- chosen" } else { "" }
    )
}

fn lines(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// For a shell; a text that no shell can have stays as it is.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), Into::into)
}

/// A name that is also the name of a file.
fn name(text: &str) -> std::result::Result<String, String> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.starts_with(|c: char| c.is_alphanumeric()) && text.chars().all(is_name) {
        true => Ok(text.to_owned()),
        false => Err("expected letters, digits, `-`, `_` and `.`, a letter or digit first".to_owned()),
    }
}
