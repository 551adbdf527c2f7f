//! `untie new`: from a text to a configuration and the two commands that use it.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use untie_data::corpus::Format;
use untie_data::pipeline::PrepareConfig;

use crate::config::ProcessOptions;
use crate::error::{io, Error, Result};
use crate::hub;
use crate::starter::{Choice, ConfigFile, Request, Size, Start};
use crate::train::prepare_process;

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

impl NewArgs {
    /// Looks at the text and the machine, explains on stderr, writes the file, and prints the commands to stdout.
    ///
    /// # Errors
    /// A text that cannot be read, a file that is there already, and those of [`Choice::of`].
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
        let choice = Choice::of(&self.request(), device)?;
        let commands = self.commands(&choice)?;
        eprint!("{}", lines(&choice.findings));
        if let Some(folder) = &self.out {
            fs::create_dir_all(folder).map_err(|error| io("create", folder, error))?;
        }
        let file = ConfigFile { choice: &choice, data: self.data(), commands: &commands };
        fs::write(&path, file.to_string()).map_err(|error| io("write", &path, error))?;
        eprintln!("wrote              {}; the next two commands:", path.display());
        match std::io::stdout().write_all(lines(&commands).as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Error::failed("cannot write to stdout").caused_by(error))
            }
            _ => Ok(()),
        }
    }

    fn request(&self) -> Request {
        let mut text = PrepareConfig::new(self.text.clone(), self.data());
        text.format = self.format;
        text.reader.text_field.clone_from(&self.text_field);
        Request { text, seconds: self.hours * 3600.0, size: self.size.given(), from: self.from.clone() }
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
        if choice.holds_out_more() {
            prepare.extend(["--valid-fraction".to_owned(), choice.held_out.to_string()]);
        }
        prepare.extend(["--out".to_owned(), path(&self.data())]);
        let config = path(&self.path());
        let run = path(&Path::new("runs").join(&self.name));
        let train = [&program, "train", "--config", &config, "--run-dir", &run, "--resume"].map(quoted);
        let prepare: Vec<String> = prepare.iter().map(|word| quoted(word)).collect();
        Ok(vec![prepare.join(" "), train.join(" ")])
    }
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
