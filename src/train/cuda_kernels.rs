//! The CUDA kernels of this project before they are trusted: loaded, and compared with libtorch's operations on this very GPU.

use tch::{Device, Kind, Tensor};

use crate::batch::{Batch, BatchTensors};
use crate::error::Result;
use crate::layer_map::LayerMap;
use crate::loss::masked_lm;
use crate::model::{Bert, BertConfig, Compute, Kernels, Mode, ModelConfig, Norm, Weights};
use crate::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming};
use crate::shim::{load_cuda_kernels, unload_cuda_kernels};

/// Hidden sizes to compare at: one for each kernel that is made for its size, and one for the kernel that takes any.
const HIDDEN_SIZES: [i64; 5] = [256, 512, 768, 1024, 328];
const VOCABULARY: usize = 500;
const BATCH: usize = 6;
const LENGTH: usize = 50;
const TARGETS: usize = 7;

/// Loads the kernels for `device`, where models that compute as `compute` says may take them, and compares them with libtorch's operations.
/// Returns a warning where they are not used: they cannot be loaded, or something differs. Then libtorch's operations compute everything.
///
/// # Errors
/// libtorch's own.
pub fn prepare_cuda_kernels(device: Device, compute: Compute) -> Result<Option<String>> {
    let Device::Cuda(index) = device else { return Ok(None) };
    if !compute.fuses() || !matches!(compute.kind, Kind::BFloat16 | Kind::Half) {
        return Ok(None);
    }
    let problem = match load_cuda_kernels(index) {
        Ok(()) => first_difference(device, compute.kind, &HIDDEN_SIZES)?,
        Err(error) => Some(error.to_string()),
    };
    Ok(problem.map(|problem| {
        unload_cuda_kernels();
        format!("warning: {problem}: libtorch's operations are used instead of this program's CUDA kernels")
    }))
}

/// What the kernels that are loaded compute differently from libtorch's operations, in models of these hidden sizes.
///
/// Both sides are compared with fp32, and ours may be at most four times as far off: roundings fall differently, and a kernel that is
/// wrong is off by the size of its result. Dropout has the masks of the CPU's kernels: another one is off by 0.4.
///
/// # Errors
/// libtorch's own.
pub fn first_difference(device: Device, kind: Kind, hidden_sizes: &[i64]) -> Result<Option<String>> {
    for &hidden_size in hidden_sizes {
        for norm in [Norm::Post, Norm::Pre] {
            let found =
                |what: &str| Ok(Some(format!("{what} differs, {kind:?}, hidden size {hidden_size}, {norm:?}-LN")));
            let config = config(hidden_size, norm, 0.0)?;
            let run = |kind, kernels| run(&config, device, kind, kernels);
            let (exact, theirs, ours) =
                (run(Kind::Float, Kernels::Plain)?, run(kind, Kernels::Plain)?, run(kind, Kernels::Fused)?);
            for (at, (name, exact)) in exact.iter().enumerate() {
                let (theirs, ours) = (distance(&theirs[at].1, exact)?, distance(&ours[at].1, exact)?);
                if ours.is_nan() || ours > 4.0 * theirs + 2e-3 {
                    return found(name);
                }
            }
            let dropped = self::config(hidden_size, norm, 0.1)?;
            let [ours, cpus] = [(device, kind), (Device::Cpu, Kind::Float)]
                .map(|(device, kind)| hidden_states(&dropped, device, kind));
            let off = distance(&ours?.f_to_device(Device::Cpu)?, &cpus?)?;
            if off.is_nan() || off > 0.1 {
                return found("dropout");
            }
        }
    }
    let update = |is_ours| updated(device, kind, is_ours);
    for (ours, theirs) in update(true)?.iter().zip(update(false)?) {
        let off = distance(ours, &theirs)?;
        if off.is_nan() || off > 1e-5 {
            return Ok(Some(format!("AdamW differs, {kind:?}")));
        }
    }
    Ok(None)
}

fn config(hidden_size: i64, norm: Norm, dropout: f64) -> Result<BertConfig> {
    let sizes = ModelConfig {
        hidden_size: Some(hidden_size),
        num_hidden_layers: Some(1),
        num_attention_heads: Some(hidden_size / 8 / if hidden_size % 64 == 0 { 8 } else { 1 }),
        intermediate_size: Some(hidden_size),
        max_position_embeddings: Some(LENGTH as i64),
        norm: Some(norm),
        hidden_dropout_prob: Some(dropout),
        attention_probs_dropout_prob: Some(0.0),
        ..Default::default()
    };
    sizes.resolve(VOCABULARY)
}

