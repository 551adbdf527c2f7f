//! The CUDA kernels of this project before they are trusted: loaded, and compared with libtorch's operations on this very GPU.

use std::fmt;

use tch::{Device, Kind, Tensor};

use crate::batch::{Batch, BatchTensors};
use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::loss::masked_lm;
use crate::model::{Bert, BertConfig, Compute, Kernels, Mode, ModelConfig, Norm, Weights};
use crate::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming};
use crate::parallel::World;
use crate::shim::{load_cuda_kernels, unload_cuda_kernels};

/// Sizes of a model of one layer and of its batch.
#[derive(Clone, Copy, Debug)]
pub struct CheckedSizes {
    /// Of its hidden states and of its feed-forward layer.
    pub hidden_size: i64,
    /// Tokens that it knows.
    pub vocabulary: usize,
    /// Sequences.
    pub batch: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// Slots of targets in a sequence, of which the last is unused.
    pub targets: usize,
}

impl fmt::Display for CheckedSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hidden size {}, {} x {} tokens", self.hidden_size, self.batch, self.length)
    }
}

impl CheckedSizes {
    /// A small model of this hidden size.
    pub const fn small(hidden_size: i64) -> Self {
        Self { hidden_size, vocabulary: 500, batch: 6, length: 50, targets: 7 }
    }
}

/// What a run compares: a model for each kernel that is made for its hidden size and for the one that takes any, and a model so large that
/// every loop of the kernels goes round more than once.
const SIZES: [CheckedSizes; 6] = [
    CheckedSizes::small(256),
    CheckedSizes::small(512),
    CheckedSizes::small(768),
    CheckedSizes::small(1024),
    CheckedSizes::small(328),
    CheckedSizes { hidden_size: 256, vocabulary: 8192, batch: 72, length: 128, targets: 60 },
];

/// The token that a model with [`weights`] finds likeliest nearly everywhere.
const LIKELY: i64 = 3;
const ACCURACY: &str = "the accuracy";

/// Loads the kernels for `device`, where models that compute as `compute` says may take them, and compares them with libtorch's operations.
/// Returns a warning where they are not used: they cannot be loaded, or something differs. Then libtorch's operations compute everything,
/// in all processes of `world`.
///
/// # Errors
/// libtorch's own, and a process that is gone.
pub fn prepare_cuda_kernels(device: Device, compute: Compute, world: &World) -> Result<Option<String>> {
    if !compute.fuses() || !matches!(compute.kind, Kind::BFloat16 | Kind::Half) {
        return Ok(None);
    }
    let problem = match device {
        Device::Cuda(index) => match load_cuda_kernels(index) {
            Ok(()) => first_difference(device, compute.kind, &SIZES)?,
            Err(error) => Some(error.to_string()),
        },
        _ => None,
    };
    let mut has_problem = [f64::from(u8::from(problem.is_some()))];
    world.largest(&mut has_problem)?;
    if has_problem[0] == 0.0 {
        return Ok(None);
    }
    unload_cuda_kernels();
    let problem = problem.unwrap_or_else(|| "another process cannot use them".into());
    Ok(Some(format!("warning: {problem}: libtorch's operations are used instead of this program's CUDA kernels")))
}

