//! The sizes of a BERT: the `[model]` table of a run, and the resolved configuration that the modules are built from.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::keys::classes;

/// Where a layer normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// After each residual sum, as the original BERT does.
    Post,
    /// Before attention and feed-forward, with one more LayerNorm after the last layer, as Megatron-LM does.
    Pre,
}

/// Published sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preset {
    /// 12 layers, hidden 768, 12 heads, feed-forward 3072.
    #[serde(rename = "bert-base")]
    BertBase,
    /// 24 layers, hidden 1024, 16 heads, feed-forward 4096.
    #[serde(rename = "bert-large")]
    BertLarge,
}

/// The sizes of the model. They come from `preset`; each other key replaces the preset's value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Published sizes: `bert-base` or `bert-large`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Width of the hidden states. Required without `preset` and `init`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_size: Option<i64>,
    /// Number of encoder layers. Required without `preset` and `init`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_hidden_layers: Option<usize>,
    /// Attention heads of each layer. Must divide `hidden_size`. Required without `preset` and `init`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_attention_heads: Option<i64>,
    /// Width of the feed-forward layer. Default: four times `hidden_size`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intermediate_size: Option<i64>,
    /// Longest sequence, in tokens. Default: 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_position_embeddings: Option<i64>,
    /// Where LayerNorm stands: `post` (BERT) or `pre` (Megatron-LM, and the paper on Wikipedia + BookCorpus). Default: `post`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
    /// Probability of dropout after embeddings, attention and feed-forward. Default: 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_dropout_prob: Option<f64>,
    /// Probability of dropout on attention weights. Default: 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_probs_dropout_prob: Option<f64>,
    /// Standard deviation σ of the first weights (a normal distribution cut off at 2 σ). A model that is much narrower than
    /// BERT needs a larger value, in proportion to 1/√`hidden_size`. Default: 0.02 (BERT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initializer_range: Option<f64>,
    /// Rows of the word embeddings, at least as many as the tokenizer has tokens. Default: the number of tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocab_size: Option<i64>,
    /// Number of segment types. Pairs of segments need two. Default: 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_vocab_size: Option<i64>,
    /// ε of every LayerNorm, above 0. Default: 1e-12 (BERT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_norm_eps: Option<f64>,
    /// Start from the weights of this model: the folder of a Hugging Face model or of a finished run. The model brings all
    /// other keys of this table. A key that is given too must have the model's value; only the two dropouts may differ.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
}

classes! { ModelConfig {
    Identity: preset, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, max_position_embeddings, norm,
        hidden_dropout_prob, attention_probs_dropout_prob, initializer_range, vocab_size,
        type_vocab_size, layer_norm_eps, init;
} }
/// Most rows of a table of embeddings.
const MOST_ROWS: i64 = (1 << 31) - 1;

/// Most values that a task head can have; a bound against nonsense in files.
const MOST_LABELS: usize = 1 << 16;

/// What a model that is fine-tuned for a task has instead of the heads of pre-training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum TaskHead {
    /// One answer a sequence, from the pooled `[CLS]` (`BertForSequenceClassification`).
    Sequence {
        /// Classes; 1: a number (regression).
        num_labels: usize,
    },
    /// A start and an end in every sequence (`BertForQuestionAnswering`).
    Span,
    /// A class for every token (`BertForTokenClassification`).
    Token {
        /// Classes.
        num_labels: usize,
    },
}

/// Every size of one model, validated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// Tokens in the vocabulary (V), without padding.
    pub vocab_size: i64,
    /// Width of the residual stream (C).
    pub hidden_size: i64,
    /// Number of encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads (H).
    pub num_attention_heads: i64,
    /// Width of the feed-forward layer.
    pub intermediate_size: i64,
    /// Longest sequence.
    pub max_position_embeddings: i64,
    /// Number of segment types; BERT has two.
    pub type_vocab_size: i64,
    /// Where layers normalise.
    pub norm: Norm,
    /// Dropout of the residual branches.
    pub hidden_dropout_prob: f64,
    /// Dropout of attention weights.
    pub attention_probs_dropout_prob: f64,
    /// ε of every LayerNorm; BERT's is 1e-12.
    pub layer_norm_eps: f64,
    /// Standard deviation of the truncated normal that weights start from; BERT's is 0.02.
    pub initializer_range: f64,
    /// Whether there is a head that classifies pairs of segments (`BertForPreTraining`).
    #[serde(default)]
    pub pair_head: bool,
    /// The head of a fine-tuned model, which has neither of the heads of pre-training; `None`: it has those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_head: Option<TaskHead>,
}

