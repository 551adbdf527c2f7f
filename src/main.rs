//! The `untie` binary.

use std::process::ExitCode;

use clap::Parser;
use untie::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
