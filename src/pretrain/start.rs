//! Where a run starts: at random weights, at those of another model, or at a checkpoint of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::Value;

use crate::batch::samples::Vocabulary;
use crate::checkpoint::{self, Loaded, RunState};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::files::write_aside;
use crate::growth::GroupInit;
use crate::hub;
use crate::keys::Keys;
use crate::layer_map::LayerMap;
use crate::model::weights::is_of_pair_head;
use crate::model::Weights;
use crate::optim::Moments;
use crate::pretrain::init;
use crate::pretrain::pretraining::Pretraining;
use crate::pretrain::resolved_run::ResolvedRun;
use crate::pretrain::resume::{self, Changes};
use crate::train::environment::{self, environment};
use crate::train::{shared, Event, RunFolder, RunOptions, Trainer};

/// What a run may start from, besides its configuration.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// Go on from the newest valid checkpoint of the run's folder, if there is one.
    pub resume: bool,
    /// With `resume`: go on with settings and data that make it another run.
    pub allow_changes: bool,
    /// A new run begins with a checkpoint of another one.
    pub from: Option<BranchPoint>,
}

/// A checkpoint of another run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchPoint {
    /// The folder of the run.
    pub run: PathBuf,
    /// The step; `None`: the newest valid checkpoint.
    pub step: Option<u64>,
}

impl FromStr for BranchPoint {
    type Err = std::convert::Infallible;

    /// `RUN` or `RUN:STEP`.
    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let with_step = text.rsplit_once(':').and_then(|(run, step)| Some((run, step.parse::<u64>().ok()?)));
        Ok(match with_step {
            Some((run, step)) => Self { run: run.into(), step: Some(step) },
            None => Self { run: text.into(), step: None },
        })
    }
}

impl BranchPoint {
    fn checkpoint(&self) -> Result<PathBuf> {
        let found = match self.step {
            Some(step) => checkpoint::list(&self.run)?.into_iter().find(|entry| entry.step == step).map(|at| at.path),
            None => checkpoint::newest_valid(&self.run)?.map(|(path, _)| path),
        };
        found.ok_or_else(|| {
            let step = self.step.map_or(String::new(), |step| format!(" of step {step}"));
            Error::data(format!("`--from`: `{}` has no checkpoint{step}", self.run.display()))
                .hint("`untie runs` lists the checkpoints of a run")
        })
    }
}

/// Opens the run in `folder` as `options` say.
///
/// # Errors
/// Invalid data, a folder that has checkpoints without `resume`, a checkpoint of another run, full disk.
pub fn open<'a>(
    run: ResolvedRun,
    folder: &Path,
    options: &StartOptions,
    events: &'a mut dyn FnMut(Event),
) -> Result<Trainer<'a, Pretraining>> {
    // All phases: a run must not find out after days that the data is too short for the last one.
    run.stats()?;
    let facts = environment(run.device)?;
    let found = RunFolder::find(folder, options.resume, &run.world, &mut *events)?;
    // Whatever can be refused is refused before anything is written.
    let loaded = shared(&run.world, run.compute.weight_kind(), run.device, || match &found.newest {
        Some(path) => go_on(&run, path, &facts, options.allow_changes, &mut *events),
        None => match &options.from {
            Some(point) => branch(&run, &point.checkpoint()?, &facts, &mut *events),
            None => fresh(&run, &mut *events),
        },
    })?;
    let RunConfig { checkpoint, metrics, guard, train, .. } = run.config.clone();
    let (world, device) = (run.world.clone(), run.device);
    let options = RunOptions { checkpoint, metrics, guard, log_every: train.log_every, device, world: world.clone() };
    let (spec, vocabulary) = (run.spec(), run.vocabulary.json.clone());
    let task = Pretraining::open(run, folder, (loaded.state.step, loaded.state.samples_skipped))?;
    let trainer = Trainer::new(task, spec, loaded, found, options, events)?;
    if world.is_first() {
        write_aside(&folder.join("tokenizer.json"), vocabulary.as_bytes())?;
        write_aside(&folder.join("env.json"), to_json(&facts)?)?;
        trainer.task().write_config()?;
    }
    Ok(trainer)
}

