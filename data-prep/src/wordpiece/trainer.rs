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

/// The most frequent characters that are always in the vocabulary, as in the `tokenizers` crate, unless a limit is given.
const USUAL_ALPHABET: usize = 1000;
/// A further character has to make up one part in this many of the text. (In English text beyond the usual ones there are
/// thousands of rarer ones, quoted once or twice, whose tokens words make better use of.)
const RARE: u64 = 10_000_000;
/// A pair that occurs less often is not worth a token.
const MIN_PAIR_COUNT: u64 = 2;

/// Which characters of the text a vocabulary can spell. Words with another one become `[UNK]`.
///
/// Without a limit these are the 1000 most frequent characters; further ones that are at least one in ten million, as far as
/// they take half of the vocabulary or less; and as many more as the vocabulary has room for once no pair is left to merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alphabet {
    /// Different characters that have a token.
    pub num_characters: usize,
    /// Different characters of the text that have none.
    pub num_left_out: usize,
}

type Words = [(String, u64)];

/// Words that are too long to be tokenised teach nothing.
fn teaching(words: &Words) -> impl Iterator<Item = &(String, u64)> {
    words.iter().filter(|(word, _)| word.chars().count() <= MAX_WORD_CHARACTERS)
}

/// The characters of the words, the most frequent first, and how often each occurs.
fn characters(words: &Words) -> Vec<(char, u64)> {
    let mut counts: AHashMap<char, u64> = AHashMap::new();
    for (word, count) in words {
        for character in word.chars() {
            *counts.entry(character).or_default() += count;
        }
    }
    let mut characters: Vec<(char, u64)> = counts.into_iter().collect();
    characters.sort_unstable_by_key(|&(character, count)| (Reverse(count), character));
    characters
}

/// How many of `characters`, which are in order, have room in `tokens` tokens, with the continuations of those in `inner`.
fn that_fit(characters: &[(char, u64)], inner: &BTreeSet<char>, tokens: usize) -> usize {
    let mut taken = 0;
    let fits = |(character, _): &&(char, u64)| {
        taken += 1 + usize::from(inner.contains(character));
        taken <= tokens
    };
    characters.iter().take_while(fits).count()
}

/// The vocabulary, in id order, from sorted words and their counts, and the alphabet that is in it.
///
/// # Errors
/// If `vocab_size` is too small for the characters of the words.
pub(super) fn learn(
    words: &Words,
    vocab_size: usize,
    limit: Option<usize>,
) -> Result<(Vec<String>, Alphabet), TokenizerError> {
    let characters = characters(words);
    let inner: BTreeSet<char> = teaching(words).flat_map(|(word, _)| word.chars().skip(1)).collect();
    let total: u64 = characters.iter().map(|entry| entry.1).sum();
    let usual = || {
        let frequent = characters.partition_point(|&(_, count)| count.saturating_mul(RARE) >= total);
        that_fit(&characters[..frequent], &inner, vocab_size / 2).max(USUAL_ALPHABET)
    };
    let mut number = limit.unwrap_or_else(usual).min(characters.len());
    loop {
        let tokens = learn_with(words, &characters[..number], &inner, vocab_size)?;
        let more = match limit {
            Some(_) => 0,
            None => that_fit(&characters[number..], &inner, vocab_size - tokens.len()),
        };
        if more == 0 {
            return Ok((tokens, Alphabet { num_characters: number, num_left_out: characters.len() - number }));
        }
        number += more;
    }
}

