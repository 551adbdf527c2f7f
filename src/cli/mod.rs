//! The command line: one file a subcommand, each a set of typed arguments and what they do.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 data or
//! checkpoint invalid, 75 stopped by SIGUSR1 or a time limit and saved, 130 and 143 interrupted and saved.

pub mod bench;
mod common;
mod console;
pub mod data;
pub mod eval;
pub mod export;
pub mod fill_mask;
pub mod finetune;
pub mod launch;
mod log;
pub mod new;
pub mod pairs;
pub mod plot;
pub mod predict;
pub mod rollback;
pub mod runs;
pub mod table;
pub mod theory;
pub mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use untie_data::cli::PrepareArgs;

use crate::error::Result;
pub(crate) use common::{check_same_parts, fail, named, warn, warn_of, with_processes};

/// Pre-trains BERT with tied encoder layers, then unties them and trains on.
#[derive(Debug, Parser)]
#[command(name = "untie", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a configuration for a text and this machine, and print the two commands that use it
    New(new::NewArgs),
    /// Turn raw text into token shards
    Prepare(PrepareArgs),
    /// Inspect token shards
    Data(data::DataArgs),
    /// Train a model
    Train(train::TrainArgs),
    /// Start several processes of one run on this machine: launch --nproc 2 -- train ...
    Launch(launch::LaunchArgs),
    /// Measure loss and accuracy of a model on held-out text
    Eval(eval::EvalArgs),
    /// Print the most likely tokens for each [MASK] of a text
    FillMask(fill_mask::FillMaskArgs),
    /// Measure how often a model gives the grammatical sentence of a pair the higher probability
    Pairs(pairs::PairsArgs),
    /// Fine-tune a pre-trained model for a GLUE task, SQuAD, or your own texts: classes, numbers, tags of words
    Finetune(finetune::FinetuneArgs),
    /// Print what a fine-tuned model says about texts
    Predict(predict::PredictArgs),
    /// Export a checkpoint as a Hugging Face directory
    Export(export::ExportArgs),
    /// Plot runs: loss, accuracy, untying points, correlations
    Plot(plot::PlotArgs),
    /// List the runs below a folder, their steps, and which checkpoints are valid
    Runs(runs::RunsArgs),
    /// Go back to an earlier checkpoint
    Rollback(rollback::RollbackArgs),
    /// Print a table of the paper beside the numbers of your runs
    Table(table::TableArgs),
    /// Measure speed, memory and utilisation of training steps
    Bench(bench::BenchArgs),
    /// Check the bounds of the paper's theory on deep linear networks
    Theory(theory::TheoryArgs),
}

impl Cli {
    /// Runs the command and reports an error on stderr.
    pub fn run(self) -> ExitCode {
        log::show();
        let result = match self.command {
            Command::Prepare(arguments) => return arguments.run(),
            Command::Data(arguments) => return arguments.run(),
            Command::New(arguments) => done(arguments.run()),
            Command::Train(arguments) => arguments.run(),
            Command::Launch(arguments) => arguments.run(),
            Command::Eval(arguments) => done(arguments.run()),
            Command::FillMask(arguments) => done(arguments.run()),
            Command::Pairs(arguments) => done(arguments.run()),
            Command::Finetune(arguments) => arguments.run(),
            Command::Predict(arguments) => done(arguments.run()),
            Command::Export(arguments) => done(arguments.run()),
            Command::Plot(arguments) => done(arguments.run()),
            Command::Runs(arguments) => done(arguments.run()),
            Command::Rollback(arguments) => done(arguments.run()),
            Command::Table(arguments) => done(arguments.run()),
            Command::Bench(arguments) => done(arguments.run()),
            Command::Theory(arguments) => done(arguments.run()),
        };
        match result {
            Ok(code) => ExitCode::from(code),
            Err(error) => fail(&error),
        }
    }
}

fn done(result: Result<()>) -> Result<u8> {
    result.map(|()| 0)
}