/// The checkpoint at `path`, of another run, as the start of `run`: the same model at the same place in the same data, whatever else
/// differs. A rule that is the same goes on, another begins.
fn branch(
    run: &ResolvedRun,
    path: &Path,
    facts: &BTreeMap<String, String>,
    events: &mut dyn FnMut(Event),
) -> Result<Loaded> {
    let mut tell = |words: String| events(Event::Note(format!("branch: {words}")));
    let mut loaded = checkpoint::load(path, run.compute.weight_kind(), run.device)?;
    let state = &mut loaded.state;
    let changes = changes(run, state)?;
    let fits = || -> Result<()> {
        changes.check(true)?;
        resume::same_data(&state.data, &run.data_fingerprint, false)?;
        same_model(run, state, true)?;
        not_behind(run, state, path)
    };
    fits().map_err(|error| Error::config("`--from` names a checkpoint that does not fit").caused_by(error))?;
    let is_of_rule = |change: &String| change.starts_with("`sharing.") || change.starts_with("`growth.");
    if changes.refused.iter().any(is_of_rule) {
        if run.config.growth.rule.is_some() || state.layer_map.num_layers() < run.bert.num_hidden_layers {
            return Err(Error::config("`--from`: a run that grows goes on by its own rule only").hint(
                "keep `[growth]` and `[sharing]` as they are in the other run, or begin where it has all its layers",
            ));
        }
        (state.rule, state.schedule_start, state.frozen) = (Value::Null, 0, Vec::new());
        (state.remembered, loaded.remembered) = (None, None);
    }
    changes.refused.iter().chain(&changes.allowed).for_each(|change| tell(change.clone()));
    for difference in environment::differences(&state.environment, facts) {
        tell(difference);
    }
    tell(format!("from `{}`, after step {}", path.display(), state.step));
    Ok(loaded)
}

/// What differs between the configuration of `state` and that of `run`.
fn changes(run: &ResolvedRun, state: &RunState) -> Result<Changes> {
    // A key that the checkpoint does not have came with a later version: it had its default.
    let defaults = serde_json::to_value(RunConfig::default())
        .map_err(|error| Error::failed("the defaults have no JSON form").caused_by(error))?;
    Ok(resume::changes(&state.config, &run.tables()?, &defaults, RunConfig::CLASSES))
}

/// # Errors
/// Sizes that differ; dropout and initialisation may, where `allow_changes`.
fn same_model(run: &ResolvedRun, state: &RunState, allow_changes: bool) -> Result<()> {
    let mut bert = state.bert.clone();
    if allow_changes {
        // They do not change the shape of the model.
        (bert.hidden_dropout_prob, bert.attention_probs_dropout_prob, bert.initializer_range) =
            (run.bert.hidden_dropout_prob, run.bert.attention_probs_dropout_prob, run.bert.initializer_range);
    }
    if bert != run.bert {
        return Err(Error::config(format!("cannot resume: expected a model of {:?}, got {:?}", state.bert, run.bert))
            .hint("restore `[model]` and the tokenizer, or start a new run with another `--run-dir`"));
    }
    Ok(())
}

/// # Errors
/// The checkpoint at `path` is after the end of the run.
fn not_behind(run: &ResolvedRun, state: &RunState, path: &Path) -> Result<()> {
    let (step, steps) = (state.step, run.config.train.steps);
    if step > steps {
        return Err(Error::config(format!(
            "`{}` is at step {step}, after the end of the run, `train.steps` = {steps}",
            path.display()
        ))
        .hint("raise `train.steps`, or export that checkpoint with `untie export`"));
    }
    Ok(())
}

/// The checkpoint at `path`, if it is one of the run that `run` describes.
fn go_on(
    run: &ResolvedRun,
    path: &Path,
    facts: &BTreeMap<String, String>,
    allow_changes: bool,
    events: &mut dyn FnMut(Event),
) -> Result<Loaded> {
    let mut tell = |words: String| events(Event::Note(format!("resume: {words}")));
    let loaded = checkpoint::load(path, run.compute.weight_kind(), run.device)?;
    let state = &loaded.state;
    let changes = changes(run, state)?;
    changes.check(allow_changes)?;
    if let Some(words) = resume::same_data(&state.data, &run.data_fingerprint, allow_changes)? {
        tell(words);
    }
    same_model(run, state, allow_changes)?;
    not_behind(run, state, path)?;
    for change in &changes.allowed {
        tell(change.clone());
    }
    for change in &changes.refused {
        tell(format!("{change}: accepted by `--allow-changes`, this is another run from now on"));
    }
    for difference in environment::differences(&state.environment, facts) {
        tell(format!("results may differ from those of an uninterrupted run, {difference}"));
    }
    tell(format!("from `{}`", path.display()));
    Ok(loaded)
}

