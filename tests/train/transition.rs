//! The transition: shared storage before, distinct after; weights and moments copied bit for bit; the loss unchanged.
//! The expectations are the definition (docs/method.md, "The algorithms": at a transition); parameter counts are worked out
//! below.

use tch::{Device, Kind, Tensor};
use untie::batch::{Batch, BatchTensors};
use untie::layer_map::LayerMap;
use untie::loss::masked_lm;
use untie::model::{Bert, BertConfig, Mode, ModelConfig, Norm, Weights};
use untie::optim::{GroupGradient, Moments, OptimConfig};
use untie::sharing::{transition, MomentsAt};
use untie::step::{train_step, Update};

const LAYERS: usize = 6;

fn config(norm: Norm) -> BertConfig {
    let sizes = ModelConfig {
        hidden_size: Some(16),
        num_hidden_layers: Some(LAYERS),
        num_attention_heads: Some(4),
        intermediate_size: Some(24),
        max_position_embeddings: Some(12),
        norm: Some(norm),
        hidden_dropout_prob: Some(0.0),
        attention_probs_dropout_prob: Some(0.0),
        ..Default::default()
    };
    sizes.resolve(90).unwrap()
}

fn batch() -> BatchTensors {
    let ids: Vec<i64> = (0..48).map(|at| 5 + (at * at * 7) % 80).collect();
    Batch {
        token_ids: ids,
        sequence_length: 12,
        positions: vec![1, 5, 14, 20, 27, 33, 40, 0],
        labels: vec![9, 17, 33, 8, 70, 61, 25, 0],
        weights: vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        num_targets: 7,
        ..Default::default()
    }
    .to_device(Device::Cpu)
    .unwrap()
}

fn loss(model: &Bert) -> f64 {
    f64::try_from(masked_lm(model, &batch(), 7, Mode::Eval).unwrap().loss).unwrap()
}

fn step(config: &BertConfig, map: &LayerMap, weights: &Weights, moments: &mut Moments) {
    let model = Bert::new(config, map, weights, weights.entries()[0].tensor.kind()).unwrap();
    let optim = OptimConfig { lr: 1e-2, ..Default::default() };
    let update = Update { optim: &optim, learning_rate: 1e-2, gradient: GroupGradient::Mean, gradients: None };
    train_step(weights, moments, update, 1, |_| Ok(masked_lm(&model, &batch(), 7, Mode::Train)?.loss)).unwrap();
}

/// A model after three updates, so that weights and moments are no longer what they started as.
fn trained(norm: Norm, map: &LayerMap, kind: Kind) -> (BertConfig, Weights, Moments) {
    tch::set_num_threads(1);
    let config = config(norm);
    let weights = Weights::initialise(&config, map, 3, kind, Device::Cpu).unwrap();
    let mut moments = Moments::zeros(&weights).unwrap();
    for _ in 0..3 {
        step(&config, map, &weights, &mut moments);
    }
    (config, weights, moments)
}

fn equal(one: &Tensor, other: &Tensor) -> bool {
    one.kind() == other.kind() && one.equal(other)
}

fn starts() -> Vec<LayerMap> {
    vec![
        LayerMap::tied(LAYERS),
        LayerMap::units(LAYERS, 2, 3).unwrap(),
        LayerMap::contiguous(LAYERS, 2).unwrap(),
        LayerMap::untied(LAYERS),
    ]
}

#[test]
fn every_layer_gets_bit_equal_weights_and_moments_in_storage_of_its_own() {
    for norm in [Norm::Post, Norm::Pre] {
        for from in starts() {
            let (_, old, old_moments) = trained(norm, &from, Kind::Float);
            let to = LayerMap::untied(LAYERS);
            let (new, new_moments) = transition(&from, &old, &old_moments, &to, MomentsAt::Carry).unwrap();
            assert_eq!(new_moments.num_updates, 3);
            let mut pointers = Vec::new();
            for (at, weight) in new.entries().iter().enumerate() {
                assert_eq!(weight.members, 1);
                assert!(weight.tensor.requires_grad() && weight.tensor.is_leaf());
                let all = [&weight.tensor, &new_moments.exp_avg[at], &new_moments.exp_avg_sq[at]];
                pointers.extend(all.iter().map(|tensor| tensor.data_ptr()));
                // The source is the tensor of the group that the layer was in, named by the group's lowest layer.
                let source = match weight.spec.group {
                    None => weight.spec.name.clone(),
                    Some(layer) => weight
                        .spec
                        .name
                        .replace(&format!("layer.{layer}."), &format!("layer.{}.", from.lowest(from.group_of(layer)))),
                };
                let before = old.entries().iter().position(|entry| entry.spec.name == source).unwrap();
                assert!(equal(&weight.tensor, &old.entries()[before].tensor), "{}", weight.spec.name);
                assert!(equal(&new_moments.exp_avg[at], &old_moments.exp_avg[before]));
                assert!(equal(&new_moments.exp_avg_sq[at], &old_moments.exp_avg_sq[before]));
                assert!(f64::try_from(new_moments.exp_avg_sq[at].max()).unwrap() > 0.0, "{}", weight.spec.name);
            }
            let count = pointers.len();
            pointers.sort_unstable();
            pointers.dedup();
            assert_eq!(pointers.len(), count, "two tensors share storage");
        }
    }
}

