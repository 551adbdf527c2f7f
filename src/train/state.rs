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
use crate::growth::{
    apply, drifting_pairs, rule_of, watched_pairs, Check, GrowthConfig, ModelState, Remembered, Rule, SharingConfig,
    Transition,
};
use crate::layer_map::LayerMap;
use crate::model::{Bert, BertConfig, Compute, LayerGradients, Weight, Weights};
use crate::optim::{Moments, OptimConfig, Optimizer, ReportTiming, ScalerState, Schedule};
use crate::parallel::{Addend, GradientSync, Message, World};
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
    /// Changes of depth.
    pub growth: GrowthConfig,
    /// What a rule draws from.
    pub seed: u64,
    /// How the model computes.
    pub compute: Compute,
    /// Steps of the run.
    pub steps: u64,
    /// When the host learns what a step did; `None`: as is best for the device.
    pub timing: Option<ReportTiming>,
}

impl TrainSpec {
    /// Of a model whose depth stays.
    pub fn new(bert: BertConfig, optim: OptimConfig, sharing: SharingConfig, compute: Compute, steps: u64) -> Self {
        Self { bert, optim, sharing, growth: GrowthConfig::default(), seed: 0, compute, steps, timing: None }
    }
}

/// Numbers that processes add up in the message of a step.
pub(super) const NUM_SUMS: usize = 8;

/// What the backward of a step leaves, beside the gradients of the weights.
#[derive(Debug)]
pub struct Gradients {
    /// Those of each layer, where a check is due.
    by_layer: Option<LayerGradients>,
    /// The layers that the step executed.
    pub(super) num_layers: usize,
}

/// What training starts from.
#[derive(Debug)]
pub struct InitialState {
    /// The walk, the weights and their moments.
    pub model: ModelState,
    /// What the rule remembers, as [`Rule::state`] gives it; `None` at the start of a run.
    pub rule_state: Option<Value>,
    /// Where the loss scaler stands; `None`: at the scale of a new run.
    pub scaler: Option<ScalerState>,
}

impl InitialState {
    /// The start of a run.
    pub fn new(map: LayerMap, weights: Weights, moments: Moments) -> Self {
        Self { model: ModelState::new(map, weights, moments), rule_state: None, scaler: None }
    }
}

