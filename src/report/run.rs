//! A finished or running run, as its `metrics.jsonl` tells it.
//!
//! In: a run folder. Out: one series a tag, a number that was not finite as NaN. Cost: the file is read as a stream, line
//! by line; what stays in memory is 16 bytes a number that charts show.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{io, Error, Result};

/// Mean loss of the masked tokens.
pub const TRAIN_LOSS: &str = "train/loss";
/// Masked tokens that were predicted right, a fraction.
pub const TRAIN_ACCURACY: &str = "train/mlm_accuracy";
/// Held-out loss.
pub const EVAL_LOSS: &str = "eval/loss";
/// Held-out accuracy, a fraction.
pub const EVAL_ACCURACY: &str = "eval/mlm_accuracy";
/// Weight groups of the encoder.
pub const GROUPS: &str = "sharing/groups";
/// With the lower layer of a pair behind it: correlation of the gradients of the two layers.
pub const CORRELATION: &str = "sharing/correlation/";

const TOKENS: &str = "train/tokens";
const FLOPS: &str = "train/flops";
const HOURS: &str = "train/hours";

const SHOWN: [&str; 8] = [TRAIN_LOSS, TRAIN_ACCURACY, EVAL_LOSS, EVAL_ACCURACY, GROUPS, TOKENS, FLOPS, HOURS];
/// No line that `untie train` writes is a thousandth as long.
const LONGEST_LINE: u64 = 1 << 20;

/// What the x-axis of a figure shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XAxis {
    /// Steps done.
    #[default]
    Steps,
    /// Tokens trained on.
    Tokens,
    /// FLOPs of the matrix products of the steps done.
    Flops,
    /// Hours of steps, without evaluations and checkpoints.
    Hours,
}

impl XAxis {
    /// For a person.
    pub fn label(self) -> &'static str {
        match self {
            Self::Steps => "step",
            Self::Tokens => "tokens",
            Self::Flops => "FLOPs",
            Self::Hours => "hours of training steps",
        }
    }

    /// The metric that has it at each logged step.
    fn tag(self) -> Option<&'static str> {
        match self {
            Self::Steps => None,
            Self::Tokens => Some(TOKENS),
            Self::Flops => Some(FLOPS),
            Self::Hours => Some(HOURS),
        }
    }
}

/// The metrics of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// What it is called in a picture.
    pub name: String,
    /// Lines that are not metrics, e.g. damaged by a power failure. A last line that a kill left incomplete is not counted.
    pub damaged_lines: usize,
    series: BTreeMap<String, Vec<(f64, f64)>>,
}

/// A step at which the encoder got another number of weight groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Untying {
    /// Where the new number was recorded first: a step, or what stands for it.
    pub at: f64,
    /// Groups before.
    pub from: f64,
    /// Groups after.
    pub to: f64,
}

