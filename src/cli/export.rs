//! `untie export`: a checkpoint as a Hugging Face directory.

use std::path::PathBuf;

use clap::Args;

use crate::checkpoint;
use crate::error::{Error, Result};
use crate::hub;
use crate::step::Precision;

/// Arguments of `untie export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The run's folder
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// The checkpoint's step [default: the newest valid one]
    #[arg(long, value_name = "N")]
    step: Option<u64>,
    /// The directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl ExportArgs {
    /// Writes the directory and prints its path.
    ///
    /// # Errors
    /// A run without that checkpoint, a damaged one, a directory that cannot be written.
    pub fn run(&self) -> Result<()> {
        let none = |what: String| {
            Error::data(format!("`{}` has no {what}", self.run.display()))
                .hint("checkpoints are in its checkpoints/ folder, one a saved step")
        };
        let path = match self.step {
            Some(step) => {
                let entries = checkpoint::list(&self.run)?;
                let found = entries.into_iter().find(|entry| entry.step == step);
                found.ok_or_else(|| none(format!("checkpoint of step {step}")))?.path
            }
            None => match checkpoint::newest_valid(&self.run)? {
                Some((path, damaged)) => {
                    for error in damaged {
                        eprintln!("warning: {}", error.report().trim_start_matches("error: "));
                    }
                    path
                }
                None => return Err(none("checkpoint".into())),
            },
        };
        let (state, weights) = checkpoint::load_weights(&path, Precision::Fp32.weight_kind(), tch::Device::Cpu)?;
        hub::export(&self.out, &state.bert, &state.layer_map, &weights, &self.run.join("tokenizer.json"))?;
        println!("{}", self.out.display());
        Ok(())
    }
}
