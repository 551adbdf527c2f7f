//! tokenizer.json, and the two files that go beside it.

use std::fs;
use std::path::Path;

use serde_json::json;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer};
use untie_data::wordpiece::tokenizer_from_bytes;

use super::folder::unreadable;
use crate::error::{Error, Result};

/// Reads `path`, and checks that a model with `vocab_size` embeddings knows every token.
///
/// # Errors
/// When the file is missing or is no tokenizer, or an id lies outside the vocabulary.
pub(super) fn read(path: &Path, vocab_size: i64) -> Result<Tokenizer> {
    let bytes = fs::read(path).map_err(|error| {
        unreadable(path, error)
            .hint("save it with transformers: `AutoTokenizer.from_pretrained(..).save_pretrained(..)`")
    })?;
    let tokenizer = tokenizer_from_bytes(&bytes)
        .map_err(|error| Error::data(format!("`{}` is not a tokenizer", path.display())).caused_by(error))?;
    match tokenizer.get_vocab(true).into_iter().find(|&(_, id)| i64::from(id) >= vocab_size) {
        Some((token, id)) => Err(Error::data(format!(
            "`{}` does not fit the model: expected ids below {vocab_size}, got {id} for `{token}`",
            path.display()
        ))
        .hint("take the tokenizer that the model was trained with")),
        None => Ok(tokenizer),
    }
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
/// vocabulary, else the class that takes tokenizer.json as it is.
pub(super) fn config_json(tokenizer: &Tokenizer, max_length: i64) -> String {
    let mut config = json!({ "model_max_length": max_length });
    match (tokenizer.get_normalizer(), tokenizer.get_pre_tokenizer()) {
        (Some(NormalizerWrapper::BertNormalizer(normalizer)), Some(PreTokenizerWrapper::BertPreTokenizer(_)))
            if normalizer.clean_text =>
        {
            config["tokenizer_class"] = json!("BertTokenizer");
            config["do_lower_case"] = json!(normalizer.lowercase);
            config["strip_accents"] = json!(normalizer.strip_accents);
            config["tokenize_chinese_chars"] = json!(normalizer.handle_chinese_chars);
        }
        _ => config["tokenizer_class"] = json!("PreTrainedTokenizerFast"),
    }
    for (key, token) in [
        ("unk_token", "[UNK]"),
        ("sep_token", "[SEP]"),
        ("pad_token", "[PAD]"),
        ("cls_token", "[CLS]"),
        ("mask_token", "[MASK]"),
    ] {
        if tokenizer.token_to_id(token).is_some() {
            config[key] = json!(token);
        }
    }
    format!("{config:#}\n")
}
