//! `results.jsonl` of a fine-tuning sweep: one finished run a line.
//!
//! In: a [`ResultRow`], once its run is complete. Out: one JSON object a line, appended in a single write and synced, so
//! that a kill leaves at most half a last line. Reading passes over such a half line, and the next append cuts it off;
//! any other line that is not a row is an error with its number. Cost: a sync a row, rows are minutes apart.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use crate::error::{io, Error, Result};

/// The file of a sweep, in its folder.
pub const RESULTS_FILE: &str = "results.jsonl";

/// One complete fine-tuning run: what it was and what it scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultRow {
    /// The task, by its name on the command line, e.g. `sst2`.
    pub task: String,
    /// The model's directory, as it was given.
    pub model: String,
    /// [`file_hash`] of the model's weights.
    pub model_hash: String,
    /// Peak learning rate.
    pub lr: f64,
    /// Seed of head, order and dropout.
    pub seed: u64,
    /// Passes over the training set.
    pub epochs: f64,
    /// Examples of a step.
    pub batch: usize,
    /// Longest sequence, in tokens.
    pub max_length: usize,
    /// What activations were computed in, e.g. `bf16`.
    pub precision: String,
    /// Optimizer steps done.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Wall time in seconds.
    pub wall_seconds: f64,
    /// Hash of the run's resolved configuration.
    pub config_hash: String,
    /// Scores by split and name, as fractions: `dev/accuracy`, `dev/f1`, `dev_mismatched/accuracy`, `ax/matthews`. One that
    /// is not defined, e.g. the correlation of a constant, is NaN here and null in the file.
    #[serde(deserialize_with = "null_as_nan")]
    pub scores: BTreeMap<String, f64>,
    /// The version of untie that ran it.
    pub untie: String,
}

/// Appends `row` to the file at `path`, which is made if there is none; half a last line is cut off first. On return the
/// row is on the disk.
///
/// # Errors
/// A file that cannot be written.
pub fn append(path: &Path, row: &ResultRow) -> Result<()> {
    let mut line = serde_json::to_vec(row).map_err(|error| {
        Error::failed(format!("cannot write a row of `{}` as JSON", path.display())).caused_by(error)
    })?;
    line.push(b'\n');
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let end = end_of_lines(&mut file)?;
        file.set_len(end)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(&line)?;
        file.sync_all()
    };
    write().map_err(|error| io("write", path, error))
}

/// The content of the file at `path`; nothing where there is no file.
///
/// # Errors
/// A file that cannot be read.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        found => found.map_err(|error| io("read", path, error)),
    }
}

/// The rows of the file at `path`, in their order; none where there is no file.
///
/// # Errors
/// A file that cannot be read, and a line that is no row, by its number.
pub fn read(path: &Path) -> Result<Vec<ResultRow>> {
    rows(path, &read_bytes(path)?)
}

/// The rows in `bytes`, which were read from `path`.
///
/// # Errors
/// A line that is no row, by its number.
pub fn rows(path: &Path, bytes: &[u8]) -> Result<Vec<ResultRow>> {
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let lines = bytes[..end].split_inclusive(|&byte| byte == b'\n');
    lines.enumerate().map(|(at, line)| parse(line).map_err(|error| damaged(path, at + 1, error))).collect()
}

fn parse(line: &[u8]) -> serde_json::Result<ResultRow> {
    serde_json::from_slice(line)
}

fn damaged(path: &Path, number: usize, error: serde_json::Error) -> Error {
    // serde_json counts lines from the one that it was given.
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default().to_owned();
    Error::data(format!(
        "line {number} of `{}` is damaged: expected the row of a fine-tuning run: {reason}",
        path.display()
    ))
    .hint("remove that line; `untie finetune --resume` runs what it stood for again")
}

/// Where the last whole line ends, in bytes.
fn end_of_lines(file: &mut File) -> std::io::Result<u64> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at as u64 + 1))
}

