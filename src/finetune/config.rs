//! The tables of a fine-tuning sweep: what to learn, for how long, with which learning rates and seeds.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::checkpoint::CheckpointConfig;
use crate::config::ProcessOptions;
use crate::error::{Error, Result};
use crate::finetune::squad::{AnswerConfig, WindowConfig};
use crate::finetune::task::Task;
use crate::keys::{class_of, classes, flatten, Keys};
use crate::metrics::MetricsConfig;
use crate::model::{Compute, Kernels};
use crate::optim::{OptimConfig, ScheduleKind, Span};
use crate::parallel::ParallelConfig;
use crate::step::Precision;

/// The learning rates of the paper (docs/method.md, "The settings"), of which the best on dev is taken.
pub const PAPER_RATES: [f64; 9] = [1e-5, 1.5e-5, 2e-5, 3e-5, 4e-5, 5e-5, 7.5e-5, 1e-4, 1.2e-4];

/// All tables of a fine-tuning configuration. A missing key has its default; an unknown key is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinetuneConfig {
    /// What is learnt.
    pub task: TaskConfig,
    /// Length, batch, precision, device.
    #[serde(default)]
    pub train: FinetuneTrainConfig,
    /// AdamW and its learning rates.
    #[serde(default)]
    pub optim: FinetuneOptimConfig,
    /// When a run saves itself.
    #[serde(default = "default_checkpoints")]
    pub checkpoint: CheckpointConfig,
    /// What is recorded.
    #[serde(default)]
    pub metrics: MetricsConfig,
    /// Several processes.
    #[serde(default)]
    pub parallel: ParallelConfig,
}

classes! { FinetuneConfig {} with task: TaskConfig, train: FinetuneTrainConfig, optim: FinetuneOptimConfig, checkpoint: CheckpointConfig,
metrics: MetricsConfig, parallel: ParallelConfig }

/// The task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// The task: `cola`, `sst2`, `mrpc`, `stsb`, `qqp`, `mnli`, `qnli`, `rte`, `wnli`, `ax`, `squad1`, `squad2`; for own files
    /// `text-classification`, `regression` or `token-classification`. Required.
    pub name: Task,
    /// Longest sequence in tokens. Longer ones are cut (SQuAD: into windows). Default: 128, for SQuAD 384.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// SQuAD: how many tokens of the context two windows have in common. Default: 128.
    #[serde(default = "default_stride")]
    pub stride: usize,
    /// SQuAD: how an answer is chosen; the keys are below. Default: those below.
    #[serde(default)]
    pub answers: AnswerConfig,
    /// Own files: the column of the text, or of the first text of a pair. Default: the first that is there of `text` (with
    /// `text_pair`), `sentence`, `sentence1` (with `sentence2`), `premise` (with `hypothesis`) and `question1` (with `question2`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Own files: the column of the second text of a pair. Default: none, or the one beside the default of `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_pair: Option<String>,
    /// Own files: the column of the label, the number or the tags. Default: the first that is there of `label`, `labels` and `score`,
    /// or of `tags`, `ner_tags`, `labels` and `label`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// MNLI: also predict and score GLUE's diagnostic set (task `ax`) in this folder. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<PathBuf>,
}

classes! { TaskConfig {
    Identity: name, max_length, stride, answers, text, text_pair, label;
    Observation: diagnostics;
} }

