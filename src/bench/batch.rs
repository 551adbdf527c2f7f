//! The batch that every measured step reads: from a file, for a comparison on the same work, or made up.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::batch::Batch;
use crate::error::{io, Error, Result};

/// Part of the tokens that are targets.
const MASK_RATE: f64 = 0.15;

/// What a batch file holds, as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// [B, T].
    token_ids: Vec<Vec<i64>>,
    /// Indices of the targets into the B·T tokens.
    positions: Vec<i64>,
    /// The token that belongs at each.
    labels: Vec<i64>,
}

/// The batch in the file at `path`, for a model that knows `vocab_size` tokens.
///
/// # Errors
/// A file that cannot be read, and ids or positions outside their range.
pub fn read(path: &Path, vocab_size: i64) -> Result<Batch> {
    let bytes = fs::read(path).map_err(|error| io("read", path, error))?;
    let invalid = || Error::data(format!("`{}` is not a batch", path.display()));
    let file: File = serde_json::from_slice(&bytes).map_err(|error| invalid().caused_by(error))?;
    file.into_batch(vocab_size).map_err(|error| invalid().caused_by(error))
}

/// `sequences` of `length` tokens, 15 % of each of them targets.
pub fn made_up(sequences: usize, length: usize, vocab_size: usize) -> Batch {
    let per_sequence = ((length as f64 * MASK_RATE).round() as usize).clamp(1, length);
    let token = |at: usize| (at * 7919 % vocab_size) as i64;
    let slots = (0..sequences).flat_map(|sequence| (0..per_sequence).map(move |slot| (sequence, slot)));
    let positions: Vec<i64> =
        slots.map(|(sequence, slot)| (sequence * length + slot * length / per_sequence) as i64).collect();
    let num_targets = positions.len();
    Batch {
        token_ids: (0..sequences * length).map(token).collect(),
        sequence_length: length,
        labels: positions.iter().map(|&at| token(at as usize + 1)).collect(),
        weights: vec![1.0; num_targets],
        num_targets,
        positions,
        dropout_keys: (0..sequences as i64).collect(),
        ..Default::default()
    }
}

impl File {
    fn into_batch(self, vocab_size: i64) -> Result<Batch> {
        let sequence_length = self.token_ids.first().map_or(0, Vec::len);
        if sequence_length == 0 || self.token_ids.iter().any(|sequence| sequence.len() != sequence_length) {
            return Err(Error::data("`token_ids`: expected sequences of one length, at least one token"));
        }
        if self.positions.is_empty() || self.positions.len() != self.labels.len() {
            return Err(Error::data(format!(
                "expected as many `labels` as `positions`, at least one, got {} and {}",
                self.labels.len(),
                self.positions.len()
            )));
        }
        let dropout_keys = (0..self.token_ids.len() as i64).collect();
        let token_ids = self.token_ids.concat();
        for (name, values, end) in [
            ("token_ids", &token_ids, vocab_size),
            ("labels", &self.labels, vocab_size),
            ("positions", &self.positions, token_ids.len() as i64),
        ] {
            if let Some(value) = values.iter().find(|value| !(0..end).contains(value)) {
                return Err(Error::data(format!("`{name}`: expected values from 0 to {}, got {value}", end - 1)));
            }
        }
        let num_targets = self.positions.len();
        let weights = vec![1.0; num_targets];
        let (positions, labels) = (self.positions, self.labels);
        Ok(Batch {
            token_ids,
            sequence_length,
            positions,
            labels,
            weights,
            num_targets,
            dropout_keys,
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Batch> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("batch.json");
        fs::write(&path, text).unwrap();
        read(&path, 10)
    }

    #[test]
    fn a_file_becomes_a_batch() {
        let batch = parse(r#"{"token_ids": [[1, 2, 3], [4, 5, 9]], "positions": [0, 5], "labels": [7, 8]}"#).unwrap();
        assert_eq!((batch.num_sequences(), batch.sequence_length, batch.num_targets), (2, 3, 2));
        assert_eq!((batch.token_ids, batch.labels), (vec![1, 2, 3, 4, 5, 9], vec![7, 8]));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("[]", "is not a batch"),
            (r#"{"token_ids": [], "positions": [0], "labels": [1]}"#, "at least one token"),
            (r#"{"token_ids": [[1], [1, 2]], "positions": [0], "labels": [1]}"#, "of one length"),
            (r#"{"token_ids": [[1]], "positions": [], "labels": []}"#, "at least one, got 0 and 0"),
            (r#"{"token_ids": [[1]], "positions": [0], "labels": []}"#, "got 0 and 1"),
            (
                r#"{"token_ids": [[10]], "positions": [0], "labels": [1]}"#,
                "`token_ids`: expected values from 0 to 9, got 10",
            ),
            (
                r#"{"token_ids": [[1]], "positions": [1], "labels": [1]}"#,
                "`positions`: expected values from 0 to 0, got 1",
            ),
            (r#"{"token_ids": [[1]], "positions": [0], "labels": [-1]}"#, "`labels`: expected values"),
        ] {
            let report = parse(text).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
    }

    #[test]
    fn a_made_up_batch_masks_what_training_masks() {
        let batch = made_up(4, 128, 50);
        assert_eq!((batch.num_sequences(), batch.num_targets), (4, 4 * 19));
        let mut positions = batch.positions.clone();
        positions.dedup();
        assert_eq!(positions.len(), 76);
        assert!(positions.iter().all(|&at| at < 512) && batch.labels.iter().all(|&label| label < 50));
        assert_eq!(made_up(2, 1, 50).num_targets, 2);
    }
}
