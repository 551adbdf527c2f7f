//! A checkpoint in; state, weights and moments out, or an error that names what is wrong with it.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::checksums::Checksums;
use super::tensors::TensorFile;
use super::{RunState, MODEL_FILE, MOMENTS, OPTIMIZER_FILE, REMEMBERED_FILE, STATE_FILE};
use crate::error::Result;
use crate::layer_map::LayerMap;
use crate::model::weights::specs;
use crate::model::{BertConfig, Weights};
use crate::optim::Moments;

/// Everything that a checkpoint holds.
#[derive(Debug)]
pub struct Loaded {
    /// Where the run stood.
    pub state: RunState,
    /// The weights, leaves with gradients on.
    pub weights: Weights,
    /// The moments, padded as the weights are.
    pub moments: Moments,
    /// The weights of `state.remembered`, where there are some.
    pub remembered: Option<Weights>,
}

/// Loads the checkpoint at `path`, with tensors of `kind` on `device`; bit-equal if that is the kind they were saved in.
///
/// # Errors
/// A file that is missing, damaged, of another format, or does not hold the model that the state describes.
pub fn load(path: &Path, kind: Kind, device: Device) -> Result<Loaded> {
    let checksums = Checksums::read(path)?;
    checksums.check_all(path)?;
    let state = RunState::read(path)?;
    let weights = read_weights(path, &state, kind, device)?;
    let moments = read_moments(path, &state, &weights)?;
    let remembered = match &state.remembered {
        Some(map) => Some(read(path, REMEMBERED_FILE, &state.bert, map, kind, device)?),
        None => None,
    };
    Ok(Loaded { state, weights, moments, remembered })
}

/// Loads the state only.
///
/// # Errors
/// As [`load`], for the file that is read.
pub fn load_state(path: &Path) -> Result<RunState> {
    Checksums::read(path)?.check(path, STATE_FILE)?;
    RunState::read(path)
}

/// Loads state and weights only, for what does not train; the optimizer's file may be missing.
///
/// # Errors
/// As [`load`], for the files that are read.
pub fn load_weights(path: &Path, kind: Kind, device: Device) -> Result<(RunState, Weights)> {
    let checksums = Checksums::read(path)?;
    [STATE_FILE, MODEL_FILE].iter().try_for_each(|name| checksums.check(path, name))?;
    let state = RunState::read(path)?;
    let weights = read_weights(path, &state, kind, device)?;
    Ok((state, weights))
}

fn read_weights(path: &Path, state: &RunState, kind: Kind, device: Device) -> Result<Weights> {
    read(path, MODEL_FILE, &state.bert, &state.layer_map, kind, device)
}

/// The weights in `name`, of a model that is shared as `map`.
fn read(path: &Path, name: &str, bert: &BertConfig, map: &LayerMap, kind: Kind, device: Device) -> Result<Weights> {
    let names: Vec<String> = specs(bert, map).into_iter().map(|spec| spec.name).collect();
    let mut file = TensorFile::open(path.join(name), &names)?;
    Weights::from_named(bert, map, kind, device, |spec| file.tensor(&spec.name, &spec.shape))
}

fn read_moments(path: &Path, state: &RunState, weights: &Weights) -> Result<Moments> {
    let entries = weights.entries();
    let names: Vec<String> = MOMENTS
        .iter()
        .flat_map(|prefix| entries.iter().map(move |weight| format!("{prefix}{}", weight.spec.name)))
        .collect();
    let mut file = TensorFile::open(path.join(OPTIMIZER_FILE), &names)?;
    let mut moments = Moments::zeros(weights)?;
    moments.num_updates = state.num_updates;
    for (prefix, all) in MOMENTS.into_iter().zip([&moments.exp_avg, &moments.exp_avg_sq]) {
        for (weight, moment) in entries.iter().zip(all) {
            let values: Tensor = file.tensor(&format!("{prefix}{}", weight.spec.name), &weight.spec.shape)?;
            weight.in_file(moment).f_copy_(&values)?;
        }
    }
    Ok(moments)
}
