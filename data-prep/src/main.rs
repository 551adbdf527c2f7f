//! `untie-data`: raw text to token shards, on a machine without libtorch.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use untie_data::cli::{exit, PrepareArgs};

#[derive(Parser)]
#[command(name = "untie-data", version, about = "Raw text to BERT token shards")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make token shards, a tokenizer and a manifest from raw text
    Prepare(PrepareArgs),
}

fn main() -> ExitCode {
    let Cli { command: Command::Prepare(arguments) } = Cli::parse();
    exit(arguments.run())
}