/// serde_json writes NaN as null; this is the way back.
fn null_as_nan<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<BTreeMap<String, f64>, D::Error> {
    let scores: BTreeMap<String, Option<f64>> = Deserialize::deserialize(deserializer)?;
    Ok(scores.into_iter().map(|(name, score)| (name, score.unwrap_or(f64::NAN))).collect())
}

/// Arithmetic mean; none of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation, √(Σ(x − x̄)² / (n − 1)); none of fewer than two values.
pub fn sample_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// XXH3 with 128 bits of the file at `path`, as 32 hexadecimal digits: what [`ResultRow::model_hash`] holds of a model's
/// `model.safetensors`. Cost: the file is read once, as a stream.
///
/// # Errors
/// A file that cannot be read.
pub fn file_hash(path: &Path) -> Result<String> {
    let failed = |error| io("read", path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Xxh3Default::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(format!("{:032x}", hasher.digest128())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seed: u64) -> ResultRow {
        ResultRow {
            task: "sst2".into(),
            model: "runs/mini/export".into(),
            model_hash: "0f".repeat(16),
            lr: 7.5e-5,
            seed,
            epochs: 3.0,
            batch: 32,
            max_length: 128,
            precision: "bf16".into(),
            steps: 6315,
            tokens: 4_000_000,
            wall_seconds: 61.5,
            config_hash: "c0ffee".into(),
            scores: BTreeMap::from([("dev/accuracy".into(), 0.8211009174311926)]),
            untie: "0.1.0".into(),
        }
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RESULTS_FILE);
        assert_eq!(read(&path).unwrap(), []);
        for seed in [1, 2] {
            append(&path, &row(seed)).unwrap();
        }
        assert_eq!(read(&path).unwrap(), [row(1), row(2)]);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    }

    #[test]
    fn half_a_last_line_is_passed_over_and_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RESULTS_FILE);
        append(&path, &row(1)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for kept in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, [&whole[..], &whole[..kept]].concat()).unwrap();
            assert_eq!(read(&path).unwrap(), [row(1)], "{kept} bytes of the second line");
            append(&path, &row(3)).unwrap();
            assert_eq!(read(&path).unwrap(), [row(1), row(3)]);
        }
    }

    #[test]
    fn a_damaged_line_is_named_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RESULTS_FILE);
        for seed in [1, 2, 3] {
            append(&path, &row(seed)).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to, reason) in [
            ("\"seed\":2", "\"seed\":-2", "invalid value: integer `-2`"),
            ("\"seed\":2,", "", "missing field `seed`"),
            ("{\"task\":\"sst2\",\"model\":\"runs/mini/export\",\"model_hash\":\"0f", "\0\0\0{\"", "expected value"),
        ] {
            // The second line only.
            let second = text.lines().nth(1).unwrap().replacen(from, to, 1);
            let lines: Vec<&str> =
                text.lines().enumerate().map(|(at, line)| if at == 1 { &*second } else { line }).collect();
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
            let error = read(&path).unwrap_err();
            let report = error.report();
            assert!(report.contains("line 2 of `") && report.contains(reason), "{report}");
            assert!(!report.contains("at line 1"), "{report}");
            assert_eq!(error.exit_code(), 3);
        }
    }

    #[test]
    fn a_score_that_is_not_defined_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RESULTS_FILE);
        let scores = BTreeMap::from([("dev/accuracy".into(), 0.5), ("dev/matthews".into(), f64::NAN)]);
        append(&path, &ResultRow { scores, ..row(1) }).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"dev/matthews\":null"));
        let found = &read(&path).unwrap()[0].scores;
        assert!(found["dev/accuracy"] == 0.5 && found["dev/matthews"].is_nan(), "{found:?}");
    }

    /// XXH3_128bits of nothing with seed 0, as xxHash's own test vectors list it.
    #[test]
    fn the_hash_is_xxh3_with_128_bits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        std::fs::write(&path, "").unwrap();
        assert_eq!(file_hash(&path).unwrap(), "99aa06d3014798d86001c324468d497f");
        assert_eq!(file_hash(&folder.path().join("absent")).unwrap_err().exit_code(), 3);
    }
}
