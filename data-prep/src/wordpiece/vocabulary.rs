//! The vocabulary of a tokenizer: read, checked and written.

use super::error::TokenizerError;
use super::special::SpecialTokens;
use crate::hash;
use ahash::AHashMap;
use std::path::Path;
use tokenizers::{ModelWrapper, Tokenizer};

/// Whether a tokenizer file is a `tokenizer.json`, by its name.
pub(crate) fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// The tokens of a `vocab.txt` with their lines, from 0. White space behind a token is no part of it, as in transformers.
pub(super) fn read_vocab(path: &Path, text: &str) -> Result<AHashMap<String, u32>, TokenizerError> {
    let mut tokens: AHashMap<String, u32> = AHashMap::new();
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n').map(str::trim_end);
    for (index, token) in lines.enumerate().filter(|(_, token)| !token.is_empty()) {
        if let Some(first) = tokens.insert(token.to_owned(), index as u32) {
            return Err(TokenizerError::DuplicateToken {
                path: path.to_owned(),
                token: token.to_owned(),
                first: first as usize + 1,
                second: index + 1,
            });
        }
    }
    Ok(tokens)
}

/// What kind of model a tokenizer has.
pub(super) fn kind(model: &ModelWrapper) -> &'static str {
    match model {
        ModelWrapper::WordPiece(_) => "WordPiece",
        ModelWrapper::BPE(_) => "BPE",
        ModelWrapper::WordLevel(_) => "WordLevel",
        ModelWrapper::Unigram(_) => "Unigram",
    }
}

/// Refuses a tokenizer that is not for BERT.
pub(super) fn check(tokenizer: &Tokenizer) -> Result<(), TokenizerError> {
    match tokenizer.get_model() {
        ModelWrapper::WordPiece(_) => {}
        model => return Err(TokenizerError::NotWordPiece { got: kind(model) }),
    }
    SpecialTokens::of(tokenizer)?;
    let vocabulary = tokenizer.get_vocab(true);
    match vocabulary.values().max() {
        Some(&got) if got as usize != vocabulary.len() - 1 => {
            Err(TokenizerError::IdGap { vocab_size: vocabulary.len(), got })
        }
        _ => Ok(()),
    }
}

/// The content of `vocab.txt`: one token a line, in id order.
pub fn vocab_txt(tokenizer: &Tokenizer) -> String {
    let mut vocabulary: Vec<(String, u32)> = tokenizer.get_vocab(true).into_iter().collect();
    vocabulary.sort_unstable_by_key(|entry| entry.1);
    vocabulary.into_iter().flat_map(|(token, _)| [token, "\n".to_owned()]).collect()
}

/// The hash of a `tokenizer.json` or `vocab.txt`, by which two tokenizers are told apart: XXH3, 16 hexadecimal digits.
pub fn hash(content: &[u8]) -> String {
    hash::hex(content)
}
