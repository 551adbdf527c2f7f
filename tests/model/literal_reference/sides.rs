//! What both sides get: a small model's values, batches, learning rates.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};
use untie::batch::Batch;
use untie::growth::{rule_of, Check, SharingConfig};
use untie::layer_map::LayerMap;
use untie::loss::masked_lm;
use untie::model::weights::Init;
use untie::model::{BertConfig, Mode, ModelConfig, Norm, Weights};
use untie::optim::{Moments, OptimConfig};
use untie::parallel::World;
use untie::step::StepReport;
use untie::train::state::{InitialState, TrainSpec, TrainState};

use crate::literal::rng::Rng;
use crate::literal::{self, border, Adam, Combine, Reference};

pub const LAYERS: usize = 6;
/// Not a multiple of 64, so that the product pads it.
pub const VOCABULARY: u64 = 90;
/// Tokens of a sequence.
const LENGTH: usize = 12;
/// Target slots of a sequence.
const CAPACITY: usize = 4;

/// Starts by their name, with the label of each layer.
pub const STARTS: [(&str, [usize; LAYERS]); 4] = [
    ("tied", [0; LAYERS]),
    ("2x3", [0, 1, 0, 1, 0, 1]),
    ("contiguous:3", [0, 0, 1, 1, 2, 2]),
    ("untied", [0, 1, 2, 3, 4, 5]),
];

pub fn config(norm: Norm, hidden: i64, dropout: f64) -> BertConfig {
    let sizes = ModelConfig {
        hidden_size: Some(hidden),
        num_hidden_layers: Some(LAYERS),
        num_attention_heads: Some(4),
        intermediate_size: Some(hidden * 3 / 2),
        max_position_embeddings: Some(LENGTH as i64),
        norm: Some(norm),
        hidden_dropout_prob: Some(dropout),
        attention_probs_dropout_prob: Some(dropout),
        ..Default::default()
    };
    sizes.resolve(VOCABULARY as usize).unwrap()
}

/// The spec of a run; clipping is at work in some steps and not in others.
pub fn spec(bert: BertConfig, sharing: SharingConfig, compute: Kind) -> TrainSpec {
    let optim = OptimConfig { clip_norm: 1.5, weight_decay: 0.05, ..Default::default() };
    TrainSpec::new(bert, optim, sharing, compute.into(), 1000)
}

/// Weights that all differ, biases from 0 and scales from 1, so that none can stand for another.
pub fn weights(bert: &BertConfig, map: &LayerMap, kind: Kind) -> Weights {
    let found = Weights::from_named(bert, map, kind, Device::Cpu, |spec| {
        let mut rng = Rng::new(spec.name.bytes().fold(7, |seed, byte| seed * 31 % 1_000_003 + u64::from(byte)));
        let centre = if spec.init == Init::One { 1.0 } else { 0.0 };
        // fp32, so that every precision starts from the same values.
        let values = (0..spec.shape.iter().product::<i64>()).map(|_| (centre + 0.2 * rng.signed()) as f32);
        Ok(Tensor::from_slice(&values.collect::<Vec<_>>()).view(spec.shape.as_slice()))
    });
    found.unwrap()
}

/// A model of such weights.
pub fn train_state(spec: TrainSpec, weight_kind: Kind) -> TrainState {
    let rule = rule_of(&spec.sharing, &spec.growth, LAYERS, spec.steps, spec.seed).unwrap();
    let map = rule.course(spec.steps)[0].1.clone();
    let weights = weights(&spec.bert, &map, weight_kind);
    let moments = Moments::zeros(&weights).unwrap();
    TrainState::new(spec, InitialState::new(map, weights, moments), World::alone().into()).unwrap()
}

/// Weights, first and second moments of `state` in fp64, as in files, under the reference's names.
pub fn tensors(state: &TrainState, labels: &[usize]) -> [BTreeMap<String, Tensor>; 3] {
    named(state.weights(), state.moments(), labels)
}

/// The same of `weights` and `moments`.
pub fn named(weights: &Weights, moments: &Moments, labels: &[usize]) -> [BTreeMap<String, Tensor>; 3] {
    let entries = weights.entries();
    let under = |tensor: &dyn Fn(usize) -> Tensor| {
        let in_file = |at: usize| entries[at].in_file(&tensor(at)).to_kind(Kind::Double);
        let house = (0..entries.len()).map(|at| (entries[at].spec.name.clone(), in_file(at)));
        border::copies(&house.collect(), labels)
    };
    [
        under(&|at| entries[at].tensor.detach()),
        under(&|at| moments.exp_avg[at].shallow_clone()),
        under(&|at| moments.exp_avg_sq[at].shallow_clone()),
    ]
}

