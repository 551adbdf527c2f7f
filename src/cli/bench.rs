//! `untie bench`: measured training steps.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use clap::Args;

use crate::bench::{self, calibration, profile, report, BenchModel, BenchOptions};
use crate::cli::console::Console;
use crate::cli::{named, warn_of};
use crate::config::{ProcessOptions, RunConfig};
use crate::error::{Error, Result};
use crate::growth::{SharingConfig, Start};
use crate::hub;
use crate::model::{BertConfig, Compute, Kernels, ModelConfig, Preset};
use crate::optim::OptimConfig;
use crate::parallel::World;
use crate::pretrain::memory::machine::resident_bytes;
use crate::pretrain::{resolve, Memory};
use crate::step::Precision;
use crate::train::{prepare_cuda_kernels, prepare_process};

/// Arguments of `untie bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// bert-base or bert-large; the sizes below replace those of the preset
    #[arg(long, value_name = "NAME", value_parser = named::<Preset>)]
    preset: Option<Preset>,
    /// Width of the hidden states
    #[arg(long, value_name = "N")]
    hidden_size: Option<i64>,
    /// Number of encoder layers
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Number of attention heads of each layer
    #[arg(long, value_name = "N")]
    heads: Option<i64>,
    /// Width of the feed-forward layer [default: four times the hidden size]
    #[arg(long, value_name = "N")]
    intermediate_size: Option<i64>,
    /// Tokens in the vocabulary
    #[arg(long, value_name = "N", default_value_t = 30522, value_parser = clap::value_parser!(u32).range(1..))]
    vocab_size: u32,
    /// Start from this model instead of sizes: a Hugging Face directory, or the folder of a finished run
    #[arg(long, value_name = "DIR", conflicts_with_all = ["preset", "hidden_size", "layers", "heads", "intermediate_size", "vocab_size"])]
    init: Option<PathBuf>,
    /// Sequences of a step
    #[arg(long, value_name = "B", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Tokens of a sequence
    #[arg(long, value_name = "T", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    sequence_length: u32,
    /// JSON with token_ids [B, T], positions (into the B·T tokens) and their labels [default: random tokens]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "sequence_length"])]
    batch_file: Option<PathBuf>,
    /// Dropout probability
    #[arg(long, value_name = "P", default_value_t = 0.1)]
    dropout: f64,
    /// auto, fp32, bf16, fp16 (only CUDA) or fp64
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = named::<Precision>)]
    precision: Precision,
    /// How layers share weights, like `sharing.start`: tied, untied, AxB or contiguous:G
    #[arg(long, value_name = "PATTERN", default_value = "tied")]
    start: String,
    /// Number of CPU threads; 0: one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// auto, fused or plain, like `train.kernels`
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = named::<Kernels>)]
    kernels: Kernels,
    /// Keep only the inputs of layers and compute their forward pass again in the backward pass
    #[arg(long)]
    activation_checkpointing: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
    /// Steps before the measured ones
    #[arg(long, value_name = "N", default_value_t = 3)]
    warmup_steps: usize,
    /// Measure for at least this many seconds, and at least three steps
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// Print the time of each operation of a step instead of JSON
    #[arg(long)]
    profile: bool,
    /// Measure steps of this configuration on its data, the cheapest and an untied one of each phase, and predict the time of
    /// the run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["preset", "hidden_size", "layers", "heads", "intermediate_size", "vocab_size",
        "init", "batch", "sequence_length", "batch_file", "dropout", "precision", "start", "threads", "kernels",
        "activation_checkpointing", "device", "profile"])]
    config: Option<PathBuf>,
    /// Replace a setting of the configuration; can be repeated
    #[arg(long = "set", value_name = "TABLE.KEY=VALUE", requires = "config")]
    settings: Vec<String>,
    /// With --config: also measure a checkpoint; it is written to this folder and then removed
    #[arg(long, value_name = "DIR", requires = "config")]
    save_in: Option<PathBuf>,
}

