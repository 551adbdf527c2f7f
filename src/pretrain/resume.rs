//! What may change between a checkpoint and the configuration that resumes it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::checkpoint::DataFingerprint;
use crate::error::{Error, Result};
use crate::keys::{class_of, flatten, Class, Classes};

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
                "cannot resume with another {list}: the position in the data would change"
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
            "restore the settings, start a new run with another `--run-dir`, or continue as another run with `--allow-changes`",
        ))
    }
}

/// Compares a checkpoint's configuration with the present one, of tables with `classes`. A key that the checkpoint does not have
/// came with a later version: it had its value in `defaults`.
pub fn changes(before: &Value, now: &Value, defaults: &Value, classes: Classes) -> Changes {
    let (before, now, defaults) = (flatten(before), flatten(now), flatten(defaults));
    let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let mut changes = Changes::default();
    for key in keys {
        let (old, new) = (before.get(key).or(defaults.get(key)), now.get(key));
        if old == new {
            continue;
        }
        let show = |value: Option<&Value>| value.map_or("unset".into(), Value::to_string);
        let change = format!("`{key}`: {} → {}", show(old), show(new));
        match class_of(classes, key) {
            Class::Order => changes.impossible.push(change),
            class if class.is_fixed() => changes.refused.push(change),
            _ => changes.allowed.push(change),
        }
    }
    changes
}

/// Checks that the vocabulary and the training shards are those of the checkpoint, wherever they lie now. With `takes_all` other
/// shards are words for the user, as they may be of the same text, but never another vocabulary.
///
/// # Errors
/// When they are not: ids or the position in the data would mean something else.
pub fn same_data(before: &DataFingerprint, now: &DataFingerprint, takes_all: bool) -> Result<Option<String>> {
    for (what, old, new) in
        [("vocabulary", &before.vocabulary, &now.vocabulary), ("training data", &before.shards, &now.shards)]
    {
        if old == new {
            continue;
        }
        if takes_all && what != "vocabulary" {
            return Ok(Some(format!(
                "another {what}, hash {old} → {new}: the position in the data is that of the checkpoint"
            )));
        }
        return Err(Error::data(format!("cannot resume with another {what}: expected hash {old}, got {new}"))
            .hint("restore the data of the run, or start a new run with another `--run-dir`"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::DataConfig;
    use crate::config::{EvalConfig, TrainConfig};
    use crate::keys::Keys;
    use serde_json::json;

    const CLASSES: Classes = &[
        ("data", Class::Table(DataConfig::CLASSES)),
        ("eval", Class::Table(EvalConfig::CLASSES)),
        ("train", Class::Table(TrainConfig::CLASSES)),
    ];

    fn changes(before: &Value, now: &Value, defaults: &Value) -> Changes {
        super::changes(before, now, defaults, CLASSES)
    }

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
        assert!(message.contains("another `train.global_batch`: 8 → 16: the position in the data"), "{message}");
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
