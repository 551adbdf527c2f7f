//! A folder's tokenizer, and the files of one that go with an export.

use std::path::Path;

use serde_json::json;
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};
use untie_data::wordpiece::{self, Pretrained, Role};

use super::family::Family;
use crate::error::{Error, Result};

/// The tokenizer of a folder, or of a tokenizer.json or vocab.txt, as transformers reads it ([`wordpiece::open`]), for a model
/// with `vocab_size` embeddings.
///
/// # Errors
/// When there is none, it is damaged or of a kind that is not read, or an id has no embedding.
pub fn open_tokenizer(path: &Path, vocab_size: i64) -> Result<Pretrained> {
    let found = wordpiece::open(path, true).map_err(|error| {
        let otherwise = "save it with transformers: `AutoTokenizer.from_pretrained(..).save_pretrained(..)`";
        let hint = error.hint().unwrap_or(otherwise);
        Error::data(format!("`{}` has no tokenizer that can be used", path.display())).hint(hint).caused_by(error)
    })?;
    match found.tokenizer.get_vocab(true).into_iter().find(|&(_, id)| i64::from(id) >= vocab_size) {
        Some((token, id)) => Err(Error::data(format!(
            "the tokenizer of `{}` does not fit the model: expected ids below {vocab_size}, got {id} for `{token}`",
            path.display()
        ))
        .hint("take the tokenizer that the model was trained with")),
        None => Ok(found),
    }
}

/// The content of tokenizer.json.
///
/// # Errors
/// When the `tokenizers` crate cannot write it.
pub(super) fn json(tokenizer: &Tokenizer) -> Result<String> {
    let failed = |error: tokenizers::Error| Error::failed("the tokenizer cannot be written").caused_by(error);
    let mut whole = tokenizer.clone();
    whole.with_truncation(None).map_err(failed)?;
    whole.to_string(true).map_err(failed)
}

/// The content of vocab.txt: one token a line, in id order.
///
/// # Errors
/// When ids leave gaps, so that a line's number is not its token's id.
pub(super) fn vocab_txt(tokenizer: &Tokenizer) -> Result<String> {
    let mut vocabulary: Vec<(u32, String)> =
        tokenizer.get_vocab(true).into_iter().map(|(token, id)| (id, token)).collect();
    vocabulary.sort_unstable();
    let mut text = String::new();
    for (line, (id, token)) in vocabulary.iter().enumerate() {
        if *id as usize != line {
            return Err(Error::data(format!("the tokenizer's ids are not 0, 1, 2, …: expected {line}, got {id}")));
        }
        text.push_str(token);
        text.push('\n');
    }
    Ok(text)
}

/// The content of tokenizer_config.json. `BertTokenizer` where transformers would build this very tokenizer from the
/// vocabulary, else the class that takes tokenizer.json as it is. Esm has that class, and no segments.
pub(super) fn config_json(tokenizer: &Tokenizer, max_length: i64, family: Family) -> String {
    let mut config = json!({ "model_max_length": max_length });
    match tokenizer.get_normalizer() {
        _ if family == Family::Esm => {
            config["tokenizer_class"] = json!("PreTrainedTokenizerFast");
            config["model_input_names"] = json!(["input_ids", "attention_mask"]);
        }
        Some(NormalizerWrapper::BertNormalizer(normalizer)) if normalizer.clean_text && is_plain(tokenizer) => {
            config["tokenizer_class"] = json!("BertTokenizer");
            config["do_lower_case"] = json!(normalizer.lowercase);
            config["strip_accents"] = json!(normalizer.strip_accents);
            config["tokenize_chinese_chars"] = json!(normalizer.handle_chinese_chars);
        }
        _ => {
            config["tokenizer_class"] = json!("PreTrainedTokenizerFast");
            // The class by itself leaves out the segments.
            config["model_input_names"] = json!(["input_ids", "token_type_ids", "attention_mask"]);
        }
    }
    for role in Role::ALL {
        if let Some((token, _)) = role.token(tokenizer) {
            config[role.key()] = json!(token);
        }
    }
    if tokenizer.get_truncation().is_some_and(|found| matches!(found.direction, TruncationDirection::Left)) {
        config["truncation_side"] = json!("left");
    }
    if tokenizer.get_encode_special_tokens() {
        config["split_special_tokens"] = json!(true);
    }
    format!("{config:#}\n")
}

/// Whether all but the normaliser is what `BertTokenizer` has: the way to cut words, and what stands around texts.
fn is_plain(tokenizer: &Tokenizer) -> bool {
    let ModelWrapper::WordPiece(model) = tokenizer.get_model() else { return false };
    let is_model = model.continuing_subword_prefix == "##" && model.max_input_chars_per_word == 100;
    let is_cut = matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)));
    let around = || {
        let (cls, sep) = (Role::Cls.token(tokenizer)?.1, Role::Sep.token(tokenizer)?.1);
        let bare = tokenizer.encode("a", false).ok()?;
        let (one, two) = (tokenizer.encode("a", true).ok()?, tokenizer.encode(("a", "a"), true).ok()?);
        let single = [&[cls], bare.get_ids(), &[sep]].concat();
        let pair = [&single, bare.get_ids(), &[sep]].concat();
        let types = [vec![0; single.len()], vec![1; bare.len() + 1]].concat();
        Some(one.get_ids() == single && two.get_ids() == pair && two.get_type_ids() == types)
    };
    is_model && is_cut && around() == Some(true)
}
