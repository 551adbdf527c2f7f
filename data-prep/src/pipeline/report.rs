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
    /// Words of their text, separated by whitespace.
    pub words: u64,
    /// Tokens that are `[UNK]`.
    pub unknown: u64,
    /// Documents (or lines, pages) that were left out, by reason.
    pub dropped: Tally,
    /// What was changed within documents that were kept, by kind.
    pub changed: Tally,
    /// Wall time of this process.
    pub seconds: f64,
}

impl Report {
    /// Everything that was left out.
    pub fn num_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }
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
