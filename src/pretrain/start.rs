//! Where a run starts: at random weights, at those of another model, or at a checkpoint of its own.

use std::collections::BTreeMap;
use std::path::Path;

use crate::batch::samples::Vocabulary;
use crate::checkpoint::{self, Loaded};
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
use crate::pretrain::pretraining::Pretraining;
use crate::pretrain::resolved_run::ResolvedRun;
use crate::pretrain::{init, resume};
use crate::train::environment::{self, environment};
use crate::train::{shared, Event, RunFolder, RunOptions, Trainer};

/// Opens the run in `folder`: a new one, or with `resume` the newest valid checkpoint (a new run if there is none). With
/// `allow_changes` the run goes on with settings and data that make it another.
///
/// # Errors
/// Invalid data, a folder that has checkpoints without `resume`, a checkpoint of another run, full disk.
pub fn open<'a>(
    run: ResolvedRun,
    folder: &Path,
    (resume, allow_changes): (bool, bool),
    events: &'a mut dyn FnMut(Event),
) -> Result<Trainer<'a, Pretraining>> {
    // All phases: a run must not find out after days that the data is too short for the last one.
    run.stats()?;
    let facts = environment(run.device)?;
    let found = RunFolder::find(folder, resume, &run.world, &mut *events)?;
    // Whatever can be refused is refused before anything is written.
    let loaded = shared(&run.world, run.compute.weight_kind(), run.device, || match &found.newest {
        None => fresh(&run, &mut *events),
        Some(path) => go_on(&run, path, &facts, allow_changes, &mut *events),
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
    // A key that the checkpoint does not have came with a later version: it had its default.
    let defaults = serde_json::to_value(RunConfig::default())
        .map_err(|error| Error::failed("the defaults have no JSON form").caused_by(error))?;
    let changes = resume::changes(&state.config, &run.tables()?, &defaults, RunConfig::CLASSES);
    changes.check(allow_changes)?;
    if let Some(words) = resume::same_data(&state.data, &run.data_fingerprint, allow_changes)? {
        tell(words);
    }
    let mut bert = state.bert.clone();
    if allow_changes {
        // Dropout and initialisation do not change the shape of the model.
        (bert.hidden_dropout_prob, bert.attention_probs_dropout_prob, bert.initializer_range) =
            (run.bert.hidden_dropout_prob, run.bert.attention_probs_dropout_prob, run.bert.initializer_range);
    }
    if bert != run.bert {
        return Err(Error::config(format!("cannot resume: expected a model of {:?}, got {:?}", state.bert, run.bert))
            .hint("restore `[model]` and the tokenizer, or start a new run with another `--run-dir`"));
    }
    if state.step > run.config.train.steps {
        return Err(Error::config(format!(
            "`{}` is at step {}, behind the end of the run, `train.steps` = {}",
            path.display(),
            state.step,
            run.config.train.steps
        ))
        .hint("raise `train.steps`, or export that checkpoint with `untie export`"));
    }
    for change in &changes.allowed {
        tell(change.clone());
    }
    for change in &changes.refused {
        tell(format!("{change}: from here on another run, by `--allow-changes`"));
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
