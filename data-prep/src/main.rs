//! `untie-data`: raw text to token shards, on a machine without libtorch.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use untie_data::cli::PrepareArgs;
use untie_data::inspect::InspectArgs;

#[derive(Parser)]
#[command(name = "untie-data", version, about = "Turns raw text into BERT token shards")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make token shards, a tokenizer and a manifest from raw text
    Prepare(PrepareArgs),
    /// Show what a folder of token shards holds, and check that it is complete
    Inspect(InspectArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Prepare(arguments) => arguments.run(),
        Command::Inspect(arguments) => arguments.exit(),
    }
}
