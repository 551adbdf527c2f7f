//! Opening a run folder: a new run, or the newest valid checkpoint of an earlier one.

use std::collections::BTreeMap;
use std::mem::take;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::{Device, Tensor};

use crate::batch::samples::Vocabulary;
use crate::checkpoint::{self, RunState, Totals};
use crate::error::{io, Error, Result};
use crate::files::{write_aside, FolderLock};
use crate::growth::GroupInit;
use crate::hub;
use crate::layer_map::LayerMap;
use crate::metrics::Recorder;
use crate::model::weights::is_of_pair_head;
use crate::model::Weights;
use crate::optim::Moments;
use crate::train::active_phase::ActivePhase;
use crate::train::guard::Guard;
use crate::train::plan::Plan;
use crate::train::run_stats::RunStats;
use crate::train::state::{InitialState, TrainState};
use crate::train::{environment, init, resume};

/// A run folder that is open, and what its run begins or goes on with.
#[derive(Debug)]
pub(super) struct Opened {
    /// Where the run stands.
    pub(super) saved: RunState,
    pub(super) state: TrainState,
    pub(super) guard: Guard,
    pub(super) active: ActivePhase,
    pub(super) stats: RunStats,
    pub(super) recorder: Recorder,
    /// Whether nothing has been recorded yet.
    pub(super) is_fresh: bool,
    /// No other process writes to the folder while it is held.
    pub(super) lock: Option<FolderLock>,
}

/// Opens the data and the folder: a new run, or with `resume` the newest valid checkpoint (a new run if there is
/// none).
///
/// # Errors
/// Invalid data, a folder that has checkpoints without `resume`, a checkpoint of another run, full disk.
pub(super) fn open(plan: &Plan, folder: &Path, resume: bool) -> Result<Opened> {
    // All phases: a run must not find out after days that the data is too short for the last one.
    let stats = plan.stats()?;
    let facts = environment::environment(plan.device)?;
    let world = plan.world.clone();
    let (mut lock, mut found) = (None, None);
    let is_fresh = world.from_first(|| {
        // Before the folder is looked into: what is there must not change any more.
        lock = if folder.is_dir() { Some(FolderLock::take(folder)?) } else { None };
        found = if resume { newest(folder)? } else { None };
        if found.is_none() && !checkpoint::list(folder)?.is_empty() {
            return Err(Error::config(format!("`{}` already has checkpoints", folder.display()))
                .hint("go on with `--resume`, or choose another `--run-dir`"));
        }
        Ok(vec![u8::from(found.is_none())])
    })?;
    let is_fresh = is_fresh == [1];
    // Whatever can be refused is refused before anything is written.
    let start = shared(plan, || match &found {
        None => fresh(plan),
        Some(path) => go_on(plan, path, &facts),
    })?;
    let active = ActivePhase::open(plan, plan.phases.after(start.state.step))?;
    let recorder = match world.is_first() {
        true => {
            std::fs::create_dir_all(folder).map_err(|error| io("create", folder, error))?;
            if lock.is_none() {
                lock = Some(FolderLock::take(folder)?);
            }
            write_aside(&folder.join("tokenizer.json"), plan.vocabulary.json.as_bytes())?;
            write_aside(&folder.join("env.json"), &to_json(&facts)?)?;
            match is_fresh {
                true => Recorder::create(folder, &plan.metrics)?,
                false => Recorder::resume(folder, &plan.metrics, start.state.step)?,
            }
        }
        false => Recorder::silent(),
    };
    let (mut saved, state) = train_state(plan, start, is_fresh)?;
    let guard = match take(&mut saved.guard) {
        Value::Null => Guard::default(),
        memory => serde_json::from_value(memory)
            .map_err(|error| Error::data("the checkpoint holds no guard").caused_by(error))?,
    };
    Ok(Opened { saved, state, guard, active, stats, recorder, is_fresh, lock })
}

/// The resolved tables, in the run's folder.
pub(super) fn write_config(plan: &Plan, folder: &Path) -> Result<()> {
    if !plan.world.is_first() {
        return Ok(());
    }
    write_aside(&folder.join("config.toml"), plan.config_toml.as_bytes())
}

