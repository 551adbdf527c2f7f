//! Batches ahead of the step: one thread makes micro-batches in order while the step computes.
//!
//! In: samples and a start position. Out: the same batches that [`Samples::batch`] gives, one after the other. Cost: a
//! few batches of memory; dropping the loader ends its thread.

use std::sync::mpsc::{sync_channel, Receiver};
use std::sync::Arc;
use std::thread;

use crate::batch::samples::Samples;
use crate::batch::Batch;
use crate::error::{Error, Result};

/// How many micro-batches may wait.
const AHEAD: usize = 4;

/// An endless stream of micro-batches.
#[derive(Debug)]
pub struct Loader {
    batches: Receiver<Result<Batch>>,
}

impl Loader {
    /// Starts at `position` (samples since the start of the run) and goes on in steps of `micro_batch` samples.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(samples: Arc<Samples>, position: u64, micro_batch: usize) -> Result<Self> {
        let (sender, batches) = sync_channel(AHEAD);
        thread::Builder::new()
            .name("loader".into())
            .spawn(move || {
                let mut position = position;
                // Sending fails when the loader was dropped: the end of the thread.
                while sender.send(samples.batch(position, micro_batch)).is_ok() {
                    position += micro_batch as u64;
                }
            })
            .map_err(|error| Error::failed("cannot start the loader's thread").caused_by(error))?;
        Ok(Self { batches })
    }

    /// The next micro-batch.
    ///
    /// # Errors
    /// A damaged shard, or a loader thread that died.
    pub fn next_batch(&self) -> Result<Batch> {
        self.batches.recv().map_err(|_| Error::failed("the loader's thread has ended"))?
    }
}
