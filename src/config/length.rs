//! How long a run is: a number of steps, of passes over its data, or a time; the other two become steps once, when it starts.
//!
//! In: what the configuration asks for, and what a run of so many steps amounts to. Out: the steps. They stand in the run's
//! config.toml and checkpoints, and a resume takes them from there: schedule, untying point and phases stay where they were.

use std::fmt;
use std::time::Duration;

use serde::{de, Deserialize, Deserializer, Serialize, Serializer};

use crate::config::duration::{wall_time, TIME_FORMS, UNITS};
use crate::error::{Error, Result};

/// The keys of `[train]` of which a run sets exactly one.
pub const LENGTHS: [&str; 3] = ["steps", "epochs", "time"];

/// More steps than any run has: stands for them until they are decided.
pub const OPEN: u64 = 1 << 40;

/// `train.time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBudget(pub Duration);

impl fmt::Display for TimeBudget {
    /// As [`wall_time`] reads it, in the largest units: `1h30m`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        for (unit, seconds) in UNITS {
            if rest >= seconds {
                write!(formatter, "{}{unit}", rest / seconds)?;
                rest %= seconds;
            }
        }
        Ok(())
    }
}

impl Serialize for TimeBudget {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeBudget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = TimeBudget;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time with its unit, such as \"5m\", \"1h30m\" or \"04:00:00\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<TimeBudget, E> {
                wall_time(text).map(TimeBudget).map_err(|_| E::custom(format!("{TIME_FORMS}, above 0, got `{text}`")))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// What a run asks for instead of a number of steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Asked {
    /// Passes over the training data.
    Epochs(f64),
    /// The time of the whole run.
    Time(TimeBudget),
}

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Epochs(epochs) => write!(formatter, "`train.epochs` = {epochs}"),
            Self::Time(time) => write!(formatter, "`train.time` = {time}"),
        }
    }
}

impl Asked {
    /// As `train.steps_from` records it.
    pub(super) fn record(self) -> String {
        match self {
            Self::Epochs(epochs) => format!("epochs {epochs}"),
            Self::Time(time) => format!("time {time}"),
        }
    }
}

/// Checks that a file and its replacements set exactly one of [`LENGTHS`]: `names` are the keys that their `[train]` has.
///
/// # Errors
/// None of them, or more than one, by name.
pub fn exactly_one<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let set: Vec<String> = names.filter(|name| LENGTHS.contains(name)).map(|name| format!("`train.{name}`")).collect();
    let wrong = |found: &str| {
        Error::config(format!("expected one of `train.steps`, `train.epochs` and `train.time`, found {found}"))
    };
    match set.as_slice() {
        [_] => Ok(()),
        [] => Err(wrong("none")
            .hint("say how long the run is, e.g. `steps = 10000` or `time = \"5m\"` in `[train]`, or `--time 5m`")),
        _ => Err(wrong(&set.join(" and "))
            .hint("remove all but one; one that is given by `--set` or `--time` takes the place of the file's")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, written) in [("\"5m\"", "5m"), ("\"90s\"", "1m30s"), ("\"04:00:00\"", "4h"), ("\"1h30m\"", "1h30m")]
        {
            let time: TimeBudget = serde_json::from_str(text).unwrap();
            assert_eq!(time.to_string(), written);
            assert_eq!(serde_json::from_str::<TimeBudget>(&serde_json::to_string(&time).unwrap()).unwrap(), time);
        }
        for (text, words) in
            [("300", "expected a time with its unit"), ("\"soon\"", "got `soon`"), ("\"0s\"", "above 0")]
        {
            let error = serde_json::from_str::<TimeBudget>(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn one_length_is_set() {
        exactly_one(["seed", "time"].into_iter()).unwrap();
        let none = exactly_one(["seed"].into_iter()).unwrap_err().report();
        assert!(none.contains("found none") && none.contains("hint:"), "{none}");
        let two = exactly_one(["steps", "time"].into_iter()).unwrap_err().to_string();
        assert!(two.ends_with("found `train.steps` and `train.time`"), "{two}");
    }
}
