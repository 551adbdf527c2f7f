//! The command line: one file a subcommand, each a set of typed arguments and what they do.

pub mod fill_mask;