/// Length, batch, precision and device of each run of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneTrainConfig {
    /// Passes over the training set. 0: only evaluate the model. Default: 3 (the paper).
    pub epochs: u64,
    /// Examples of one step. The last step of an epoch has the examples that are left. Default: 32.
    pub batch: usize,
    /// Examples of one forward and backward pass. Default: all of the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Put examples of similar lengths into one batch. This gives less padding and a less random order. Default: false.
    pub group_by_length: bool,
    /// Number of seeds: 1, 2, … They decide the new head, the order and the dropout. Default: 4, for SQuAD 5 (the paper), for own
    /// files 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<u64>,
    /// Probability of dropout in the layers and before the head. Default: the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_dropout_prob: Option<f64>,
    /// Probability of dropout on attention weights. Default: the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_probs_dropout_prob: Option<f64>,
    /// `fp32`, `bf16`, `fp16` (only CUDA), `fp64`, or `auto` as in pre-training (with 0 epochs fp32). Default: `auto`.
    pub precision: Precision,
    /// On CUDA: TF32 for products of fp32 matrices. Default: false.
    pub tf32: bool,
    /// The same bits on the same kind of machine. Default: false.
    pub deterministic: bool,
    /// `auto` (CUDA if there is one), `cpu`, `cuda` or `cuda:N`. Default: `auto`.
    pub device: String,
    /// CPU threads. 0: one thread for each core. Default: 0.
    pub threads: usize,
    /// `auto`, `fused` or `plain`, as in pre-training. Default: `auto`.
    pub kernels: Kernels,
    /// Activation checkpointing: layers keep only their inputs. Default: false.
    pub activation_checkpointing: bool,
    /// Steps between two logged points. Default: 50.
    pub log_every: u64,
}

classes! { FinetuneTrainConfig {
    Identity: epochs, batch, group_by_length, hidden_dropout_prob, attention_probs_dropout_prob, precision, tf32;
    // How many runs a sweep has; each has its seed.
    Open: seeds;
    Placement: micro_batch, deterministic, device, threads, kernels, activation_checkpointing;
    Observation: log_every;
} }

/// AdamW and its learning rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinetuneOptimConfig {
    /// Peak learning rates. Each one is a run for each seed. Default: the nine of the paper, for own files 2e-5, 5e-5 and 1e-4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<Vec<f64>>,
    /// Length of the linear warm-up: steps (an integer) or a fraction of all steps. Default: 0.1 (the paper).
    pub warmup: Span,
    /// How the learning rate falls after the warm-up: `linear`, `cosine`, `constant` or `wsd` (falls in the last tenth).
    /// Default: `linear`.
    pub schedule: ScheduleKind,
    /// AdamW's weight decay. Biases and LayerNorm have none. Default: 0.01.
    pub weight_decay: f64,
    /// AdamW's β1 and β2: decay of the first and second moment. Default: [0.9, 0.999].
    pub betas: [f64; 2],
    /// AdamW's ε, added to the root of the second moment. Default: 1e-6.
    pub eps: f64,
    /// Largest global norm of the gradients; longer gradients are clipped. 0: no clipping. Default: 1.
    pub clip_norm: f64,
}

classes! { FinetuneOptimConfig {
    // A run for each.
    Open: lr;
    Identity: warmup, schedule, weight_decay, betas, eps, clip_norm;
} }

impl Default for FinetuneTrainConfig {
    fn default() -> Self {
        Self {
            epochs: 3,
            batch: 32,
            micro_batch: None,
            group_by_length: false,
            seeds: None,
            hidden_dropout_prob: None,
            attention_probs_dropout_prob: None,
            precision: Precision::Auto,
            tf32: false,
            deterministic: false,
            device: "auto".into(),
            threads: 0,
            kernels: Kernels::Auto,
            activation_checkpointing: false,
            log_every: 50,
        }
    }
}

impl Default for FinetuneOptimConfig {
    fn default() -> Self {
        let OptimConfig { schedule, weight_decay, betas, eps, clip_norm, .. } = OptimConfig::default();
        let warmup = Span::Fraction(0.1);
        Self { lr: None, warmup, schedule, weight_decay, betas, eps, clip_norm }
    }
}

fn default_checkpoints() -> CheckpointConfig {
    CheckpointConfig { keep_last: 1, ..CheckpointConfig::default() }
}

fn default_stride() -> usize {
    WindowConfig::default().stride
}

impl FinetuneOptimConfig {
    /// AdamW of the run with this peak learning rate.
    pub fn at(&self, lr: f64) -> OptimConfig {
        OptimConfig {
            lr,
            warmup: self.warmup,
            schedule: self.schedule,
            weight_decay: self.weight_decay,
            betas: self.betas,
            eps: self.eps,
            clip_norm: self.clip_norm,
            ..Default::default()
        }
    }
}

