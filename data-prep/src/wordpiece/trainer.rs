//! Word counts in, a WordPiece vocabulary out.
//!
//! As in the `tokenizers` crate the vocabulary is grown by merging, again and again, the pair of neighbouring pieces that
//! occurs most often in the text, and of equally frequent pairs the one with the lower ids; unlike there the result is a
//! function of the counts alone. Ids are the special tokens, the alphabet by code point, its continuations (`##`) by code
//! point, then the merges in their order. (On 38 MB of books the 30,522 tokens are those of the crate.)
//! Cost: one entry a distinct word while counting; a few hundred bytes a distinct word and O(merges · log pairs) for merging.

use super::{from_tokens, normalizer, TokenizerError, CONTINUATION, MAX_WORD_CHARACTERS, SPECIAL_TOKENS};
use rayon::prelude::*;
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, HashSet};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer,
};

/// Rarer characters than these most frequent ones are left to `[UNK]`, as in the `tokenizers` crate.
const MAX_ALPHABET: usize = 1000;
/// A pair that occurs less often is not worth a token.
const MIN_PAIR_COUNT: u64 = 2;

/// Counts the words of a corpus, then trains a tokenizer on the counts.
pub struct WordCounter {
    lowercase: bool,
    normalizer: BertNormalizer,
    counts: HashMap<String, u64>,
}

impl WordCounter {
    /// Starts with no words; `lowercase` as in BERT's uncased models.
    pub fn new(lowercase: bool) -> WordCounter {
        WordCounter { lowercase, normalizer: normalizer(lowercase), counts: HashMap::new() }
    }

    /// Counts the words of `texts`, in parallel on the current rayon pool.
    ///
    /// # Errors
    /// If the `tokenizers` crate fails.
    pub fn add<T: AsRef<str> + Sync>(&mut self, texts: &[T]) -> Result<(), TokenizerError> {
        let counts: Result<Vec<HashMap<String, u64>>, TokenizerError> =
            texts.par_iter().map(|text| count_words(&self.normalizer, text.as_ref())).collect();
        for (word, count) in counts?.into_iter().flatten() {
            *self.counts.entry(word).or_default() += count;
        }
        Ok(())
    }

    /// Trains a vocabulary of up to `vocab_size` tokens.
    ///
    /// # Errors
    /// If `vocab_size` is too small for the characters of the text.
    pub fn train(self, vocab_size: usize) -> Result<Tokenizer, TokenizerError> {
        let mut words: Vec<(String, u64)> = self.counts.into_iter().collect();
        words.sort_unstable();
        from_tokens(learn(&words, vocab_size)?, self.lowercase)
    }
}

fn count_words(normalizer: &BertNormalizer, text: &str) -> Result<HashMap<String, u64>, TokenizerError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| TokenizerError::Tokenise(error.to_string());
    let mut counts: HashMap<String, u64> = HashMap::new();
    for piece in super::pieces(text) {
        let mut normalized = NormalizedString::from(piece);
        normalizer.normalize(&mut normalized).map_err(failed)?;
        let mut pre_tokenized = PreTokenizedString::from(normalized);
        BertPreTokenizer.pre_tokenize(&mut pre_tokenized).map_err(failed)?;
        for (word, _, _) in pre_tokenized.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            match counts.get_mut(word) {
                Some(count) => *count += 1,
                None => drop(counts.insert(word.to_owned(), 1)),
            }
        }
    }
    Ok(counts)
}

/// The most frequent characters, by code point.
fn alphabet(words: &[(String, u64)]) -> Vec<char> {
    let mut counts: HashMap<char, u64> = HashMap::new();
    for (word, count) in words {
        for character in word.chars() {
            *counts.entry(character).or_default() += count;
        }
    }
    let mut characters: Vec<(char, u64)> = counts.into_iter().collect();
    characters.sort_unstable_by_key(|&(character, count)| (Reverse(count), character));
    characters.truncate(MAX_ALPHABET);
    let mut alphabet: Vec<char> = characters.into_iter().map(|entry| entry.0).collect();
    alphabet.sort_unstable();
    alphabet
}

