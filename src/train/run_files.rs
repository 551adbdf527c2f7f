//! What a run writes to its folder: metrics and checkpoints.

use std::path::PathBuf;
use std::time::Duration;

use crate::checkpoint::{self, CheckpointConfig, RunState, Saver};
use crate::config::GuardConfig;
use crate::error::{Error, Result};
use crate::files::FolderLock;
use crate::metrics::{Dashboard, MetricsConfig, Recorder, RunEnd};
use crate::parallel::World;
use crate::train::guard::Spike;
use crate::train::metrics::StepMetrics;
use crate::train::run_folder::RunFolder;
use crate::train::state::TrainState;

/// The files of a run, as one of its processes sees them: the first one writes.
#[derive(Debug)]
pub(super) struct RunFiles {
    folder: PathBuf,
    metrics: MetricsConfig,
    recorder: Recorder,
    saver: Saver,
    is_writer: bool,
    /// No other process writes to the folder while it is held.
    _lock: Option<FolderLock>,
}

impl RunFiles {
    /// Opens the files of a run in `folder`, which is there on the process that writes; metrics go on after step `step`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn open(
        folder: RunFolder,
        metrics: &MetricsConfig,
        checkpoints: &CheckpointConfig,
        step: u64,
        world: &World,
    ) -> Result<Self> {
        let is_writer = world.is_first();
        let recorder = match (is_writer, folder.is_fresh) {
            (false, _) => Recorder::silent(),
            (true, true) => Recorder::create(&folder.path, metrics)?,
            (true, false) => Recorder::resume(&folder.path, metrics, step)?,
        };
        let saver = Saver::new(&folder.path, checkpoints);
        let (metrics, RunFolder { path, lock, .. }) = (metrics.clone(), folder);
        Ok(Self { folder: path, metrics, recorder, saver, is_writer, _lock: lock })
    }

    /// As [`Recorder::describe`].
    pub(super) fn describe(&mut self, dashboard: &Dashboard) -> Result<()> {
        self.recorder.describe(dashboard)
    }

    /// As [`Recorder::end`].
    pub(super) fn end(&mut self, step: u64, how: RunEnd) -> Result<()> {
        self.recorder.end(step, how)
    }

    /// Records `metrics`, if there are some.
    pub(super) fn record(&mut self, step: u64, metrics: &StepMetrics) -> Result<()> {
        match metrics.is_empty() {
            true => Ok(()),
            false => self.recorder.record(step, &metrics.list()),
        }
    }

    /// Records the square matrix `values`.
    pub(super) fn record_matrix(&mut self, step: u64, tag: &str, values: &[f64]) -> Result<()> {
        self.recorder.record_matrix(step, tag, values)
    }

    /// Writes what has been recorded.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.recorder.flush()
    }

    /// Begins a checkpoint; wait for the one before first.
    pub(super) fn save(&mut self, saved: &RunState, state: &TrainState) -> Result<()> {
        if !self.is_writer {
            return Ok(());
        }
        // Metrics on disk first: a checkpoint must never be ahead of them.
        self.recorder.flush()?;
        self.saver.save(saved, state.weights(), state.moments(), state.remembered().map(|of| &of.weights))
    }

    /// Waits for the checkpoint that is being written: how it went.
    pub(super) fn wait(&mut self) -> Result<()> {
        self.saver.wait()
    }

    /// How the checkpoint went that has been written meanwhile.
    pub(super) fn poll(&mut self) -> Result<()> {
        self.saver.poll()
    }

    /// As [`Saver::tolerated`].
    pub(super) fn tolerated(&self, saved: Result<()>) -> Result<Option<String>> {
        self.saver.tolerated(saved)
    }

    /// How long a checkpoint of `state` may take: as long as the longest so far, the first one by its size.
    pub(super) fn time_of_a_save(&self, state: &TrainState) -> Duration {
        const SLOW_DISK: f64 = 50e6; // bytes a second
        match self.saver.longest() {
            Duration::ZERO => {
                let weights: usize = state.weights().entries().iter().map(|weight| weight.tensor.numel()).sum();
                Duration::from_secs_f64(12.0 * weights as f64 / SLOW_DISK)
            }
            longest => longest,
        }
    }

    /// The step of the checkpoint to go back to after `spike`: the one that `guard.rollback_checkpoints` names, counted from the
    /// last one before the spike. `None` where there is no such checkpoint.
    ///
    /// # Errors
    /// A checkpoint that cannot be written, and a process that is gone.
    pub(super) fn checkpoint_before(
        &mut self,
        spike: Spike,
        guard: &GuardConfig,
        world: &World,
    ) -> Result<Option<u64>> {
        let found = world.from_first(|| {
            self.saver.wait()?;
            let before = checkpoint::list(&self.folder)?.into_iter().filter(|entry| entry.step < spike.first_step);
            let mut sound = before.filter(|entry| checkpoint::verify(&entry.path).is_ok());
            let found = sound.nth(guard.rollback_checkpoints - 1);
            Ok(found.map_or(Vec::new(), |entry| entry.step.to_le_bytes().to_vec()))
        })?;
        Ok(<[u8; 8]>::try_from(found).map(u64::from_le_bytes).ok())
    }

    /// Makes the checkpoint of step `step` the newest, and returns its folder; later ones are put away.
    ///
    /// # Errors
    /// A folder that cannot be renamed.
    pub(super) fn roll_back(&self, step: u64) -> Result<PathBuf> {
        checkpoint::roll_back(&self.folder, Some(step)).map(|(entry, _)| entry.path)
    }

    /// Cuts off the metrics after step `step`.
    pub(super) fn cut_metrics(&mut self, step: u64) -> Result<()> {
        if self.is_writer {
            self.recorder = Recorder::resume(&self.folder, &self.metrics, step)?;
        }
        Ok(())
    }

    /// Why the run ends at `step`, whose updates are skipped one after the other.
    pub(super) fn diverged(&mut self, step: u64, in_a_row: u64) -> Error {
        // What is being written may be the last good one; if it cannot be, the one before is.
        let _ = self.saver.wait();
        let newest = checkpoint::newest_valid(&self.folder).ok().flatten();
        let good = newest.map_or("there is no checkpoint".into(), |(path, _)| {
            format!("the last good checkpoint is `{}`", path.display())
        });
        Error::not_finite(format!(
            "step {step}: {in_a_row} updates in a row were skipped because loss or gradient was not finite; {good}"
        ))
        .hint("lower `optim.lr`, or take bf16 or fp32 instead of fp16; `guard.max_skipped` is the limit")
    }
}
