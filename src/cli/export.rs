//! `untie export`: a checkpoint as a Hugging Face directory.

use std::path::PathBuf;

use clap::Args;

use crate::checkpoint::{self, RunState};
use crate::cli::named;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::hub::{Card, Export, Family};
use crate::model::Weights;
use crate::pretrain::card::CardFacts;
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
    /// The classes of transformers to write it for: bert (Post-LN models), megatron-bert or esm (Pre-LN models), or auto. esm has
    /// faster attention in transformers, but no segments, and `untie` does not read it back
    #[arg(long = "as", value_name = "NAME", default_value = "auto", value_parser = named::<Family>)]
    family: Family,
}

impl ExportArgs {
    /// Writes the directory and prints its path.
    ///
    /// # Errors
    /// A run without that checkpoint, a damaged one, a model that `--as` does not fit, a directory that cannot be written.
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
        self.family.of(&state.bert)?;
        let tokenizer = self.run.join("tokenizer.json");
        let card = self.card(&state, &weights).unwrap_or_else(|error| {
            eprintln!("warning: no model card: {}", error.report().trim_start_matches("error: "));
            None
        });
        let export = Export::new(&state.bert, &state.layer_map, &weights, &tokenizer);
        Export { card, family: self.family, ..export }.write(&self.out)?;
        println!("{}", self.out.display());
        Ok(())
    }

    /// The model card; fine-tuned models have none.
    fn card(&self, state: &RunState, weights: &Weights) -> Result<Option<Card>> {
        if state.bert.task_head.is_some() {
            return Ok(None);
        }
        let facts = CardFacts {
            run_dir: &self.run,
            step: state.step,
            bert: &state.bert,
            map: &state.layer_map,
            weights,
            family: self.family,
            config: &RunConfig::of_another_version(state.config.clone())?,
            totals: state.totals,
            untying: &state.untying,
            environment: &state.environment,
        };
        facts.card().map(Some)
    }
}
