//! Word counts in, a WordPiece vocabulary out.
//!
//! As in the `tokenizers` crate the vocabulary is grown by merging, again and again, the pair of neighbouring pieces that
//! occurs most often in the text, and of equally frequent pairs the one with the lower ids; unlike there the result is a
//! function of the counts alone. Ids are the special tokens, the alphabet by code point, its continuations (`##`) by code
//! point, then the merges in their order. (On 38 MB of books the 30,522 tokens are those of the crate.)
//! Cost: 4 bytes a character and 16 a distinct word, some 100 bytes a pair of pieces; O(merges · log pairs) for merging.

use super::{TokenizerError, CONTINUATION, MAX_WORD_CHARACTERS, SPECIAL_TOKENS};
use ahash::{AHashMap, AHashSet};
use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

/// Rarer characters than these most frequent ones are left to `[UNK]`, as in the `tokenizers` crate.
const MAX_ALPHABET: usize = 1000;
/// A pair that occurs less often is not worth a token.
const MIN_PAIR_COUNT: u64 = 2;

/// The most frequent characters, by code point.
fn alphabet(words: &[(String, u64)]) -> Vec<char> {
    let mut counts: AHashMap<char, u64> = AHashMap::new();
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

/// The vocabulary, in id order, from sorted words and their counts.
///
/// # Errors
/// If `vocab_size` is too small for the characters of the words.
pub(super) fn learn(words: &[(String, u64)], vocab_size: usize) -> Result<Vec<String>, TokenizerError> {
    let alphabet = alphabet(words);
    let known: AHashSet<char> = alphabet.iter().copied().collect();
    // A word that is too long to be tokenised teaches nothing.
    let words = || words.iter().filter(|(word, _)| word.chars().count() <= MAX_WORD_CHARACTERS);
    let continuations: BTreeSet<char> =
        words().flat_map(|(word, _)| word.chars().skip(1)).filter(|character| known.contains(character)).collect();

    let mut tokens: Vec<String> = SPECIAL_TOKENS.map(str::to_owned).to_vec();
    let ids = |first: usize, characters: &[char]| -> AHashMap<char, u32> {
        characters.iter().enumerate().map(|(index, &character)| (character, (first + index) as u32)).collect()
    };
    let first = ids(tokens.len(), &alphabet);
    tokens.extend(alphabet.iter().map(char::to_string));
    let continuations: Vec<char> = continuations.into_iter().collect();
    let inner = ids(tokens.len(), &continuations);
    tokens.extend(continuations.iter().map(|character| format!("{CONTINUATION}{character}")));
    if tokens.len() > vocab_size {
        return Err(TokenizerError::VocabularyTooSmall { got: vocab_size, needed: tokens.len() });
    }

    let mut merger = Merger::new(tokens);
    for (word, count) in words() {
        // Characters outside the alphabet are passed over.
        let spelled = word.chars().enumerate().filter_map(|(index, character)| match index {
            0 => first.get(&character),
            _ => inner.get(&character),
        });
        merger.push(spelled.copied(), *count);
    }
    merger.count_pairs();
    while merger.tokens.len() < vocab_size && merger.merge_next() {}
    Ok(merger.tokens)
}

/// A pair to merge: the heap yields the most frequent one, then the one with the lower ids.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    count: u64,
    pair: Reverse<Pair>,
}

/// A word: where its pieces are, and how often it occurs.
struct Word {
    start: usize,
    num_pieces: u8,
    count: u64,
}

struct Merger {
    tokens: Vec<String>,
    ids: HashMap<String, u32>,
    /// The pieces of all words, one word after the other; merging leaves gaps behind a word.
    pieces: Vec<u32>,
    words: Vec<Word>,
    counts: AHashMap<Pair, u64>,
    /// Words that hold the pair, or once did.
    places: AHashMap<Pair, Vec<u32>>,
    queue: BinaryHeap<Candidate>,
}

impl Merger {
    fn new(tokens: Vec<String>) -> Merger {
        let ids = tokens.iter().enumerate().map(|(id, token)| (token.clone(), id as u32)).collect();
        Merger {
            tokens,
            ids,
            pieces: Vec::new(),
            words: Vec::new(),
            counts: AHashMap::new(),
            places: AHashMap::new(),
            queue: BinaryHeap::new(),
        }
    }

    fn push(&mut self, spelled: impl Iterator<Item = u32>, count: u64) {
        let start = self.pieces.len();
        self.pieces.extend(spelled);
        // At most MAX_WORD_CHARACTERS.
        self.words.push(Word { start, num_pieces: (self.pieces.len() - start) as u8, count });
    }

    fn count_pairs(&mut self) {
        for (index, word) in self.words.iter().enumerate() {
            for pair in pairs(&self.pieces[word.start..word.start + usize::from(word.num_pieces)]) {
                *self.counts.entry(pair).or_default() += word.count;
                let places = self.places.entry(pair).or_default();
                if places.last() != Some(&(index as u32)) {
                    places.push(index as u32);
                }
            }
        }
        let found: Vec<Pair> = self.counts.keys().copied().collect();
        for pair in found {
            self.enqueue(pair);
        }
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
        let mut grown: AHashSet<Pair> = AHashSet::new();
        for index in self.places.remove(&pair).unwrap_or_default() {
            let word = &mut self.words[index as usize];
            let pieces = &mut self.pieces[word.start..word.start + usize::from(word.num_pieces)];
            if !pairs(pieces).any(|found| found == pair) {
                continue;
            }
            for old in pairs(pieces) {
                if let Some(count) = self.counts.get_mut(&old) {
                    *count -= word.count;
                    if *count == 0 {
                        self.counts.remove(&old);
                    }
                }
            }
            let left = replace(pieces, pair, new);
            word.num_pieces = left as u8;
            for found in pairs(&pieces[..left]) {
                *self.counts.entry(found).or_default() += word.count;
                if found.0 == new || found.1 == new {
                    let places = self.places.entry(found).or_default();
                    if places.last() != Some(&index) {
                        places.push(index);
                    }
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

/// Replaces every `pair` by `new`, from the left; the number of pieces that are left.
fn replace(pieces: &mut [u32], pair: Pair, new: u32) -> usize {
    let (mut from, mut to) = (0, 0);
    while from < pieces.len() {
        let here = pieces[from] == pair.0 && pieces.get(from + 1) == Some(&pair.1);
        pieces[to] = if here { new } else { pieces[from] };
        from += if here { 2 } else { 1 };
        to += 1;
    }
    to
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
        let mut pieces = [1, 1, 1, 2, 1, 1];
        let left = replace(&mut pieces, (1, 1), 9);
        assert_eq!(pieces[..left], [9, 1, 2, 9]);
    }

    #[test]
    fn rare_pairs_and_long_words_make_no_token() {
        let long = "a".repeat(MAX_WORD_CHARACTERS + 1);
        let tokens = learn(&words(&[("bc", 1), (&long, 9)]), 100).unwrap();
        assert_eq!(&tokens[SPECIAL_TOKENS.len()..], ["a", "b", "c", "##c"]);
    }
}
