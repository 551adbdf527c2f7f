//! `untie train`: a configuration becomes a run.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::Value;
use untie_data::manifest::Manifest;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::samples::{shard_error, shards_hash, Vocabulary};
use crate::checkpoint::{self, DataFingerprint};
use crate::cli::{warn, warn_of};
use crate::config::length::TimeBudget;
use crate::config::RunConfig;
use crate::config::{wall_time, MicroBatch, Phases};
use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::model::{Compute, Kernels};
use crate::parallel::{LaunchEnv, World};
use crate::pretrain::auto_micro_batch::{earlier_sizes, fitting_micro_batches, settle};
use crate::pretrain::decide_steps::decide_steps;
use crate::pretrain::{Outcome, Plan, Run};
use crate::step::Precision;
use crate::train::environment::environment;
use crate::train::{prepare_process, StopFlag};

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
    /// Continue from the newest valid checkpoint, or start if there is none
    #[arg(long)]
    resume: bool,
    /// With `--resume`: accept settings and data that make it another run, but not other sizes, batches or vocabulary
    #[arg(long, requires = "resume")]
    allow_changes: bool,
    /// Train for this long in all, e.g. 5m or 1h30m, instead of the file's steps, epochs or time
    #[arg(long, value_name = "TIME", value_parser = wall_time)]
    time: Option<Duration>,
    /// Save and stop with exit code 75 before this much time is over, e.g. 04:00:00 or 4h
    #[arg(long, value_name = "TIME", value_parser = wall_time)]
    max_wall_time: Option<Duration>,
    /// Print sizes, memory, FLOPs and the least time, and stop; a run with `train.time` is measured first
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
        let device = prepare_process(&config.train, env.as_ref())?;
        let world = Rc::new(World::connect(env, &config.parallel, device)?);
        let result = self.check_same(&config, device, &world).and_then(|()| self.run_in(config, device, &world, begin));
        let Err(error) = result else { return result };
        world.tell(&error);
        if world.size() == 1 {
            return Err(error);
        }
        let who = if world.is_first() { String::new() } else { format!("rank={} ", world.rank()) };
        eprintln!("{who}{}", error.report());
        // Process groups that have lost a process may wait for it when they are taken apart.
        signal_hook::low_level::exit(i32::from(error.exit_code()))
    }

    /// Compares what decides which way a process goes with rank 0's, before any of them goes.
    fn check_same(&self, config: &RunConfig, device: tch::Device, world: &World) -> Result<()> {
        if world.is_alone() {
            return Ok(());
        }
        let mut parts = vec![
            ("`--resume`".to_owned(), self.resume.to_string()),
            ("`--allow-changes`".to_owned(), self.allow_changes.to_string()),
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
        let earlier = if self.resume { earlier_config(&folder, world)? } else { None };
        if config.data.verify {
            for dir in config.data.dirs() {
                Manifest::verify(dir).map_err(shard_error)?;
            }
        }
        let plan =
            Plan { allow_changes: self.allow_changes, ..plan(config, device, earlier, world, (&folder, begin))? };
        if self.dry_run {
            let stats = plan.stats()?;
            let first = &stats.phases[0];
            let rate = plan.product_rate(&plan.products(&first.phase, first.capacity()))?;
            println!("{}", plan.describe(&stats, rate));
            return Ok(0);
        }
        let DataFingerprint { vocabulary, shards } = &plan.data_fingerprint;
        let parts = [("the vocabulary", vocabulary), ("the training shards", shards)];
        check_same_parts(world, &parts.map(|(name, hash)| (name.to_owned(), hash.clone())))?;
        let stop = StopFlag::on_signals()?.until(begin, self.max_wall_time);
        let mut run = Run::open(plan, &folder, self.resume)?;
        if world.is_first() {
            eprintln!("{}", run.describe());
        }
        match run.train(&stop)? {
            Outcome::Finished(summary) => {
                if world.is_first() {
                    println!("{summary}");
                }
                Ok(0)
            }
            Outcome::Stopped(reason, step) => {
                if world.is_first() {
                    eprintln!("stopped by {reason} after step {step}; saved, go on with `--resume`");
                }
                Ok(reason.exit_code())
            }
        }
    }
}