impl Run {
    /// Reads a run folder; the run is called like the folder.
    ///
    /// # Errors
    /// A folder that is missing, is no run's, or holds no metrics; a file that cannot be read.
    pub fn read(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join("metrics.jsonl");
        let file = File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => missing(run_dir).caused_by(error),
            _ => io("open", &path, error),
        })?;
        let name = run_dir.file_name().map_or_else(|| run_dir.display().to_string(), |n| n.to_string_lossy().into());
        let mut run = Self { name, ..Default::default() };
        let lines = run.fill(BufReader::new(file), &path)?;
        if lines == 0 {
            return Err(Error::data(format!("`{}` holds no metrics", path.display())).hint(
                "expected one JSON object a line, `{\"step\": 10, \"train/loss\": 2.5}`; has the run logged yet?",
            ));
        }
        Ok(run)
    }

    /// Reads all lines; the number of those that are metrics.
    fn fill(&mut self, mut reader: impl BufRead, path: &Path) -> Result<usize> {
        let (mut lines, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let read = reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
            let read = read.map_err(|error| io("read", path, error))? as u64;
            if read == 0 {
                return Ok(lines);
            }
            let whole = line.last() == Some(&b'\n');
            if read == LONGEST_LINE && !whole {
                return Err(Error::data(format!("a line of `{}` is longer than {LONGEST_LINE} bytes", path.display()))
                    .hint("expected the metrics that `untie train` writes, one JSON object a line"));
            }
            match serde_json::from_slice::<Map<String, Value>>(&line) {
                Ok(values) if self.add(&values) => lines += 1,
                _ if whole => self.damaged_lines += 1,
                _ => {}
            }
        }
    }

    /// Keeps the numbers that charts show; whether there was a step.
    fn add(&mut self, values: &Map<String, Value>) -> bool {
        let Some(step) = values.get("step").and_then(Value::as_f64) else { return false };
        for (tag, value) in values {
            if SHOWN.contains(&tag.as_str()) || lower_layer(tag).is_some() {
                let points = match self.series.get_mut(tag) {
                    Some(points) => points,
                    None => self.series.entry(tag.clone()).or_default(),
                };
                points.push((step, value.as_f64().unwrap_or(f64::NAN)));
            }
        }
        true
    }

    /// (step, number) of a tag, empty if there are none.
    pub fn series(&self, tag: &str) -> &[(f64, f64)] {
        self.series.get(tag).map_or(&[], Vec::as_slice)
    }

    /// The same without what was recorded after `step`.
    pub fn until(mut self, step: f64) -> Self {
        self.series.values_mut().for_each(|points| points.retain(|(at, _)| *at <= step));
        self
    }

    /// The last finite value of `tag`.
    pub fn last(&self, tag: &str) -> Option<f64> {
        self.series(tag).iter().rev().map(|(_, value)| *value).find(|value| value.is_finite())
    }

    /// The last recorded value of `x`.
    pub fn last_of(&self, x: XAxis) -> Option<f64> {
        x.tag().map_or_else(|| self.last_step(), |tag| self.last(tag))
    }

    /// The last step of which anything here is recorded.
    fn last_step(&self) -> Option<f64> {
        self.series.values().filter_map(|points| points.last()).map(|(step, _)| *step).max_by(f64::total_cmp)
    }

    /// The same with `x` instead of steps. Between two logged steps it grows evenly.
    ///
    /// # Errors
    /// A run that has not recorded it, as those of earlier versions.
    pub fn along(mut self, x: XAxis) -> Result<Self> {
        let Some(tag) = x.tag() else { return Ok(self) };
        let known: Vec<(f64, f64)> = self.series(tag).iter().copied().filter(|(_, value)| value.is_finite()).collect();
        let first = known.first().map_or(f64::INFINITY, |(step, _)| *step);
        if self.series(TRAIN_LOSS).iter().any(|(step, _)| *step < first) || known.is_empty() {
            return Err(Error::data(format!("the metrics of {} do not have `{tag}` from the start", self.name))
                .hint("runs of earlier versions have not recorded it: plot them by steps"));
        }
        let place = |step: f64| {
            let after = known.partition_point(|(at, _)| *at < step);
            let (from, to) = (if after == 0 { (0.0, 0.0) } else { known[after - 1] }, known.get(after));
            to.map_or(from.1, |to| from.1 + (to.1 - from.1) * (step - from.0) / (to.0 - from.0).max(f64::MIN_POSITIVE))
        };
        let points = self.series.values_mut().flatten();
        points.for_each(|(step, _)| *step = place(*step));
        Ok(self)
    }

    /// Where the number of weight groups changes.
    pub fn untyings(&self) -> Vec<Untying> {
        let known: Vec<_> = self.series(GROUPS).iter().filter(|(_, groups)| groups.is_finite()).collect();
        let pairs = known.windows(2).filter(|pair| pair[1].1 != pair[0].1);
        pairs.map(|pair| Untying { at: pair[1].0, from: pair[0].1, to: pair[1].1 }).collect()
    }

    /// The correlations of each pair of layers, by its lower layer; empty if none were recorded.
    pub fn correlations(&self) -> BTreeMap<usize, &[(f64, f64)]> {
        self.series.iter().filter_map(|(tag, points)| Some((lower_layer(tag)?, points.as_slice()))).collect()
    }
}

fn lower_layer(tag: &str) -> Option<usize> {
    tag.strip_prefix(CORRELATION)?.parse().ok()
}

fn missing(run_dir: &Path) -> Error {
    let hint = "name a run's folder, e.g. `runs/mini`, where `untie train` writes metrics.jsonl";
    let what = if run_dir.is_dir() { "has no metrics.jsonl" } else { "is not a folder" };
    Error::data(format!("`{}` {what}", run_dir.display())).hint(hint)
}

/// Reads several runs. Each is called like its folder; those of one name get as much of their path in front as tells
/// them apart. A folder that is given twice counts once.
///
/// # Errors
/// Those of [`Run::read`].
pub fn read_runs(run_dirs: &[PathBuf]) -> Result<Vec<Run>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for run_dir in run_dirs {
        // `.` has no name of its own.
        let path = run_dir.canonicalize().map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => missing(run_dir).caused_by(error),
            _ => io("open", run_dir, error),
        })?;
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let names = names(&paths);
    paths.iter().zip(names).map(|(path, name)| Ok(Run { name, ..Run::read(path)? })).collect()
}