impl ModelConfig {
    /// Takes over the sizes of the model that `init` names, `found`.
    ///
    /// # Errors
    /// A key that is given and differs from it.
    pub fn adopt(&mut self, found: &BertConfig) -> Result<()> {
        let from = self.init.clone().unwrap_or_default();
        let [hidden, layers, heads, intermediate] = self.preset_sizes();
        self.hidden_size = agree("hidden_size", self.hidden_size.or(hidden), found.hidden_size, &from)?;
        let layers = layers.and_then(|layers| usize::try_from(layers).ok());
        self.num_hidden_layers =
            agree("num_hidden_layers", self.num_hidden_layers.or(layers), found.num_hidden_layers, &from)?;
        self.num_attention_heads =
            agree("num_attention_heads", self.num_attention_heads.or(heads), found.num_attention_heads, &from)?;
        self.intermediate_size =
            agree("intermediate_size", self.intermediate_size.or(intermediate), found.intermediate_size, &from)?;
        self.max_position_embeddings =
            agree("max_position_embeddings", self.max_position_embeddings, found.max_position_embeddings, &from)?;
        self.norm = agree("norm", self.norm, found.norm, &from)?;
        self.initializer_range = agree("initializer_range", self.initializer_range, found.initializer_range, &from)?;
        self.vocab_size = agree("vocab_size", self.vocab_size, found.vocab_size, &from)?;
        self.type_vocab_size = agree("type_vocab_size", self.type_vocab_size, found.type_vocab_size, &from)?;
        self.layer_norm_eps = agree("layer_norm_eps", self.layer_norm_eps, found.layer_norm_eps, &from)?;
        // No sizes: what is given counts.
        self.hidden_dropout_prob.get_or_insert(found.hidden_dropout_prob);
        self.attention_probs_dropout_prob.get_or_insert(found.attention_probs_dropout_prob);
        Ok(())
    }

    /// Whether every key has a value, as after [`Self::adopt`]: in the config.toml of a run.
    pub fn is_complete(&self) -> bool {
        let sizes = [
            self.hidden_size,
            self.num_attention_heads,
            self.intermediate_size,
            self.max_position_embeddings,
            self.vocab_size,
            self.type_vocab_size,
        ];
        let numbers =
            [self.hidden_dropout_prob, self.attention_probs_dropout_prob, self.initializer_range, self.layer_norm_eps];
        sizes.iter().all(Option::is_some)
            && numbers.iter().all(Option::is_some)
            && self.num_hidden_layers.is_some()
            && self.norm.is_some()
    }

    /// Hidden size, layers, heads and feed-forward of `preset`.
    fn preset_sizes(&self) -> [Option<i64>; 4] {
        match self.preset {
            Some(Preset::BertBase) => [768, 12, 12, 3072].map(Some),
            Some(Preset::BertLarge) => [1024, 24, 16, 4096].map(Some),
            None => [None; 4],
        }
    }

