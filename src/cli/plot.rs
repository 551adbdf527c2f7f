//! `untie plot`: pictures of runs.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use crate::cli::named;
use crate::error::{io, Result};
use crate::report::curves::curves;
use crate::report::figure::Format;
use crate::report::run::{read_runs, XAxis};
use crate::report::run_table;

/// Arguments of `untie plot`.
#[derive(Debug, Args)]
pub struct PlotArgs {
    /// Run folders; several are drawn in one picture
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    runs: Vec<PathBuf>,
    /// Pictures to write, .svg or .png [default: plot.svg and plot.png in the first run's folder]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    out: Vec<PathBuf>,
    /// The horizontal axis: steps, tokens, flops or hours (of training steps only)
    #[arg(long, value_name = "NAME", default_value = "steps", value_parser = named::<XAxis>)]
    x: XAxis,
    /// Also print a table: loss, accuracy, steps, tokens, FLOPs and hours of each run
    #[arg(long)]
    table: bool,
    /// Number of logged points that are averaged into one point of a training curve [default: a fiftieth of the run's points,
    /// at most 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    smooth: Option<u16>,
}

impl PlotArgs {
    /// Writes the pictures and prints their paths to stdout.
    ///
    /// # Errors
    /// A name that is no picture's, a run without metrics, a file that cannot be written.
    pub fn run(&self) -> Result<()> {
        let out = if self.out.is_empty() {
            let first = self.runs.iter().take(1);
            first.flat_map(|run_dir| ["plot.svg", "plot.png"].map(|name| run_dir.join(name))).collect()
        } else {
            self.out.clone()
        };
        for path in &out {
            Format::of(path)?;
        }
        let runs = read_runs(&self.runs)?;
        for run in runs.iter().filter(|run| run.damaged_lines > 0) {
            eprintln!("warning: metrics.jsonl of {}: left out {} damaged lines", run.name, run.damaged_lines);
        }
        let table = run_table::table(&runs);
        let runs = runs.into_iter().map(|run| run.along(self.x)).collect::<Result<Vec<_>>>()?;
        let figure = curves(&runs, self.smooth.map(usize::from), self.x);
        for path in &out {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(|error| io("create", folder, error))?;
            }
            figure.write(path)?;
            println!("{}", path.display());
        }
        if self.table {
            print!("{table}");
        }
        Ok(())
    }
}
