//! The `[checkpoint]` table.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::keys::classes;

/// How often a run saves itself, and which checkpoints it keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints. The end of a run always writes one. Default: 1000.
    pub every: u64,
    /// Number of newest checkpoints to keep, at least 1. With 2, one is left if the other one is damaged. Default: 2.
    pub keep_last: usize,
    /// Never remove a checkpoint whose step is a multiple of this number. Must be a multiple of `every`. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_every: Option<u64>,
    /// Write checkpoints in a thread while training goes on. This needs 12 bytes of host memory for each parameter. Default: true.
    pub background: bool,
    /// If a checkpoint cannot be written: `stop` the run, or `continue` and try again at the next one. Default: `stop`.
    pub on_error: OnError,
}

classes! { CheckpointConfig {
    Observation: every, keep_last, keep_every, background, on_error;
} }

/// What a checkpoint that cannot be written, because the disk is full or gone, does to a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// Ends it.
    #[default]
    Stop,
    /// Says so and trains on; the next save tries again. The last one, at the end of the run or at a signal, must succeed.
    Continue,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 1000, keep_last: 2, keep_every: None, background: true, on_error: OnError::Stop }
    }
}

impl CheckpointConfig {
    /// Checks ranges.
    ///
    /// # Errors
    /// The first setting out of range, by name.
    pub fn validate(&self) -> Result<()> {
        if self.every == 0 {
            return Err(Error::config("`checkpoint.every` must be at least 1 step, got 0"));
        }
        if self.keep_last == 0 {
            return Err(Error::config("`checkpoint.keep_last` must be at least 1, got 0")
                .hint("a run that keeps no checkpoint cannot be resumed"));
        }
        match self.keep_every {
            Some(kept) if kept == 0 || kept % self.every != 0 => Err(Error::config(format!(
                "`checkpoint.keep_every` must be a multiple of `checkpoint.every` = {}, got {kept}",
                self.every
            ))),
            _ => Ok(()),
        }
    }

    /// Whether retention keeps the checkpoint of `step` however old it is.
    pub(super) fn keeps_for_good(&self, step: u64) -> bool {
        self.keep_every.is_some_and(|kept| step.checked_rem(kept) == Some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        assert!(CheckpointConfig::default().validate().is_ok());
        let with = |every, keep_last, keep_every| {
            CheckpointConfig { every, keep_last, keep_every, ..Default::default() }.validate()
        };
        assert!(with(10, 1, Some(100)).is_ok());
        for (result, words) in [
            (with(0, 1, None), "`checkpoint.every`"),
            (with(1, 0, None), "`checkpoint.keep_last`"),
            (with(10, 1, Some(0)), "`checkpoint.keep_every`"),
            (with(10, 1, Some(15)), "multiple of `checkpoint.every` = 10, got 15"),
        ] {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        let unknown = serde_json::from_str::<CheckpointConfig>(r#"{"evry": 5}"#).unwrap_err().to_string();
        assert!(unknown.contains("evry"), "{unknown}");
    }
}