/// C = 16, I = 24: a layer has 4C² + 4C + 2CI + I + C + 4C = 1024 + 64 + 768 + 24 + 16 + 64 = 1960 parameters.
#[test]
fn unique_parameter_counts_are_exact() {
    for from in starts() {
        let (_, weights, moments) = trained(Norm::Post, &from, Kind::Float);
        // V·C + T·C + 2·C + 2·C, and C² + C + 2·C + V for the head.
        let rest = 90 * 16 + 12 * 16 + 32 + 32 + 256 + 16 + 32 + 90;
        assert_eq!(weights.num_parameters(), rest + 1960 * from.num_groups() as i64);
        let (untied, _) = transition(&from, &weights, &moments, &LayerMap::untied(LAYERS), MomentsAt::Carry).unwrap();
        assert_eq!(untied.num_parameters(), rest + 1960 * LAYERS as i64);
    }
}

#[test]
fn the_loss_is_bit_equal_just_before_and_just_after() {
    for norm in [Norm::Post, Norm::Pre] {
        for compute in [Kind::Float, Kind::BFloat16] {
            for from in starts() {
                let (config, weights, moments) = trained(norm, &from, Kind::Float);
                let before = loss(&Bert::new(&config, &from, &weights, compute).unwrap());
                let to = LayerMap::untied(LAYERS);
                let (weights, _) = transition(&from, &weights, &moments, &to, MomentsAt::Carry).unwrap();
                let after = loss(&Bert::new(&config, &to, &weights, compute).unwrap());
                assert_eq!(before.to_bits(), after.to_bits());
            }
        }
    }
}

/// Tied layers are one leaf: an update moves them together. Untied, the next update sets them apart.
#[test]
fn layers_drift_apart_only_after_the_transition() {
    let tied = LayerMap::tied(LAYERS);
    let (config, weights, moments) = trained(Norm::Post, &tied, Kind::Double);
    let untied = LayerMap::untied(LAYERS);
    let (weights, mut moments) = transition(&tied, &weights, &moments, &untied, MomentsAt::Carry).unwrap();
    step(&config, &untied, &weights, &mut moments);
    let name = |layer: usize| format!("bert.encoder.layer.{layer}.output.dense.weight");
    let lowest = weights.tensor(&name(0)).unwrap();
    for layer in 1..LAYERS {
        assert!(!equal(&lowest, &weights.tensor(&name(layer)).unwrap()));
    }
}

/// By steps: one group, two, three, six; the same result as all at once, bit for bit.
#[test]
fn a_chain_of_transitions_is_one_transition() {
    let tied = LayerMap::tied(LAYERS);
    let (_, weights, moments) = trained(Norm::Post, &tied, Kind::Float);
    let untied = LayerMap::untied(LAYERS);
    let (at_once, at_once_moments) = transition(&tied, &weights, &moments, &untied, MomentsAt::Carry).unwrap();
    let (mut map, mut weights, mut moments) = (tied, weights, moments);
    let three = LayerMap::from_groups(LAYERS, &[vec![0, 1, 2], vec![3], vec![4, 5]]).unwrap();
    for to in [LayerMap::contiguous(LAYERS, 2).unwrap(), three, untied] {
        (weights, moments) = transition(&map, &weights, &moments, &to, MomentsAt::Carry).unwrap();
        let members: usize = weights
            .entries()
            .iter()
            .filter(|weight| weight.spec.name.ends_with("output.dense.bias") && weight.spec.group.is_some())
            .map(|weight| weight.members)
            .sum();
        assert_eq!(members, 2 * LAYERS, "attention and feed-forward, each layer once");
        map = to;
    }
    for (at, (one, other)) in at_once.entries().iter().zip(weights.entries()).enumerate() {
        assert_eq!(one.spec.name, other.spec.name);
        assert!(equal(&one.tensor, &other.tensor));
        assert!(equal(&at_once_moments.exp_avg[at], &moments.exp_avg[at]));
        assert!(equal(&at_once_moments.exp_avg_sq[at], &moments.exp_avg_sq[at]));
    }
}

/// The heads are outside the layers: a transition hands them and their moments over as they are, in the same storage.
#[test]
fn heads_are_left_alone() {
    let (tied, untied) = (LayerMap::tied(LAYERS), LayerMap::untied(LAYERS));
    for norm in [Norm::Post, Norm::Pre] {
        let config = BertConfig { pair_head: true, ..config(norm) };
        let weights = Weights::initialise(&config, &tied, 3, Kind::Float, Device::Cpu).unwrap();
        let moments = Moments::zeros(&weights).unwrap();
        let place = |weights: &Weights, moments: &Moments, name: &str| {
            let at = weights.entries().iter().position(|entry| entry.spec.name == name).unwrap();
            [&weights.entries()[at].tensor, &moments.exp_avg[at], &moments.exp_avg_sq[at]].map(Tensor::data_ptr)
        };
        let (new, new_moments) = transition(&tied, &weights, &moments, &untied, MomentsAt::Carry).unwrap();
        for name in ["cls.predictions.bias", "bert.pooler.dense.weight", "cls.seq_relationship.bias"] {
            assert_eq!(place(&weights, &moments, name), place(&new, &new_moments, name), "{name}");
        }
    }
}

#[test]
fn groups_are_never_joined() {
    let untied = LayerMap::untied(LAYERS);
    let (_, weights, moments) = trained(Norm::Post, &untied, Kind::Float);
    let error = transition(&untied, &weights, &moments, &LayerMap::tied(LAYERS), MomentsAt::Carry).unwrap_err();
    assert!(error.to_string().contains("can only split groups"), "{error}");
}