/// The largest difference of a weight or a moment of `found`, relative to the largest of its kind where that is below 1.
pub fn difference(found: [BTreeMap<String, Tensor>; 3], reference: &Reference) -> f64 {
    let mut furthest = 0.0_f64;
    for (what, tensors) in found.into_iter().enumerate() {
        assert!(tensors.keys().eq(reference.parameters.keys()));
        let largest = |tensor: &Tensor| f64::try_from(tensor.abs().max()).unwrap();
        let expected = |name: &String| reference.parameters[name].kind(what);
        let scale = tensors.keys().map(|name| largest(expected(name))).fold(0.0, f64::max);
        for (name, got) in &tensors {
            let off = largest(&(got - expected(name)));
            furthest = furthest.max(if off == 0.0 { 0.0 } else { off / scale.min(1.0) });
        }
    }
    furthest
}

/// A reference that starts from the weights of `state`, whose layers share as `labels` says.
pub fn reference(spec: &TrainSpec, state: &TrainState, labels: &[usize], combine: Combine) -> Reference {
    let [weights, ..] = tensors(state, labels);
    reference_of(&spec.bert, &spec.optim, labels.to_vec(), weights, combine)
}

/// A reference that starts from `values`.
pub fn reference_of(
    bert: &BertConfig,
    optim: &OptimConfig,
    labels: Vec<usize>,
    values: BTreeMap<String, Tensor>,
    combine: Combine,
) -> Reference {
    let sizes = literal::Sizes {
        layers: labels.len(),
        hidden: bert.hidden_size,
        heads: bert.num_attention_heads,
        pre_norm: bert.norm == Norm::Pre,
        epsilon: bert.layer_norm_eps,
    };
    let adam = Adam {
        beta1: optim.betas[0],
        beta2: optim.betas[1],
        epsilon: optim.eps,
        weight_decay: optim.weight_decay,
        clip_norm: optim.clip_norm,
    };
    Reference::new(sizes, labels, values, adam, combine)
}

/// The two micro-batches of a step: of three and two sequences, with different numbers of targets.
pub fn micro_batches(step: u64) -> [literal::Batch; 2] {
    let mut rng = Rng::new(1000 + step);
    [3, 2].map(|sequences| {
        let mut batch = literal::Batch { token_ids: Vec::new(), targets: Vec::new() };
        for sequence in 0..sequences {
            // Targets follow from their neighbours, so that there is something to learn.
            let (first, stride) = (rng.below(VOCABULARY), 1 + rng.below(3));
            let token = |at: usize| ((first + stride * at as u64) % VOCABULARY) as i64;
            batch.token_ids.push((0..LENGTH).map(token).collect());
            for slot in 0..1 + rng.below(CAPACITY as u64) as usize {
                let position = 3 * slot + rng.below(3) as usize;
                batch.targets.push((sequence, position, token(position)));
                batch.token_ids[sequence][position] = 0;
            }
        }
        batch
    })
}

/// The global batch of two micro-batches.
pub fn whole([one, other]: &[literal::Batch; 2]) -> literal::Batch {
    let mut whole = one.clone();
    let before = one.token_ids.len();
    whole.token_ids.extend(other.token_ids.iter().cloned());
    whole.targets.extend(other.targets.iter().map(|&(sequence, place, label)| (before + sequence, place, label)));
    whole
}

/// The buffers that the product reads, with unused slots.
pub fn house(batch: &literal::Batch) -> Batch {
    let sequences = batch.token_ids.len();
    let mut house = Batch {
        token_ids: batch.token_ids.concat(),
        sequence_length: LENGTH,
        positions: vec![0; sequences * CAPACITY],
        labels: vec![0; sequences * CAPACITY],
        weights: vec![0.0; sequences * CAPACITY],
        num_targets: batch.targets.len(),
        dropout_keys: (0..sequences as i64).collect(),
        ..Default::default()
    };
    for (slot, &(sequence, position, label)) in batch.targets.iter().enumerate() {
        (house.positions[slot], house.labels[slot]) = ((sequence * LENGTH + position) as i64, label);
        house.weights[slot] = 1.0;
    }
    house
}

/// One step of the product.
pub fn step(state: &mut TrainState, number: u64, batches: &[literal::Batch; 2]) -> (StepReport, Option<Check>) {
    let num_targets = batches.iter().map(|batch| batch.targets.len()).sum();
    let result = state.step(number, learning_rate(number), batches.len(), |model, index| {
        // As a run does: where layers are composed, dropout comes from libtorch's generator.
        tch::manual_seed((number * 100 + index as u64) as i64);
        let batch = house(&batches[index]).to_device(Device::Cpu)?;
        Ok(masked_lm(model, &batch, num_targets, Mode::Train)?.loss)
    });
    let (pending, check) = result.unwrap();
    (pending.read().unwrap(), check)
}

/// Five steps of warm-up, then slowly down.
pub fn learning_rate(step: u64) -> f64 {
    let warmup = (step as f64 / 5.0).min(1.0);
    3e-3 * warmup * (1.0 - step as f64 / 60.0)
}
