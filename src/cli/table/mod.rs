//! `untie table`: one of the paper's tables, assembled from runs.
//!
//! In: run folders, found by the names of the table's rows, and the configurations that the rows stand for. Out: the table
//! on stdout or in a file. Nothing is trained and nothing else is written.

mod run;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::named;
use crate::config::RunConfig;
use crate::error::{io, quoted, Error, Result};
use crate::files::write_aside;
use crate::report::tables::paper::{PaperTable, TABLES};
use crate::report::tables::{assemble, Format};

/// Arguments of `untie table`.
#[derive(Debug, Args)]
pub struct TableArgs {
    /// Number of the paper's table, 1 to 4
    #[arg(value_name = "TABLE", value_parser = clap::value_parser!(u8).range(1..=4))]
    number: u8,
    /// Run folders, or folders of run folders; the folder's name says which run it is (`--list` prints the names)
    #[arg(long, value_name = "DIR", num_args = 1.., required_unless_present = "list")]
    runs: Vec<PathBuf>,
    /// Folder with the configuration of each row, NAME.toml; runs with other settings are not shown
    #[arg(long, value_name = "DIR", default_value = "configs/paper/large")]
    configs: PathBuf,
    /// markdown, csv (one line for each cell, all digits) or latex (booktabs)
    #[arg(long, value_name = "NAME", default_value = "markdown", value_parser = named::<Format>)]
    format: Format,
    /// A file to write instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the names of the table's runs, one on each line, then stop
    #[arg(long, conflicts_with_all = ["runs", "configs", "format", "out"])]
    list: bool,
}

impl TableArgs {
    /// Prints the table. What may not be shown is a dash with a footnote, not an error.
    ///
    /// # Errors
    /// A configuration that is missing or invalid, two runs of one name, a folder that cannot be read.
    pub fn run(&self) -> Result<()> {
        let paper = &TABLES[usize::from(self.number) - 1];
        if self.list {
            paper.rows.iter().for_each(|row| println!("{}", row.run));
            return Ok(());
        }
        let folders = find(paper, &self.runs)?;
        if folders.is_empty() {
            let places = quoted(self.runs.iter().map(|path| path.display()));
            let names: Vec<&str> = paper.rows.iter().map(|row| row.run).collect();
            eprintln!("warning: {places} has no run of table {}: {}", self.number, names.join(", "));
        }
        let mut facts = BTreeMap::new();
        let mut ours = String::new();
        for row in paper.rows {
            let config = RunConfig::load(&self.configs.join(format!("{}.toml", row.run)), &[])?;
            if ours.is_empty() {
                ours = describe(&self.configs, &config)?;
            }
            facts.insert(row.run.to_owned(), run::facts(folders.get(row.run).map(PathBuf::as_path), &config)?);
        }
        let text = self.format.text(&assemble(paper, &facts, &ours));
        match &self.out {
            None => print!("{text}"),
            Some(path) => {
                write(path, &text)?;
                println!("{}", path.display());
            }
        }
        Ok(())
    }
}

/// What the runs of `config` and its siblings are, for the caption.
fn describe(configs: &Path, config: &RunConfig) -> Result<String> {
    let sizes = config.model.resolve(1)?;
    Ok(format!(
        "runs of {}, {} layers of {} features, steps of {} sequences of {} tokens",
        configs.display(),
        sizes.num_hidden_layers,
        sizes.hidden_size,
        config.train.global_batch,
        config.data.sequence_length
    ))
}

/// The folder of each run of `paper` that there is, by name.
fn find(paper: &PaperTable, places: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for place in places {
        if !place.is_dir() {
            return Err(Error::data(format!("`{}` is not a folder", place.display()))
                .hint("name run folders, or a folder of them such as `runs/paper-mini`"));
        }
        for row in paper.rows {
            // `.` has no name of its own.
            let is_run = canonical(place)?.ends_with(row.run);
            let path = if is_run { place.clone() } else { place.join(row.run) };
            if !path.is_dir() {
                continue;
            }
            if let Some(earlier) = found.insert(row.run.into(), path.clone()) {
                if canonical(&earlier)? != canonical(&path)? {
                    let (one, other) = (earlier.display(), path.display());
                    return Err(Error::config(format!("two runs are called `{}`: `{one}` and `{other}`", row.run))
                        .hint("name one of the two in `--runs`"));
                }
            }
        }
    }
    Ok(found)
}

fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|error| io("open", path, error))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| io("create", folder, error))?;
    }
    write_aside(path, text)
}
