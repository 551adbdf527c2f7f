//! Near-duplicates by MinHash: documents that share most of their phrases with one that came before.
//!
//! A document is the set of its runs of five words, without regard to case and punctuation. MinHash (Broder 1997) gives 112 numbers, in
//! 14 bands of 8. Two documents count as near-duplicates if one band of theirs is equal. Where their sets share the part s of all
//! elements (Jaccard's index), this happens with a probability of 1 - (1 - s^8)^14: 77 % at s = 0.75, 92 % at 0.8, 99.96 % at 0.9, and
//! 5 % at 0.5. These numbers are those of FineWeb (Penedo et al. 2024). In scripts without spaces, a character is a word.
//!
//! In: a text. Out: 14 hashes. Cost: on one thread about 0.5 µs a word; for the search 14 remembered hashes a document.

use crate::words::is_unspaced;
use minhash_rs::prelude::{MinHash, MinHasher};
use xxhash_rust::xxh3::xxh3_64;

/// Words of a phrase.
const WORDS: usize = 5;
/// Bands of a signature.
pub const BANDS: usize = 14;
/// Numbers of a band.
const ROWS: usize = 8;

/// Hashes of the bands of a text's signature; two texts with an equal one are near-duplicates.
pub fn near_hashes(text: &str) -> [u64; BANDS] {
    let words = words(text);
    let mut signature = MinHash::<u64, { BANDS * ROWS }>::new();
    // A text of fewer words is one phrase.
    for phrase in words.windows(WORDS.min(words.len()).max(1)) {
        signature.insert(xxh3_64(&phrase.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()));
    }
    let mut bands = signature.band_hashes::<BANDS>();
    for (at, band) in bands.iter_mut().enumerate() {
        // Equal numbers in different bands mean nothing.
        *band = xxh3_64(&[*band, at as u64].map(u64::to_le_bytes).concat());
    }
    bands
}

/// Hashes of the words of `text`.
fn words(text: &str) -> Vec<u64> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let end = |word: &mut String, words: &mut Vec<u64>| {
        if !word.is_empty() {
            words.push(xxh3_64(word.as_bytes()));
            word.clear();
        }
    };
    for character in text.chars() {
        let alone = is_unspaced(character);
        if alone || !character.is_alphanumeric() {
            end(&mut word, &mut words);
        }
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        }
        if alone {
            end(&mut word, &mut words);
        }
    }
    end(&mut word, &mut words);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn are_near(one: &str, other: &str) -> bool {
        near_hashes(one).iter().zip(near_hashes(other)).any(|(one, other)| *one == other)
    }

    #[test]
    fn case_and_punctuation_make_no_other_text() {
        let text = "The quick brown fox jumps over the lazy dog. It sleeps.";
        assert_eq!(near_hashes(text), near_hashes("the quick, brown FOX jumps\nover the lazy dog it sleeps"));
        assert_eq!(near_hashes("Only three words"), near_hashes("only three words!"));
        assert!(!are_near("only three words", "only four words"));
        assert!(!are_near(text, "Nothing of this is in the other sentence at all, not one phrase."));
        // Texts without words are all alike.
        assert_eq!(near_hashes("…"), near_hashes(""));
    }

    #[test]
    fn in_chinese_a_character_is_a_word() {
        assert_eq!(words("他于一九,九八年 in 1998").len(), 9);
        assert_eq!(words("E=mc² ÄRGER")[2], words("ärger")[0]);
    }

    /// Texts of numbers, of which the first `shared` are the same: n - 4 phrases each, of which shared - 4 are in both.
    fn pair(pair: usize, n: usize, shared: usize) -> [String; 2] {
        let text = |side: usize| -> Vec<String> {
            let word = |at: usize| if at < shared { format!("w{pair}x{at}") } else { format!("w{pair}x{at}s{side}") };
            (0..n).map(word).collect()
        };
        [text(0).join(" "), text(1).join(" ")]
    }

    /// The frequency over 400 pairs is within four standard errors of 1 - (1 - s^8)^14.
    #[test]
    fn pairs_are_found_as_often_as_the_formula_says() {
        const PAIRS: usize = 400;
        for (n, shared) in [(104, 71), (104, 84), (104, 93), (104, 99)] {
            let (both, all) = ((shared - 4) as f64, (2 * (n - 4) - (shared - 4)) as f64);
            let phrases =
                |text: &str| -> HashSet<Vec<u64>> { words(text).windows(WORDS).map(<[u64]>::to_vec).collect() };
            let [one, other] = pair(0, n, shared);
            let (one, other) = (phrases(&one), phrases(&other));
            assert_eq!((one.intersection(&other).count(), one.union(&other).count()), (both as usize, all as usize));
            let expected = 1.0 - (1.0 - (both / all).powi(ROWS as i32)).powi(BANDS as i32);
            let found = (0..PAIRS).filter(|&at| {
                let [one, other] = pair(at, n, shared);
                are_near(&one, &other)
            });
            let (rate, error) =
                (found.count() as f64 / PAIRS as f64, (expected * (1.0 - expected) / PAIRS as f64).sqrt());
            assert!((rate - expected).abs() <= 4.0 * error + 1.0 / PAIRS as f64, "{n}, {shared}: {rate}, {expected}");
        }
    }
}
