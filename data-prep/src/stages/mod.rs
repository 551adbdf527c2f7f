//! What may happen to a document between its reader and the tokenizer: boilerplate cut, Unicode normalised, filters, minimum
//! length, duplicates dropped. Each is a function of the document alone, save for the duplicates, which remember hashes.
//!
//! In: the text of a document, one paragraph a line. Out: its text, or the reason why it is dropped. Cost: a few passes over
//! the text, on any thread; [`dedup`] says what its memory costs.

pub mod dedup;
mod filters;
pub mod near;
mod normalize;

pub use filters::Filter;
pub use normalize::Normalization;

use crate::corpus::boilerplate;
use crate::words::count_words;
use dedup::Dedup;
use serde::{Deserialize, Serialize};

/// Which stages a preparation has. Everything but the cutting of boilerplate is off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StagesConfig {
    /// Whether licence texts of Project Gutenberg and Smashwords stay in.
    pub keep_boilerplate: bool,
    /// Unicode normalisation of the text.
    pub normalize: Normalization,
    /// Documents with fewer words are dropped: what whitespace separates, and an estimate in scripts without spaces.
    pub min_words: u64,
    /// Quality filters.
    pub filters: Vec<Filter>,
    /// What is dropped when it comes again.
    pub dedup: Vec<Dedup>,
}

/// What the stages made of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageOutcome {
    /// Its text, and what was cut from it, by name.
    Keep(String, Vec<&'static str>),
    /// Why it is dropped.
    Drop(&'static str),
}

impl StagesConfig {
    /// Sends a document through every stage but the search for duplicates.
    pub fn apply(&self, text: &str) -> StageOutcome {
        let (text, cut) = if self.keep_boilerplate {
            (text, Vec::new())
        } else {
            let stripped = boilerplate::strip(text);
            (stripped.text, stripped.cut.iter().map(|what| what.name()).collect())
        };
        let mut text = self.normalize.apply(text.trim()).into_owned();
        for filter in &self.filters {
            match filter.apply(text) {
                Ok(left) => text = left,
                Err(reason) => return StageOutcome::Drop(reason),
            }
        }
        if text.trim().is_empty() {
            return StageOutcome::Drop("empty");
        }
        if self.min_words > 0 && count_words(&text) < self.min_words {
            return StageOutcome::Drop("too few words");
        }
        StageOutcome::Keep(text, cut)
    }

    /// Whether duplicates of this kind are dropped.
    pub fn drops(&self, dedup: Dedup) -> bool {
        self.dedup.contains(&dedup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_one_another() {
        let config = StagesConfig { normalize: Normalization::Nfc, min_words: 3, ..Default::default() };
        assert_eq!(config.apply(" cafe\u{301} du jour\n"), StageOutcome::Keep("caf\u{e9} du jour".into(), Vec::new()));
        assert_eq!(config.apply("two words"), StageOutcome::Drop("too few words"));
        // 13 characters of Han are 7 words
        let config = StagesConfig { min_words: 7, ..Default::default() };
        let chinese = "他于一九九八年出版了第一部。";
        assert_eq!(config.apply(chinese), StageOutcome::Keep(chinese.into(), Vec::new()));
        assert_eq!(config.apply("他于一九九八年。"), StageOutcome::Drop("too few words"));
        assert_eq!(StagesConfig::default().apply(" \n "), StageOutcome::Drop("empty"));
        assert_eq!(StagesConfig::default().apply("two words"), StageOutcome::Keep("two words".into(), Vec::new()));
    }
}
