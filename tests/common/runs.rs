//! What a run has recorded, and waiting for it.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

/// step → tag → value, without what depends on the clock; a tag that comes twice in a step is an error.
pub fn metrics(run: &Path) -> BTreeMap<u64, BTreeMap<String, Value>> {
    let mut rows: BTreeMap<u64, BTreeMap<String, Value>> = BTreeMap::new();
    for line in fs::read_to_string(run.join("metrics.jsonl")).unwrap().lines() {
        let row: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let entry = rows.entry(row["step"].as_u64().unwrap()).or_default();
        for (tag, value) in row {
            if !matches!(tag.as_str(), "step" | "train/tokens_per_second" | "train/mfu" | "train/hours") {
                assert_eq!(entry.insert(tag.clone(), value), None, "{tag} twice in a step");
            }
        }
    }
    rows
}

/// Lines that it has recorded so far.
pub fn lines(run: &Path) -> usize {
    fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// Whether a checkpoint is being written.
pub fn is_being_saved(run: &Path) -> bool {
    let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(".partial"))
}

/// Waits until `is_there`; never for two minutes.
pub fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what}: waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}
