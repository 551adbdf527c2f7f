//! A whole training loss on fused kernels (embeddings, layers, head with its loss) against the composition of libtorch's
//! operations: loss, accuracy and every gradient.

use tch::{Device, Kind, Tensor};
use untie::batch::{Batch, BatchTensors};
use untie::layer_map::LayerMap;
use untie::loss::masked_lm;
use untie::model::{Bert, BertConfig, Compute, Kernels, Mode, ModelConfig, Norm, Weights};
use untie::shim::head_fits;

use super::{alone, weights, MeanRatio};

/// Twenty tiles of the vocabulary, for more parts than are summed apart; more targets than a block of columns has.
const VOCABULARY: usize = 2500;
const BATCH: usize = 60;
const LENGTH: usize = 40;
const SLOTS: usize = 13;

fn config(norm: Norm) -> BertConfig {
    let sizes = ModelConfig {
        hidden_size: Some(144),
        num_hidden_layers: Some(2),
        num_attention_heads: Some(2),
        max_position_embeddings: Some(64),
        norm: Some(norm),
        hidden_dropout_prob: Some(0.0),
        attention_probs_dropout_prob: Some(0.0),
        ..Default::default()
    };
    sizes.resolve(VOCABULARY).unwrap()
}

fn batch(segments: bool) -> Batch {
    batch_of(BATCH, segments)
}

/// Targets at places that no two sequences share; every seventh slot is unused, and so are all of the third sequence.
pub(super) fn batch_of(sequences: usize, segments: bool) -> Batch {
    let tokens = sequences * LENGTH;
    let mut batch = Batch {
        token_ids: (0..tokens as i64).map(|at| at * 131 % VOCABULARY as i64).collect(),
        token_types: segments.then(|| (0..tokens).map(|at| i64::from(at % LENGTH > 17)).collect()),
        position_ids: segments.then(|| (0..tokens).map(|at| (at % 23) as i64).collect()),
        sequence_length: LENGTH,
        ..Default::default()
    };
    for slot in 0..sequences * SLOTS {
        let (sequence, within) = (slot / SLOTS, slot % SLOTS);
        let is_used = sequence != 2 && slot % 7 != 6;
        batch.positions.push(if is_used { (sequence * LENGTH + within * 3 + sequence % 3) as i64 } else { 0 });
        batch.labels.push(if is_used { (slot * 57 % VOCABULARY) as i64 } else { 0 });
        batch.weights.push(if is_used { 1.0 } else { 0.0 });
        batch.num_targets += usize::from(is_used);
    }
    batch
}

/// Loss, correct targets, and all gradients, in fp64.
pub(super) fn run(
    norm: Norm,
    kind: Kind,
    kernels: Kernels,
    batch: &BatchTensors,
    total: usize,
) -> Vec<(String, Tensor)> {
    let config = config(norm);
    let wide = if kind == Kind::Double { Kind::Double } else { Kind::Float };
    let map = LayerMap::tied(2);
    let weights = weights(&config, &map, wide);
    let compute = Compute { kind, kernels, recompute: false };
    let model = Bert::new(&config, &map, &weights, compute).unwrap();
    let found = masked_lm(&model, batch, total, Mode::Train).unwrap();
    // A factor, as loss scaling has it.
    (&found.loss * 2.0).backward();
    let mut all = vec![("loss".to_owned(), found.loss.detach()), ("correct".to_owned(), found.num_correct)];
    all.extend(weights.entries().iter().map(|weight| (weight.spec.name.clone(), weight.tensor.grad())));
    all.into_iter().map(|(name, tensor)| (name, tensor.to_kind(Kind::Double))).collect()
}

/// ‖a − b‖ / ‖b‖.
pub(super) fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    let norm = |tensor: &Tensor| f64::try_from(tensor.norm()).unwrap();
    norm(&(found - expected)) / norm(expected).max(1e-300)
}

