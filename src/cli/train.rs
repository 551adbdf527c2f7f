//! `untie train`: a configuration becomes a run.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use untie_data::manifest::Manifest;

use crate::batch::samples::shard_error;
use crate::checkpoint::DataFingerprint;
use crate::cli::console::Console;
use crate::cli::{check_same_parts, with_processes};
use crate::config::{wall_time, RunConfig, TimeBudget};
use crate::error::{Error, Result};
use crate::parallel::{LaunchEnv, World};
use crate::pretrain::{self, earlier_config, resolve, BranchPoint, StartOptions};
use crate::train::environment::environment;
use crate::train::{prepare_process, Outcome, StopFlag};

/// Arguments of `untie train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The run's configuration, a TOML file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Replace a setting, e.g. `--set optim.lr=1e-4`; can be repeated
    #[arg(long = "set", value_name = "TABLE.KEY=VALUE")]
    settings: Vec<String>,
    /// The run's folder [default: runs/ and the name of the configuration]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Continue from the newest valid checkpoint, or start if there is none
    #[arg(long)]
    resume: bool,
    /// With `--resume`: accept settings and data that differ from the checkpoint's; sizes, batches and vocabulary must stay the
    /// same
    #[arg(long, requires = "resume")]
    allow_changes: bool,
    /// Start from a checkpoint of another run with the same model and data, e.g. to decay the learning rate from there
    #[arg(long, value_name = "RUN[:STEP]", value_parser = BranchPoint::from_str)]
    from: Option<BranchPoint>,
    /// Total time of the run, e.g. 5m or 1h30m; replaces the file's steps, epochs or time
    #[arg(long, value_name = "TIME", value_parser = wall_time)]
    time: Option<Duration>,
    /// Save and stop with exit code 75 within this time, e.g. 04:00:00 or 4h
    #[arg(long, value_name = "TIME", value_parser = wall_time)]
    max_wall_time: Option<Duration>,
    /// Print sizes, memory, FLOPs and the shortest possible time, then stop; with `train.time`, measure some steps first
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
        let mut settings = self.settings.clone();
        settings.extend(self.time.map(|time| format!("train.time={}", TimeBudget(time))));
        let config = RunConfig::load(&self.config, &settings)?;
        let env = if self.dry_run { None } else { LaunchEnv::from_environment()? };
        let device = prepare_process(config.train.process(), env.as_ref())?;
        let parallel = config.parallel.clone();
        with_processes(env, &parallel, device, |world| {
            self.check_same(&config, device, world)?;
            self.run_in(config, device, world, begin)
        })
    }

    /// Compares what decides which way a process goes with rank 0's, before any of them goes.
    fn check_same(&self, config: &RunConfig, device: tch::Device, world: &World) -> Result<()> {
        if world.is_alone() {
            return Ok(());
        }
        let mut parts = vec![
            ("`--resume`".to_owned(), self.resume.to_string()),
            ("`--allow-changes`".to_owned(), self.allow_changes.to_string()),
            ("`--from`".to_owned(), format!("{:?}", self.from)),
        ];
        let unwritable = |error| Error::failed("the configuration has no JSON form").caused_by(error);
        let tables = serde_json::to_value(config).map_err(unwritable)?;
        let tables = tables.as_object().into_iter().flatten();
        parts.extend(tables.map(|(name, table)| (format!("`[{name}]`"), table.to_string())));
        // What computes other digits; the CPU does so only where it computes.
        let matters = |name: &str| match name {
            "untie" | "libtorch" => true,
            "cpu_capability" | "kernel_level" | "threads" => !device.is_cuda(),
            _ => false,
        };
        parts.extend(environment(device)?.into_iter().filter(|(name, _)| matters(name)));
        check_same_parts(world, &parts)
    }

    fn run_in(&self, config: RunConfig, device: tch::Device, world: &Rc<World>, begin: Instant) -> Result<u8> {
        let folder = match &self.run_dir {
            Some(folder) => folder.clone(),
            None => Path::new("runs").join(self.config.file_stem().unwrap_or_default()),
        };
        let mut console = Console::for_process(world);
        let mut events = |event| console.show(event);
        let earlier = if self.resume { earlier_config(&folder, world)? } else { None };
        if config.data.verify {
            for dir in config.data.dirs() {
                Manifest::verify(dir).map_err(shard_error)?;
            }
        }
        let run = resolve(config, device, earlier.as_ref(), world, (&folder, begin), &mut events)?;
        if self.dry_run {
            let stats = run.stats()?;
            let first = &stats.phases[0];
            let rate = run.product_rate(&run.products(&first.phase, first.capacity()))?;
            println!("{}", run.describe(&stats, rate));
            return Ok(0);
        }
        let DataFingerprint { vocabulary, shards } = &run.data_fingerprint;
        let parts = [("the vocabulary", vocabulary), ("the training shards", shards)];
        check_same_parts(world, &parts.map(|(name, hash)| (name.to_owned(), hash.clone())))?;
        let start = StartOptions { resume: self.resume, allow_changes: self.allow_changes, from: self.from.clone() };
        let stop = StopFlag::on_signals()?.until(begin, self.max_wall_time);
        let mut trainer = pretrain::open(run, &folder, &start, &mut events)?;
        if world.is_first() {
            eprintln!("{}", trainer.task().describe()?);
        }
        match trainer.train(&stop)? {
            Outcome::Finished(summary) => {
                if world.is_first() {
                    println!("{summary}");
                }
                Ok(0)
            }
            Outcome::Stopped(reason, step) => {
                if world.is_first() {
                    eprintln!("stopped by {reason} after step {step}; saved, continue with `--resume`");
                }
                Ok(reason.exit_code())
            }
        }
    }
}
