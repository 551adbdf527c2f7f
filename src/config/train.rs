//! The `[train]` and `[eval]` tables, and how `auto` becomes a device and a precision.

use serde::{Deserialize, Serialize};

use crate::config::length::{Asked, TimeBudget};
use crate::config::micro_batch::MicroBatch;
use crate::config::process::ProcessOptions;
use crate::error::{Error, Result};
use crate::keys::classes;
use crate::model::{Compute, Kernels};
use crate::step::Precision;

/// Length, batch, precision and device of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimizer steps of the whole run (the paper: 500,000). A run sets exactly one of `steps`, `epochs` and `time`. Default:
    /// none.
    pub steps: u64,
    /// Passes over the training data, of all phases together, instead of `steps`. `untie` computes `steps` from it when the run
    /// starts. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// How long the whole run may take on this machine, with evaluations, checkpoints and the export, instead of `steps`:
    /// `90s`, `5m`, `1h30m` or `04:00:00`. `untie` measures some steps of every phase when the run starts, and computes `steps`
    /// from them. If the depth changes, it measures the fewest layers and all layers, and takes a straight line between them.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeBudget>,
    /// `untie` writes this key into the config.toml of a run, e.g. `time 5m`: what it computed `steps` from. It has no effect. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_from: Option<String>,
    /// Sequences of one step, in all micro-batches and processes together. Default: 512 (the paper).
    pub global_batch: usize,
    /// Sequences of one forward and backward pass. Must divide `global_batch`. `auto`: as many as fit into memory; fewer after
    /// a step that ran out of memory. Default: 32.
    pub micro_batch: MicroBatch,
    /// `fp32`, `bf16`, `fp16` (only CUDA), `fp64`, or `auto`: bf16 on CUDA and on CPUs that are fast in it, else fp32. Default: `auto`.
    pub precision: Precision,
    /// On CUDA: round the factors of fp32 matrix products to TF32 (10 bits of mantissa). This is several times as fast. It
    /// concerns the steps of `fp32` runs and the evaluations of all runs. Default: false.
    pub tf32: bool,
    /// Seed of the first weights, the order of the data, the masks and the dropout; at most 2^63 - 1. Default: 42.
    pub seed: u64,
    /// Use libtorch's deterministic kernels, so that a run has the same bits on the same kind of machine. Default: false.
    pub deterministic: bool,
    /// `auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:N`. Default: `auto`.
    pub device: String,
    /// CPU threads of the kernels. 0: one thread for each core. Default: 0.
    pub threads: usize,
    /// `fused`: each layer is one operation of this project's own kernels, if there are any for the machine. `plain`: libtorch's
    /// operations. `auto`: `fused` if there are such kernels for the device and the precision, else `plain`. The run prints which
    /// one it takes and why. Default: `auto`.
    pub kernels: Kernels,
    /// Activation checkpointing: a layer keeps only its input and computes its forward pass again in the backward pass. The
    /// same bits, less memory, more time. Default: false.
    pub activation_checkpointing: bool,
    /// Steps between two logged points. Default: 10.
    pub log_every: u64,
}

classes! { TrainConfig {
    Order: global_batch;
    Identity: precision, tf32, seed;
    Open: steps, epochs, time;
    Placement: micro_batch, deterministic, device, threads, kernels, activation_checkpointing;
    Observation: steps_from, log_every;
} }

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 500_000,
            epochs: None,
            time: None,
            steps_from: None,
            global_batch: 512,
            micro_batch: MicroBatch::Sequences(32),
            precision: Precision::Auto,
            tf32: false,
            seed: 42,
            deterministic: false,
            device: "auto".into(),
            threads: 0,
            kernels: Kernels::Auto,
            activation_checkpointing: false,
            log_every: 10,
        }
    }
}

/// Evaluation on held-out text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Steps between two evaluations. 0: only at the untying step and at the end. Default: 1000.
    pub every: u64,
    /// Number of held-out sequences to evaluate on. Fewer if there are fewer. Default: 512.
    pub sequences: u64,
    /// Tokens of a held-out sequence, in every phase of the run. Without it, losses before and after a border between phases
    /// are not of the same text. Default: that of the phase.
    pub sequence_length: Option<usize>,
}

