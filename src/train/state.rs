//! What training changes: weights, moments, sharing and the rule's memory. One step of it, and one transition.
//!
//! In: micro-batches' losses, as a closure over the model. Out: the next weights, and every `sharing.check_every` steps the
//! correlations of the layers' gradients. A probed step is bit-equal to a plain one: watching never changes a run.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::mem::take;
use std::rc::Rc;

use serde_json::Value;
use tch::{Device, Kind, Tensor};
use xxhash_rust::xxh3::xxh3_64;

use crate::checkpoint::Loaded;
use crate::error::Result;
use crate::growth::{apply, drifting_pairs, rule, watched_pairs, Check, Grown, Rule, SharingConfig, Transition};
use crate::layer_map::LayerMap;
use crate::model::{Bert, BertConfig, Compute, LayerGradients, Weights};
use crate::optim::{Moments, OptimConfig, Optimizer, ReportTiming, ScalerState};
use crate::parallel::{GradientSync, Message, World};
use crate::shim::{trim_heap, Bucket};
use crate::step::{accumulate_gradients, apply_gradients, Pending, Update};

/// What decides how a model is trained, besides its data.
#[derive(Clone, Debug)]
pub struct TrainSpec {
    /// Sizes of the model.
    pub bert: BertConfig,
    /// AdamW and clipping.
    pub optim: OptimConfig,
    /// Tying and untying.
    pub sharing: SharingConfig,
    /// How the model computes.
    pub compute: Compute,
    /// Steps of the run.
    pub steps: u64,
}

/// Numbers that processes add up in the message of a step.
pub(super) const NUM_SUMS: usize = 8;

/// What the backward of a step leaves, beside the gradients of the weights.
#[derive(Debug)]
pub struct Gradients {
    /// Those of each layer, where a check is due.
    by_layer: Option<LayerGradients>,
}

/// What training starts from.
#[derive(Debug)]
pub struct InitialState {
    /// Which layers share weights.
    pub map: LayerMap,
    /// The weights.
    pub weights: Weights,
    /// Their AdamW moments.
    pub moments: Moments,
    /// What the rule remembers, as [`Rule::state`] gives it; `None` at the start of a run.
    pub rule_state: Option<Value>,
    /// Where the loss scaler stands; `None`: at the scale of a new run.
    pub scaler: Option<ScalerState>,
}

impl InitialState {
    /// The start of a run.
    pub fn new(map: LayerMap, weights: Weights, moments: Moments) -> Self {
        Self { map, weights, moments, rule_state: None, scaler: None }
    }
}

/// A model in training.
#[derive(Debug)]
pub struct TrainState {
    spec: TrainSpec,
    rule: Box<dyn Rule>,
    map: LayerMap,
    weights: Weights,
    moments: Moments,
    model: Bert,
    optimizer: Optimizer,
    world: Rc<World>,
    sync: Option<GradientSync>,
    /// Skipped steps that nobody has asked for yet.
    num_skipped: u64,
}

impl TrainState {
    /// Trains on from `start`, with the processes of `world`, which must all start from the same. Losses are scaled where activations
    /// are fp16.
    ///
    /// # Errors
    /// Tensors that do not fit `spec`, the state of another rule, weights that differ among processes, a process that is gone.
    pub fn new(spec: TrainSpec, start: InitialState, world: Rc<World>) -> Result<Self> {
        let InitialState { map, weights, moments, rule_state, scaler } = start;
        let mut rule = rule(&spec.sharing, map.num_layers(), spec.steps)?;
        if let Some(state) = &rule_state {
            rule.restore(state)?;
        }
        let sync = gradients(&weights, &map, &world)?;
        let model = Bert::new(&spec.bert, &map, &weights, spec.compute)?;
        let scaler = (spec.compute.kind == Kind::Half).then(|| scaler.unwrap_or_default());
        let optimizer = optimizer(&weights, &moments, &spec, scaler)?;
        trim_heap();
        let state = Self { spec, rule, map, weights, moments, model, optimizer, world, sync, num_skipped: 0 };
        state.check_same()?;
        Ok(state)
    }