/// Targets at places that differ; the last of each sequence is unused.
fn batch(device: Device) -> Result<BatchTensors> {
    let targets = || (0..BATCH).flat_map(|sequence| (0..TARGETS).map(move |slot| (sequence, slot)));
    let batch = Batch {
        token_ids: (0..BATCH * LENGTH).map(|at| (at * 131 % VOCABULARY) as i64).collect(),
        token_types: Some((0..BATCH * LENGTH).map(|at| i64::from(at % LENGTH > 30)).collect()),
        sequence_length: LENGTH,
        positions: targets().map(|(sequence, slot)| (sequence * LENGTH + slot * 5) as i64).collect(),
        labels: targets().map(|(sequence, slot)| ((sequence * 57 + slot * 13) % VOCABULARY) as i64).collect(),
        weights: targets().map(|(_, slot)| f32::from(u8::from(slot + 1 < TARGETS))).collect(),
        dropout_keys: (0..BATCH as i64).map(|sequence| sequence * 0x1234_5678_9abc - 7).collect(),
        num_targets: BATCH * (TARGETS - 1),
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
    }
    Ok(weights)
}

/// Loss, correct targets, and every gradient, by name.
fn run(config: &BertConfig, device: Device, kind: Kind, kernels: Kernels) -> Result<Vec<(String, Tensor)>> {
    let weights = weights(config, device)?;
    weights.make_gradients()?;
    let model = Bert::new(config, &LayerMap::tied(1), &weights, Compute { kind, kernels, recompute: false })?;
    let found = masked_lm(&model, &batch(device)?, BATCH * (TARGETS - 1), Mode::Train)?;
    found.loss.f_backward()?;
    let mut all = vec![("the loss".to_owned(), found.loss.detach()), ("the accuracy".to_owned(), found.num_correct)];
    all.extend(
        weights.entries().iter().map(|weight| (format!("the gradient of {}", weight.spec.name), weight.tensor.grad())),
    );
    Ok(all)
}

fn hidden_states(config: &BertConfig, device: Device, kind: Kind) -> Result<Tensor> {
    let weights = weights(config, device)?;
    let model = Bert::new(config, &LayerMap::tied(1), &weights, kind)?;
    Ok(model.encode((&batch(device)?).into(), Mode::Train)?.detach())
}

/// Weights and moments after one update with gradients that are no more than numbers.
fn updated(device: Device, kind: Kind, is_ours: bool) -> Result<Vec<Tensor>> {
    let config = config(328, Norm::Post, 0.0)?;
    let weights = weights(&config, device)?;
    // Its layers hold copies of the weights, which an update of ours writes.
    let _model = Bert::new(&config, &LayerMap::tied(1), &weights, kind)?;
    weights.make_gradients()?;
    for weight in weights.entries() {
        weight.tensor.grad().f_copy_(&weight.tensor.detach().f_mul_scalar(0.3)?.f_cos()?)?;
    }
    let mut moments = Moments::zeros(&weights)?;
    let optimizer = Optimizer::new(&weights, 0, GroupGradient::Mean, None, ReportTiming::AtOnce)?;
    let mut optimizer = if is_ours { optimizer.with_cuda_adamw()? } else { optimizer.with_libtorchs_adamw() };
    let _ = optimizer.update(&weights, &mut moments, &OptimConfig::default(), 1e-2)?;
    let all = weights.entries().iter().map(|weight| weight.tensor.detach());
    Ok(all.chain(moments.exp_avg).chain(moments.exp_avg_sq).collect())
}

/// ‖a − b‖ / ‖b‖, in fp64.
fn distance(found: &Tensor, expected: &Tensor) -> Result<f64> {
    let [found, expected] = [found, expected].map(|tensor| tensor.f_to_kind(Kind::Double));
    let (found, expected) = (found?, expected?);
    let norm = |tensor: Tensor| -> Result<f64> { Ok(f64::try_from(tensor.f_norm()?)?) };
    Ok(norm(found.f_sub(&expected)?)? / norm(expected)?.max(1e-300))
}