    /// Fills in preset and defaults for a tokenizer of `num_tokens` tokens, and checks that the sizes fit each other.
    ///
    /// # Errors
    /// A missing or impossible size; the message names the setting.
    pub fn resolve(&self, num_tokens: usize) -> Result<BertConfig> {
        let [hidden, layers, heads, intermediate] = self.preset_sizes();
        let layers = layers.and_then(|layers| usize::try_from(layers).ok());
        let hidden_size = required("hidden_size", self.hidden_size.or(hidden))?;
        let num_tokens = i64::try_from(num_tokens)
            .map_err(|_| Error::data(format!("a vocabulary of {num_tokens} tokens is too large")))?;
        if num_tokens == 0 {
            return Err(Error::data("the tokenizer has no tokens"));
        }
        let config = BertConfig {
            vocab_size: self.vocab_size.unwrap_or(num_tokens),
            hidden_size,
            num_hidden_layers: required("num_hidden_layers", self.num_hidden_layers.or(layers))?,
            num_attention_heads: required("num_attention_heads", self.num_attention_heads.or(heads))?,
            intermediate_size: self.intermediate_size.or(intermediate).unwrap_or(hidden_size.saturating_mul(4)),
            max_position_embeddings: self.max_position_embeddings.unwrap_or(512),
            type_vocab_size: self.type_vocab_size.unwrap_or(2),
            norm: self.norm.unwrap_or(Norm::Post),
            hidden_dropout_prob: self.hidden_dropout_prob.unwrap_or(0.1),
            attention_probs_dropout_prob: self.attention_probs_dropout_prob.unwrap_or(0.1),
            layer_norm_eps: self.layer_norm_eps.unwrap_or(1e-12),
            initializer_range: self.initializer_range.unwrap_or(0.02),
            pair_head: false,
            task_head: None,
        };
        config.validate()?;
        if config.vocab_size < num_tokens {
            let smaller = Error::config(format!(
                "`model.vocab_size` = {} is smaller than the vocabulary of the data, {num_tokens} tokens",
                config.vocab_size
            ));
            return Err(smaller.hint(match &self.init {
                Some(_) => "prepare the data with `--tokenizer` of the model that `model.init` names",
                None => "leave it out: it is then the number of tokens",
            }));
        }
        Ok(config)
    }
}

/// `found`, the value that the model in `from` has for the key `name`, unless another was `given`.
fn agree<T: PartialEq + Debug>(name: &str, given: Option<T>, found: T, from: &Path) -> Result<Option<T>> {
    let shown = |value: &T| format!("{value:?}").to_lowercase();
    match given {
        Some(given) if given != found => Err(Error::config(format!(
            "`model.{name}` = {}, but the model in `{}` has {}",
            shown(&given),
            from.display(),
            shown(&found)
        ))
        .hint("leave out the sizes in `[model]`, a `preset` too: `model.init` brings them all")),
        _ => Ok(Some(found)),
    }
}

fn required<T>(name: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| {
        Error::config(format!("`model.{name}` is missing"))
            .hint("give the sizes of the model, or `preset = \"bert-base\"` or `\"bert-large\"`")
    })
}

