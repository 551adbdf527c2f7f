//! What may change between a checkpoint and the configuration that resumes it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::checkpoint::DataStamp;
use crate::error::{Error, Result};

/// Keys that a user changes on purpose: where the data lies, how long to go on (which moves the schedule and fractions of
/// the run), how often to look, how a step is cut into pieces (which draws other dropout). Each change is printed.
const MAY_CHANGE: [&str; 16] = [
    "data.dir",
    "data.verify",
    "data.workers",
    "train.steps",
    "train.micro_batch",
    "train.activation_checkpointing",
    "train.device",
    "train.threads",
    "train.log_every",
    "train.deterministic",
    "sharing.monitor",
    "checkpoint.",
    "eval.",
    "guard.",
    "metrics.",
    "parallel.",
];

/// Keys that say where in the data a step is: with others the place of the run would be another, which no override makes right.
const PLACES: [&str; 4] = ["train.global_batch", "data.phase.", "data.corpus.", "data.objective"];

/// What differs between a checkpoint's configuration and the present one, each as `key: before → now`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What may change.
    pub allowed: Vec<String>,
    /// What makes it another run.
    pub refused: Vec<String>,
    /// What moves its place in the data.
    pub impossible: Vec<String>,
}

impl Changes {
    /// # Errors
    /// What is refused, and beside it what is not; with `takes_all` only what moves the place in the data.
    pub fn check(&self, takes_all: bool) -> Result<()> {
        if !self.impossible.is_empty() {
            let list = self.impossible.join(", ");
            return Err(Error::config(format!(
                "cannot resume with another {list}: the place in the data would be another"
            ))
            .hint("restore the settings, or start a new run with another `--run-dir`"));
        }
        if self.refused.is_empty() || takes_all {
            return Ok(());
        }
        let rest = match self.allowed.as_slice() {
            [] => String::new(),
            allowed => format!("; allowed is {}", allowed.join(", ")),
        };
        Err(Error::config(format!("cannot resume with another {}{rest}", self.refused.join(", "))).hint(
            "restore the settings, start a new run with another `--run-dir`, or go on as another run with `--allow-changes`",
        ))
    }
}

/// Compares a checkpoint's configuration with the present one. A key that the checkpoint does not have came with a later
/// version: it had its value in `defaults`.
pub fn changes(before: &Value, now: &Value, defaults: &Value) -> Changes {
    let (before, now, defaults) = (flatten(before), flatten(now), flatten(defaults));
    let keys: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let mut changes = Changes::default();
    for key in keys {
        let (old, new) = (before.get(key).or(defaults.get(key)), now.get(key));
        if old == new {
            continue;
        }
        let show = |value: Option<&Value>| value.map_or("unset".into(), Value::to_string);
        let change = format!("`{key}`: {} → {}", show(old), show(new));
        let cuts_a_phase = key.starts_with("data.phase.") && key.ends_with(".micro_batch");
        let is_named = |name: &&str| key == name || (name.ends_with('.') && key.starts_with(*name));
        match cuts_a_phase || MAY_CHANGE.iter().any(is_named) {
            true => changes.allowed.push(change),
            false if PLACES.iter().any(is_named) => changes.impossible.push(change),
            false => changes.refused.push(change),
        }
    }
    changes
}

/// Checks that the vocabulary and the training shards are those of the checkpoint, wherever they lie now. With `takes_all` other
/// shards are told, as they may be of the same text, but never another vocabulary.
///
/// # Errors
/// When they are not: ids or the position in the data would mean something else.
pub fn same_data(before: &DataStamp, now: &DataStamp, takes_all: bool) -> Result<()> {
    for (what, old, new) in
        [("vocabulary", &before.vocabulary, &now.vocabulary), ("training data", &before.shards, &now.shards)]
    {
        if old == new {
            continue;
        }
        if takes_all && what != "vocabulary" {
            eprintln!("resume: another {what}, hash {old} → {new}: the position in the data is that of the checkpoint");
            continue;
        }
        return Err(Error::data(format!("cannot resume with another {what}: expected hash {old}, got {new}"))
            .hint("restore the data of the run, or start a new run with another `--run-dir`"));
    }
    Ok(())
}

/// `{"a": {"b": 1}}` as `a.b` → 1, and the tables of a list by their numbers; other lists are values.
pub fn flatten(value: &Value) -> BTreeMap<String, Value> {
    fn walk(prefix: &str, value: &Value, flat: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    walk(&key, field, flat);
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (number, item) in items.iter().enumerate() {
                    walk(&format!("{prefix}.{number}"), item, flat);
                }
            }
            other => {
                flat.insert(prefix.into(), other.clone());
            }
        }
    }
    let mut flat = BTreeMap::new();
    walk("", value, &mut flat);
    flat
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn intervals_may_change_and_sizes_may_not() {
        let before = json!({"train": {"steps": 10, "seed": 1}, "eval": {"every": 5}, "model": {"hidden_size": 8}});
        let longer = json!({"train": {"steps": 20, "seed": 1}, "eval": {"every": 1}, "model": {"hidden_size": 8}});
        let none = json!({});
        let found = changes(&before, &longer, &none);
        assert_eq!(found.allowed, ["`eval.every`: 5 → 1", "`train.steps`: 10 → 20"]);
        found.check(false).unwrap();
        let other = json!({"train": {"steps": 10, "seed": 2}, "eval": {"every": 5}, "model": {"hidden_size": 8}});
        let found = changes(&before, &other, &none);
        assert_eq!(found.check(false).unwrap_err().to_string(), "cannot resume with another `train.seed`: 1 → 2");
        found.check(true).unwrap();
        let both = json!({"train": {"steps": 20, "seed": 2}, "eval": {"every": 5}, "model": {"hidden_size": 4}});
        assert_eq!(
            changes(&before, &both, &none).check(false).unwrap_err().to_string(),
            "cannot resume with another `model.hidden_size`: 8 → 4, `train.seed`: 1 → 2; allowed is `train.steps`: 10 → 20"
        );
        let phases = |micro_batch, length| {
            let phase = json!({"sequence_length": length, "micro_batch": micro_batch});
            json!({ "data": { "phase": [{ "until": 5 }, phase] } })
        };
        let change = changes(&phases(4, 8), &phases(2, 8), &none);
        assert_eq!((change.allowed, change.refused), (vec!["`data.phase.1.micro_batch`: 4 → 2".to_owned()], vec![]));
        assert!(changes(&phases(4, 8), &phases(4, 16), &none).check(true).is_err());
        let batch = |size| json!({"train": {"global_batch": size}});
        let message = changes(&batch(8), &batch(16), &none).check(true).unwrap_err().to_string();
        assert!(message.contains("another `train.global_batch`: 8 → 16: the place in the data"), "{message}");
        let smaller = json!({"train": {"steps": 10, "seed": 1}, "eval": {"every": 5}});
        assert!(changes(&before, &smaller, &none).check(false).is_err());
    }

    #[test]
    fn a_key_that_did_not_exist_had_its_default() {
        let (before, defaults) = (json!({"sharing": {"rule": "fixed"}}), json!({"sharing": {"patience": 3}}));
        let with = |patience: u64| json!({"sharing": {"rule": "fixed", "patience": patience}});
        assert_eq!(changes(&before, &with(3), &defaults), Changes::default());
        let message = changes(&before, &with(2), &defaults).check(false).unwrap_err().to_string();
        assert_eq!(message, "cannot resume with another `sharing.patience`: 3 → 2");
    }
}
