//! `untie train`: a configuration becomes a run.

use std::path::{Path, PathBuf};

use clap::Args;
use untie_data::manifest::Manifest;

use crate::batch::samples::{shard_error, shards_hash, Vocabulary};
use crate::checkpoint::{self, DataStamp};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::train::{prepare_process, Outcome, Phases, Plan, Precision, Run, StopFlag};

/// Arguments of `untie train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The run's configuration, a TOML file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Replaces a setting, e.g. `--set optim.lr=1e-4`; may be given several times
    #[arg(long = "set", value_name = "TABLE.KEY=VALUE")]
    settings: Vec<String>,
    /// The run's folder [default: runs/ and the name of the configuration]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Go on from the newest valid checkpoint, or start if there is none
    #[arg(long)]
    resume: bool,
    /// Print sizes, memory, FLOPs and the least time, and stop
    #[arg(long)]
    dry_run: bool,
}

impl TrainArgs {
    /// Runs; the exit code is 0, or that of the signal that stopped the run.
    ///
    /// # Errors
    /// Everything that can be wrong with a configuration, data or a run folder.
    pub fn run(&self) -> Result<u8> {
        let mut config = RunConfig::load(&self.config, &self.settings)?;
        let folder = match &self.run_dir {
            Some(folder) => folder.clone(),
            None => Path::new("runs").join(self.config.file_stem().unwrap_or_default()),
        };
        let device = prepare_process(&config.train)?;
        config.train.precision = match (config.train.precision, self.resume) {
            (Precision::Auto, true) => earlier_precision(&folder)?.unwrap_or(Precision::Auto).resolve(device)?,
            (precision, _) => precision.resolve(device)?,
        };
        if config.data.verify {
            for dir in config.data.dirs() {
                Manifest::verify(dir).map_err(shard_error)?;
            }
        }
        let plan = plan(&config, device)?;
        if self.dry_run {
            let numbers = plan.numbers()?;
            let first = &numbers.phases[0];
            let rate = plan.product_rate(&plan.products(&first.phase, first.capacity()))?;
            println!("{}", plan.describe(&numbers, rate));
            return Ok(0);
        }
        let stop = StopFlag::on_signals()?;
        let mut run = Run::open(plan, &folder, self.resume)?;
        eprintln!("{}", run.describe());
        match run.train(&stop)? {
            Outcome::Finished(summary) => {
                println!("{summary}");
                Ok(0)
            }
            Outcome::Stopped(code, step) => {
                eprintln!("stopped by a signal after step {step}; saved, go on with `--resume`");
                Ok(code)
            }
        }
    }
}

/// What `auto` became when the run in `folder` started, as its newest checkpoint has it.
fn earlier_precision(folder: &Path) -> Result<Option<Precision>> {
    let Some((path, _damaged)) = checkpoint::newest_valid(folder)? else {
        return Ok(None);
    };
    let state = checkpoint::load_state(&path)?;
    Ok(serde_json::from_value(state.config["train"]["precision"].clone()).ok())
}

pub(super) fn plan(config: &RunConfig, device: tch::Device) -> Result<Plan> {
    let vocabulary = Vocabulary::open(&config.data)?;
    let unwritable = |error: String| Error::failed(format!("cannot write the resolved configuration: {error}"));
    Ok(Plan {
        bert: config.bert(vocabulary.size)?,
        data_stamp: DataStamp { vocabulary: vocabulary.hash.clone(), shards: shards_hash(&config.data)? },
        vocabulary,
        init: config.model.init.clone(),
        data: config.data.clone(),
        phases: Phases::new(&config.data, &config.train)?,
        train: config.train.clone(),
        optim: config.optim.clone(),
        sharing: config.sharing.clone(),
        checkpoint: config.checkpoint.clone(),
        eval: config.eval.clone(),
        metrics: config.metrics.clone(),
        config: serde_json::to_value(config).map_err(|error| unwritable(error.to_string()))?,
        defaults: serde_json::to_value(RunConfig::default()).map_err(|error| unwritable(error.to_string()))?,
        config_toml: toml::to_string(config).map_err(|error| unwritable(error.to_string()))?,
        device,
    })
}