/// The weights of the Hugging Face model in `directory`, if it fits `run`; what becomes of them is told.
fn initial_weights(
    run: &ResolvedRun,
    map: &LayerMap,
    directory: &Path,
    events: &mut dyn FnMut(Event),
) -> Result<Weights> {
    let mut tell = |words: String| events(Event::Note(words));
    let kind = run.compute.weight_kind();
    let source = hub::load(directory, kind, run.device)?;
    let shown = directory.display();
    let vocabulary = Vocabulary::new(source.open_tokenizer()?)?;
    vocabulary.notes.iter().for_each(|note| tell(format!("warning: model.init: {note}")));
    run.vocabulary.fits(&vocabulary, source.config.vocab_size).map_err(|error| {
        Error::data(format!("`model.init`: the data do not fit the model in `{shown}`"))
            .hint("prepare the data with `--tokenizer` of that model")
            .caused_by(error)
    })?;
    let mut config = source.config.clone();
    // Neither dropout nor heads are sizes: a head that the run needs and the model lacks is new, another is ignored.
    (config.hidden_dropout_prob, config.attention_probs_dropout_prob, config.pair_head) =
        (run.bert.hidden_dropout_prob, run.bert.attention_probs_dropout_prob, run.bert.pair_head);
    if config != run.bert {
        return Err(Error::config(format!(
            "`model.init`: `{shown}` is another model: expected {:?}, got {config:?}",
            run.bert
        ))
        .hint("the model was changed after the configuration had been read: start again"));
    }
    let (layers, groups) = (map.num_layers(), map.num_groups());
    let how = run.config.sharing.init.unwrap_or(GroupInit::Lowest);
    if groups == layers {
        tell(format!("model.init: starts from `{shown}`, untied: each of the {layers} layers keeps its weights"));
    } else {
        let weights = match how {
            GroupInit::Lowest => "the weights of its lowest layer",
            GroupInit::Mean => "the mean of its layers' weights",
        };
        tell(format!(
            "warning: model.init: `sharing.start` ties the {layers} layers of `{shown}` to {groups}: each group starts from {weights} \
             (`sharing.init`), the rest of what the layers have learnt is lost"
        ));
    }
    if run.vocabulary.size > vocabulary.size {
        let more = run.vocabulary.size - vocabulary.size;
        tell(format!(
            "model.init: the data have {more} tokens more than the model's tokenizer: they start from its unused rows"
        ));
    }
    if !source.has_head {
        tell(format!("model.init: `{shown}` has no masked-language-model head: it starts at random"));
    }
    if run.bert.pair_head && !source.config.pair_head {
        tell(format!("model.init: `{shown}` has no head for pairs of segments: it starts at random"));
    }
    let mut unused = source.unused_tensors.clone();
    if !run.bert.pair_head {
        let names = source.weights.entries().iter().map(|weight| &weight.spec.name);
        unused.extend(names.filter(|name| is_of_pair_head(name)).cloned());
    }
    if !unused.is_empty() {
        tell(format!("model.init: not trained, and not in the export: {}", unused.join(", ")));
    }
    init::weights(&source, &run.bert, map, how, run.config.train.seed, kind, run.device)
}

/// The state before step 0.
fn fresh(run: &ResolvedRun, events: &mut dyn FnMut(Event)) -> Result<Loaded> {
    let map = run.start_walk()?;
    let weights = match &run.config.model.init {
        None => run.initial_weights(&map)?,
        Some(directory) => initial_weights(run, &map, directory, events)?,
    };
    let moments = Moments::zeros(&weights)?;
    Ok(Loaded { state: run.first_state(&map)?, weights, moments, remembered: None })
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|error| Error::failed("cannot write JSON").caused_by(error))
}
