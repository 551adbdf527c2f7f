//! Text in, WordPiece ids out: training, importing, saving and using a BERT tokenizer.
//!
//! The tokenizer is that of the `tokenizers` crate, so `tokenizer.json` loads in Hugging Face's `BertTokenizerFast` and gives
//! the same ids. Training is our own, because that crate's depends on hash order: see [`WordCounter`].

mod assemble;
mod casing;
mod counter;
mod encoder;
mod error;
mod marks;
mod normal;
mod parse;
mod pieces;
mod pretrained;
mod special;
mod tokens;
mod trainer;
mod vocabulary;

pub use casing::Casing;
pub use counter::{Trained, WordCounter};
pub use encoder::Encoder;
pub use error::TokenizerError;
pub use marks::LostMarks;
pub use normal::normalize_first;
pub use parse::tokenizer_from_bytes;
pub use pretrained::{files_hash, open, Pretrained};
pub use special::{Role, SpecialTokens};
pub use tokens::{CONTINUATION, SPECIAL_TOKENS};
pub use trainer::Alphabet;
pub use vocabulary::{hash, vocab_txt};

use crate::manifest::{TOKENIZER_FILE, VOCAB_FILE};
use assemble::{around_vocabulary, from_tokens};
use std::path::Path;
use tokenizers::Tokenizer;
use tokens::MAX_WORD_CHARACTERS;
pub(crate) use vocabulary::is_json;
use vocabulary::{check, kind, read_vocab};

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
