//! Every way in which a tokenizer can be wrong.

use super::tokens::SPECIAL_TOKENS;
use crate::placeholder::Placeholder;
use std::path::PathBuf;

/// Why there is no tokenizer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the sentence above each variant
pub enum TokenizerError {
    /// The file system said no.
    #[error("cannot access `{}`", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// A folder without either file.
    #[error("`{}` has no tokenizer: expected `tokenizer.json` or `vocab.txt` in it", path.display())]
    NotThere { path: PathBuf },
    /// A class of transformers that is not read.
    #[error("`{}` has a `{class}`, which is not read: expected a `BertTokenizer`", path.display())]
    Class { path: PathBuf, class: String },
    /// A key of tokenizer_config.json.
    #[error("`{}`: `{key}`: expected {expected}, got {got}", path.display())]
    Setting { path: PathBuf, key: String, expected: &'static str, got: String },
    /// Neither a `tokenizer.json` nor a `vocab.txt`.
    #[error("`{}` is no tokenizer: {message}", path.display())]
    Parse { path: PathBuf, message: String },
    /// A file that only stands for the tokenizer.
    #[error("`{}` is {what}", path.display())]
    Placeholder { path: PathBuf, what: Placeholder },
    /// A token that occurs twice in `vocab.txt`.
    #[error("`{}` has the token `{token}` twice: in line {first} and in line {second}", path.display())]
    DuplicateToken { path: PathBuf, token: String, first: usize, second: usize },
    /// A model other than WordPiece.
    #[error("the tokenizer is not for BERT: expected a `WordPiece` model, got `{got}`")]
    NotWordPiece { got: &'static str },
    /// Ids that leave gaps.
    #[error("the ids of the vocabulary have gaps: expected {vocab_size} tokens to end at id {}, got {got}", vocab_size - 1)]
    IdGap { vocab_size: usize, got: u32 },
    /// A special token that BERT needs.
    #[error("the tokenizer has no `{token}`: expected {}", SPECIAL_TOKENS.map(|token| format!("`{token}`")).join(", "))]
    MissingSpecialToken { token: String },
    /// A vocabulary that cannot even hold the characters.
    #[error("a vocabulary of {got} tokens is too small for this text: expected at least {needed} for its characters")]
    VocabularyTooSmall { got: usize, needed: usize },
    /// The crate failed.
    #[error("cannot tokenise: {0}")]
    Tokenise(String),
}

impl TokenizerError {
    /// What the user can do about it, whoever reads the tokenizer, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Placeholder { what, .. } => Some(what.hint()),
            _ => None,
        }
    }
}
