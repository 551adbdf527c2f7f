//! From a configuration to a [`ResolvedRun`]: what is `auto`, and how many steps a run of a time or of epochs has, is decided once,
//! when it starts, and taken from its checkpoints afterwards.

use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use tch::Device;

use crate::batch::samples::Vocabulary;
use crate::checkpoint;
use crate::config::{MicroBatch, RunConfig};
use crate::error::{Error, Result};
use crate::model::Kernels;
use crate::parallel::World;
use crate::pretrain::auto_micro_batch::{earlier_sizes, fitting_micro_batches, settle};
use crate::pretrain::decide_steps::decide_steps;
use crate::pretrain::resolved_run::ResolvedRun;
use crate::step::Precision;
use crate::train::{prepare_cuda_kernels, Event};

/// The tables of the run in `folder`, as its newest checkpoint has them; none where there is no checkpoint.
///
/// # Errors
/// A checkpoint that cannot be read, and a process of `world` that is gone.
pub fn earlier_config(folder: &Path, world: &World) -> Result<Option<RunConfig>> {
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
    RunConfig::of_another_version(serde_json::from_slice(&tables).map_err(unreadable)?).map(Some)
}

/// The run of `config` by the processes of `world`, here on `device`, in a folder that began at some time. What is `auto` and how many
/// steps it has are as in `earlier`, the tables of the run that goes on, or decided now.
///
/// # Errors
/// Data that cannot be read, sizes that do not fit, and a time without room for the run.
pub fn resolve(
    mut config: RunConfig,
    device: Device,
    earlier: Option<&RunConfig>,
    world: &Rc<World>,
    place: (&Path, Instant),
    events: &mut dyn FnMut(Event),
) -> Result<ResolvedRun> {
    let train = &mut config.train;
    if let Some(earlier) = earlier.filter(|_| train.precision == Precision::Auto) {
        train.precision = earlier.train.precision;
    }
    train.precision = train.precision.resolve(device)?;
    if let Some(words) = train.precision.warning(device) {
        events(Event::Note(format!("warning: {words}")));
    }
    let compute = train.compute();
    if let Some(earlier) = earlier.filter(|_| train.kernels == Kernels::Auto) {
        train.kernels = earlier.train.kernels;
    }
    if let Some(warning) = prepare_cuda_kernels(device, compute, world)? {
        events(Event::Note(warning));
    }
    train.kernels = train.kernels.resolve(compute.kind, device);
    let vocabulary = Vocabulary::open(&config.data)?;
    vocabulary.notes.iter().for_each(|note| events(Event::Note(format!("warning: {note}"))));
    let resolved = |config: &RunConfig| ResolvedRun::new(config, compute, &vocabulary, device, world);
    let chooses_micro_batch = config.train.micro_batch == MicroBatch::AUTO;
    if chooses_micro_batch {
        let sizes = match earlier.and_then(earlier_sizes) {
            Some(sizes) => sizes,
            None => fitting_micro_batches(&resolved(&config)?)?,
        };
        settle(&mut config.data, &mut config.train, &sizes);
        config.validate()?;
    }
    if let Some(asked) = config.train.asked() {
        let of_steps = |steps| RunConfig { train: config.train.of_steps(steps), ..config.clone() };
        let steps = match earlier.and_then(|earlier| earlier.train.steps_decided_from(asked)) {
            Some(steps) => steps,
            None => decide_steps(&resolved(&config)?, asked, place, |steps| of_steps(steps).validate(), events)?,
        };
        config = of_steps(steps);
        config.validate()?;
    }
    Ok(ResolvedRun { chooses_micro_batch, ..resolved(&config)? })
}
