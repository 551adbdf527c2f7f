//! config.json: transformers' description of a model ↔ [`BertConfig`].

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;
use untie_data::wordpiece::Role;

use super::esm;
use super::family::Family;
use super::folder::{model_folder, read};
use super::labels::Labels;
use super::CONFIG_FILE;
use crate::error::{Error, Result};
use crate::model::{BertConfig, Norm, TaskHead};

/// Embedding tables hold fewer rows than this.
const MOST_ROWS: i64 = 1 << 31;

/// The part of config.json that says how to compute. Unknown keys are transformers' own and are ignored.
#[derive(Debug, Serialize, Deserialize)]
struct ConfigFile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model_type: Option<String>,
    vocab_size: i64,
    hidden_size: i64,
    num_hidden_layers: usize,
    num_attention_heads: i64,
    intermediate_size: i64,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "tenth")]
    hidden_dropout_prob: f64,
    #[serde(default = "tenth")]
    attention_probs_dropout_prob: f64,
    max_position_embeddings: i64,
    #[serde(default = "absolute")]
    position_embedding_type: String,
    #[serde(default = "two")]
    type_vocab_size: i64,
    #[serde(default = "epsilon")]
    layer_norm_eps: f64,
    #[serde(default = "range")]
    initializer_range: f64,
    #[serde(default)]
    pad_token_id: Option<u32>,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dtype: Option<String>,
    #[serde(flatten)]
    labels: Labels,
    /// Marks our own exports, which a later export may replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    untie_version: Option<String>,
}

// transformers' defaults, for keys that a file leaves out.
fn gelu() -> String {
    "gelu".into()
}
fn absolute() -> String {
    "absolute".into()
}
fn tenth() -> f64 {
    0.1
}
fn two() -> i64 {
    2
}
fn epsilon() -> f64 {
    1e-12
}
fn range() -> f64 {
    0.02
}
fn yes() -> bool {
    true
}

/// The sizes that the config.json of the model in `dir` names, and the head of a fine-tuned model; which heads of pre-training
/// there are, only the tensors tell.
///
/// # Errors
/// When the file is missing, is no JSON, is not of a BERT that `untie` computes, or names impossible sizes.
pub fn load_config(dir: &Path) -> Result<BertConfig> {
    describe(&model_folder(dir)?).map(|found| found.config)
}

/// What a config.json says.
pub(super) struct Description {
    pub(super) config: BertConfig,
    /// The words for a sequence head's labels.
    pub(super) labels: Vec<String>,
    /// How transformers reads a sequence head's logits; `None`: as the number of labels implies.
    pub(super) problem_type: Option<String>,
    /// Whether the decoder of a masked-language-model head is the word embeddings; without such a head it means nothing.
    pub(super) is_tied: bool,
    /// The class, if its head is neither of pre-training nor one of ours: only its encoder can be used.
    pub(super) foreign: Option<String>,
}

/// What `dir/config.json` says.
///
/// # Errors
/// As [`load_config`].
pub(super) fn describe(dir: &Path) -> Result<Description> {
    let path = dir.join(CONFIG_FILE);
    let invalid = || Error::data(format!("`{}` is not a config.json of a BERT", path.display()));
    let file: ConfigFile = serde_json::from_slice(&read(&path)?).map_err(|error| invalid().caused_by(error))?;
    file.describe().map_err(|error| invalid().caused_by(error))
}

/// Whether `dir` holds a config.json that [`to_json`] made.
pub(super) fn is_our_export(dir: &Path) -> bool {
    fs::read(dir.join(CONFIG_FILE))
        .ok()
        .and_then(|bytes| serde_json::from_slice::<ConfigFile>(&bytes).ok())
        .is_some_and(|file| file.untie_version.is_some())
}

/// The content of config.json for `config` as a model of `family`, with the ids of `tokenizer`; `labels` are the words for a
/// sequence head's.
///
/// # Errors
/// A model that the family does not have, a tokenizer without a token that it needs; when there are not as many different words as
/// labels, and when a number has no JSON form.
pub(super) fn to_json(config: &BertConfig, family: Family, tokenizer: &Tokenizer, labels: &[String]) -> Result<String> {
    let family = family.of(config)?;
    let file = ConfigFile {
        architectures: Some(vec![family.class(config)?]),
        model_type: Some(family.model_type().into()),
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        intermediate_size: config.intermediate_size,
        hidden_act: gelu(),
        hidden_dropout_prob: config.hidden_dropout_prob,
        attention_probs_dropout_prob: config.attention_probs_dropout_prob,
        max_position_embeddings: config.max_position_embeddings,
        position_embedding_type: absolute(),
        type_vocab_size: config.type_vocab_size,
        layer_norm_eps: config.layer_norm_eps,
        initializer_range: config.initializer_range,
        pad_token_id: Role::Pad.token(tokenizer).map(|(_, id)| id),
        tie_word_embeddings: true,
        is_decoder: false,
        dtype: Some("float32".into()),
        labels: Labels::new(config.task_head, labels)?,
        untie_version: Some(env!("CARGO_PKG_VERSION").into()),
    };
    let written = match family {
        Family::Esm => {
            let adapted = serde_json::to_value(&file).map(|keys| esm::adapt_config(keys, tokenizer));
            adapted.and_then(|keys| serde_json::to_string_pretty(&keys))
        }
        Family::Auto | Family::Bert | Family::MegatronBert => serde_json::to_string_pretty(&file),
    };
    written.map(|text| text + "\n").map_err(|error| Error::failed("cannot write config.json").caused_by(error))
}