/// What training goes on with, on every process of the run, and the rest of what was loaded.
pub(super) fn train_state(plan: &Plan, loaded: checkpoint::Loaded, is_fresh: bool) -> Result<(RunState, TrainState)> {
    let checkpoint::Loaded { state: saved, weights, moments } = loaded;
    let rule_state = (!is_fresh).then(|| saved.rule.clone());
    let start = InitialState { map: saved.layer_map.clone(), weights, moments, rule_state, scaler: saved.scaler };
    let state = TrainState::new(plan.spec(), start, plan.world.clone())?;
    Ok((saved, state))
}

/// What rank 0 loads, on every process of the run: the others need not see its disk.
pub(super) fn shared(plan: &Plan, load: impl FnOnce() -> Result<checkpoint::Loaded>) -> Result<checkpoint::Loaded> {
    let world = &plan.world;
    if world.size() == 1 {
        return load();
    }
    let mut loaded = None;
    let state = world.from_first(|| {
        let found = load()?;
        let state = serde_json::to_vec(&found.state)
            .map_err(|error| Error::failed("the run's state has no JSON form").caused_by(error))?;
        loaded = Some(found);
        Ok(state)
    })?;
    let loaded = match loaded {
        Some(loaded) => loaded,
        None => empty(plan, &state)?,
    };
    let leaves = loaded.weights.entries().iter().map(|weight| &weight.tensor);
    leaves
        .chain(&loaded.moments.exp_avg)
        .chain(&loaded.moments.exp_avg_sq)
        .try_for_each(|tensor| world.broadcast(tensor))?;
    Ok(loaded)
}

/// Weights and moments for the state that rank 0 has sent, without their values.
fn empty(plan: &Plan, state: &[u8]) -> Result<checkpoint::Loaded> {
    let state: RunState = serde_json::from_slice(state)
        .map_err(|error| Error::failed("rank 0 has sent no state of a run").caused_by(error))?;
    let kind = plan.train.precision.weight_kind();
    let weights = Weights::from_named(&plan.bert, &state.layer_map, kind, plan.device, |spec| {
        Ok(Tensor::f_zeros(&spec.shape, (kind, Device::Cpu))?)
    })?;
    let mut moments = Moments::zeros(&weights)?;
    moments.num_updates = state.num_updates;
    Ok(checkpoint::Loaded { state, weights, moments })
}

/// The newest checkpoint of `folder` that is whole; damaged newer ones are named on stderr.
fn newest(folder: &Path) -> Result<Option<PathBuf>> {
    let Some((path, damaged)) = checkpoint::newest_valid(folder)? else {
        return Ok(None);
    };
    for error in damaged {
        eprintln!("resume: {}", error.report().trim_start_matches("error: "));
    }
    Ok(Some(path))
}

/// The checkpoint at `path`, if it is one of the run that `plan` describes.
fn go_on(plan: &Plan, path: &Path, facts: &BTreeMap<String, String>) -> Result<checkpoint::Loaded> {
    let loaded = checkpoint::load(path, plan.train.precision.weight_kind(), plan.device)?;
    let state = &loaded.state;
    let changes = resume::changes(&state.config, &plan.config, &plan.defaults, plan.classes);
    changes.check(plan.allow_changes)?;
    resume::same_data(&state.data, &plan.data_fingerprint, plan.allow_changes)?;
    let mut bert = state.bert.clone();
    if plan.allow_changes {
        // Dropout and initialisation do not change the shape of the model.
        (bert.hidden_dropout_prob, bert.attention_probs_dropout_prob, bert.initializer_range) =
            (plan.bert.hidden_dropout_prob, plan.bert.attention_probs_dropout_prob, plan.bert.initializer_range);
    }
    if bert != plan.bert {
        return Err(Error::config(format!("cannot resume: expected a model of {:?}, got {:?}", state.bert, plan.bert))
            .hint("restore `[model]` and the tokenizer, or start a new run with another `--run-dir`"));
    }
    if state.step > plan.train.steps {
        return Err(Error::config(format!(
            "`{}` is at step {}, behind the end of the run, `train.steps` = {}",
            path.display(),
            state.step,
            plan.train.steps
        ))
        .hint("raise `train.steps`, or export that checkpoint with `untie export`"));
    }
    for change in &changes.allowed {
        eprintln!("resume: {change}");
    }
    for change in &changes.refused {
        eprintln!("resume: {change}: from here on another run, by `--allow-changes`");
    }
    for difference in environment::differences(&state.environment, facts) {
        eprintln!("resume: results may differ from those of an uninterrupted run, {difference}");
    }
    eprintln!("resume: from `{}`", path.display());
    Ok(loaded)
}