type Pair = (u32, u32);

/// The vocabulary, in id order.
fn learn(words: &[(String, u64)], vocab_size: usize) -> Result<Vec<String>, TokenizerError> {
    let alphabet: HashSet<char> = alphabet(words).into_iter().collect();
    let spelled: Vec<(Vec<String>, u64)> =
        words.iter().filter_map(|(word, count)| Some((spell(word, &alphabet)?, *count))).collect();

    let mut singles: Vec<String> = alphabet.iter().map(char::to_string).collect();
    singles.sort_unstable();
    let continuations: HashSet<&String> = spelled.iter().flat_map(|(pieces, _)| pieces.iter().skip(1)).collect();
    let mut continuations: Vec<String> = continuations.into_iter().cloned().collect();
    continuations.sort_unstable();

    let mut tokens: Vec<String> = SPECIAL_TOKENS.map(str::to_owned).to_vec();
    tokens.extend(singles);
    tokens.extend(continuations);
    if tokens.len() > vocab_size {
        return Err(TokenizerError::VocabularyTooSmall { got: vocab_size, needed: tokens.len() });
    }
    let mut merger = Merger::new(tokens, &spelled);
    while merger.tokens.len() < vocab_size && merger.merge_next() {}
    Ok(merger.tokens)
}

/// A word as single characters, all but the first with `##`; nothing if it is too long to be tokenised. Characters outside
/// the alphabet are passed over.
fn spell(word: &str, alphabet: &HashSet<char>) -> Option<Vec<String>> {
    if word.chars().count() > MAX_WORD_CHARACTERS {
        return None;
    }
    let pieces = word.chars().enumerate().filter(|(_, character)| alphabet.contains(character));
    Some(
        pieces
            .map(|(index, character)| match index {
                0 => character.to_string(),
                _ => format!("{CONTINUATION}{character}"),
            })
            .collect(),
    )
}

/// A pair to merge: the heap yields the most frequent one, then the one with the lower ids.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    count: u64,
    pair: Reverse<Pair>,
}

struct Merger {
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
    /// Each word as ids of pieces, and how often it occurs.
    words: Vec<(Vec<u32>, u64)>,
    counts: HashMap<Pair, u64>,
    /// Words that hold the pair, or once did.
    places: HashMap<Pair, Vec<u32>>,
    queue: BinaryHeap<Candidate>,
}

impl Merger {
    fn new(tokens: Vec<String>, spelled: &[(Vec<String>, u64)]) -> Merger {
        let ids: HashMap<String, u32> =
            tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
        let words: Vec<(Vec<u32>, u64)> =
            spelled.iter().map(|(pieces, count)| (pieces.iter().map(|piece| ids[piece]).collect(), *count)).collect();
        let mut merger =
            Merger { tokens, ids, words, counts: HashMap::new(), places: HashMap::new(), queue: BinaryHeap::new() };
        for (index, (pieces, count)) in merger.words.iter().enumerate() {
            for pair in pairs(pieces) {
                *merger.counts.entry(pair).or_default() += count;
                merger.places.entry(pair).or_default().push(index as u32);
            }
        }
        let found: Vec<Pair> = merger.counts.keys().copied().collect();
        for pair in found {
            merger.enqueue(pair);
        }
        merger
    }

    fn enqueue(&mut self, pair: Pair) {
        let count = self.counts.get(&pair).copied().unwrap_or(0);
        if count >= MIN_PAIR_COUNT {
            self.queue.push(Candidate { count, pair: Reverse(pair) });
        }
    }

    fn merged(&self, pair: Pair) -> String {
        let (left, right) = (&self.tokens[pair.0 as usize], &self.tokens[pair.1 as usize]);
        format!("{left}{}", right.strip_prefix(CONTINUATION).unwrap_or(right))
    }

