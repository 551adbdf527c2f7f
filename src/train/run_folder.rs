//! The folder of a run: who may write to it, and from where its run goes on.

use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use crate::checkpoint::{self, Loaded, RunState};
use crate::error::{io, Error, Result};
use crate::files::FolderLock;
use crate::layer_map::LayerMap;
use crate::model::Weights;
use crate::optim::Moments;
use crate::parallel::World;
use crate::train::event::Event;

/// The folder of a run, before anything is written to it.
#[derive(Debug)]
pub struct RunFolder {
    /// Where it is or will be.
    pub path: PathBuf,
    /// Whether no checkpoint is gone on with.
    pub is_fresh: bool,
    /// The checkpoint to go on with, on the process that reads it.
    pub newest: Option<PathBuf>,
    /// No other process writes to the folder while it is held.
    pub(super) lock: Option<FolderLock>,
}

impl RunFolder {
    /// The folder at `path`: for a new run, or with `resume` for one that goes on with the newest valid checkpoint, if there is one.
    /// Damaged newer ones are told.
    ///
    /// # Errors
    /// A folder that another process writes to, or that has checkpoints without `resume`.
    pub fn find(path: &Path, resume: bool, world: &World, events: &mut dyn FnMut(Event)) -> Result<Self> {
        let (mut lock, mut newest) = (None, None);
        let is_fresh = world.from_first(|| {
            // Before the folder is looked into: what is there must not change any more.
            lock = if path.is_dir() { Some(FolderLock::take(path)?) } else { None };
            if let Some((found, damaged)) = if resume { checkpoint::newest_valid(path)? } else { None } {
                for error in damaged {
                    events(Event::Note(format!("resume: {}", error.report().trim_start_matches("error: "))));
                }
                newest = Some(found);
            }
            if newest.is_none() && !checkpoint::list(path)?.is_empty() {
                return Err(Error::config(format!("`{}` already has checkpoints", path.display()))
                    .hint("continue with `--resume`, or choose another `--run-dir`"));
            }
            Ok(vec![u8::from(newest.is_none())])
        })?;
        Ok(Self { path: path.into(), is_fresh: is_fresh == [1], newest, lock })
    }

    /// Makes the folder, if it is not there, on the process that writes.
    ///
    /// # Errors
    /// A folder that cannot be made or locked.
    pub fn create(&mut self) -> Result<()> {
        std::fs::create_dir_all(&self.path).map_err(|error| io("create", &self.path, error))?;
        if self.lock.is_none() {
            self.lock = Some(FolderLock::take(&self.path)?);
        }
        Ok(())
    }
}

/// What rank 0 loads, on every process of `world`: the others need not see its disk. Tensors are of `kind`, on `device`.
///
/// # Errors
/// `load`'s own, and a process that is gone.
pub fn shared(world: &World, kind: Kind, device: Device, load: impl FnOnce() -> Result<Loaded>) -> Result<Loaded> {
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
        None => empty(&state, kind, device)?,
    };
    let remembered = loaded.remembered.iter().flat_map(Weights::entries);
    let leaves = loaded.weights.entries().iter().chain(remembered).map(|weight| &weight.tensor);
    leaves
        .chain(&loaded.moments.exp_avg)
        .chain(&loaded.moments.exp_avg_sq)
        .try_for_each(|tensor| world.broadcast(tensor))?;
    Ok(loaded)
}

/// Weights and moments for the state that rank 0 has sent, without their values.
fn empty(state: &[u8], kind: Kind, device: Device) -> Result<Loaded> {
    let state: RunState = serde_json::from_slice(state)
        .map_err(|error| Error::failed("rank 0 has sent no state of a run").caused_by(error))?;
    let zeros = |map: &LayerMap| {
        Weights::from_named(&state.bert, map, kind, device, |spec| {
            Ok(Tensor::f_zeros(&spec.shape, (kind, Device::Cpu))?)
        })
    };
    let (weights, remembered) = (zeros(&state.layer_map)?, state.remembered.as_ref().map(zeros).transpose()?);
    let mut moments = Moments::zeros(&weights)?;
    moments.num_updates = state.num_updates;
    Ok(Loaded { state, weights, moments, remembered })
}