/// A model in training.
#[derive(Debug)]
pub struct TrainState {
    spec: TrainSpec,
    rule: Box<dyn Rule>,
    state: ModelState,
    /// Its weights that train, and their moments: the same tensors.
    trained: TrainableWeights,
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
        let InitialState { model: state, rule_state, scaler } = start;
        let layers = spec.bert.num_hidden_layers;
        let mut rule = rule_of(&spec.sharing, &spec.growth, layers, spec.steps, spec.seed)?;
        if let Some(state) = &rule_state {
            rule.restore(state)?;
        }
        let trained = TrainableWeights::new(&state)?;
        let sync = gradients(&trained.weights, &state.walk, &world)?;
        let model = Bert::new(&spec.bert, &state.walk, &state.weights, spec.compute)?;
        let scaler = (spec.compute.kind == Kind::Half).then(|| scaler.unwrap_or_default());
        let optimizer = optimizer(&trained, &spec, scaler)?;
        trim_heap();
        let state = Self { spec, rule, state, trained, model, optimizer, world, sync, num_skipped: 0 };
        state.check_same()?;
        Ok(state)
    }

    /// As [`Self::new`], from a checkpoint, or with `is_fresh` from the start of a run in the form of one.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_loaded(spec: TrainSpec, loaded: Loaded, is_fresh: bool, world: Rc<World>) -> Result<Self> {
        let Loaded { state, weights, moments, remembered } = loaded;
        // A run that begins has none, unless it goes on with another's.
        let rule_state = Some(state.rule).filter(|rule| !is_fresh || !rule.is_null());
        let remembered = state.remembered.zip(remembered).map(|(walk, weights)| Remembered { walk, weights });
        let model = ModelState { walk: state.layer_map, weights, moments, remembered, frozen: state.frozen };
        let start = InitialState { model, rule_state, scaler: state.scaler };
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

    /// The schedule of the learning rate that began at step `start`: of the whole run, or where a transition started it anew that of a
    /// stage, which ends with the next transition.
    pub fn schedule(&self, start: u64) -> Schedule {
        let TrainSpec { optim, steps, .. } = &self.spec;
        let next = self.rule.next_transition().filter(|step| start > 0 && step < steps);
        Schedule::new(optim, next.unwrap_or(*steps), start)
    }

    /// Weights that a later transition blends with, and their walk.
    pub fn remembered(&self) -> Option<&Remembered> {
        self.state.remembered.as_ref()
    }

    /// The weight groups that do not train.
    pub fn frozen(&self) -> &[usize] {
        &self.state.frozen
    }

    /// The layers of the groups that do not train.
    pub fn num_frozen_layers(&self) -> usize {
        self.state.frozen.iter().map(|&group| self.state.walk.members(group).len()).sum()
    }

    /// The layers that step `number` of the run executes, from 1; none where they are those of the walk.
    pub fn executed(&self, number: u64) -> Option<LayerMap> {
        self.rule.executed(number - 1, &self.state.walk)
    }

    /// Compares the weights of all processes.
    ///
    /// # Errors
    /// Weights that differ, by the first of them, and a process that is gone.
    pub fn check_same(&self) -> Result<()> {
        if self.sync.is_none() {
            return Ok(());
        }
        let entries = self.state.weights.entries();
        let hashes: Vec<u64> = entries.iter().map(|weight| hash_of(&weight.tensor)).collect::<Result<_>>()?;
        self.world.check_same("weights", &hashes, |at| format!("`{}`", entries[at].spec.name))
    }

    /// Which layers share weights.
    pub fn map(&self) -> &LayerMap {
        &self.state.walk
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.state.weights
    }

    /// Their AdamW moments; their count of updates is that of the last [`Self::settle`].
    pub fn moments(&self) -> &Moments {
        &self.state.moments
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
        Bert::new(&self.spec.bert, &self.state.walk, &self.state.weights, compute)
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
        // Several processes have agreed on so many numbers.
        let num_sums = if self.sync.is_some() { NUM_SUMS } else { 0 };
        let sums = (0..num_sums).map(|_| Addend::Host(0.0)).collect();
        self.update(gradients, learning_rate, &Message { stop: 0, sums })
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
        let executed = self.executed(number);
        if self.rule.draws_depth() {
            let walk = executed.as_ref().unwrap_or(&self.state.walk);
            let members = |group| walk.members(group).len();
            self.optimizer.set_members(&self.trained.weights, self.spec.sharing.gradient, members)?;
        }
        let TrainSpec { bert, compute, .. } = &self.spec;
        let probed = match self.is_probed(number) {
            true => Some(Bert::probed(bert, &self.state.walk, &self.state.weights, *compute)?),
            false => None,
        };
        let model = probed.as_ref().map_or(&self.model, |(model, _)| model);
        // A probed step keeps each layer's gradient apart first.
        let overlapping = self.sync.as_ref().filter(|_| probed.is_none()).and_then(GradientSync::overlapping);
        model.execute(executed.as_ref());
        let done = accumulate_gradients(&mut self.optimizer, &self.trained.weights, num_micro_batches, |index| {
            model.mark_for(overlapping.clone().filter(|_| index + 1 == num_micro_batches));
            loss(model, index)
        });
        model.mark_for(None);
        model.execute(None);
        done?;
        if probed.is_some() {
            self.optimizer.keep_gradients();
        }
        let num_layers = executed.as_ref().unwrap_or(&self.state.walk).num_layers();
        Ok(Gradients { num_layers, by_layer: probed.map(|(_, by_layer)| by_layer) })
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
        let TrainableWeights { weights, moments } = &mut self.trained;
        let pending = apply_gradients(&mut self.optimizer, weights, moments, update, message)?;
        self.state.moments.num_updates = moments.num_updates;
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
        let num_skipped = self.settle_moments()?;
        Ok(num_skipped + take(&mut self.num_skipped))
    }

    fn settle_moments(&mut self) -> Result<u64> {
        let num_skipped = self.optimizer.settle(&mut self.trained.moments)?;
        self.state.moments.num_updates = self.trained.moments.num_updates;
        Ok(num_skipped)
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
        number.is_multiple_of(sharing.check_every) && (sharing.monitor || self.rule.pairs(&self.state.walk).is_some())
    }

    fn check(&self, gradients: &LayerGradients) -> Result<Check> {
        // Rules that do not watch are shown what SWE-A would see.
        let watched = self.rule.pairs(&self.state.walk).unwrap_or_else(|| watched_pairs(&self.state.walk, true));
        let drifting = if self.spec.sharing.monitor { drifting_pairs(&self.state.walk, &watched) } else { Vec::new() };
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
        self.rule.decide(finished, check.map(|check| check.watched.as_slice()), &self.state.walk)
    }

    /// Changes the shape of the model. After an error the model is gone.
    ///
    /// # Errors
    /// As [`apply`].
    pub fn grow(&mut self, transition: &Transition) -> Result<()> {
        // The copies go on from the count of updates, and from the scale.
        self.num_skipped += self.settle_moments()?;
        let scaler = self.optimizer.scaler()?;
        // What the last step and the evaluation left free, before copies are made.
        trim_heap();
        self.trained = TrainableWeights::default();
        let nothing = ModelState::new(self.state.walk.clone(), Weights::default(), Moments::default());
        self.state = apply(std::mem::replace(&mut self.state, nothing), transition)?;
        self.trained = TrainableWeights::new(&self.state)?;
        // Several processes have gradients of their own making: the old ones go first.
        self.sync = None;
        self.sync = gradients(&self.trained.weights, &self.state.walk, &self.world)?;
        // Beside the old model, so that weights which stay keep their packed copies.
        self.model = Bert::new(&self.spec.bert, &self.state.walk, &self.state.weights, self.spec.compute)?;
        self.optimizer = optimizer(&self.trained, &self.spec, scaler)?;
        trim_heap();
        self.check_same()
    }
}