    /// Merges the best pair everywhere; false if none is left.
    fn merge_next(&mut self) -> bool {
        while let Some(Candidate { count, pair: Reverse(pair) }) = self.queue.pop() {
            // Counts fall without the queue being told: put the pair back where it now belongs.
            if self.counts.get(&pair) != Some(&count) {
                if self.counts.get(&pair).is_some_and(|&now| now < count) {
                    self.enqueue(pair);
                }
                continue;
            }
            self.merge(pair);
            return true;
        }
        false
    }

    fn merge(&mut self, pair: Pair) {
        let new = match self.ids.entry(self.merged(pair)) {
            Entry::Occupied(entry) => *entry.get(), // another pair spelled the same token
            Entry::Vacant(entry) => {
                let id = self.tokens.len() as u32;
                self.tokens.push(entry.key().clone());
                *entry.insert(id)
            }
        };
        let mut grown: HashSet<Pair> = HashSet::new();
        for index in self.places.remove(&pair).unwrap_or_default() {
            let (pieces, count) = &mut self.words[index as usize];
            if !pairs(pieces).any(|found| found == pair) {
                continue;
            }
            for old in pairs(pieces) {
                if let Entry::Occupied(mut entry) = self.counts.entry(old) {
                    *entry.get_mut() -= *count;
                    if *entry.get() == 0 {
                        entry.remove();
                    }
                }
            }
            replace(pieces, pair, new);
            for found in pairs(pieces) {
                *self.counts.entry(found).or_default() += *count;
                if found.0 == new || found.1 == new {
                    self.places.entry(found).or_default().push(index);
                    grown.insert(found);
                }
            }
        }
        for pair in grown {
            self.enqueue(pair);
        }
    }
}

fn pairs(pieces: &[u32]) -> impl Iterator<Item = Pair> + '_ {
    pieces.windows(2).map(|pair| (pair[0], pair[1]))
}

/// Replaces every `pair` by `new`, from the left.
fn replace(pieces: &mut Vec<u32>, pair: Pair, new: u32) {
    let (mut from, mut to) = (0, 0);
    while from < pieces.len() {
        let here = pieces[from] == pair.0 && pieces.get(from + 1) == Some(&pair.1);
        pieces[to] = if here { new } else { pieces[from] };
        from += if here { 2 } else { 1 };
        to += 1;
    }
    pieces.truncate(to);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[(&str, u64)]) -> Vec<(String, u64)> {
        words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
    }

    #[test]
    fn merges_follow_the_counts() {
        // Derived by hand. `l ##o` and `##o ##w` occur 7 times and `l` has the lower id: `lo`, then `lo ##w` (7) makes `low`.
        // `##e ##r` and `low ##e` are left with 2, and `##e` is older than `low`: `##er`, then `low ##er` makes `lower`.
        let tokens = learn(&words(&[("low", 5), ("lower", 2)]), 100).unwrap();
        let mut expected: Vec<&str> = SPECIAL_TOKENS.to_vec();
        expected.extend(["e", "l", "o", "r", "w", "##e", "##o", "##r", "##w"]);
        expected.extend(["lo", "low", "##er", "lower"]);
        assert_eq!(tokens, expected);
    }

    #[test]
    fn the_size_is_kept_and_needs_room_for_the_characters() {
        let words = words(&[("low", 5), ("lower", 2)]);
        assert_eq!(learn(&words, 15).unwrap().len(), 15);
        let error = learn(&words, 13).unwrap_err();
        assert!(matches!(error, TokenizerError::VocabularyTooSmall { got: 13, needed: 14 }));
    }

    #[test]
    fn overlapping_pairs_merge_from_the_left() {
        let mut pieces = vec![1, 1, 1, 2, 1, 1];
        replace(&mut pieces, (1, 1), 9);
        assert_eq!(pieces, [9, 1, 2, 9]);
    }

    #[test]
    fn rare_pairs_and_long_words_make_no_token() {
        let long = "a".repeat(MAX_WORD_CHARACTERS + 1);
        let tokens = learn(&words(&[("bc", 1), (&long, 9)]), 100).unwrap();
        assert_eq!(&tokens[SPECIAL_TOKENS.len()..], ["a", "b", "c", "##c"]);
    }
}
