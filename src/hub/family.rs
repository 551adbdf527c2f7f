//! The classes of transformers that an export is for.

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::{BertConfig, Norm, TaskHead};

/// A family of classes of transformers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// `Bert` for Post-LN models, `MegatronBert` for Pre-LN models.
    #[default]
    Auto,
    /// Post-LN models.
    Bert,
    /// Pre-LN models.
    MegatronBert,
    /// Pre-LN models of one segment, pre-trained only.
    Esm,
}

impl Family {
    /// The family of an export of `config`, not [`Self::Auto`].
    ///
    /// # Errors
    /// A model that classes of this family do not compute.
    pub fn of(self, config: &BertConfig) -> Result<Self> {
        let refused = |reason: &str, hint: &str| {
            Err(Error::config(format!("the model cannot be written as `{}`: {reason}", self.model_type())).hint(hint))
        };
        match (self, config.norm) {
            (Self::Auto, Norm::Post) => Ok(Self::Bert),
            (Self::Auto, Norm::Pre) => Ok(Self::MegatronBert),
            (Self::Bert, Norm::Pre) => {
                refused("it is a Pre-LN model", "use `--as megatron-bert` or, without a head for pairs, `--as esm`")
            }
            (Self::MegatronBert | Self::Esm, Norm::Post) => refused("it is a Post-LN model", "use `--as bert`"),
            (Self::Esm, Norm::Pre) if config.pair_head => {
                refused("it has a head for pairs, and Esm has no segments", "use `--as megatron-bert`")
            }
            (Self::Esm, Norm::Pre) if config.task_head.is_some() => {
                refused("it has the head of a task, which Esm computes otherwise", "use `--as megatron-bert`")
            }
            (Self::Bert | Self::MegatronBert | Self::Esm, _) => Ok(self),
        }
    }

    /// transformers' `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bert => "bert",
            Self::MegatronBert => "megatron-bert",
            Self::Esm => "esm",
        }
    }

    /// The class for an export of `config` in this family.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn class(self, config: &BertConfig) -> Result<String> {
        let family = match self.of(config)? {
            Self::Auto | Self::Bert => "Bert",
            Self::MegatronBert => "MegatronBert",
            Self::Esm => "Esm",
        };
        let heads = match config.task_head {
            None if config.pair_head => "ForPreTraining",
            None => "ForMaskedLM",
            Some(TaskHead::Sequence { .. }) => "ForSequenceClassification",
            Some(TaskHead::Span) => "ForQuestionAnswering",
            Some(TaskHead::Token { .. }) => "ForTokenClassification",
        };
        Ok(format!("{family}{heads}"))
    }
}
