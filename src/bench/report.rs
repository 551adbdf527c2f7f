//! One JSON object of what was measured.

use std::time::Duration;

use serde_json::{json, Map, Value};

use crate::batch::Batch;
use crate::bench::memory::mebibytes;
use crate::bench::{BenchModel, BenchOptions, Measured, TimingStats};
use crate::error::Result;
use crate::layer_map::LayerMap;
use crate::pretrain::calibrate::{product_flops, product_rate, products};
use crate::pretrain::Memory;
use crate::train::environment::environment;

/// Time for each matrix product of the rate, as a part of that for the steps, and its limits in seconds.
const PRODUCT_PART: f64 = 0.05;
const PRODUCT_SECONDS: [f64; 2] = [0.02, 0.5];

/// What the products of a micro-batch amount to.
#[derive(Clone, Copy, Debug)]
pub struct Products {
    /// Multiplications and additions, forward and backward.
    pub flops: f64,
    /// FLOP/s at which this machine does them.
    pub rate: f64,
}

impl Products {
    /// Of micro-batches of `rows` tokens with `targets` targets.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn of(model: &BenchModel, rows: usize, targets: usize, options: BenchOptions) -> Result<Self> {
        let products = products(&model.bert, rows, targets);
        let [least, most] = PRODUCT_SECONDS;
        let budget = Duration::from_secs_f64((options.seconds * PRODUCT_PART).clamp(least, most));
        let rate = product_rate(&products, model.compute.kind, model.device, budget)?;
        Ok(Self { flops: product_flops(&products), rate })
    }

    /// The part of `seconds` that `num_micro_batches` would take if the products were all there is.
    pub fn utilisation(&self, num_micro_batches: usize, seconds: f64) -> f64 {
        num_micro_batches as f64 * self.flops / self.rate / seconds
    }
}

/// What a comparison must know: machine, precision, versions.
///
/// # Errors
/// libtorch's own.
pub fn facts(model: &BenchModel) -> Result<Map<String, Value>> {
    let found = environment(model.device)?;
    let fact = |name: &str| found.get(name).cloned().unwrap_or_default();
    let facts = json!({
        "device": fact("device").to_lowercase(),
        "cpu": fact("cpu"),
        "threads": tch::get_num_threads(),
        "precision": model.precision,
        "versions": {
            "untie": fact("untie"), "libtorch": fact("libtorch"), "cpu_capability": fact("cpu_capability"),
        },
    });
    Ok(facts.as_object().cloned().unwrap_or_default())
}

/// A predicted peak and what it is made of.
pub fn predicted_mib(memory: &Memory) -> Value {
    let Memory { program, state, packed, probe, checkpoint, saved, passing, gaps } = *memory;
    let mib = |bytes: f64| mebibytes(bytes as u64);
    json!({
        "total_mib": mib(memory.total()),
        "program_mib": mib(program),
        "state_mib": mib(state),
        "packed_mib": mib(packed),
        "probe_mib": mib(probe),
        "checkpoint_mib": mib(checkpoint),
        "kept_mib": mib(saved),
        "passing_mib": mib(passing),
        "gaps_mib": mib(gaps),
    })
}

/// The report of `measured` steps, each on `batch`; `baseline` is the resident size before there was a model, and
/// `predicted` what was expected of the peak then.
///
/// # Errors
/// libtorch's own.
pub fn report(
    model: &BenchModel,
    map: &LayerMap,
    batch: &Batch,
    options: BenchOptions,
    measured: &Measured,
    (baseline, predicted): (Option<u64>, Memory),
) -> Result<Value> {
    let tokens = batch.token_ids.len();
    let products = Products::of(model, tokens, batch.num_targets, options)?;
    let step = TimingStats::of(&measured.step_seconds);
    let median = step.map_or(f64::NAN, |step| step.median);
    let bert = &model.bert;
    let mut report = facts(model)?;
    let body = json!({
        "side": "untie",
        "model": {
            "hidden_size": bert.hidden_size, "num_hidden_layers": bert.num_hidden_layers,
            "num_attention_heads": bert.num_attention_heads, "intermediate_size": bert.intermediate_size,
            "vocab_size": bert.vocab_size,
        },
        "dropout": bert.hidden_dropout_prob,
        "groups": map.num_groups(),
        "batch": batch.num_sequences(),
        "sequence_length": batch.sequence_length,
        "targets": batch.num_targets,
        "warmup_steps": options.warmup_steps,
        "tokens_per_second": tokens as f64 / median,
        "step_seconds": step,
        "peak_mib": measured.peak_bytes.map(mebibytes),
        // Before there was a model: program and libraries.
        "baseline_mib": baseline.map(mebibytes),
        "predicted": predicted_mib(&predicted),
        "losses": measured.losses,
        "utilisation": products.utilisation(1, median),
        "product_tflop": products.flops / 1e12,
        "product_tflops": products.rate / 1e12,
    });
    report.extend(body.as_object().cloned().unwrap_or_default());
    Ok(Value::Object(report))
}