/// In fp32 both sides are rounded. The gradients of the embeddings under Post-LN are sums of 2,400 rows that nearly cancel, so
/// a rounding of 6e-8 grows several hundred times, on either side, differently in each run. So one tensor may be 5e-5 off; all
/// together may not be further off than the composition.
#[test]
fn loss_and_gradients_equal_the_composition() {
    let _alone = alone();
    let mut ratio = MeanRatio::default();
    for norm in [Norm::Post, Norm::Pre] {
        for segments in [false, true] {
            let buffers = batch(segments);
            let batch = buffers.to_device(Device::Cpu).unwrap();
            let run = |kind, kernels| run(norm, kind, kernels, &batch, buffers.num_targets);
            let exact = run(Kind::Double, Kernels::Plain);
            for ((name, found), (_, expected)) in run(Kind::Double, Kernels::Fused).iter().zip(&exact) {
                let error = distance(found, expected);
                assert!(error < 1e-12, "{norm:?}, segments {segments}, fp64, {name}: {error:e}");
            }
            let (ours, theirs) = (run(Kind::Float, Kernels::Fused), run(Kind::Float, Kernels::Plain));
            for (at, (name, expected)) in exact.iter().enumerate() {
                let (ours, theirs) = (distance(&ours[at].1, expected), distance(&theirs[at].1, expected));
                assert!(ours < 2.0 * theirs + 5e-5, "{norm:?}, fp32, {name}: {ours:e}, composed {theirs:e}");
                if ours > 0.0 && theirs > 0.0 {
                    ratio.add(ours, theirs);
                }
            }
        }
    }
    let ratio = ratio.value();
    println!("errors in fp32 over those of the composition, geometric mean: {ratio:.3}");
    assert!(ratio < 1.25, "{ratio}");
}

#[test]
fn a_bf16_loss_is_no_further_from_fp64_than_the_composition() {
    let _alone = alone();
    if !head_fits(144, 2560, Kind::BFloat16, Device::Cpu) {
        println!("skipped: no fused head in bf16 on this CPU");
        return;
    }
    let buffers = batch(true);
    let batch = buffers.to_device(Device::Cpu).unwrap();
    let mut ratio = MeanRatio::default();
    for norm in [Norm::Post, Norm::Pre] {
        let run = |kind, kernels| run(norm, kind, kernels, &batch, buffers.num_targets);
        let exact = run(Kind::Double, Kernels::Plain);
        let (ours, theirs) = (run(Kind::BFloat16, Kernels::Fused), run(Kind::BFloat16, Kernels::Plain));
        for (at, (name, expected)) in exact.iter().enumerate().filter(|(_, (name, _))| name != "correct") {
            let (ours, theirs) = (distance(&ours[at].1, expected), distance(&theirs[at].1, expected));
            assert!(ours < 4.0 * theirs + 1e-3, "{norm:?}, {name}: {ours:e}, composed {theirs:e}");
            ratio.add(ours, theirs);
        }
    }
    let ratio = ratio.value();
    println!("errors of the fused loss over those of the composed one, geometric mean: {ratio:.3}");
    assert!(ratio < 1.0, "{ratio}");
}

/// Without targets there is no loss and no gradient; a label outside the vocabulary is an error, not a wild read.
#[test]
fn empty_and_wrong_targets() {
    let _alone = alone();
    let mut buffers = batch(false);
    buffers.weights.fill(0.0);
    let found = run(Norm::Post, Kind::Float, Kernels::Fused, &buffers.to_device(Device::Cpu).unwrap(), 1);
    for (name, tensor) in found.iter().filter(|(_, tensor)| tensor.defined()) {
        assert_eq!(f64::try_from(tensor.abs().max()).unwrap(), 0.0, "{name}");
    }
    buffers.labels[0] = 2560;
    let (config, map) = (config(Norm::Post), LayerMap::tied(2));
    let weights = Weights::initialise(&config, &map, 3, Kind::Float, Device::Cpu).unwrap();
    let model = Bert::new(&config, &map, &weights, Kind::Float).unwrap();
    let error = masked_lm(&model, &buffers.to_device(Device::Cpu).unwrap(), 1, Mode::Eval).unwrap_err();
    assert!(error.to_string().contains("a label below 2560, got 0 and 2560"), "{error}");
}
