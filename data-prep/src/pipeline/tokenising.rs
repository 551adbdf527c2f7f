//! The last pass: segments of clean text become shards.
//!
//! In: committed segments and a tokenizer. Out: shards, in the order of the corpus. The journal is saved after every segment.
//! Cost: two chunks of text, one of tokens, and the indices of two open shards.

use super::journal::Journal;
use super::report::{count, Report};
use super::spill::read_segment;
use super::split_writers::{HoldOut, SplitWriters, Tokenised};
use super::{PrepareConfig, PrepareError, Progress};
use crate::manifest::ShardEntry;
use crate::sentences::sentences;
use crate::shard::TokenType;
use crate::wordpiece::{self, Encoder, SpecialTokens, TokenizerError};
use crate::words::count_words;
use rayon::prelude::*;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokenizers::Tokenizer;
use xxhash_rust::xxh3::xxh3_64;

/// Encoders that are not in use: each has met the frequent words of the corpus, so they are handed on.
struct Encoders<'a> {
    tokenizer: &'a Tokenizer,
    idle: Mutex<Vec<Encoder<'a>>>,
}

impl<'a> Encoders<'a> {
    fn with<T>(&self, act: impl FnOnce(&mut Encoder<'a>) -> Result<T, TokenizerError>) -> Result<T, TokenizerError> {
        let lock = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = lock().pop();
        let mut encoder = match idle {
            Some(encoder) => encoder,
            None => Encoder::new(self.tokenizer)?,
        };
        let result = act(&mut encoder);
        lock().push(encoder);
        result
    }
}

/// Tokenises the segments that are not done yet; all shards, `train` first.
pub(super) fn tokenise(
    config: &PrepareConfig,
    dir: &Path,
    tokenizer: &Tokenizer,
    journal: &mut Journal,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<ShardEntry>, PrepareError> {
    let unk = SpecialTokens::of(tokenizer)?.unk;
    let token_type = TokenType::for_vocab_size(wordpiece::vocab_size(tokenizer) as usize);
    let mut writers = SplitWriters::resume(dir, token_type, config.shard_tokens, journal.writers.clone())?;
    let encoders = Encoders { tokenizer, idle: Mutex::new(Vec::new()) };
    for number in journal.tokenised..journal.segments {
        let (hold_out, report) = (&mut journal.hold_out, &mut journal.report);
        read_segment(dir, number, config.chunk_bytes(), progress, |texts| {
            let documents: Result<Vec<(Tokenised, Words)>, TokenizerError> = texts
                .par_iter()
                .map(|text| encoders.with(|encoder| encode(encoder, &text.text, config.sentences.as_deref())))
                .collect();
            documents?
                .iter()
                .try_for_each(|(document, words)| write_document(&mut writers, hold_out, report, document, words, unk))
        })?;
        journal.tokenised = number + 1;
        journal.writers = writers.checkpoint()?;
        journal.save(dir).map_err(|source| PrepareError::Output { path: dir.to_owned(), source })?;
    }
    writers.finish()
}

fn write_document(
    writers: &mut SplitWriters,
    hold_out: &mut HoldOut,
    report: &mut Report,
    document: &Tokenised,
    words: &Words,
    unk: u32,
) -> Result<(), PrepareError> {
    if document.ids.is_empty() {
        count(&mut report.dropped, "no tokens", 1);
        return Ok(());
    }
    report.words += words.all;
    report.long_words += words.too_long;
    report.unknown += document.ids.iter().filter(|&&id| id == unk).count() as u64;
    writers.push(document, hold_out.split(document.hash))
}

/// How many words a document has.
struct Words {
    all: u64,
    /// Those that are `[UNK]` for it.
    too_long: u64,
}

/// The tokens of a document, and the number of its words.
fn encode(encoder: &mut Encoder<'_>, text: &str, language: Option<&str>) -> Result<(Tokenised, Words), TokenizerError> {
    let long_before = encoder.num_long_words();
    let (mut ids, mut lengths) = (Vec::with_capacity(text.len() / 4), Vec::new());
    let mut sequence = |text: &str| -> Result<(), TokenizerError> {
        let before = ids.len();
        encoder.encode(text, &mut ids)?;
        if ids.len() > before {
            lengths.push(ids.len() - before);
        }
        Ok(())
    };
    match language {
        None => sequence(text)?,
        Some(language) => sentences(text, language).try_for_each(|sentence| sequence(&sentence))?,
    }
    let words = Words { all: count_words(text), too_long: encoder.num_long_words() - long_before };
    Ok((Tokenised { hash: xxh3_64(text.as_bytes()), ids, lengths }, words))
}