impl FinetuneTrainConfig {
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

impl FinetuneConfig {
    /// The defaults of a task.
    pub fn of_task(name: Task) -> Self {
        let task = TaskConfig {
            name,
            max_length: None,
            stride: default_stride(),
            answers: AnswerConfig::default(),
            text: None,
            text_pair: None,
            label: None,
            diagnostics: None,
        };
        Self {
            task,
            train: FinetuneTrainConfig::default(),
            optim: FinetuneOptimConfig::default(),
            checkpoint: default_checkpoints(),
            metrics: MetricsConfig::default(),
            parallel: ParallelConfig::default(),
        }
    }

    /// Longest sequence, in tokens.
    pub fn max_length(&self) -> usize {
        let of_task = if self.is_squad() { WindowConfig::default().max_length } else { 128 };
        self.task.max_length.unwrap_or(of_task)
    }

    /// Number of seeds.
    pub fn num_seeds(&self) -> u64 {
        self.train.seeds.unwrap_or(match self.task.name {
            Task::Squad1 | Task::Squad2 => 5,
            task if task.is_custom() => 1,
            _ => 4,
        })
    }

    /// The peak learning rates.
    pub fn rates(&self) -> &[f64] {
        let of_task: &[f64] = if self.task.name.is_custom() { &[2e-5, 5e-5, 1e-4] } else { &PAPER_RATES };
        self.optim.lr.as_deref().unwrap_or(of_task)
    }

    /// Examples of one forward and backward.
    pub fn micro_batch(&self) -> usize {
        self.train.micro_batch.unwrap_or(self.train.batch).min(self.train.batch)
    }

    /// What makes a run of the sweep this run, beside its learning rate and its seed: the keys that it cannot go on without,
    /// each as `table.key`.
    ///
    /// # Errors
    /// Numbers that JSON does not have.
    pub fn computed(&self) -> Result<Value> {
        // What was left to its default is the same as its default said aloud.
        let mut resolved = self.clone();
        resolved.task.max_length = Some(self.max_length());
        let refuse = |error: serde_json::Error| Error::failed("the tables have no JSON form").caused_by(error);
        let keys = flatten(&serde_json::to_value(&resolved).map_err(refuse)?).into_iter();
        Ok(keys.filter(|(key, _)| class_of(Self::CLASSES, key).is_fixed()).collect())
    }

    /// Hash of [`Self::computed`], as hexadecimal digits.
    ///
    /// # Errors
    /// As [`Self::computed`].
    pub fn hash(&self) -> Result<String> {
        Ok(format!("{:016x}", xxh3_64(self.computed()?.to_string().as_bytes())))
    }

