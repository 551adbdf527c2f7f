//! `untie train`: a configuration becomes a run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;
use untie_data::manifest::Manifest;

use crate::batch::samples::{shard_error, shards_hash, Vocabulary};
use crate::checkpoint::{self, DataStamp};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::step::Precision;
use crate::train::micro_batch::{earlier_sizes, settle};
use crate::train::{prepare_process, wall_time, MicroBatch, Outcome, Phases, Plan, Run, StopFlag};

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
    /// With `--resume`: take settings and data that make it another run; sizes and vocabulary must be the same
    #[arg(long, requires = "resume")]
    allow_changes: bool,
    /// Save and stop with exit code 75 before this much time is over, e.g. 04:00:00 or 4h
    #[arg(long, value_name = "TIME", value_parser = wall_time)]
    max_wall_time: Option<Duration>,
    /// Print sizes, memory, FLOPs and the least time, and stop
    #[arg(long)]
    dry_run: bool,
}

impl TrainArgs {
    /// Runs; the exit code is 0, or that of what stopped the run.
    ///
    /// # Errors
    /// Everything that can be wrong with a configuration, data or a run folder.
    pub fn run(&self) -> Result<u8> {
        let begin = Instant::now();
        let config = RunConfig::load(&self.config, &self.settings)?;
        let folder = match &self.run_dir {
            Some(folder) => folder.clone(),
            None => Path::new("runs").join(self.config.file_stem().unwrap_or_default()),
        };
        let device = prepare_process(&config.train)?;
        let earlier = if self.resume { earlier_config(&folder)? } else { None };
        if config.data.verify {
            for dir in config.data.dirs() {
                Manifest::verify(dir).map_err(shard_error)?;
            }
        }
        let plan = Plan { allow_changes: self.allow_changes, ..plan(config, device, earlier)? };
        if self.dry_run {
            let numbers = plan.numbers()?;
            let first = &numbers.phases[0];
            let rate = plan.product_rate(&plan.products(&first.phase, first.capacity()))?;
            println!("{}", plan.describe(&numbers, rate));
            return Ok(0);
        }
        let stop = StopFlag::on_signals()?.until(begin, self.max_wall_time);
        let mut run = Run::open(plan, &folder, self.resume)?;
        eprintln!("{}", run.describe());
        match run.train(&stop)? {
            Outcome::Finished(summary) => {
                println!("{summary}");
                Ok(0)
            }
            Outcome::Stopped(reason, step) => {
                eprintln!("stopped by {reason} after step {step}; saved, go on with `--resume`");
                Ok(reason.exit_code())
            }
        }
    }
}

/// The tables of the run in `folder`, as its newest checkpoint has them: there `auto` is decided.
fn earlier_config(folder: &Path) -> Result<Option<Value>> {
    let Some((path, _damaged)) = checkpoint::newest_valid(folder)? else {
        return Ok(None);
    };
    Ok(Some(checkpoint::load_state(&path)?.config))
}

/// The plan of a run on `device`; what is `auto` is as in `earlier`, the tables of the run that goes on, or decided now.
pub(super) fn plan(mut config: RunConfig, device: tch::Device, earlier: Option<Value>) -> Result<Plan> {
    if config.train.precision == Precision::Auto {
        let before =
            earlier.as_ref().and_then(|tables| serde_json::from_value(tables["train"]["precision"].clone()).ok());
        config.train.precision = before.unwrap_or(Precision::Auto);
    }
    config.train.precision = config.train.precision.resolve(device)?;
    if config.train.micro_batch != MicroBatch::AUTO {
        return decided(&config, device);
    }
    let sizes = match earlier.as_ref().and_then(earlier_sizes) {
        Some(sizes) => sizes,
        None => decided(&config, device)?.fitting_micro_batches()?,
    };
    settle(&mut config.data, &mut config.train, &sizes);
    config.validate()?;
    Ok(Plan { chooses_micro_batch: true, ..decided(&config, device)? })
}

/// The plan of tables without `auto`.
fn decided(config: &RunConfig, device: tch::Device) -> Result<Plan> {
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
        chooses_micro_batch: false,
        optim: config.optim.clone(),
        sharing: config.sharing.clone(),
        checkpoint: config.checkpoint.clone(),
        eval: config.eval.clone(),
        metrics: config.metrics.clone(),
        guard: config.guard.clone(),
        config: serde_json::to_value(config).map_err(|error| unwritable(error.to_string()))?,
        allow_changes: false,
        defaults: serde_json::to_value(RunConfig::default()).map_err(|error| unwritable(error.to_string()))?,
        config_toml: toml::to_string(config).map_err(|error| unwritable(error.to_string()))?,
        device,
    })
}
