//! What is measured: a model, how it is trained, and where.

use std::path::Path;

use tch::Device;

use crate::batch::Batch;
use crate::bench::Stopwatch;
use crate::error::Result;
use crate::growth::{GroupInit, SharingConfig};
use crate::hub;
use crate::layer_map::LayerMap;
use crate::model::{BertConfig, Compute, Weights};
use crate::optim::{Moments, OptimConfig};
use crate::parallel::World;
use crate::pretrain::{init, Step};
use crate::step::Precision;
use crate::train::{InitialState, TrainSpec, TrainState};

/// A model and how it is trained, without its weights.
#[derive(Clone, Debug)]
pub struct BenchModel {
    /// Sizes.
    pub bert: BertConfig,
    /// AdamW and clipping.
    pub optim: OptimConfig,
    /// What tied layers hand to the optimizer; the sharing is given apart.
    pub sharing: SharingConfig,
    /// Precision, decided.
    pub precision: Precision,
    /// How the model computes, in that precision.
    pub compute: Compute,
    /// Where to compute.
    pub device: Device,
}

impl BenchModel {
    /// The largest forward and backward of a step on `batch` with a model that is shared as `map`.
    pub fn step<'a>(&'a self, map: &'a LayerMap, batch: &Batch) -> Step<'a> {
        Step {
            bert: &self.bert,
            map,
            compute: self.compute,
            device: self.device,
            probed: false,
            sequences: batch.num_sequences(),
            length: batch.sequence_length,
            capacity: batch.positions.len().div_ceil(batch.num_sequences()),
        }
    }

    /// The model, shared as `map`, with random weights or those of the Hugging Face directory `init`, ready to step. A group
    /// of layers starts from its lowest.
    ///
    /// # Errors
    /// A directory that is invalid or lacks a tensor, and memory that cannot be had.
    pub fn start(&self, map: &LayerMap, init: Option<&Path>) -> Result<Stopwatch> {
        let kind = self.compute.weight_kind();
        let weights = match init {
            None => Weights::initialise(&self.bert, map, 1, kind, self.device)?,
            Some(directory) => {
                let source = hub::load(directory, kind, self.device)?;
                init::weights(&source, &self.bert, map, GroupInit::Lowest, 1, kind, self.device)?
            }
        };
        let moments = Moments::zeros(&weights)?;
        let (bert, optim, compute) = (self.bert.clone(), self.optim.clone(), self.compute);
        let sharing = self.sharing.without_transitions();
        let learning_rate = optim.lr;
        let spec = TrainSpec::new(bert, optim, sharing, compute, u64::MAX);
        let state = TrainState::new(spec, InitialState::new(map.clone(), weights, moments), World::alone().into())?;
        Ok(Stopwatch::new(state, self.device, learning_rate))
    }
}