    fn is_squad(&self) -> bool {
        matches!(self.task.name, Task::Squad1 | Task::Squad2)
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// The first setting that is impossible, by name.
    pub fn validate(&self) -> Result<()> {
        let FinetuneTrainConfig { epochs, batch, micro_batch, seeds, log_every, .. } = self.train;
        const MOST_EPOCHS: u64 = 1000;
        if epochs > MOST_EPOCHS {
            return Err(Error::config(format!("`train.epochs` must be at most {MOST_EPOCHS}, got {epochs}")));
        }
        const LARGEST_BATCH: usize = 1 << 16;
        for (name, value) in [("batch", batch), ("micro_batch", micro_batch.unwrap_or(1))] {
            if !(1..=LARGEST_BATCH).contains(&value) {
                return Err(Error::config(format!(
                    "`train.{name}` must be between 1 and {LARGEST_BATCH}, got {value}"
                )));
            }
        }
        for (name, value) in [("seeds", seeds.unwrap_or(1)), ("log_every", log_every)] {
            if value == 0 {
                return Err(Error::config(format!("`train.{name}` must be at least 1, got 0")));
            }
        }
        for (name, value) in [
            ("hidden_dropout_prob", self.train.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.train.attention_probs_dropout_prob),
        ] {
            if let Some(value) = value.filter(|value| !(0.0..1.0).contains(value)) {
                return Err(Error::config(format!("`train.{name}` must be in [0, 1), got {value}")));
            }
        }
        if self.rates().is_empty() {
            return Err(Error::config("`optim.lr` must be a list of at least one learning rate"));
        }
        for (at, &lr) in self.rates().iter().enumerate() {
            // Warm-up in steps is held against the length of the run once that is known.
            self.optim.at(lr).validate(u64::MAX)?;
            if self.rates()[..at].contains(&lr) {
                return Err(Error::config(format!("`optim.lr` names {lr} twice")));
            }
        }
        self.train.process().validate()?;
        self.parallel.validate()?;
        self.checkpoint.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::assert_names;

    fn parse(text: &str) -> std::result::Result<FinetuneConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn the_defaults_are_the_papers_protocol() {
        let config = parse("[task]\nname = \"sst2\"\n").unwrap();
        assert_eq!(config, FinetuneConfig::of_task(Task::Sst2));
        config.validate().unwrap();
        assert_eq!((config.train.epochs, config.num_seeds(), config.max_length()), (3, 4, 128));
        assert_eq!(config.optim.warmup, Span::Fraction(0.1));
        // Part of a table leaves the rest of it at these defaults, not at those of pre-training.
        let config = parse("[task]\nname = \"squad2\"\n[optim]\nlr = [3e-5]\n[checkpoint]\nevery = 10\n").unwrap();
        assert_eq!((config.num_seeds(), config.max_length()), (5, 384));
        assert_eq!(config.optim.warmup, Span::Fraction(0.1));
    }

    #[test]
    fn every_key_has_its_class_under_the_name_in_files() {
        assert_names::<FinetuneConfig>();
        assert_names::<TaskConfig>();
        assert_names::<FinetuneTrainConfig>();
        assert_names::<FinetuneOptimConfig>();
    }

    /// Where and how a run is computed and watched, and which runs a sweep has, leave the hash of the others alone.
    #[test]
    fn what_decides_a_run_is_what_its_hash_is_of() {
        let plain = || FinetuneConfig::of_task(Task::Rte);
        let hash = |change: &dyn Fn(&mut FinetuneConfig)| {
            let mut config = plain();
            change(&mut config);
            config.hash().unwrap()
        };
        let own = plain().hash().unwrap();
        type Change = &'static dyn Fn(&mut FinetuneConfig);
        let same: [Change; 12] = [
            &|config| config.train.device = "cpu".into(),
            &|config| config.train.threads = 1,
            &|config| config.train.kernels = Kernels::Plain,
            &|config| config.train.activation_checkpointing = true,
            &|config| config.train.deterministic = true,
            &|config| config.train.micro_batch = Some(2),
            &|config| config.train.log_every = 1,
            &|config| config.train.seeds = Some(9),
            &|config| config.optim.lr = Some(vec![1e-4]),
            &|config| config.checkpoint.every = 7,
            &|config| config.metrics.tensorboard = false,
            // The default of the task, said aloud.
            &|config| config.task.max_length = Some(128),
        ];
        assert!(same.iter().all(|change| hash(*change) == own));
        let other: [Change; 7] = [
            &|config| config.train.epochs = 2,
            &|config| config.train.batch = 16,
            &|config| config.train.tf32 = true,
            &|config| config.train.hidden_dropout_prob = Some(0.0),
            &|config| config.optim.weight_decay = 0.0,
            &|config| config.task.max_length = Some(64),
            &|config| config.task.stride = 1,
        ];
        let mut hashes: Vec<String> = other.iter().map(|change| hash(*change)).chain([own.clone()]).collect();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), 8);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("[task]\nname = \"mnli-mm\"\n", "unknown variant `mnli-mm`"),
            ("[task]\nname = \"rte\"\n[train]\nepoch = 3\n", "unknown field `epoch`"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        for (text, words) in [
            ("[train]\nbatch = 0\n", "`train.batch`"),
            ("[train]\nseeds = 0\n", "`train.seeds`"),
            ("[train]\nhidden_dropout_prob = 1.0\n", "`train.hidden_dropout_prob`"),
            ("[optim]\nlr = []\n", "`optim.lr`"),
            ("[optim]\nlr = [1e-5, 1e-5]\n", "twice"),
            ("[optim]\nlr = [-1.0]\n", "`optim.lr` must be finite and above 0"),
        ] {
            let message =
                parse(&format!("[task]\nname = \"rte\"\n{text}")).unwrap().validate().unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