/// Compares parts of a run, each with its name, with rank 0's.
fn check_same_parts(world: &World, parts: &[(String, String)]) -> Result<()> {
    let hashes: Vec<u64> = parts.iter().map(|(_, text)| xxh3_64(text.as_bytes())).collect();
    world.check_same("run", &hashes, |at| parts[at].0.clone())
}

/// The tables of the run in `folder`, as its newest checkpoint has them: there `auto` is decided.
fn earlier_config(folder: &Path, world: &World) -> Result<Option<Value>> {
    let tables = world.from_first(|| {
        let Some((path, _damaged)) = checkpoint::newest_valid(folder)? else {
            return Ok(Vec::new());
        };
        Ok(checkpoint::load_state(&path)?.config.to_string().into_bytes())
    })?;
    if tables.is_empty() {
        return Ok(None);
    }
    let unreadable = |error| Error::failed("rank 0 has sent no tables").caused_by(error);
    serde_json::from_slice(&tables).map(Some).map_err(unreadable)
}

/// What an earlier part of the run decided for a key of `[train]`.
fn decided_before<T: DeserializeOwned>(earlier: Option<&Value>, key: &str) -> Option<T> {
    serde_json::from_value(earlier?["train"][key].clone()).ok()
}

/// The plan of a run of the processes of `world` in a folder that began at some time, here on `device`; what is `auto` and how
/// many steps it has are as in `earlier`, the tables of the run that goes on, or decided now.
pub(super) fn plan(
    mut config: RunConfig,
    device: tch::Device,
    earlier: Option<Value>,
    world: &Rc<World>,
    place: (&Path, Instant),
) -> Result<Plan> {
    if config.train.precision == Precision::Auto {
        config.train.precision = decided_before(earlier.as_ref(), "precision").unwrap_or(Precision::Auto);
    }
    config.train.precision = config.train.precision.resolve(device)?;
    if world.is_first() {
        warn_of(config.train.precision, device);
    }
    let compute = config.train.compute();
    if config.train.kernels == Kernels::Auto {
        config.train.kernels = decided_before(earlier.as_ref(), "kernels").unwrap_or(Kernels::Auto);
    }
    config.train.kernels = config.train.kernels.resolve(config.train.precision.compute_kind(), device);
    let vocabulary = Vocabulary::open(&config.data)?;
    if world.is_first() {
        warn(&vocabulary.notes);
    }
    let decided = |config: &RunConfig| decided(config, compute, &vocabulary, device, world);
    let chooses_micro_batch = config.train.micro_batch == MicroBatch::AUTO;
    if chooses_micro_batch {
        let sizes = match earlier.as_ref().and_then(earlier_sizes) {
            Some(sizes) => sizes,
            None => fitting_micro_batches(&decided(&config)?)?,
        };
        settle(&mut config.data, &mut config.train, &sizes);
        config.validate()?;
    }
    if let Some(asked) = config.train.asked() {
        let of_steps = |steps| RunConfig { train: config.train.of_steps(steps), ..config.clone() };
        let steps = match earlier.as_ref().and_then(|tables| asked.earlier_steps(tables)) {
            Some(steps) => steps,
            None => decide_steps(&decided(&config)?, asked, place, |steps| of_steps(steps).validate())?,
        };
        config = of_steps(steps);
        config.validate()?;
    }
    Ok(Plan { chooses_micro_batch, ..decided(&config)? })
}

/// The plan of tables without `auto`.
fn decided(
    config: &RunConfig,
    compute: Compute,
    vocabulary: &Vocabulary,
    device: tch::Device,
    world: &Rc<World>,
) -> Result<Plan> {
    let unwritable = |error: String| Error::failed(format!("cannot write the resolved configuration: {error}"));
    Ok(Plan {
        bert: config.bert(vocabulary.size)?,
        data_fingerprint: DataFingerprint { vocabulary: vocabulary.hash.clone(), shards: shards_hash(&config.data)? },
        vocabulary: vocabulary.clone(),
        init: config.model.init.clone(),
        data: config.data.clone(),
        phases: Phases::new(&config.data, &config.train)?.shared_by(world.size())?,
        train: config.train.clone(),
        compute,
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
        classes: RunConfig::CLASSES,
        config_toml: toml::to_string(config).map_err(|error| unwritable(error.to_string()))?,
        device,
        world: world.clone(),
    })
}