impl ConfigFile {
    fn describe(self) -> Result<Description> {
        let (norm, kind) = self.architecture()?;
        let (task_head, labels) = match kind {
            Heads::Pretraining | Heads::Foreign => (None, Vec::new()),
            Heads::Sequence => {
                let labels = self.labels.words()?;
                (Some(TaskHead::Sequence { num_labels: labels.len() }), labels)
            }
            Heads::Span => (Some(TaskHead::Span), Vec::new()),
            Heads::Token => {
                let labels = self.labels.words()?;
                (Some(TaskHead::Token { num_labels: labels.len() }), labels)
            }
        };
        for (name, expected, got) in [
            ("hidden_act", "gelu", self.hidden_act.as_str()),
            ("position_embedding_type", "absolute", &self.position_embedding_type),
            ("is_decoder", "false", if self.is_decoder { "true" } else { "false" }),
        ] {
            if got != expected {
                return Err(Error::data(format!("`{name}`: expected `{expected}`, got `{got}`"))
                    .hint("`untie` computes BERT as published; this model is another one"));
            }
        }
        for (name, value) in [("vocab_size", self.vocab_size), ("type_vocab_size", self.type_vocab_size)] {
            if !(1..MOST_ROWS).contains(&value) {
                return Err(Error::data(format!("`{name}` must be at least 1 and below {MOST_ROWS}, got {value}")));
            }
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps.is_finite()) {
            return Err(Error::data(format!("`layer_norm_eps` must be above 0, got {}", self.layer_norm_eps)));
        }
        if !(self.initializer_range >= 0.0 && self.initializer_range.is_finite()) {
            return Err(Error::data(format!("`initializer_range` must be 0 or more, got {}", self.initializer_range)));
        }
        let config = BertConfig {
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            max_position_embeddings: self.max_position_embeddings,
            type_vocab_size: self.type_vocab_size,
            norm,
            hidden_dropout_prob: self.hidden_dropout_prob,
            attention_probs_dropout_prob: self.attention_probs_dropout_prob,
            layer_norm_eps: self.layer_norm_eps,
            initializer_range: self.initializer_range,
            // The tensors tell: a BertForPreTraining may have been saved without.
            pair_head: false,
            task_head,
        };
        config.validate()?;
        Ok(Description {
            config,
            labels,
            problem_type: self.labels.problem_type(),
            is_tied: self.tie_word_embeddings,
            foreign: (kind == Heads::Foreign).then(|| self.architectures.iter().flatten().next().cloned()).flatten(),
        })
    }

    /// Post-LN or Pre-LN, from the architecture and the model type, whichever is given; and the heads, from the architecture.
    fn architecture(&self) -> Result<(Norm, Heads)> {
        if self.model_type.as_deref() == Some("esm") && self.untie_version.is_some() {
            return Err(Error::data("`model_type`: an export as `esm` is for transformers only")
                .hint("`untie export` without `--as` writes the same model as one that `untie` reads"));
        }
        let named = self.architectures.as_ref().and_then(|all| all.first()).map(|name| known(name)).transpose()?;
        let by_type = match self.model_type.as_deref() {
            None => None,
            Some("bert") => Some(Norm::Post),
            Some("megatron-bert") => Some(Norm::Pre),
            Some(other) => {
                return Err(Error::data(format!("`model_type`: expected `bert` or `megatron-bert`, got `{other}`")))
            }
        };
        match (named, by_type) {
            (Some((one, _)), Some(other)) if one != other => {
                Err(Error::data("`architectures` and `model_type` disagree"))
            }
            (Some(found), _) => Ok(found),
            (None, Some(norm)) => Ok((norm, Heads::Pretraining)),
            (None, None) => Err(Error::data("neither `architectures` nor `model_type` says which model this is")),
        }
    }
}

/// What a class of transformers has on top of its encoder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heads {
    Pretraining,
    Sequence,
    Span,
    Token,
    Foreign,
}

/// Post-LN or Pre-LN, and the heads of an architecture by its name.
fn known(architecture: &str) -> Result<(Norm, Heads)> {
    let (norm, rest) = match architecture.strip_prefix("Megatron") {
        Some(rest) => (Norm::Pre, rest),
        None => (Norm::Post, architecture),
    };
    match rest {
        "BertModel" | "BertForMaskedLM" | "BertForPreTraining" | "BertForNextSentencePrediction" => {
            Ok((norm, Heads::Pretraining))
        }
        "BertForSequenceClassification" => Ok((norm, Heads::Sequence)),
        "BertForQuestionAnswering" => Ok((norm, Heads::Span)),
        "BertForTokenClassification" => Ok((norm, Heads::Token)),
        "BertForMultipleChoice" => Ok((norm, Heads::Foreign)),
        _ => Err(Error::data(format!(
            "`architectures`: expected `BertModel`, `BertForMaskedLM`, `BertForPreTraining`, \
             `BertForSequenceClassification`, `BertForTokenClassification`, `BertForQuestionAnswering` or their `MegatronBert` forms, got \
             `{architecture}`"
        ))),
    }
}
