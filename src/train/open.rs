//! Opening a run folder: a new run, or the newest valid checkpoint of an earlier one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use untie_data::shard::Split;

use crate::batch::Samples;
use crate::checkpoint::{self, RunState, Totals};
use crate::error::{io, Error, Result};
use crate::hub;
use crate::metrics::Recorder;
use crate::model::{Bert, Weights};
use crate::optim::{Moments, Schedule};
use crate::sharing::Rule;
use crate::train::run::{Plan, Run};
use crate::train::{environment, resume};

impl Run {
    /// Opens the data and the folder: a new run, or with `resume` the newest valid checkpoint (a new run if there is
    /// none).
    ///
    /// # Errors
    /// Invalid data, a folder that has checkpoints without `resume`, a checkpoint of another run, full disk.
    pub fn open(plan: Plan, folder: &Path, resume: bool) -> Result<Self> {
        let seed = plan.train.seed;
        let train_samples = Arc::new(Samples::open(&plan.data, &plan.vocabulary, Split::Train, seed)?);
        let valid_samples = Samples::open(&plan.data, &plan.vocabulary, Split::Valid, seed)?;
        let kind = plan.train.precision.weight_kind();
        let found = if resume { newest(folder)? } else { None };
        if found.is_none() && !checkpoint::list(folder)?.is_empty() {
            return Err(Error::config(format!("`{}` already has checkpoints", folder.display()))
                .hint("go on with `--resume`, or choose another `--run-dir`"));
        }
        std::fs::create_dir_all(folder).map_err(|error| io("create", folder, error))?;
        let facts = environment::environment(plan.device)?;
        write(&folder.join("config.toml"), plan.config_toml.as_bytes())?;
        write(&folder.join("tokenizer.json"), plan.vocabulary.json.as_bytes())?;
        write(&folder.join("env.json"), &to_json(&facts)?)?;
        let start;
        let recorder;
        match found {
            Some(path) => {
                let loaded = checkpoint::load(&path, kind, plan.device)?;
                for change in resume::changes(&loaded.state.config, &plan.config)? {
                    eprintln!("resume: {change}");
                }
                for difference in environment::differences(&loaded.state.environment, &facts) {
                    eprintln!("resume: results may differ in the last bits, {difference}");
                }
                eprintln!("resume: from `{}`", path.display());
                recorder = Recorder::resume(folder, &plan.metrics, loaded.state.step)?;
                start = loaded;
            }
            None => {
                recorder = Recorder::create(folder, &plan.metrics)?;
                start = fresh(&plan)?;
            }
        }
        let checkpoint::Loaded { state, weights, moments } = start;
        let model = Bert::new(&plan.bert, &state.layer_map, &weights, plan.train.precision.compute_kind())?;
        let product_rate = plan.product_rate()?;
        Ok(Self {
            rule: Rule::new(&plan.sharing, plan.train.steps),
            schedule: Schedule::new(&plan.optim, plan.train.steps),
            folder: folder.into(),
            map: state.layer_map,
            step: state.step,
            totals: state.totals,
            untying: state.untying,
            train_samples,
            valid_samples,
            recorder,
            weights,
            moments,
            model,
            product_rate,
            plan,
        })
    }
}

/// The newest checkpoint of `folder` that is whole; damaged newer ones are named on stderr.
fn newest(folder: &Path) -> Result<Option<PathBuf>> {
    let Some((path, damaged)) = checkpoint::newest_valid(folder)? else {
        return Ok(None);
    };
    for error in damaged {
        eprintln!("resume: a damaged checkpoint is skipped: {}", error.report().trim_start_matches("error: "));
    }
    Ok(Some(path))
}

/// The state before step 0.
fn fresh(plan: &Plan) -> Result<checkpoint::Loaded> {
    let map = plan.sharing.start_map(plan.bert.num_hidden_layers)?;
    let (kind, device) = (plan.train.precision.weight_kind(), plan.device);
    let weights = match &plan.init {
        None => Weights::initialise(&plan.bert, &map, plan.train.seed, kind, device)?,
        Some(directory) => {
            // A group starts from its lowest layer.
            let source = hub::load(directory, kind, device)?;
            Weights::from_named(&plan.bert, &map, kind, device, |spec| {
                let weight = source.weights.get(&spec.name);
                let weight = weight.ok_or_else(|| {
                    Error::data(format!("`{}` has no tensor `{}`", directory.display(), spec.name))
                        .hint("the model in `model.init` and `[model]` must have the same `norm` and number of layers")
                })?;
                Ok(weight.in_file(&weight.tensor.detach()))
            })?
        }
    };
    let moments = Moments::zeros(&weights)?;
    let state = RunState {
        format: checkpoint::FORMAT,
        step: 0,
        layer_map: map,
        num_updates: 0,
        samples_consumed: 0,
        rule: Value::Null,
        config: plan.config.clone(),
        totals: Totals::default(),
        environment: environment::environment(device)?,
        untying: Vec::new(),
        bert: plan.bert.clone(),
    };
    Ok(checkpoint::Loaded { state, weights, moments })
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|error| Error::failed("cannot write JSON").caused_by(error))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|error| io("write", path, error))
}