impl BertConfig {
    /// Checks that the sizes are possible and fit each other.
    ///
    /// # Errors
    /// The first size that does not; the message names the setting to change.
    pub fn validate(&self) -> Result<()> {
        for (name, value, largest) in [
            ("hidden_size", self.hidden_size, 1 << 16),
            ("num_hidden_layers", i64::try_from(self.num_hidden_layers).unwrap_or(i64::MAX), 1 << 10),
            ("num_attention_heads", self.num_attention_heads, 1 << 16),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("max_position_embeddings", self.max_position_embeddings, 1 << 20),
            ("vocab_size", self.vocab_size, MOST_ROWS),
            ("type_vocab_size", self.type_vocab_size, MOST_ROWS),
        ] {
            if !(1..=largest).contains(&value) {
                return Err(Error::config(format!("`model.{name}` must be between 1 and {largest}, got {value}")));
            }
        }
        if self.hidden_size % self.num_attention_heads != 0 {
            return Err(Error::config(format!(
                "`model.hidden_size` = {} is not divisible by `model.num_attention_heads` = {}",
                self.hidden_size, self.num_attention_heads
            ))
            .hint("every head needs the same whole number of features; change one of the two"));
        }
        for (name, value) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
        ] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::config(format!("`model.{name}` must be in [0, 1), got {value}")));
            }
        }
        if !(self.initializer_range >= 0.0 && self.initializer_range.is_finite()) {
            let got = self.initializer_range;
            return Err(Error::config(format!("`model.initializer_range` must be finite and 0 or more, got {got}")));
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps.is_finite()) {
            let got = self.layer_norm_eps;
            return Err(Error::config(format!("`model.layer_norm_eps` must be finite and above 0, got {got}")));
        }
        if let Some(TaskHead::Sequence { num_labels } | TaskHead::Token { num_labels }) = self.task_head {
            if !(1..=MOST_LABELS).contains(&num_labels) {
                return Err(Error::config(format!(
                    "`num_labels` must be between 1 and {MOST_LABELS}, got {num_labels}"
                )));
            }
        }
        if self.task_head.is_some() && self.pair_head {
            return Err(Error::config("a model with a task head has no head for pairs of segments"));
        }
        Ok(())
    }

    /// Rows of the word embeddings in memory: the vocabulary rounded up to a multiple of 64, which matrix units like.
    pub fn padded_vocab_size(&self) -> i64 {
        (self.vocab_size + 63) / 64 * 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_the_published_sizes_and_fields_replace_them() {
        let base = ModelConfig { preset: Some(Preset::BertBase), ..Default::default() }.resolve(30522).unwrap();
        assert_eq!((base.hidden_size, base.num_hidden_layers, base.intermediate_size), (768, 12, 3072));
        assert_eq!(base.padded_vocab_size(), 30528);
        let small = ModelConfig { preset: Some(Preset::BertLarge), num_hidden_layers: Some(6), ..Default::default() };
        assert_eq!(small.resolve(100).unwrap().num_hidden_layers, 6);
    }

    #[test]
    fn an_impossible_task_head_is_refused() {
        let plain = ModelConfig { preset: Some(Preset::BertBase), ..Default::default() }.resolve(100).unwrap();
        let with = |num_labels| BertConfig { task_head: Some(TaskHead::Sequence { num_labels }), ..plain.clone() };
        with(1).validate().unwrap();
        for num_labels in [0, MOST_LABELS + 1] {
            let message = with(num_labels).validate().unwrap_err().to_string();
            assert!(
                message.contains(&format!("`num_labels` must be between 1 and 65536, got {num_labels}")),
                "{message}"
            );
        }
        let both = BertConfig { pair_head: true, task_head: Some(TaskHead::Span), ..plain };
        assert!(both.validate().unwrap_err().to_string().contains("no head for pairs"));
    }

    /// What earlier versions wrote, and what a model without a task head still is.
    #[test]
    fn the_json_of_a_model_without_a_task_head_does_not_name_one() {
        let plain = ModelConfig { preset: Some(Preset::BertBase), ..Default::default() }.resolve(100).unwrap();
        let json = serde_json::to_value(&plain).unwrap();
        assert!(json.get("task_head").is_none(), "{json}");
        assert_eq!(serde_json::from_value::<BertConfig>(json).unwrap(), plain);
        for (head, expected) in [
            (TaskHead::Sequence { num_labels: 3 }, serde_json::json!({"kind": "sequence", "num_labels": 3})),
            (TaskHead::Span, serde_json::json!({"kind": "span"})),
        ] {
            let json = serde_json::to_value(BertConfig { task_head: Some(head), ..plain.clone() }).unwrap();
            assert_eq!(json["task_head"], expected);
            assert_eq!(serde_json::from_value::<BertConfig>(json).unwrap().task_head, Some(head));
        }
    }

    #[test]
    fn impossible_sizes_name_the_setting() {
        let base = ModelConfig { preset: Some(Preset::BertBase), ..Default::default() };
        for (config, words) in [
            (ModelConfig::default(), "`model.hidden_size` is missing"),
            (ModelConfig { num_attention_heads: Some(7), ..base.clone() }, "not divisible"),
            (ModelConfig { hidden_size: Some(0), ..base.clone() }, "`model.hidden_size` must be between"),
            (ModelConfig { hidden_dropout_prob: Some(1.0), ..base.clone() }, "hidden_dropout_prob"),
            (ModelConfig { attention_probs_dropout_prob: Some(f64::NAN), ..base }, "attention_probs_dropout_prob"),
        ] {
            let message = config.resolve(100).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