/// The shortest ends of different paths that differ.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let end = |path: &Path, length: usize| {
        let parts: Vec<_> = path.components().collect();
        parts[parts.len().saturating_sub(length)..].iter().collect::<PathBuf>()
    };
    let name = |path: &PathBuf| {
        let unique = |length: &usize| {
            let same = |other: &&PathBuf| end(other, *length) == end(path, *length);
            paths.iter().filter(same).count() == 1
        };
        let length = (1..path.components().count()).find(unique).unwrap_or(path.components().count());
        end(path, length).display().to_string()
    };
    paths.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Run, usize) {
        let mut run = Run::default();
        let lines = run.fill(text.as_bytes(), Path::new("metrics.jsonl")).unwrap();
        (run, lines)
    }

    /// By hand: 100 FLOPs a step until 10, then 50: 0 at 0, 1000 at 10, 1500 at 20; 15 is half of the way, and nothing lies behind the
    /// last logged step.
    #[test]
    fn steps_become_what_they_took() {
        let text = concat!(
            "{\"step\":0,\"eval/loss\":9}\n",
            "{\"step\":5,\"eval/loss\":8}\n",
            "{\"step\":10,\"train/loss\":3,\"train/flops\":1000,\"sharing/groups\":4}\n",
            "{\"step\":15,\"eval/loss\":7,\"sharing/groups\":2}\n",
            "{\"step\":20,\"train/loss\":2,\"train/flops\":1500}\n",
            "{\"step\":25,\"eval/loss\":6}\n",
        );
        let along = |x| read(text).0.along(x);
        let run = along(XAxis::Flops).unwrap();
        assert_eq!(run.series(EVAL_LOSS), [(0.0, 9.0), (500.0, 8.0), (1250.0, 7.0), (1500.0, 6.0)]);
        assert_eq!(run.series(TRAIN_LOSS), [(1000.0, 3.0), (1500.0, 2.0)]);
        assert_eq!(run.untyings(), [Untying { at: 1250.0, from: 4.0, to: 2.0 }], "a V-cycle has fewer for a time");
        assert_eq!(along(XAxis::Steps).unwrap(), read(text).0);
        let report = along(XAxis::Hours).unwrap_err().report();
        assert!(report.contains("do not have `train/hours`") && report.contains("hint: "), "{report}");
    }

    #[test]
    fn lines_become_series() {
        let (run, lines) = read(concat!(
            "{\"step\":0,\"sharing/groups\":1}\n",
            "{\"step\":10,\"train/loss\":2.5,\"train/lr\":0.1}\n",
            "{\"step\":20,\"train/loss\":null,\"sharing/correlation/00\":0.5,\"sharing/correlation/10\":-0.5}\n",
            "not metrics\n",
            "{\"step\":20,\"sharing/groups\":1}\n",
            "{\"step\":21,\"sharing/groups\":3}\n",
            "{\"step\":30,\"sharing/groups\":3,\"sharing/correlation/x\":1}\n",
            "{\"step\":31,\"sharing/groups\":12}\n",
            "{\"train/loss\":1}\n",
            "{\"step\":40,\"train/loss\":2.",
        ));
        assert_eq!((lines, run.damaged_lines), (7, 2));
        let loss = run.series(TRAIN_LOSS);
        assert_eq!(loss[0], (10.0, 2.5));
        assert!(loss.len() == 2 && loss[1].0 == 20.0 && loss[1].1.is_nan(), "{loss:?}");
        assert_eq!(run.series("train/lr"), []);
        let untying = |at, from, to| Untying { at, from, to };
        assert_eq!(run.untyings(), [untying(21.0, 1.0, 3.0), untying(31.0, 3.0, 12.0)]);
        let correlations = run.correlations();
        assert_eq!(correlations.keys().copied().collect::<Vec<_>>(), [0, 10]);
        assert_eq!(correlations[&10], [(20.0, -0.5)]);
    }

    #[test]
    fn a_whole_last_line_counts_without_its_newline() {
        assert_eq!(read("{\"step\":1,\"train/loss\":2}").0.series(TRAIN_LOSS), [(1.0, 2.0)]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let text = "x".repeat(LONGEST_LINE as usize + 1);
        let error = Run::default().fill(text.as_bytes(), Path::new("m")).unwrap_err();
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn names_are_as_long_as_needed() {
        let paths: Vec<_> = ["/a/one", "/b/c/two", "/d/c/two", "/two"].iter().map(PathBuf::from).collect();
        assert_eq!(names(&paths), ["one", "b/c/two", "d/c/two", "/two"]);
    }
}
