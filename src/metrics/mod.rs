//! What a run reports while it trains: `metrics.jsonl` and TensorBoard events.
//!
//! In: numbers by tag (`train/loss`) and the step they belong to. Out: one JSON object a line in `RUN/metrics.jsonl`,
//! `{"step": 10, "train/loss": 2.5}`, a number that is not finite as null; the same tags as TensorBoard scalars in
//! `RUN/tb/`. Beside them TensorBoard finds there how to arrange the charts, the run's settings, and how it ended.
//!
//! Steps never go back within a file: a resumed run first cuts everything after the step of its checkpoint. Each record
//! is one write a file, so a killed run loses at most the line it was writing. Cost: microseconds a record; no thread.

mod dashboard;
mod events;
pub mod human;
pub mod image;
mod jsonl;
mod protobuf;
pub mod results;

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use dashboard::{Category, Chart, Dashboard, RunEnd};
use events::EventFile;
use jsonl::Jsonl;

use crate::error::{io as io_error, Error, Result};
use crate::keys::classes;

/// What a run records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Write TensorBoard events beside `metrics.jsonl`. Default: true.
    pub tensorboard: bool,
}

classes! { MetricsConfig {
    Observation: tensorboard;
} }

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { tensorboard: true }
    }
}

/// Writes the metrics of one run.
#[derive(Debug)]
pub struct Recorder {
    jsonl: Option<Jsonl>,
    events: Option<EventFile>,
    last_step: u64,
}

impl Recorder {
    /// Starts the metrics of a fresh run; those of an earlier run in the same folder are removed.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(run_dir: &Path, config: &MetricsConfig) -> Result<Self> {
        Self::open(run_dir, config, None)
    }

    /// Goes on with the metrics of a run that resumes after `step` updates: what it recorded later is cut off, and so
    /// is a line or event that was not written to its end.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn resume(run_dir: &Path, config: &MetricsConfig, step: u64) -> Result<Self> {
        Self::open(run_dir, config, Some(step))
    }

    /// Records nothing: for all processes of a run but one.
    pub fn silent() -> Self {
        Self { jsonl: None, events: None, last_step: 0 }
    }

    fn open(run_dir: &Path, config: &MetricsConfig, resumed: Option<u64>) -> Result<Self> {
        fs::create_dir_all(run_dir).map_err(|error| io_error("create", run_dir, error))?;
        let folder = run_dir.join("tb");
        events::cut(&folder, resumed)?;
        let jsonl = Some(Jsonl::open(run_dir.join("metrics.jsonl"), resumed)?);
        let events = if config.tensorboard { Some(EventFile::create(&folder, resumed)?) } else { None };
        Ok(Self { jsonl, events, last_step: resumed.unwrap_or(0) })
    }

    /// Records numbers of one step; a step may be recorded more than once, with other tags.
    ///
    /// # Errors
    /// When a file cannot be written, and when `step` is before one that was recorded.
    pub fn record(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        if step < self.last_step {
            return Err(Error::failed(format!(
                "cannot record metrics of step {step}: expected step {} or a later one",
                self.last_step
            )));
        }
        self.last_step = step;
        self.jsonl.as_mut().map_or(Ok(()), |jsonl| jsonl.append(step, values))?;
        self.events.as_mut().map_or(Ok(()), |events| events.append(step, values))
    }

    /// Tells TensorBoard how to arrange the charts and what the settings of the run are; once, before the first record. What a run said
    /// before its resume is replaced.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn describe(&mut self, dashboard: &Dashboard) -> Result<()> {
        self.events.as_ref().map_or(Ok(()), |events| events.describe(dashboard))
    }

    /// Tells TensorBoard that the run ended after `step`; nothing is recorded after that. A run that stops to go on later does not end.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end(&mut self, step: u64, how: RunEnd) -> Result<()> {
        self.events.as_mut().map_or(Ok(()), |events| events.end(step, how))
    }

    /// Records a square matrix of numbers in [-1, 1], given row by row, as a picture in TensorBoard.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn record_matrix(&mut self, step: u64, tag: &str, values: &[f64]) -> Result<()> {
        self.events.as_mut().map_or(Ok(()), |events| events.append_matrix(step, tag, values))
    }

    /// Waits until everything recorded is on the disk; do it before a checkpoint, so that even after a power cut the
    /// metrics reach as far as the checkpoint.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn flush(&mut self) -> Result<()> {
        self.jsonl.as_mut().map_or(Ok(()), Jsonl::sync)?;
        self.events.as_mut().map_or(Ok(()), |events| events.sync())
    }
}