/// The same with a given alphabet.
fn learn_with(
    words: &Words,
    alphabet: &[(char, u64)],
    inner: &BTreeSet<char>,
    vocab_size: usize,
) -> Result<Vec<String>, TokenizerError> {
    let alphabet: BTreeSet<char> = alphabet.iter().map(|entry| entry.0).collect();
    let mut tokens: Vec<String> = SPECIAL_TOKENS.map(str::to_owned).to_vec();
    let mut ids = |characters: &mut dyn Iterator<Item = char>, prefix: &str| -> AHashMap<char, u32> {
        characters
            .map(|character| {
                tokens.push(format!("{prefix}{character}"));
                (character, tokens.len() as u32 - 1)
            })
            .collect()
    };
    let first = ids(&mut alphabet.iter().copied(), "");
    let continuing = ids(&mut alphabet.intersection(inner).copied(), CONTINUATION);
    if tokens.len() > vocab_size {
        return Err(TokenizerError::VocabularyTooSmall { got: vocab_size, needed: tokens.len() });
    }

    let mut merger = Merger::new(tokens);
    for (word, count) in teaching(words) {
        // Characters outside the alphabet are passed over.
        let spelled = word.chars().enumerate().filter_map(|(index, character)| match index {
            0 => first.get(&character),
            _ => continuing.get(&character),
        });
        merger.push(spelled.copied(), *count);
    }
    merger.count_pairs();
    while merger.tokens.len() < vocab_size && merger.merge_next() {}
    Ok(merger.tokens)
}

type Pair = (u32, u32);

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
        let tokens = learn(&words(&[("low", 5), ("lower", 2)]), 100, None).unwrap().0;
        let mut expected: Vec<&str> = SPECIAL_TOKENS.to_vec();
        expected.extend(["e", "l", "o", "r", "w", "##e", "##o", "##r", "##w"]);
        expected.extend(["lo", "low", "##er", "lower"]);
        assert_eq!(tokens, expected);
    }

    #[test]
    fn the_size_is_kept_and_needs_room_for_the_characters() {
        let words = words(&[("low", 5), ("lower", 2)]);
        assert_eq!(learn(&words, 15, None).unwrap().0.len(), 15);
        let error = learn(&words, 13, None).unwrap_err();
        assert!(matches!(error, TokenizerError::VocabularyTooSmall { got: 13, needed: 14 }));
    }

    /// `number` characters that stand alone, as those of Chinese do, the first the most frequent.
    fn ideographs(number: u32) -> Vec<(String, u64)> {
        let character = |index: u32| char::from_u32(0x4e00 + index).unwrap().to_string();
        (0..number).map(|index| (character(index), u64::from(number - index))).collect()
    }

    #[test]
    fn the_alphabet_takes_the_room_that_there_is() {
        let words = ideographs(3500);
        let size = |vocab_size, limit| {
            let (tokens, alphabet) = learn(&words, vocab_size, limit).unwrap();
            (tokens.len(), alphabet.num_characters, alphabet.num_left_out)
        };
        assert_eq!(size(21128, None), (3505, 3500, 0));
        // more than half of the vocabulary, but nothing else needs the rest
        assert_eq!(size(4000, None), (3505, 3500, 0));
        assert_eq!(size(3000, None), (3000, 2995, 505));
        assert_eq!(size(21128, Some(1000)), (1005, 1000, 2500));
        assert!(learn(&words, 1000, None).is_err());
    }

    #[test]
    fn rare_characters_leave_the_room_to_words() {
        let mut words = ideographs(1500);
        words.extend((0..4000).map(|index| (format!("{}{}", index / 100 + 100, index % 100 + 100), 20_000_000)));
        words.sort();
        // one of 1500 is as rare as 1 in 3 · 10^8; the digits take 20 tokens
        let (tokens, alphabet) = learn(&words, 3000, None).unwrap();
        assert_eq!((tokens.len(), alphabet.num_characters), (3000, 1000));
        // the same text with more room than it has pairs
        let (_, alphabet) = learn(&words, 30_000, None).unwrap();
        assert_eq!(alphabet.num_left_out, 0);
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
        let tokens = learn(&words(&[("bc", 1), (&long, 9)]), 100, None).unwrap().0;
        assert_eq!(&tokens[SPECIAL_TOKENS.len()..], ["a", "b", "c", "##c"]);
    }
}