impl BenchArgs {
    /// Measures, and prints one JSON object, or with --profile a table.
    ///
    /// # Errors
    /// Sizes, files or a configuration that are invalid, and memory that cannot be had.
    pub fn run(&self) -> Result<()> {
        if !(0.0..1e6).contains(&self.seconds) {
            return Err(Error::config(format!("`--seconds` must be at least 0 and below 1e6, got {}", self.seconds)));
        }
        let options = BenchOptions { warmup_steps: self.warmup_steps, seconds: self.seconds };
        match &self.config {
            Some(path) => {
                let config = RunConfig::load(path, &self.settings)?;
                let device = prepare_process(config.train.process(), None)?;
                let place = (self.save_in.as_deref().unwrap_or(Path::new(".")), Instant::now());
                let (world, mut console) = (Rc::new(World::alone()), Console::default());
                let mut events = |event| console.show(event);
                let run = resolve(config, device, None, &world, place, &mut events)?;
                println!("{}", calibration::calibrate(&run, options, self.save_in.as_deref(), &mut events)?);
                Ok(())
            }
            None => self.measure(options),
        }
    }

    fn measure(&self, options: BenchOptions) -> Result<()> {
        let (device, threads) = (self.device.as_str(), self.threads);
        let process = ProcessOptions { device, threads, deterministic: false, tf32: false };
        process.validate()?;
        let device = prepare_process(process, None)?;
        let (sequences, length) = (self.batch as usize, self.sequence_length as usize);
        let mut bert = self.sizes()?;
        (bert.hidden_dropout_prob, bert.attention_probs_dropout_prob) = (self.dropout, self.dropout);
        let batch = match &self.batch_file {
            Some(path) => bench::batch::read(path, bert.vocab_size)?,
            None => bench::batch::made_up(sequences, length, bert.vocab_size as usize),
        };
        if self.init.is_none() {
            bert.max_position_embeddings = bert.max_position_embeddings.max(batch.sequence_length as i64);
        }
        bert.validate()?;
        if batch.sequence_length as i64 > bert.max_position_embeddings {
            return Err(Error::config(format!(
                "sequences of {} tokens are longer than the model's {} positions",
                batch.sequence_length, bert.max_position_embeddings
            )));
        }
        let sharing = SharingConfig { start: Start::Named(self.start.clone()), ..Default::default() };
        let map = sharing.start_map(bert.num_hidden_layers)?;
        let precision = self.precision.resolve(device)?;
        warn_of(precision, device);
        let (kind, kernels, recompute) = (precision.compute_kind(), self.kernels, self.activation_checkpointing);
        let compute = Compute { kind, kernels, recompute };
        if let Some(warning) = prepare_cuda_kernels(device, compute, &World::alone())? {
            eprintln!("{warning}");
        }
        let model = BenchModel { bert, optim: OptimConfig::default(), sharing, precision, compute, device };
        let baseline = resident_bytes();
        let predicted = Memory::of(&model.step(&map, &batch));
        let mut stopwatch = model.start(&map, self.init.as_deref())?;
        let next = || Ok(vec![batch.clone()]);
        let mut console = Console::default();
        let mut events = |event| console.show(event);
        if self.profile {
            print!("{}", profile::profile(&mut stopwatch, options, next, &mut events)?);
            return Ok(());
        }
        let measured = stopwatch.measure(options, next, &mut events)?;
        // Its memory is free for the products.
        drop(stopwatch);
        println!("{}", report::report(&model, &map, &batch, options, &measured, (baseline, predicted))?);
        Ok(())
    }

    fn sizes(&self) -> Result<BertConfig> {
        if let Some(directory) = &self.init {
            // Its encoder: what it was fine-tuned for does not matter.
            return Ok(BertConfig { task_head: None, ..hub::load_config(directory)? });
        }
        let model = ModelConfig {
            preset: self.preset,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads.or(self.hidden_size.map(|width| (width / 64).max(1))),
            intermediate_size: self.intermediate_size,
            ..Default::default()
        };
        model.resolve(self.vocab_size as usize)
    }
}
