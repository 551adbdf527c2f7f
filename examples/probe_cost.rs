//! What a probed step costs: time as a ratio to a plain step, alternated in one process, and memory.
//!
//!     cargo run --release --example probe_cost -- --hidden-size 768 --batch 8
//!
//! Prints one JSON object. The batch is made up; nothing is read or written.

use std::time::Instant;

use clap::Parser;
use untie::bench::batch::made_up;
use untie::bench::{memory, TimingStats};
use untie::error::Result;
use untie::growth::{RuleKind, SharingConfig, Start};
use untie::loss::masked_lm;
use untie::model::{BertConfig, Mode, ModelConfig, Weights};
use untie::optim::{Moments, OptimConfig};
use untie::parallel::World;
use untie::pretrain::calibrate::synchronise;
use untie::step::Precision;
use untie::train::{InitialState, TrainSpec, TrainState};

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 12)]
    layers: i64,
    #[arg(long, default_value_t = 256)]
    hidden_size: i64,
    /// Sequences of a step
    #[arg(long, default_value_t = 32)]
    batch: usize,
    #[arg(long, default_value_t = 128)]
    sequence_length: usize,
    #[arg(long, default_value_t = 8192)]
    vocab_size: usize,
    /// Dropout probability
    #[arg(long, default_value_t = 0.1)]
    dropout: f64,
    /// Sharing at the start, as `sharing.start`
    #[arg(long, default_value = "tied")]
    start: String,
    /// Pairs of a plain and a probed step
    #[arg(long, default_value_t = 8)]
    pairs: u64,
    #[arg(long, default_value = "cpu")]
    device: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = untie::train::resolve_device(&arguments.device)?;
    let precision = Precision::Auto.resolve(device)?;
    let bert = sizes(&arguments)?;
    let start = Start::Named(arguments.start.clone());
    // Every second step is a check of a rule that watches.
    let sharing =
        SharingConfig { start, rule: Some(RuleKind::MultiStep), check_every: 2, monitor: true, ..Default::default() };
    let map = sharing.start_map(bert.num_hidden_layers)?;
    let weights = Weights::initialise(&bert, &map, 1, precision.weight_kind(), device)?;
    let layers = weights.entries().iter().filter(|weight| weight.spec.group == Some(0));
    let layer_bytes = 4.0 * layers.map(|weight| weight.tensor.numel() as f64).sum::<f64>();
    let moments = Moments::zeros(&weights)?;
    let compute = precision.compute_kind().into();
    let spec = TrainSpec::new(bert.clone(), OptimConfig::default(), sharing, compute, u64::MAX);
    let mut state = TrainState::new(spec, InitialState::new(map, weights, moments), World::alone().into())?;
    let batch = made_up(arguments.batch, arguments.sequence_length, arguments.vocab_size);
    let (targets, batch) = (batch.num_targets, batch.to_device(device)?);
    let (mut seconds, mut peaks) = ([Vec::new(), Vec::new()], [0_u64; 2]);
    let warm_up = 4;
    for step in 1..=2 * (warm_up / 2 + arguments.pairs) {
        // Without the right to, the peaks of both kinds of steps are those of the whole process.
        memory::reset_peak(tch::Device::Cpu);
        let begin = Instant::now();
        let (_, check) =
            state.step(step, 1e-5, 1, |model, _| Ok(masked_lm(model, &batch, targets, Mode::Train)?.loss))?;
        synchronise(device);
        let probed = usize::from(check.is_some());
        if step > warm_up {
            seconds[probed].push(begin.elapsed().as_secs_f64());
            peaks[probed] = peaks[probed].max(memory::peak_bytes(tch::Device::Cpu).unwrap_or(0));
        }
    }
    let [plain, probed] = seconds.map(|times| TimingStats::of(&times).map(|stats| stats.median));
    let mib = |bytes: f64| (bytes / f64::from(1 << 20)).round();
    let report = serde_json::json!({
        "layers": arguments.layers, "hidden_size": arguments.hidden_size, "batch": arguments.batch,
        "sequence_length": arguments.sequence_length, "start": arguments.start,
        "compute": format!("{:?}", precision.compute_kind()), "device": arguments.device,
        "plain_seconds": plain, "probed_seconds": probed, "ratio": probed.zip(plain).map(|(probed, plain)| probed / plain),
        "gradients_of_all_layers_mib": mib(layer_bytes * arguments.layers as f64),
        "peak_mib_plain": mib(peaks[0] as f64), "peak_mib_probed": mib(peaks[1] as f64),
    });
    println!("{report}");
    Ok(())
}

fn sizes(arguments: &Arguments) -> Result<BertConfig> {
    let width = arguments.hidden_size;
    let model = ModelConfig {
        hidden_size: Some(width),
        num_hidden_layers: Some(arguments.layers as usize),
        num_attention_heads: Some((width / 64).max(1)),
        intermediate_size: Some(4 * width),
        max_position_embeddings: Some(arguments.sequence_length as i64),
        hidden_dropout_prob: Some(arguments.dropout),
        attention_probs_dropout_prob: Some(arguments.dropout),
        ..Default::default()
    };
    model.resolve(arguments.vocab_size)
}
