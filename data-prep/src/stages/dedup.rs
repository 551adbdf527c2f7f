//! Duplicates: documents, and paragraphs wherever they stand, that came before are dropped. [`super::near`] says what a near-duplicate is.
//!
//! In: texts in the order of the corpus. Out: whether each is new; the first of several stays. Text is compared by its XXH3
//! (64 bits) alone: of 10⁹ different texts, one pair in expectation is taken for equal with a probability of about 3 %.
//! Cost: 9 to 18 bytes of memory a remembered text (for near-duplicates 14 times as many), within a limit that is an error when it is
//! reached.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use xxhash_rust::xxh3::xxh3_64;

/// What is dropped when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dedup {
    /// Documents of the same text
    Documents,
    /// Paragraphs of at least 40 characters, in any document
    Paragraphs,
    /// Documents that share most of their phrases of five words with an earlier one (MinHash)
    Near,
}

/// Shorter paragraphs ("Chapter II.", "* * *") repeat by nature.
const MIN_PARAGRAPH_CHARACTERS: usize = 40;

/// The hashes are uniform already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only u64 are hashed");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Hashes of what came before, in bounded memory.
pub struct Seen {
    hashes: HashSet<u64, BuildHasherDefault<AsItIs>>,
    most: usize,
}

/// The set of hashes has reached its limit.
#[derive(Debug, PartialEq, Eq)]
pub struct Full {
    /// Hashes it holds.
    pub num_hashes: usize,
}

impl Seen {
    /// Remembers hashes in at most `memory_bytes`.
    pub fn new(memory_bytes: u64) -> Seen {
        // While a full table is moved to one of twice its size, both are there: 3 · 9 bytes for 7/8 of a slot.
        Seen { hashes: HashSet::default(), most: (memory_bytes / 31) as usize }
    }

    /// Whether `hash` came before.
    pub fn contains(&self, hash: u64) -> bool {
        self.hashes.contains(&hash)
    }

    /// Whether `hash` is new; it is remembered.
    ///
    /// # Errors
    /// If the limit is reached.
    pub fn insert(&mut self, hash: u64) -> Result<bool, Full> {
        if self.hashes.contains(&hash) {
            return Ok(false);
        }
        if self.hashes.len() >= self.most {
            return Err(Full { num_hashes: self.hashes.len() });
        }
        Ok(self.hashes.insert(hash))
    }
}

/// Hash of each paragraph of `text` that can be a duplicate; none for those that cannot.
pub fn paragraph_hashes(text: &str) -> Vec<Option<u64>> {
    let long = |line: &str| line.chars().nth(MIN_PARAGRAPH_CHARACTERS - 1).is_some();
    text.split('\n').map(|line| long(line).then(|| xxh3_64(line.as_bytes()))).collect()
}

/// `text` without the paragraphs for which `keep` is false, and how many those are.
pub fn retain_paragraphs(text: String, keep: &[bool]) -> (String, u64) {
    let dropped = keep.iter().filter(|&&keep| !keep).count() as u64;
    if dropped == 0 {
        return (text, 0);
    }
    let kept: Vec<&str> = text.split('\n').zip(keep).filter(|(_, &keep)| keep).map(|(line, _)| line).collect();
    (kept.join("\n"), dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_is_new_until_memory_ends() {
        let mut seen = Seen::new(62);
        assert_eq!(seen.insert(7), Ok(true));
        assert_eq!(seen.insert(7), Ok(false));
        assert_eq!(seen.insert(8), Ok(true));
        assert_eq!(seen.insert(8), Ok(false));
        assert_eq!(seen.insert(9), Err(Full { num_hashes: 2 }));
    }

    #[test]
    fn short_paragraphs_are_no_duplicates() {
        let (long, short) = ("é".repeat(MIN_PARAGRAPH_CHARACTERS), "é".repeat(MIN_PARAGRAPH_CHARACTERS - 1));
        let hashes = paragraph_hashes(&format!("{long}\n{short}\n\n{long}"));
        assert!(hashes[0].is_some() && hashes[0] == hashes[3]);
        assert_eq!(hashes[1..3], [None, None]);
    }

    #[test]
    fn dropped_paragraphs_leave_no_gap() {
        assert_eq!(retain_paragraphs("a\nb\nc".into(), &[true, false, true]), ("a\nc".into(), 1));
        assert_eq!(retain_paragraphs("a\nb".into(), &[true, true]), ("a\nb".into(), 0));
        assert_eq!(retain_paragraphs("a\nb".into(), &[false, false]), (String::new(), 2));
    }
}