classes! { EvalConfig {
    Open: sequences, sequence_length;
    Observation: every;
} }

impl Default for EvalConfig {
    fn default() -> Self {
        Self { every: 1000, sequences: 512, sequence_length: None }
    }
}

impl EvalConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn validate(&self) -> Result<()> {
        if self.sequences == 0 {
            return Err(Error::config("`eval.sequences` must be at least 1, got 0"));
        }
        Ok(())
    }
}

impl TrainConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [
            ("steps", self.steps),
            ("global_batch", self.global_batch as u64),
            ("micro_batch", self.micro_batch.sequences().unwrap_or(1) as u64),
            ("log_every", self.log_every),
        ] {
            if value == 0 {
                return Err(Error::config(format!("`train.{name}` must be at least 1, got 0")));
            }
        }
        if let Some(epochs) = self.epochs.filter(|epochs| !(*epochs > 0.0 && epochs.is_finite())) {
            return Err(Error::config(format!("`train.epochs` must be finite and above 0, got {epochs}")));
        }
        const LARGEST_BATCH: usize = 1 << 20;
        if self.global_batch > LARGEST_BATCH {
            return Err(Error::config(format!(
                "`train.global_batch` must be at most {LARGEST_BATCH}, got {}",
                self.global_batch
            )));
        }
        self.process().validate()?;
        let micro_batch = self.micro_batch.sequences().unwrap_or(1);
        if !self.global_batch.is_multiple_of(micro_batch) {
            return Err(Error::config(format!(
                "`train.global_batch` = {} is not a multiple of `train.micro_batch` = {micro_batch}",
                self.global_batch
            ))
            .hint("micro-batches add up to the global batch; change one of the two"));
        }
        if self.seed > i64::MAX as u64 {
            return Err(Error::config(format!("`train.seed` must be at most {}, got {}", i64::MAX, self.seed)));
        }
        Ok(())
    }

    /// What is asked for, where it is not a number of steps.
    pub fn asked(&self) -> Option<Asked> {
        self.time.map(Asked::Time).or(self.epochs.map(Asked::Epochs))
    }

    /// The same with the number of steps that was decided, and what it was decided from.
    pub fn of_steps(&self, steps: u64) -> Self {
        let steps_from = self.asked().map(Asked::record).or_else(|| self.steps_from.clone());
        Self { steps, steps_from, epochs: None, time: None, ..self.clone() }
    }

    /// The steps that these tables, of an earlier part of the run, had decided from `asked`.
    pub fn steps_decided_from(&self, asked: Asked) -> Option<u64> {
        (self.steps_from.as_deref() == Some(&asked.record())).then_some(self.steps)
    }

    /// What they say of the whole process.
    pub fn process(&self) -> ProcessOptions<'_> {
        let Self { device, threads, deterministic, tf32, .. } = self;
        ProcessOptions { device, threads: *threads, deterministic: *deterministic, tf32: *tf32 }
    }

    /// How models in training compute; the precision is decided.
    pub fn compute(&self) -> Compute {
        let kind = self.precision.compute_kind();
        Compute { kind, kernels: self.kernels, recompute: self.activation_checkpointing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn impossible_batches_are_refused() {
        let config = TrainConfig { global_batch: 10, micro_batch: 4.into(), ..Default::default() };
        assert!(config.validate().unwrap_err().to_string().contains("not a multiple"));
        let config = TrainConfig { log_every: 0, ..Default::default() };
        assert!(config.validate().unwrap_err().to_string().contains("`train.log_every`"));
    }

    #[test]
    fn what_was_decided_is_recorded_and_found_again() {
        let train = TrainConfig { time: Some(TimeBudget(Duration::from_secs(300))), ..Default::default() };
        let decided = train.of_steps(77);
        assert_eq!((decided.steps, decided.time, decided.steps_from.as_deref()), (77, None, Some("time 5m")));
        let asked = |time| Asked::Time(TimeBudget(Duration::from_secs(time)));
        assert_eq!((decided.steps_decided_from(asked(300)), decided.steps_decided_from(asked(301))), (Some(77), None));
        assert_eq!(decided.steps_decided_from(Asked::Epochs(5.0)), None);
    }
}
