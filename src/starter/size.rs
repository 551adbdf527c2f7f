//! The sizes that `untie new` chooses from, and the settings that go with each.

use crate::error::Result;
use crate::model::{BertConfig, ModelConfig, Norm, Preset};

/// A model's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// 4 layers of 128, as in configs/quickstart.toml.
    Tiny,
    /// 12 layers of 256, as ELECTRA-Small and configs/mini.toml.
    Small,
    /// BERT-base.
    Base,
    /// BERT-large.
    Large,
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhaseTemplate {
    /// The fraction of the run at which it ends; 1 for the last one.
    pub until: f64,
    /// Tokens of a sequence.
    pub sequence_length: usize,
    /// Sequences of a step, where time allows so many.
    pub global_batch: usize,
}

impl Size {
    /// From the smallest.
    pub const ALL: [Self; 4] = [Self::Tiny, Self::Small, Self::Base, Self::Large];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Small => "small",
            Self::Base => "base",
            Self::Large => "large",
        }
    }

    /// The `[model]` table.
    ///
    /// Models that are narrower than BERT have wider first weights: 0.02 · √(768 / `hidden_size`), for tiny 0.07 as in
    /// configs/quickstart.toml. They do not overfit, so they have no dropout. Pre-LN is what the paper uses for its
    /// largest model; BERT-base is Post-LN, so that its export is a `BertForMaskedLM`.
    pub fn model(self) -> ModelConfig {
        let of = |layers: usize, width: i64, positions: i64, initializer_range: f64| ModelConfig {
            hidden_size: Some(width),
            num_hidden_layers: Some(layers),
            num_attention_heads: Some(4),
            max_position_embeddings: Some(positions),
            norm: Some(Norm::Pre),
            initializer_range: Some(initializer_range),
            hidden_dropout_prob: Some(0.0),
            attention_probs_dropout_prob: Some(0.0),
            ..ModelConfig::default()
        };
        match self {
            Self::Tiny => of(4, 128, 128, 0.07),
            Self::Small => of(12, 256, 512, 0.035),
            Self::Base => ModelConfig { preset: Some(Preset::BertBase), ..ModelConfig::default() },
            Self::Large => {
                ModelConfig { preset: Some(Preset::BertLarge), norm: Some(Norm::Pre), ..ModelConfig::default() }
            }
        }
    }

    /// The model with a vocabulary of `tokens`.
    ///
    /// # Errors
    /// An empty vocabulary.
    pub fn bert(self, tokens: usize) -> Result<BertConfig> {
        self.model().resolve(tokens)
    }

    /// The parts of a run. Small models begin with short sequences, which shorten the time in which a model learns only the
    /// frequencies of tokens (configs/paper/mini); larger ones have 128 tokens, then 512, as Google's BERT.
    pub fn phases(self) -> [PhaseTemplate; 2] {
        let phase = |until, sequence_length, global_batch| PhaseTemplate { until, sequence_length, global_batch };
        match self {
            Self::Tiny => [phase(0.6, 16, 32), phase(1.0, 32, 16)],
            Self::Small => [phase(0.3, 16, 512), phase(1.0, 128, 64)],
            Self::Base | Self::Large => [phase(0.9, 128, 256), phase(1.0, 512, 64)],
        }
    }

    /// The peak of the learning rate.
    pub fn lr(self) -> f64 {
        match self {
            Self::Tiny => 1e-3,
            Self::Small => 5e-4,
            Self::Base | Self::Large => 3e-4,
        }
    }

    /// The fraction of the steps in which layers are tied: the paper's tenth, and more in the short runs of a tiny model,
    /// which need it to get past the frequencies of tokens.
    pub fn untie_at(self) -> f64 {
        match self {
            Self::Tiny => 0.4,
            _ => 0.1,
        }
    }
}
