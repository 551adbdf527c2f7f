//! The transition: shared storage before, distinct after; weights and moments bit for bit what they were; the loss unchanged; what
//! stays is not copied.
//! The expectations are the definition (docs/method.md, "The algorithms": at a transition); parameter counts are worked out
//! below.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};
use untie::batch::{Batch, BatchTensors};
use untie::error::Result;
use untie::growth::{apply, ModelState, MomentsAt, Transition};
use untie::layer_map::LayerMap;
use untie::loss::masked_lm;
use untie::model::{Bert, BertConfig, Mode, ModelConfig, Norm, Weight, Weights};
use untie::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming};
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
    let update = Update { optim: &optim, learning_rate: 1e-2, sync: None };
    let num_updates = moments.num_updates;
    let mut optimizer = Optimizer::new(weights, num_updates, GroupGradient::Mean, None, ReportTiming::AtOnce).unwrap();
    let loss = |_| Ok(masked_lm(&model, &batch(), 7, Mode::Train)?.loss);
    train_step(&mut optimizer, weights, moments, update, 1, loss).unwrap();
}

/// Splits groups.
fn transition(
    from: &LayerMap,
    weights: Weights,
    moments: Moments,
    to: &LayerMap,
    moments_at: MomentsAt,
) -> Result<(Weights, Moments)> {
    let transition = Transition::untying(from, to.clone(), moments_at, "a test")?;
    let ModelState { walk, weights, moments, .. } =
        apply(ModelState::new(from.clone(), weights, moments), &transition)?;
    assert_eq!(walk, *to);
    Ok((weights, moments))
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

/// Weight, first and second moment by name.
type State = BTreeMap<String, [Tensor; 3]>;

/// Copies of everything, since a transition takes it.
fn copies(weights: &Weights, moments: &Moments) -> State {
    tensors(weights, moments).into_iter().map(|(name, of)| (name, of.map(|tensor| tensor.copy()))).collect()
}

/// Where everything lies.
fn places(weights: &Weights, moments: &Moments) -> BTreeMap<String, [*mut std::ffi::c_void; 3]> {
    tensors(weights, moments).into_iter().map(|(name, of)| (name, of.map(|tensor| tensor.data_ptr()))).collect()
}

fn tensors(weights: &Weights, moments: &Moments) -> State {
    let of = |(at, weight): (usize, &Weight)| {
        let moments = [&moments.exp_avg[at], &moments.exp_avg_sq[at]].map(Tensor::shallow_clone);
        let [exp_avg, exp_avg_sq] = moments;
        (weight.spec.name.clone(), [weight.tensor.detach(), exp_avg, exp_avg_sq])
    };
    weights.entries().iter().enumerate().map(of).collect()
}

/// The name, before the transition, of what a weight comes from: the tensor of the group that its lowest layer was in.
fn source(weight: &Weight, from: &LayerMap, to: &LayerMap) -> String {
    let Some(group) = weight.spec.group else { return weight.spec.name.clone() };
    let layer = to.lowest(group);
    weight.spec.name.replace(&format!("layer.{layer}."), &format!("layer.{}.", from.lowest(from.group_of(layer))))
}

#[test]
fn every_layer_gets_bit_equal_weights_and_moments_in_storage_of_its_own() {
    for norm in [Norm::Post, Norm::Pre] {
        for from in starts() {
            let (_, old, old_moments) = trained(norm, &from, Kind::Float);
            let before = copies(&old, &old_moments);
            let to = LayerMap::untied(LAYERS);
            let (new, new_moments) = transition(&from, old, old_moments, &to, MomentsAt::Carry).unwrap();
            assert_eq!(new_moments.num_updates, 3);
            let after = tensors(&new, &new_moments);
            for weight in new.entries() {
                assert_eq!(weight.members, 1);
                assert!(weight.tensor.requires_grad() && weight.tensor.is_leaf());
                let (found, expected) = (&after[&weight.spec.name], &before[&source(weight, &from, &to)]);
                assert!(found.iter().zip(expected).all(|(one, other)| equal(one, other)), "{}", weight.spec.name);
                assert!(f64::try_from(found[2].max()).unwrap() > 0.0, "{}", weight.spec.name);
            }
            let mut pointers: Vec<_> = places(&new, &new_moments).into_values().flatten().collect();
            let count = pointers.len();
            pointers.sort_unstable();
            pointers.dedup();
            assert_eq!(pointers.len(), count, "two tensors share storage");
        }
    }
}

/// Groups that do not split, and of those that do the part with the lowest layer, keep their tensors; with moments that start anew
/// these are zeros in the same place. By hand: who keeps what, layer by layer.
#[test]
fn what_stays_is_handed_over_and_only_the_rest_is_copied() {
    let groups = |groups: &[&[usize]]| {
        LayerMap::from_groups(LAYERS, &groups.iter().map(|group| group.to_vec()).collect::<Vec<_>>()).unwrap()
    };
    let cases = [
        // One group of three splits: the lowest layer takes it over, the other groups stay.
        (groups(&[&[0, 1], &[2, 3, 4], &[5]]), groups(&[&[0, 1], &[2], &[3, 4], &[5]]), &[0, 2, 5][..]),
        // Layers that alternate: both groups split, both keep their lowest.
        (LayerMap::units(LAYERS, 2, 3).unwrap(), LayerMap::untied(LAYERS), &[0, 1]),
        (LayerMap::tied(LAYERS), LayerMap::contiguous(LAYERS, 3).unwrap(), &[0]),
        // Nothing splits.
        (LayerMap::contiguous(LAYERS, 2).unwrap(), LayerMap::contiguous(LAYERS, 2).unwrap(), &[0, 3]),
    ];
    for (from, to, keepers) in cases {
        for moments_at in [MomentsAt::Carry, MomentsAt::Reset] {
            let (_, old, old_moments) = trained(Norm::Post, &from, Kind::Float);
            let gradients: BTreeMap<String, _> = old
                .entries()
                .iter()
                .map(|weight| (weight.spec.name.clone(), weight.tensor.grad().data_ptr()))
                .collect();
            let (before, values) = (places(&old, &old_moments), copies(&old, &old_moments));
            let (new, new_moments) = transition(&from, old, old_moments, &to, moments_at).unwrap();
            let after = places(&new, &new_moments);
            for weight in new.entries() {
                let name = &weight.spec.name;
                let stays = weight.spec.group.is_none_or(|group| keepers.contains(&to.lowest(group)));
                let earlier = &before[&source(weight, &from, &to)];
                let same = after[name].iter().zip(earlier).filter(|(one, other)| one == other).count();
                assert_eq!(same, if stays { 3 } else { 0 }, "{from:?} to {to:?}: {name}");
                let gradient = weight.tensor.grad();
                assert_eq!(gradient.defined(), stays, "{name}");
                assert!(!stays || gradient.data_ptr() == gradients[&source(weight, &from, &to)]);
                let members = weight.spec.group.map_or(1, |group| to.members(group).len());
                assert_eq!(weight.members, members, "{name}");
            }
            let found = tensors(&new, &new_moments);
            match moments_at {
                MomentsAt::Carry => assert_eq!(new_moments.num_updates, 3),
                MomentsAt::Reset => {
                    assert_eq!(new_moments.num_updates, 0);
                    let moments = found.values().flat_map(|[_, exp_avg, exp_avg_sq]| [exp_avg, exp_avg_sq]);
                    assert!(moments.into_iter().all(|moment| f64::try_from(moment.abs().max()).unwrap() == 0.0));
                }
            }
            let weights = new.entries().iter().map(|weight| (weight, &values[&source(weight, &from, &to)][0]));
            assert!(weights.into_iter().all(|(weight, value)| equal(&weight.tensor.detach(), value)));
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
        let (untied, _) = transition(&from, weights, moments, &LayerMap::untied(LAYERS), MomentsAt::Carry).unwrap();
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
                let (weights, _) = transition(&from, weights, moments, &to, MomentsAt::Carry).unwrap();
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
    let (weights, mut moments) = transition(&tied, weights, moments, &untied, MomentsAt::Carry).unwrap();
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
    let (at_once, at_once_moments) = transition(&tied, weights, moments, &untied, MomentsAt::Carry).unwrap();
    // The same once more.
    let (_, mut weights, mut moments) = trained(Norm::Post, &tied, Kind::Float);
    let mut map = tied;
    let three = LayerMap::from_groups(LAYERS, &[vec![0, 1, 2], vec![3], vec![4, 5]]).unwrap();
    for to in [LayerMap::contiguous(LAYERS, 2).unwrap(), three, untied] {
        (weights, moments) = transition(&map, weights, moments, &to, MomentsAt::Carry).unwrap();
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
        let before = places(&weights, &moments);
        let (new, new_moments) = transition(&tied, weights, moments, &untied, MomentsAt::Carry).unwrap();
        let after = places(&new, &new_moments);
        for name in ["cls.predictions.bias", "bert.pooler.dense.weight", "cls.seq_relationship.bias"] {
            assert_eq!(before[name], after[name], "{name}");
        }
    }
}

#[test]
fn groups_are_never_joined() {
    let untied = LayerMap::untied(LAYERS);
    let (_, weights, moments) = trained(Norm::Post, &untied, Kind::Float);
    let error = transition(&untied, weights, moments, &LayerMap::tied(LAYERS), MomentsAt::Carry).unwrap_err();
    assert!(error.to_string().contains("can only split groups"), "{error}");
}
