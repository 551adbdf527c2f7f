//! What a preparation met and did.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How often something happened, by its name.
pub type Tally = BTreeMap<String, u64>;

pub(super) fn count(tally: &mut Tally, what: &str, number: u64) {
    match tally.get_mut(what) {
        _ if number == 0 => {}
        Some(known) => *known += number,
        None => drop(tally.insert(what.to_owned(), number)),
    }
}

/// What a preparation met and did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Documents that were kept.
    pub num_texts: u64,
    /// Bytes of their text.
    pub text_bytes: u64,
    /// Words of their text; in scripts without spaces an estimate.
    pub words: u64,
    /// Tokens that are `[UNK]`.
    pub unknown: u64,
    /// Words that are `[UNK]` because they are too long.
    #[serde(default)]
    pub long_words: u64,
    /// Documents (or lines, pages) that were left out, by reason.
    pub dropped: Tally,
    /// What was changed within documents that were kept, by kind.
    pub changed: Tally,
    /// Gaps in sentences of wikitext, by the names of the templates that left them.
    #[serde(default)]
    pub gaps: Tally,
    /// Wall time of this process.
    pub seconds: f64,
}

impl Report {
    /// Everything that was left out.
    pub fn num_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// More names of templates than these are not kept apart: a wiki has tens of thousands.
const MAX_NAMES: usize = 10_000;

/// Forgets the rarest names of a tally that has become long. Called at places that depend on the text alone.
pub(super) fn prune(tally: &mut Tally) {
    if tally.len() > 2 * MAX_NAMES {
        *tally = most_frequent(tally, MAX_NAMES).into_iter().map(|(name, number)| (name.to_owned(), number)).collect();
    }
}

/// The most frequent entries, the first the most frequent; by name where equal.
pub(super) fn most_frequent(tally: &Tally, number: usize) -> Vec<(&str, u64)> {
    let mut entries: Vec<(&str, u64)> = tally.iter().map(|(name, &number)| (name.as_str(), number)).collect();
    entries.sort_by_key(|&(name, number)| (std::cmp::Reverse(number), name));
    entries.truncate(number);
    entries
}

/// `3 empty, 2 redirect`, or `nothing`.
pub(super) fn list(tally: &Tally) -> String {
    let items: Vec<String> = tally.iter().map(|(what, number)| format!("{number} {what}")).collect();
    if items.is_empty() {
        "nothing".to_owned()
    } else {
        items.join(", ")
    }
}