    /// As [`Self::new`], from a checkpoint, or with `is_fresh` from the start of a run in the form of one.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_loaded(spec: TrainSpec, loaded: Loaded, is_fresh: bool, world: Rc<World>) -> Result<Self> {
        let Loaded { state, weights, moments } = loaded;
        let rule_state = (!is_fresh).then_some(state.rule);
        let start = InitialState { map: state.layer_map, weights, moments, rule_state, scaler: state.scaler };
        Self::new(spec, start, world)
    }

    /// What decides how the model is trained.
    pub fn spec(&self) -> &TrainSpec {
        &self.spec
    }

    /// The model, as training computes.
    pub fn model(&self) -> &Bert {
        &self.model
    }

    /// Compares the weights of all processes.
    ///
    /// # Errors
    /// Weights that differ, by the first of them, and a process that is gone.
    pub fn check_same(&self) -> Result<()> {
        if self.sync.is_none() {
            return Ok(());
        }
        let entries = self.weights.entries();
        let hashes: Vec<u64> = entries.iter().map(|weight| hash_of(&weight.tensor)).collect::<Result<_>>()?;
        self.world.check_same("weights", &hashes, |at| format!("`{}`", entries[at].spec.name))
    }

    /// Which layers share weights.
    pub fn map(&self) -> &LayerMap {
        &self.map
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Their AdamW moments; their count of updates is that of the last [`Self::settle`].
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// The rule and what it remembers.
    pub fn rule(&self) -> &dyn Rule {
        &*self.rule
    }

    /// The same model in another precision.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn model_in(&self, kind: Kind) -> Result<Bert> {
        let compute = Compute { kind, ..self.spec.compute };
        Bert::new(&self.spec.bert, &self.map, &self.weights, compute)
    }

    /// Step `number` of the run, from 1: [`Self::backward`] and [`Self::update`], with a message that says nothing.
    ///
    /// # Errors
    /// `loss`'s own and libtorch's.
    pub fn step(
        &mut self,
        number: u64,
        learning_rate: f64,
        num_micro_batches: usize,
        loss: impl FnMut(&Bert, usize) -> Result<Tensor>,
    ) -> Result<(Pending, Option<Check>)> {
        let gradients = self.backward(number, num_micro_batches, loss)?;
        self.update(gradients, learning_rate, &Message::default())
    }

    /// The first half of step `number`, from 1: `loss` gives each micro-batch's share of the loss of the global batch. Where a check
    /// is due, it keeps the gradients of each layer.
    ///
    /// # Errors
    /// `loss`'s own and libtorch's.
    pub fn backward(
        &mut self,
        number: u64,
        num_micro_batches: usize,
        mut loss: impl FnMut(&Bert, usize) -> Result<Tensor>,
    ) -> Result<Gradients> {
        let TrainSpec { bert, compute, .. } = &self.spec;
        let probed = match self.is_probed(number) {
            true => Some(Bert::probed(bert, &self.map, &self.weights, *compute)?),
            false => None,
        };
        let model = probed.as_ref().map_or(&self.model, |(model, _)| model);
        // A probed step keeps each layer's gradient apart first.
        let overlapping = self.sync.as_ref().filter(|_| probed.is_none()).and_then(GradientSync::overlapping);
        accumulate_gradients(&mut self.optimizer, &self.weights, num_micro_batches, |index| {
            model.mark_for(overlapping.clone().filter(|_| index + 1 == num_micro_batches));
            loss(model, index)
        })?;
        model.mark_for(None);
        Ok(Gradients { by_layer: probed.map(|(_, by_layer)| by_layer) })
    }

    /// The second half: the sum over processes, which tell each other their `message` with it, and the update. Where a check is due
    /// and the update was applied, also the correlations of the layers' gradients; such a step waits for the device.
    ///
    /// # Errors
    /// A process that is gone, and libtorch's own.
    pub fn update(
        &mut self,
        gradients: Gradients,
        learning_rate: f64,
        message: &Message,
    ) -> Result<(Pending, Option<Check>)> {
        let update = Update { optim: &self.spec.optim, learning_rate, sync: self.sync.as_ref() };
        let Self { optimizer, weights, moments, .. } = self;
        let pending = apply_gradients(optimizer, weights, moments, update, message)?;
        let check = match gradients.by_layer {
            Some(by_layer) if pending.read()?.applied => Some(self.check(&by_layer)?),
            _ => None,
        };
        Ok((pending, check))
    }

    /// Brings the moments' count of updates up to date, and returns how many steps were skipped since the last time. Waits
    /// for the device.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn settle(&mut self) -> Result<u64> {
        let num_skipped = self.optimizer.settle(&mut self.moments)?;
        Ok(num_skipped + take(&mut self.num_skipped))
    }

    /// The loss scaler's state; none where losses are not scaled. Waits for the device.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn scaler(&self) -> Result<Option<ScalerState>> {
        self.optimizer.scaler()
    }

    fn is_probed(&self, number: u64) -> bool {
        let sharing = &self.spec.sharing;
        number.is_multiple_of(sharing.check_every) && (sharing.monitor || self.rule.pairs(&self.map).is_some())
    }

    fn check(&self, gradients: &LayerGradients) -> Result<Check> {
        // Rules that do not watch are shown what SWE-A would see.
        let watched = self.rule.pairs(&self.map).unwrap_or_else(|| watched_pairs(&self.map, true));
        let drifting = if self.spec.sharing.monitor { drifting_pairs(&self.map, &watched) } else { Vec::new() };
        // Those of leaves are sums over the processes already.
        if self.sync.is_some() {
            gradients.apart()?.iter().try_for_each(|gradient| self.world.all_reduce(gradient))?;
        }
        let mut check = Check::new(gradients, &watched, &drifting)?;
        if self.sync.is_some() {
            let values: Vec<f64> = check.values_mut().map(|value| *value).collect();
            let first = Tensor::f_from_slice(&values)?;
            self.world.broadcast(&first)?;
            check.values_mut().zip(Vec::<f64>::try_from(&first)?).for_each(|(value, first)| *value = first);
        }
        Ok(check)
    }

    /// Asks the rule now that `finished` steps are done.
    pub fn decide(&mut self, finished: u64, check: Option<&Check>) -> Option<Transition> {
        self.rule.decide(finished, check.map(|check| check.watched.as_slice()), &self.map)
    }

    /// Changes the shape of the model. After an error the model is gone.
    ///
    /// # Errors
    /// As [`apply`].
    pub fn grow(&mut self, transition: &Transition) -> Result<()> {
        // The copies go on from the count of updates, and from the scale.
        self.num_skipped += self.optimizer.settle(&mut self.moments)?;
        let scaler = self.optimizer.scaler()?;
        // What the last step and the evaluation left free, before copies are made.
        trim_heap();
        let (weights, moments) = (take(&mut self.weights), take(&mut self.moments));
        let Grown { walk, weights, moments, .. } = apply(Grown::new(self.map.clone(), weights, moments), transition)?;
        (self.map, self.weights, self.moments) = (walk, weights, moments);
        // Several processes have gradients of their own making: the old ones go first.
        self.sync = None;
        self.sync = gradients(&self.weights, &self.map, &self.world)?;
        // Beside the old model, so that weights which stay keep their packed copies.
        self.model = Bert::new(&self.spec.bert, &self.map, &self.weights, self.spec.compute)?;
        self.optimizer = optimizer(&self.weights, &self.moments, &self.spec, scaler)?;
        trim_heap();
        self.check_same()
    }
}

