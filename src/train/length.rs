//! How long a run is: a number of steps, of passes over its data, or a time; the other two become steps once, when it starts.
//!
//! In: what the configuration asks for, and what a run of so many steps amounts to. Out: the steps. They stand in the run's
//! config.toml and checkpoints, and a resume takes them from there: schedule, untying point and phases stay where they were.

use std::fmt;
use std::time::Duration;

use serde::{de, Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::metrics::human::{human_duration, human_integer};
use crate::train::stop::{wall_time, TIME_FORMS, UNITS};

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

    /// The steps that were decided from the same in an earlier part of the run, by its tables.
    pub fn earlier_steps(self, tables: &Value) -> Option<u64> {
        let train = &tables["train"];
        train["steps"].as_u64().filter(|_| train["steps_from"].as_str() == Some(&self.record()))
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

/// The largest number of steps for which `holds`, which holds up to some number and never above; 0 where it never does, at most
/// [`OPEN`].
fn largest(mut holds: impl FnMut(u64) -> bool) -> u64 {
    let (mut below, mut above) = (0, 1);
    while above <= OPEN && holds(above) {
        (below, above) = (above, 2 * above);
    }
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        match holds(middle) {
            true => below = middle,
            false => above = middle,
        }
    }
    below
}

/// The most steps that end within `left` seconds, by `seconds`, which tells what a run of so many takes. `check` refuses a run
/// of so few that its parts have no room.
///
/// # Errors
/// Where not even the fewest steps do.
pub fn steps_in_time(
    time: TimeBudget,
    left: f64,
    check: impl Fn(u64) -> Result<()>,
    seconds: impl Fn(u64) -> Result<f64>,
) -> Result<u64> {
    let fewest = largest(|steps| check(steps).is_err()) + 1;
    check(fewest)?;
    let needed = seconds(fewest)?;
    if needed > left {
        return Err(Error::config(format!(
            "`train.time` = {time} is too short: {} left after measuring, and the shortest run of this configuration, {} steps, \
             is predicted to take {}",
            human_duration(left.max(0.0)),
            human_integer(fewest),
            human_duration(needed.ceil())
        ))
        .hint("give it more time, or make the model smaller"));
    }
    Ok(largest(|steps| check(steps).is_err() || seconds(steps).is_ok_and(|needed| needed <= left)))
}

/// The fewest steps that pass `epochs` times over the data; `passes` tells how often so many do.
///
/// # Errors
/// What `check` says of that number.
pub fn steps_of_epochs(
    epochs: f64,
    check: impl Fn(u64) -> Result<()>,
    passes: impl Fn(u64) -> Result<f64>,
) -> Result<u64> {
    // A rounded product must not add a step.
    let enough = epochs * (1.0 - 1e-9);
    let steps = largest(|steps| passes(steps).map_or(true, |passes| passes < enough)) + 1;
    check(steps).map_err(|error| {
        Error::config(format!("`train.epochs` = {epochs} amounts to {} steps", human_integer(steps))).caused_by(error)
    })?;
    Ok(steps)
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

    /// 2 seconds and 0.5 a step: 10 seconds are 16 steps, and 9.9 are 15.
    #[test]
    fn the_most_steps_that_fit() {
        let time = TimeBudget(Duration::from_secs(10));
        let in_time = |left, fewest: u64| {
            let check = |steps| if steps < fewest { Err(Error::config("no room")) } else { Ok(()) };
            steps_in_time(time, left, check, |steps| Ok(2.0 + 0.5 * steps as f64))
        };
        assert_eq!((in_time(10.0, 1).unwrap(), in_time(9.9, 4).unwrap(), in_time(2.5, 1).unwrap()), (16, 15, 1));
        let message = in_time(2.4, 1).unwrap_err().to_string();
        assert!(message.contains("`train.time` = 10s is too short"), "{message}");
        let message = in_time(10.0, 17).unwrap_err().to_string();
        assert!(message.contains("17 steps, is predicted to take 11s"), "{message}");
    }

    /// 24 samples a step of 1,000: 2 epochs need 83.3 steps, so 84; 3 epochs exactly 125.
    #[test]
    fn epochs_are_rounded_up() {
        let steps = |epochs| steps_of_epochs(epochs, |_| Ok(()), |steps| Ok(steps as f64 * 24.0 / 1000.0)).unwrap();
        assert_eq!((steps(2.0), steps(3.0), steps(0.001)), (84, 125, 1));
        let refused = steps_of_epochs(0.5, |_| Err(Error::config("too short")), |steps| Ok(steps as f64 / 10.0));
        assert_eq!(refused.unwrap_err().report(), "error: `train.epochs` = 0.5 amounts to 5 steps: too short");
    }
}