/// What the kernels that are loaded compute differently from libtorch's operations, in models of these sizes.
///
/// Both sides are compared with fp32, and ours may be at most four times as far off: roundings fall differently, and a kernel that is
/// wrong is off by the size of its result. Dropout has the masks of the CPU's kernels: another one is off by 0.4.
///
/// # Errors
/// libtorch's own.
pub fn first_difference(device: Device, kind: Kind, all_sizes: &[CheckedSizes]) -> Result<Option<String>> {
    for sizes in all_sizes {
        for norm in [Norm::Post, Norm::Pre] {
            let found = |what: &str| Ok(Some(format!("{what} differs, {kind:?}, {norm:?}-LN, {sizes}")));
            let config = config(sizes, norm, 0.0)?;
            let run = |kind, kernels, recompute| run(&config, sizes, device, Compute { kind, kernels, recompute });
            let exact = run(Kind::Float, Kernels::Plain, false)?;
            let (theirs, ours) = (run(kind, Kernels::Plain, false)?, run(kind, Kernels::Fused, false)?);
            let again = run(kind, Kernels::Fused, true)?;
            for (at, (name, exact)) in exact.iter().enumerate() {
                let theirs = distance(&theirs[at].1, exact)?;
                for ours in [&ours, &again] {
                    let ours = &ours[at].1;
                    let differs = match name.as_str() {
                        // A token may be the likeliest by less than a rounding.
                        ACCURACY => f64::try_from(ours.f_sub(exact)?.f_abs()?)? > 1.0 + 0.01 * f64::try_from(exact)?,
                        _ => distance(ours, exact)? > 4.0 * theirs + 2e-3,
                    };
                    if differs || f64::try_from(ours.f_sum(Kind::Double)?)?.is_nan() {
                        return found(name);
                    }
                }
            }
            let dropped = self::config(sizes, norm, 0.1)?;
            let [ours, cpus] = [(device, kind), (Device::Cpu, Kind::Float)]
                .map(|(device, kind)| hidden_states(&dropped, sizes, device, kind));
            let off = distance(&ours?.f_to_device(Device::Cpu)?, &cpus?)?;
            if off.is_nan() || off > 0.03 {
                return found("dropout");
            }
        }
    }
    let (ours, theirs) = (updated(device, kind, true)?, updated(device, kind, false)?);
    for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let off = distance(ours, &theirs)?;
        if off.is_nan() || off > if at == 0 { 5e-3 } else { 1e-5 } {
            return Ok(Some(format!("{} differs, {kind:?}", if at == 0 { "a forward after AdamW" } else { "AdamW" })));
        }
    }
    Ok(None)
}

fn config(of: &CheckedSizes, norm: Norm, dropout: f64) -> Result<BertConfig> {
    let hidden_size = of.hidden_size;
    let sizes = ModelConfig {
        hidden_size: Some(hidden_size),
        num_hidden_layers: Some(1),
        num_attention_heads: Some(hidden_size / 8 / if hidden_size % 64 == 0 { 8 } else { 1 }),
        intermediate_size: Some(hidden_size),
        max_position_embeddings: Some(of.length as i64),
        norm: Some(norm),
        hidden_dropout_prob: Some(dropout),
        attention_probs_dropout_prob: Some(0.0),
        ..Default::default()
    };
    sizes.resolve(of.vocabulary)
}

/// Targets at places that differ; the last of each sequence is unused. Every other one is [`LIKELY`].
fn batch(of: &CheckedSizes, device: Device) -> Result<BatchTensors> {
    let &CheckedSizes { vocabulary, batch, length, targets: slots, .. } = of;
    let targets = || (0..batch).flat_map(|sequence| (0..slots).map(move |slot| (sequence, slot)));
    let label =
        |(sequence, slot)| if slot % 2 == 0 { LIKELY } else { ((sequence * 57 + slot * 13) % vocabulary) as i64 };
    let tokens = 0..batch * length;
    let batch = Batch {
        token_ids: tokens.clone().map(|at| (at * 131 % vocabulary) as i64).collect(),
        token_types: Some(tokens.clone().map(|at| i64::from(at % length > 30)).collect()),
        position_ids: Some(tokens.map(|at| (at % length % 37) as i64).collect()),
        sequence_length: length,
        positions: targets().map(|(sequence, slot)| (sequence * length + slot * (length / slots)) as i64).collect(),
        labels: targets().map(label).collect(),
        weights: targets().map(|(_, slot)| f32::from(u8::from(slot + 1 < slots))).collect(),
        dropout_keys: (0..batch as i64).map(|sequence| sequence * 0x1234_5678_9abc - 7).collect(),
        num_targets: batch * (slots - 1),
        ..Default::default()
    };
    batch.to_device(device)
}