/// The weights of the Hugging Face model in `directory`, if it fits `plan`, and on stderr what becomes of them.
fn initial_weights(plan: &Plan, map: &LayerMap, directory: &Path) -> Result<Weights> {
    let kind = plan.train.precision.weight_kind();
    let source = hub::load(directory, kind, plan.device)?;
    let shown = directory.display();
    let vocabulary = Vocabulary::new(source.open_tokenizer()?)?;
    plan.vocabulary.fits(&vocabulary, source.config.vocab_size).map_err(|error| {
        Error::data(format!("`model.init`: the data do not fit the model in `{shown}`"))
            .hint("prepare the data with `--tokenizer` of that model")
            .caused_by(error)
    })?;
    let mut config = source.config.clone();
    // Neither dropout nor heads are sizes: a head that the run needs and the model lacks is new, another is ignored.
    (config.hidden_dropout_prob, config.attention_probs_dropout_prob, config.pair_head) =
        (plan.bert.hidden_dropout_prob, plan.bert.attention_probs_dropout_prob, plan.bert.pair_head);
    if config != plan.bert {
        return Err(Error::config(format!(
            "`model.init`: `{shown}` is another model: expected {:?}, got {config:?}",
            plan.bert
        ))
        .hint("the model was changed after the configuration had been read: start again"));
    }
    let (layers, groups) = (map.num_layers(), map.num_groups());
    let how = plan.sharing.init.unwrap_or(GroupInit::Lowest);
    if groups == layers {
        eprintln!("model.init: starts from `{shown}`, untied: each of the {layers} layers keeps its weights");
    } else {
        let weights = match how {
            GroupInit::Lowest => "the weights of its lowest layer",
            GroupInit::Mean => "the mean of its layers' weights",
        };
        eprintln!(
            "warning: model.init: `sharing.start` ties the {layers} layers of `{shown}` to {groups}: each group starts from {weights} \
             (`sharing.init`), the rest of what the layers have learnt is lost"
        );
    }
    if plan.vocabulary.size > vocabulary.size {
        let more = plan.vocabulary.size - vocabulary.size;
        eprintln!(
            "model.init: the data have {more} tokens more than the model's tokenizer: they start from its unused rows"
        );
    }
    if !source.has_head {
        eprintln!("model.init: `{shown}` has no masked-language-model head: it starts at random");
    }
    if plan.bert.pair_head && !source.config.pair_head {
        eprintln!("model.init: `{shown}` has no head for pairs of segments: it starts at random");
    }
    let mut unused = source.unused_tensors.clone();
    if !plan.bert.pair_head {
        let names = source.weights.entries().iter().map(|weight| &weight.spec.name);
        unused.extend(names.filter(|name| is_of_pair_head(name)).cloned());
    }
    if !unused.is_empty() {
        eprintln!("model.init: not trained, and not in the export: {}", unused.join(", "));
    }
    init::weights(&source, &plan.bert, map, how, plan.train.seed, kind, plan.device)
}

/// The state before step 0.
fn fresh(plan: &Plan) -> Result<checkpoint::Loaded> {
    let map = plan.sharing.start_map(plan.bert.num_hidden_layers)?;
    let (kind, device) = (plan.train.precision.weight_kind(), plan.device);
    let weights = match &plan.init {
        None => Weights::initialise(&plan.bert, &map, plan.train.seed, kind, device)?,
        Some(directory) => initial_weights(plan, &map, directory)?,
    };
    let moments = Moments::zeros(&weights)?;
    Ok(checkpoint::Loaded { state: first_state(plan, &map)?, weights, moments })
}

/// Where a run with layers shared as `map` stands before its first step.
///
/// # Errors
/// libtorch's own.
pub fn first_state(plan: &Plan, map: &LayerMap) -> Result<RunState> {
    Ok(RunState {
        format: checkpoint::FORMAT,
        step: 0,
        layer_map: map.clone(),
        num_updates: 0,
        scaler: None,
        samples_consumed: 0,
        samples_skipped: 0,
        guard: Value::Null,
        rule: Value::Null,
        config: plan.config.clone(),
        totals: Totals::default(),
        environment: environment::environment(plan.device)?,
        untying: Vec::new(),
        data: plan.data_fingerprint.clone(),
        bert: plan.bert.clone(),
    })
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|error| Error::failed("cannot write JSON").caused_by(error))
}