/// Makes the gradients of `weights`, and what sums them over the processes of `world`.
fn gradients(weights: &Weights, map: &LayerMap, world: &Rc<World>) -> Result<Option<GradientSync>> {
    if world.is_alone() {
        weights.make_gradients()?;
    }
    GradientSync::new(world, &buckets(weights, map), Message::num_values(NUM_SUMS))
}

fn optimizer(weights: &Weights, moments: &Moments, spec: &TrainSpec, scaler: Option<ScalerState>) -> Result<Optimizer> {
    let device = weights.entries().first().map_or(Device::Cpu, |weight| weight.tensor.device());
    Optimizer::new(weights, moments.num_updates, spec.sharing.gradient, scaler, ReportTiming::for_device(device))
}

/// The weights by where a backward has finished their gradients: see [`Bert::mark_for`].
fn buckets<'a>(weights: &'a Weights, map: &LayerMap) -> Vec<Bucket<'a>> {
    let layers = map.num_layers() as i64;
    let mut places: BTreeMap<Reverse<i64>, Vec<&Tensor>> = BTreeMap::new();
    for weight in weights.entries() {
        let name = weight.spec.name.as_str();
        let place = match weight.spec.group {
            Some(group) => map.lowest(group) as i64,
            // Those of words are also the MLM head's: they get the last part of their gradient at the end.
            None if name.starts_with("bert.embeddings.") => -1,
            None if name.starts_with("bert.encoder.") => layers - 1,
            None => layers,
        };
        places.entry(Reverse(place)).or_default().push(&weight.tensor);
    }
    places.into_iter().map(|(Reverse(place), leaves)| Bucket { place, leaves }).collect()
}

/// A hash of the values of `tensor`.
fn hash_of(tensor: &Tensor) -> Result<u64> {
    let values = tensor.detach().f_to_device(Device::Cpu)?.f_contiguous()?.f_view_dtype(Kind::Uint8)?;
    Ok(xxh3_64(&Vec::<u8>::try_from(values.f_flatten(0, -1)?)?))
}