/// Weights far from their start, so that every part matters: biases and LayerNorms are not 0 and 1.
fn weights(config: &BertConfig, device: Device) -> Result<Weights> {
    let weights = Weights::initialise(config, &LayerMap::tied(1), 3, Kind::Float, device)?;
    for (at, weight) in weights.entries().iter().enumerate() {
        let size = weight.tensor.numel() as i64;
        let wave = (Tensor::f_arange(size, (Kind::Double, device))? * (0.37 + 0.01 * at as f64)).f_sin()?;
        let wave = wave.f_mul_scalar(0.05)?.f_view_(weight.tensor.size())?.f_to_kind(Kind::Float)?;
        let _ = weight.tensor.detach().f_add_(&wave)?;
        if weight.spec.name == "cls.predictions.bias" {
            let _ = weight.tensor.detach().f_narrow(0, LIKELY, 1)?.f_add_scalar_(5.0)?;
        }
    }
    Ok(weights)
}

/// Loss, correct targets, and every gradient, by name.
fn run(config: &BertConfig, of: &CheckedSizes, device: Device, compute: Compute) -> Result<Vec<(String, Tensor)>> {
    let weights = weights(config, device)?;
    weights.make_gradients()?;
    let model = Bert::new(config, &LayerMap::tied(1), &weights, compute)?;
    let found = masked_lm(&model, &batch(of, device)?, of.batch * (of.targets - 1), Mode::Train)?;
    found.loss.f_backward()?;
    let mut all = vec![("the loss".to_owned(), found.loss.detach()), (ACCURACY.to_owned(), found.num_correct)];
    all.extend(
        weights.entries().iter().map(|weight| (format!("the gradient of {}", weight.spec.name), weight.tensor.grad())),
    );
    Ok(all)
}

fn hidden_states(config: &BertConfig, of: &CheckedSizes, device: Device, kind: Kind) -> Result<Tensor> {
    let model = Bert::new(config, &LayerMap::tied(1), &weights(config, device)?, kind)?;
    Ok(model.encode((&batch(of, device)?).into(), Mode::Train)?.detach())
}

/// Hidden states, weights and moments after an update with gradients that are no more than numbers, and after one with an infinite
/// gradient, which is skipped.
fn updated(device: Device, kind: Kind, is_ours: bool) -> Result<Vec<Tensor>> {
    let of = CheckedSizes::small(328);
    let config = config(&of, Norm::Post, 0.0)?;
    let weights = weights(&config, device)?;
    let model = Bert::new(&config, &LayerMap::tied(1), &weights, kind)?;
    let batch = batch(&of, device)?;
    let encode = || Ok::<_, Error>(model.encode((&batch).into(), Mode::Eval)?.detach());
    // Its layers have copies of the weights now, which an update of ours writes.
    let _ = encode()?;
    let mut moments = Moments::zeros(&weights)?;
    let optimizer = Optimizer::new(&weights, 0, GroupGradient::Mean, None, ReportTiming::AtOnce)?;
    let mut optimizer = if is_ours { optimizer.with_cuda_adamw()? } else { optimizer.with_libtorchs_adamw() };
    for offset in [0.0, f64::INFINITY] {
        weights.make_gradients()?;
        for weight in weights.entries() {
            let gradient = weight.tensor.detach().f_mul_scalar(0.3)?.f_cos()?.f_add_scalar(offset)?;
            weight.tensor.grad().f_copy_(&gradient)?;
        }
        let _ = optimizer.update(&weights, &mut moments, &OptimConfig::default(), 1e-2)?;
    }
    let all = weights.entries().iter().map(|weight| weight.tensor.detach());
    Ok(std::iter::once(encode()?).chain(all).chain(moments.exp_avg).chain(moments.exp_avg_sq).collect())
}

/// ‖a − b‖ / ‖b‖, in fp64.
fn distance(found: &Tensor, expected: &Tensor) -> Result<f64> {
    let [found, expected] = [found, expected].map(|tensor| tensor.f_to_kind(Kind::Double));
    let (found, expected) = (found?, expected?);
    let norm = |tensor: Tensor| -> Result<f64> { Ok(f64::try_from(tensor.f_norm()?)?) };
    Ok(norm(found.f_sub(&expected)?)? / norm(expected)?.max(1e-300))
}
