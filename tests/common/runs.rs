//! What a run has recorded.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// step → tag → value, without what depends on the clock; a tag that comes twice in a step is an error.
pub fn metrics(run: &Path) -> BTreeMap<u64, BTreeMap<String, Value>> {
    let mut rows: BTreeMap<u64, BTreeMap<String, Value>> = BTreeMap::new();
    for line in fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines() {
        let row: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let entry = rows.entry(row["step"].as_u64().unwrap()).or_default();
        for (tag, value) in row {
            if !matches!(tag.as_str(), "step" | "train/tokens_per_second" | "train/mfu") {
                assert_eq!(entry.insert(tag.clone(), value), None, "{tag} twice in a step");
            }
        }
    }
    rows
}

/// Lines that it has recorded so far.
#[allow(dead_code, reason = "not every test counts them")]
pub fn lines(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}