/// The weights that train, and their moments; they share the storage of the model's.
#[derive(Debug, Default)]
struct TrainableWeights {
    weights: Weights,
    moments: Moments,
}

impl TrainableWeights {
    /// All of `state` but its frozen groups and, where there are some, the embeddings below them.
    fn new(state: &ModelState) -> Result<Self> {
        let ModelState { weights, moments, frozen, .. } = state;
        let mut trained = (Vec::new(), Moments { num_updates: moments.num_updates, ..Moments::default() });
        for (at, weight) in weights.entries().iter().enumerate() {
            let trains = match weight.spec.group {
                Some(group) => !frozen.contains(&group),
                None => frozen.is_empty() || !weight.spec.name.starts_with("bert.embeddings."),
            };
            let tensor = weight.tensor.shallow_clone().f_set_requires_grad(trains)?;
            if trains {
                trained.0.push(Weight { spec: weight.spec.clone(), tensor, members: weight.members });
                trained.1.exp_avg.push(moments.exp_avg[at].shallow_clone());
                trained.1.exp_avg_sq.push(moments.exp_avg_sq[at].shallow_clone());
            }
        }
        Ok(Self { weights: Weights::new(trained.0), moments: trained.1 })
    }
}

/// Makes the gradients of `weights`, and what sums them over the processes of `world`.
fn gradients(weights: &Weights, map: &LayerMap, world: &Rc<World>) -> Result<Option<GradientSync>> {
    if world.is_alone() {
        weights.make_gradients()?;
    }
    GradientSync::new(world, &buckets(weights, map), Message::num_values(NUM_SUMS))
}

fn optimizer(trained: &TrainableWeights, spec: &TrainSpec, scaler: Option<ScalerState>) -> Result<Optimizer> {
    let TrainableWeights { weights, moments } = trained;
    let device = weights.entries().first().map_or(Device::Cpu, |weight| weight.tensor.device());
    let timing = spec.timing.unwrap_or_else(|| ReportTiming::for_device(device));
    let optimizer = Optimizer::new(weights, moments.num_updates, spec.sharing.gradient, scaler, timing)?;
    match spec.compute.fuses_on_cuda(device) {
        true => optimizer.with_cuda_adamw(),
        false => Ok(optimizer),
    }
}

/// The weights by where a backward has finished their gradients: see [`Bert::mark_for`].
fn buckets<'a>(weights: &'a Weights, map: &LayerMap) -> Vec<Bucket<'a>> {
    let groups = map.num_groups() as i64;
    let mut places: BTreeMap<Reverse<i64>, Vec<&Tensor>> = BTreeMap::new();
    for weight in weights.entries() {
        let name = weight.spec.name.as_str();
        let place = match weight.spec.group {
            Some(group) => group as i64,
            // Those of words are also the MLM head's: they get the last part of their gradient at the end.
            None if name.starts_with("bert.embeddings.") => -1,
            None if name.starts_with("bert.encoder.") => groups - 1,
            None => groups,
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
