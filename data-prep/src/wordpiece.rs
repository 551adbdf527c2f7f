//! Text in, WordPiece ids out: training, importing, saving and using a BERT tokenizer.
//!
//! The tokenizer is that of the `tokenizers` crate, so `tokenizer.json` loads in Hugging Face's `BertTokenizerFast` and gives
//! the same ids. Training is our own, because that crate's depends on hash order: see [`WordCounter`].

mod casing;
mod counter;
mod encoder;
mod marks;
mod normal;
mod parse;
mod pieces;
mod pretrained;
mod special;
mod trainer;

pub use casing::Casing;
pub use counter::{Trained, WordCounter};
pub use encoder::Encoder;
pub use marks::LostMarks;
pub use normal::normalize_first;
pub use parse::tokenizer_from_bytes;
pub use pretrained::{files_hash, open, Pretrained};
pub use special::{Role, SpecialTokens, SPECIAL_TOKENS};
pub use trainer::Alphabet;

use crate::hash;
use crate::manifest::{TOKENIZER_FILE, VOCAB_FILE};
use crate::placeholder::Placeholder;
use ahash::AHashMap;
use std::path::{Path, PathBuf};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

/// Prefix of a token that continues a word.
pub const CONTINUATION: &str = "##";

/// Words with more characters become `[UNK]`, as in Google's BERT.
const MAX_WORD_CHARACTERS: usize = 100;

/// The crate is given text in parts of about this many bytes, cut at whitespace: it needs some 100 bytes of memory a byte.
const PART_BYTES: usize = 1 << 16;

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

/// Trains a vocabulary of up to `vocab_size` tokens on `texts`. The same texts give the same tokenizer, byte for byte, in any
/// order and with any number of threads. Where the text does not have that many pieces that occur twice, the vocabulary is
/// smaller.
///
/// # Errors
/// If `vocab_size` is too small for the characters of the text.
pub fn train(
    texts: impl IntoIterator<Item = String>,
    vocab_size: usize,
    casing: impl Into<Casing>,
) -> Result<Tokenizer, TokenizerError> {
    const BATCH: usize = 1024;
    let mut counter = WordCounter::new(casing);
    let mut batch = Vec::with_capacity(BATCH);
    for text in texts {
        batch.push(text);
        if batch.len() == BATCH {
            counter.add(&batch);
            batch.clear();
        }
    }
    counter.add(&batch);
    Ok(counter.train(vocab_size, None)?.tokenizer)
}

/// The tokenizer that [`open`] finds, for shards: see [`Pretrained::for_shards`].
///
/// # Errors
/// If there is none, or it is no WordPiece tokenizer, or it lacks a special token.
pub fn import(path: &Path, casing: impl Into<Casing>) -> Result<Tokenizer, TokenizerError> {
    open(path, casing)?.for_shards()
}

/// Whether a tokenizer file is a `tokenizer.json`, by its name.
pub(crate) fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

/// The tokens of a `vocab.txt` with their lines, from 0. White space behind a token is no part of it, as in transformers.
fn read_vocab(path: &Path, text: &str) -> Result<AHashMap<String, u32>, TokenizerError> {
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
fn kind(model: &ModelWrapper) -> &'static str {
    match model {
        ModelWrapper::WordPiece(_) => "WordPiece",
        ModelWrapper::BPE(_) => "BPE",
        ModelWrapper::WordLevel(_) => "WordLevel",
        ModelWrapper::Unigram(_) => "Unigram",
    }
}

fn check(tokenizer: &Tokenizer) -> Result<(), TokenizerError> {
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

/// Google's BERT tokenizer with `tokens` as its vocabulary, in id order.
fn from_tokens(tokens: Vec<String>, casing: Casing) -> Result<Tokenizer, TokenizerError> {
    let vocabulary = tokens.into_iter().enumerate().map(|(id, token)| (token, id as u32)).collect();
    let mut tokenizer = around_vocabulary(vocabulary, Role::Unk.standard().to_owned(), casing.normalizer())?;
    tokenizer
        .add_special_tokens(SPECIAL_TOKENS.map(|token| AddedToken::from(token, true)))
        .map_err(|error| TokenizerError::Tokenise(error.to_string()))?;
    let template = pretrained::template::bert(&tokenizer, Role::Cls.standard(), Role::Sep.standard())?;
    tokenizer.with_post_processor(template);
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}

/// A WordPiece tokenizer that normalises and splits as Google's BERT, without special tokens.
fn around_vocabulary(
    vocabulary: AHashMap<String, u32>,
    unknown: String,
    normalizer: BertNormalizer,
) -> Result<Tokenizer, TokenizerError> {
    let failed = |error: tokenizers::Error| TokenizerError::Tokenise(error.to_string());
    let model = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token(unknown)
        .continuing_subword_prefix(CONTINUATION.to_owned())
        .max_input_chars_per_word(MAX_WORD_CHARACTERS)
        .build()
        .map_err(failed)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(normalizer))
        .map_err(failed)?
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_decoder(Some(tokenizers::decoders::wordpiece::WordPiece::new(CONTINUATION.to_owned(), true)));
    Ok(tokenizer)
}

/// How the tokenizer treats case and accents; nothing if its normaliser is not BERT's.
pub fn casing(tokenizer: &Tokenizer) -> Option<Casing> {
    let bert = normal::parts(tokenizer)?.bert;
    Some(Casing { lowercase: bert.lowercase, strip_accents: bert.strip_accents })
}

/// Number of tokens in the vocabulary, special tokens included.
pub fn vocab_size(tokenizer: &Tokenizer) -> u32 {
    tokenizer.get_vocab_size(true) as u32
}

/// The content of `tokenizer.json`.
///
/// # Errors
/// If the crate cannot write it.
pub fn to_json(tokenizer: &Tokenizer) -> Result<String, TokenizerError> {
    tokenizer.to_string(true).map_err(|error| TokenizerError::Tokenise(error.to_string()))
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

/// Writes `tokenizer.json` and `vocab.txt` (one token a line, in id order) into `dir`.
///
/// # Errors
/// If the disk fails.
pub fn save(tokenizer: &Tokenizer, dir: &Path) -> Result<(), TokenizerError> {
    for (name, text) in [(TOKENIZER_FILE, to_json(tokenizer)?), (VOCAB_FILE, vocab_txt(tokenizer))] {
        let path = dir.join(name);
        crate::files::write_aside(&path, text.as_bytes()).map_err(|source| TokenizerError::Io { path, source })?;
    }
    Ok(())
}

/// Appends the ids of `text` to `ids`, without special tokens. An [`Encoder`] is faster for more than one text.
///
/// # Errors
/// If the crate fails.
pub fn encode(tokenizer: &Tokenizer, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
    Encoder::new(tokenizer)?.encode(text, ids)
}

/// Cuts `text` behind newlines, and behind a space once a part is long. No word crosses a cut.
fn cut(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| {
        let mut rest = line;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let long = rest.len() > PART_BYTES;
            let space = if long { rest.as_bytes()[PART_BYTES..].iter().position(|&byte| byte == b' ') } else { None };
            // A space is one byte, so the cut is at a character boundary.
            let (part, remainder) = rest.split_at(space.map_or(rest.len(), |offset| PART_BYTES + offset + 1));
            rest = remainder;
            Some(part)
        })
    })
}
