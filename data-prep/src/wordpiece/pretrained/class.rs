//! Which rules make a folder's tokenizer: the class that transformers takes.

use super::files::{Files, Settings};
use crate::wordpiece::TokenizerError;

/// The rules of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The vocabulary alone counts; without `has_types`, segments are not told apart by default.
    Bert { has_types: bool },
    /// tokenizer.json counts; with `is_bert`, what it leaves open is as in BERT: segments, and the tokens around texts.
    AsItIs { is_bert: bool },
}

/// Classes that transformers 5 makes `BertTokenizer`s, without the `Fast` of some.
const BERT: [&str; 6] = [
    "BertTokenizer",
    "ElectraTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "SqueezeBertTokenizer",
];
/// Classes for which tokenizer.json counts although they are of BERT's kind.
const AS_THE_FILE: [&str; 4] =
    ["ConvBertTokenizer", "DPRContextEncoderTokenizer", "DPRQuestionEncoderTokenizer", "DPRReaderTokenizer"];
/// Model types whose tokenizer is `BertTokenizer`.
const BERT_TYPES: [&str; 15] = [
    "bert",
    "megatron-bert",
    "convbert",
    "distilbert",
    "dpr",
    "electra",
    "layoutlm",
    "lxmert",
    "mobilebert",
    "nomic_bert",
    "qdqbert",
    "retribert",
    "squeezebert",
    "vilt",
    "visual_bert",
];
/// Classes with rules of their own, which are not read: another way to cut words, other tokens around texts.
const OTHERS: [&str; 32] = [
    "AlbertTokenizer",
    "BartTokenizer",
    "BertGenerationTokenizer",
    "BertJapaneseTokenizer",
    "BertweetTokenizer",
    "BigBirdTokenizer",
    "CamembertTokenizer",
    "CanineTokenizer",
    "DebertaTokenizer",
    "DebertaV2Tokenizer",
    "EsmTokenizer",
    "FNetTokenizer",
    "FlaubertTokenizer",
    "FunnelTokenizer",
    "GPT2Tokenizer",
    "HerbertTokenizer",
    "LlamaTokenizer",
    "LukeTokenizer",
    "MPNetTokenizer",
    "MarkupLMTokenizer",
    "PhobertTokenizer",
    "ReformerTokenizer",
    "RemBertTokenizer",
    "RoCBertTokenizer",
    "RoFormerTokenizer",
    "RobertaTokenizer",
    "SplinterTokenizer",
    "T5Tokenizer",
    "TapasTokenizer",
    "XLMRobertaTokenizer",
    "XLMTokenizer",
    "XLNetTokenizer",
];

/// The class of a folder.
///
/// # Errors
/// If it is one that is not read.
pub(super) fn of(settings: &Settings, files: &Files) -> Result<Class, TokenizerError> {
    let as_it_is = |is_bert| match files.json() {
        Some(_) => Class::AsItIs { is_bert },
        // transformers has nothing for this; a vocabulary is BERT's.
        None => Class::Bert { has_types: true },
    };
    let Some(name) = settings.class() else {
        return Ok(match settings.model_type() {
            Some(kind) if BERT_TYPES.contains(&kind) => Class::Bert { has_types: true },
            Some(_) => as_it_is(false),
            None => as_it_is(true),
        });
    };
    let name = name.strip_suffix("Fast").unwrap_or(name);
    if BERT.contains(&name) {
        Ok(Class::Bert { has_types: true })
    } else if name == "DistilBertTokenizer" {
        Ok(Class::Bert { has_types: false })
    } else if AS_THE_FILE.contains(&name) {
        Ok(as_it_is(true))
    } else if OTHERS.contains(&name) {
        Err(TokenizerError::Class { path: files.path().to_owned(), class: name.to_owned() })
    } else {
        Ok(as_it_is(false))
    }
}
