//! Checkpoints that are written while training goes on.
//!
//! In: a run's state, weights and moments between two steps. Out: the same files as [`super::save`] writes, in the same order,
//! from a thread. A step waits for a copy of the tensors in host memory only, and for the checkpoint before, should that
//! still be written: there is never more than one copy. Cost: 12 bytes a parameter (24 in fp64) of host memory while one is
//! being written.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::save::Snapshot;
use super::{CheckpointConfig, OnError, RunState};
use crate::error::{Error, Result};
use crate::model::Weights;
use crate::optim::Moments;

/// Saves one run's checkpoints.
#[derive(Debug)]
pub struct Saver {
    run_dir: PathBuf,
    config: CheckpointConfig,
    writing: Option<JoinHandle<(Result<()>, Duration)>>,
    /// The longest time that a checkpoint took from its copy to its name.
    longest: Duration,
    /// Device and inode of the run's folder at the start.
    place: Option<(u64, u64)>,
}

impl Saver {
    /// A saver of the run at `run_dir`.
    pub fn new(run_dir: &Path, config: &CheckpointConfig) -> Self {
        let (run_dir, config) = (run_dir.to_path_buf(), config.clone());
        Self { place: place_of(&run_dir), run_dir, config, writing: None, longest: Duration::ZERO }
    }

    /// Saves a run at `state.step`: copies and returns, with `checkpoint.background = false` or where there is no memory for
    /// a copy when all is on the disk. Wait for the one before first, which says how that went.
    ///
    /// # Errors
    /// A state that cannot be saved, and what [`Self::wait`] says of a checkpoint that is not written in the background.
    pub fn save(
        &mut self,
        state: &RunState,
        weights: &Weights,
        moments: &Moments,
        remembered: Option<&Weights>,
    ) -> Result<()> {
        self.wait()?;
        if place_of(&self.run_dir) != self.place {
            // Where a disk was mounted that is gone, the folder below would get what belongs there.
            return Err(Error::failed(format!("`{}` is no longer the folder of this run", self.run_dir.display()))
                .hint("mount its disk again, and continue with `--resume`"));
        }
        let begin = Instant::now();
        let snapshot = Snapshot::new(state, weights, moments, remembered)?;
        let copy = match self.config.background {
            true => snapshot.copied().map(Some).or_else(|error| match error.is_out_of_memory() {
                true => Ok(None),
                false => Err(error),
            })?,
            false => None,
        };
        let Some(copy) = copy else {
            let saved = snapshot.save(&self.run_dir, &self.config).map(drop);
            self.longest = self.longest.max(begin.elapsed());
            return saved;
        };
        let (run_dir, config) = (self.run_dir.clone(), self.config.clone());
        let write = move || (copy.save(&run_dir, &config).map(drop), begin.elapsed());
        let thread = thread::Builder::new().name("checkpoint".into()).spawn(write);
        self.writing = Some(thread.map_err(|error| Error::failed("cannot start a thread").caused_by(error))?);
        Ok(())
    }

    /// Waits until the last checkpoint is on the disk.
    ///
    /// # Errors
    /// Why it is not: a file that cannot be written; the earlier checkpoints are then as they were.
    pub fn wait(&mut self) -> Result<()> {
        let Some(thread) = self.writing.take() else { return Ok(()) };
        let (saved, taken) =
            thread.join().map_err(|_| Error::failed("the thread that writes checkpoints has panicked"))?;
        self.longest = self.longest.max(taken);
        saved
    }

    /// As [`Self::wait`] where that would not wait.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn poll(&mut self) -> Result<()> {
        match &self.writing {
            Some(thread) if thread.is_finished() => self.wait(),
            _ => Ok(()),
        }
    }

    /// What `checkpoint.on_error` makes of how a save went: with `continue` a failure is words for the user.
    ///
    /// # Errors
    /// That of `saved`, with `stop`.
    pub fn tolerated(&self, saved: Result<()>) -> Result<Option<String>> {
        match saved {
            Ok(()) => Ok(None),
            Err(error) if self.config.on_error == OnError::Continue => {
                let report = error.report();
                Ok(Some(format!("training goes on without a checkpoint: {}", report.trim_start_matches("error: "))))
            }
            Err(error) => Err(error),
        }
    }

    /// The longest time that a checkpoint took until it was on the disk; zero before the first.
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

fn place_of(folder: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

impl Drop for Saver {
    /// A run that ends with an error still finishes the checkpoint that it began.
    fn drop(&mut self) {
        if let Err(error) = self.wait() {
            log::error!("checkpoint: {}", error.report().trim_start_matches("error: "));
        }
    }
}
