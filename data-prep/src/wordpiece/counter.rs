//! Text in, word counts out, in bounded memory.
//!
//! Counted are raw [`pieces`](super::pieces), in parallel, which need no normalising; the distinct ones are normalised and split
//! by the `tokenizers` crate at the end. The counts depend on the texts and on where [`WordCounter::prune`] was called, not on
//! threads. Cost: one hash lookup a piece; about 100 bytes a distinct piece, of which there are at most
//! [`WordCounter::MAX_PIECES`] after a pruning.

use super::casing::Casing;
use super::marks::{LostMarks, Marks};
use super::pieces::pieces;
use super::trainer::{learn, Alphabet};
use super::{from_tokens, TokenizerError};
use ahash::AHashMap;
use rayon::prelude::*;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer,
};

/// Parts of the counts, which threads merge apart from one another.
const NUM_PARTS: usize = 16;

/// A tokenizer that was trained, and what its text lost by it.
pub struct Trained {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Which characters of the text it can spell.
    pub alphabet: Alphabet,
    /// The scripts that stripping accents changes.
    pub lost_marks: Vec<LostMarks>,
}

/// Counts the words of a corpus, then trains a tokenizer on the counts.
pub struct WordCounter {
    casing: Casing,
    parts: Vec<AHashMap<Box<str>, u64>>,
}

impl WordCounter {
    /// Distinct pieces that are kept: a 30,000-token vocabulary does not notice the rarest of two million.
    pub const MAX_PIECES: usize = 2_000_000;

    /// Starts with no words; `true` stands for the casing of BERT's uncased models.
    pub fn new(casing: impl Into<Casing>) -> WordCounter {
        WordCounter { casing: casing.into(), parts: vec![AHashMap::new(); NUM_PARTS] }
    }

    /// Counts the words of `texts`, in parallel on the current rayon pool.
    pub fn add<T: AsRef<str> + Sync>(&mut self, texts: &[T]) {
        let counted: Vec<Vec<AHashMap<&str, u64>>> = texts
            .par_iter()
            .fold(
                || vec![AHashMap::new(); NUM_PARTS],
                |mut parts, text| {
                    for piece in pieces(text.as_ref(), true) {
                        *parts[part_of(piece)].entry(piece).or_default() += 1;
                    }
                    parts
                },
            )
            .collect();
        self.parts.par_iter_mut().enumerate().for_each(|(number, part)| {
            for (piece, count) in counted.iter().flat_map(|parts| &parts[number]) {
                match part.get_mut(*piece) {
                    Some(known) => *known += count,
                    None => drop(part.insert((*piece).into(), *count)),
                }
            }
        });
    }

    /// Forgets the rarest pieces when there are more than [`WordCounter::MAX_PIECES`] (lossy counting), until half as many
    /// are left. Called at places that depend on the text alone, it keeps the counts a function of the text.
    pub fn prune(&mut self) {
        self.prune_to(Self::MAX_PIECES);
    }

    fn prune_to(&mut self, most: usize) {
        let len = |parts: &[AHashMap<Box<str>, u64>]| parts.iter().map(|part| part.len()).sum::<usize>();
        if len(&self.parts) <= most {
            return;
        }
        let mut rare = 1;
        while len(&self.parts) > most / 2 {
            self.parts.par_iter_mut().for_each(|part| part.retain(|_, count| *count > rare));
            rare += 1;
        }
        self.parts.par_iter_mut().for_each(|part| part.shrink_to_fit());
    }

    /// Trains a vocabulary of up to `vocab_size` tokens, of which the `limit_alphabet` most frequent characters are part; if it
    /// is nothing, [`Alphabet`] says how many.
    ///
    /// # Errors
    /// If `vocab_size` is too small for the characters of the text, or if the `tokenizers` crate fails.
    pub fn train(self, vocab_size: usize, limit_alphabet: Option<usize>) -> Result<Trained, TokenizerError> {
        let casing = self.casing;
        let lost_marks = if casing.strips_accents() { self.lost_marks() } else { Vec::new() };
        let (tokens, alphabet) = learn(&self.into_words()?, vocab_size, limit_alphabet)?;
        Ok(Trained { tokenizer: from_tokens(tokens, casing)?, alphabet, lost_marks })
    }

    fn lost_marks(&self) -> Vec<LostMarks> {
        let mut marks = Marks::default();
        for (piece, &count) in self.parts.iter().flatten() {
            marks.add(piece, count);
        }
        marks.lost()
    }

    /// The words as BERT's normaliser and pre-tokeniser make them, sorted, and how often each occurs.
    fn into_words(self) -> Result<Vec<(String, u64)>, TokenizerError> {
        let normalizer = self.casing.normalizer();
        let parts: Result<Vec<AHashMap<String, u64>>, TokenizerError> = self
            .parts
            .into_par_iter()
            .map(|part| {
                let mut words: AHashMap<String, u64> = AHashMap::with_capacity(part.len());
                for (piece, count) in part {
                    split_words(&normalizer, &piece, |word| {
                        match words.get_mut(word) {
                            Some(known) => *known += count,
                            None => drop(words.insert(word.to_owned(), count)),
                        };
                    })?;
                }
                Ok(words)
            })
            .collect();
        // Pieces of different parts may hold the same word.
        let mut words: AHashMap<String, u64> = AHashMap::new();
        for (word, count) in parts?.into_iter().flatten() {
            *words.entry(word).or_default() += count;
        }
        let mut words: Vec<(String, u64)> = words.into_iter().collect();
        words.par_sort_unstable();
        Ok(words)
    }
}

fn part_of(piece: &str) -> usize {
    let bytes = piece.as_bytes();
    (bytes.len() * 7 + usize::from(bytes[0]) * 3 + usize::from(bytes[bytes.len() - 1])) % NUM_PARTS
}

fn split_words(normalizer: &BertNormalizer, piece: &str, mut found: impl FnMut(&str)) -> Result<(), TokenizerError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| TokenizerError::Tokenise(error.to_string());
    let mut normalized = NormalizedString::from(piece);
    normalizer.normalize(&mut normalized).map_err(failed)?;
    let mut pre_tokenized = PreTokenizedString::from(normalized);
    BertPreTokenizer.pre_tokenize(&mut pre_tokenized).map_err(failed)?;
    for (word, _, _) in pre_tokenized.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
        found(word);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(texts: &[&str]) -> WordCounter {
        let mut counter = WordCounter::new(true);
        counter.add(texts);
        counter
    }

    #[test]
    fn words_are_those_of_bert_with_their_counts() {
        let words = counted(&["Don't, don't! Écoute\u{a0}écoute 中文", "DON"]).into_words().unwrap();
        let expected = [("!", 1), ("'", 2), (",", 1), ("don", 3), ("ecoute", 2), ("t", 2), ("中", 1), ("文", 1)];
        assert_eq!(words, expected.map(|(word, count)| (word.to_owned(), count)));
    }

    #[test]
    fn pruning_forgets_the_rarest() {
        let mut counter = counted(&["a a a a b b b c c d e f"]);
        counter.prune_to(6);
        assert_eq!(counter.parts.iter().map(|part| part.len()).sum::<usize>(), 6);
        counter.prune_to(5);
        let words = counter.into_words().unwrap();
        assert_eq!(words, [("a".to_owned(), 4), ("b".to_owned(), 3)]);
    }
}
