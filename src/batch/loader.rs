//! Batches ahead of the step: threads make micro-batches while the step computes.
//!
//! In: samples and a start position. Out: the same batches that [`Samples::batch`] gives, one after the other, on any number
//! of threads: thread w of N makes micro-batches w, w + N, w + 2N, … Cost: a few batches of memory; dropping the loader ends
//! its threads.

use std::any::Any;
use std::cell::Cell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::{sync_channel, Receiver};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crate::batch::samples::Samples;
use crate::batch::Batch;
use crate::error::{Error, Result};

/// How many micro-batches may wait, at least one a thread.
const AHEAD: usize = 4;

/// Which samples of a run one of its processes reads, in which pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Sequences of a step, of all processes together.
    pub global_batch: usize,
    /// Sequences of a piece.
    pub micro_batch: usize,
    /// The number of the process, from 0.
    pub rank: usize,
    /// How many there are; they divide `global_batch` into equal parts, each a multiple of `micro_batch`.
    pub ranks: usize,
}

impl Share {
    /// All samples, one piece after the other.
    pub fn whole(micro_batch: usize) -> Self {
        Self { global_batch: micro_batch, micro_batch, rank: 0, ranks: 1 }
    }

    /// Where piece `number` begins, counted in samples from where piece 0 of rank 0 does.
    fn start(&self, number: u64) -> u64 {
        let part = (self.global_batch / self.ranks) as u64;
        let pieces = part / self.micro_batch as u64;
        let (step, piece) = (number / pieces, number % pieces);
        step * self.global_batch as u64 + self.rank as u64 * part + piece * self.micro_batch as u64
    }
}

/// An endless stream of micro-batches.
#[derive(Debug)]
pub struct Loader {
    /// Of each thread.
    batches: Vec<Receiver<Result<Batch>>>,
    /// The thread whose turn it is.
    turn: Cell<usize>,
    threads: Vec<JoinHandle<()>>,
}

impl Loader {
    /// Starts with the step at `position` (samples of all processes since the start of the run) and goes on with the pieces of
    /// `share`, with `workers` threads, at least one.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(samples: Arc<Samples>, position: u64, share: Share, workers: usize) -> Result<Self> {
        Self::from_fn(workers, move |number| samples.batch(position + share.start(number), share.micro_batch))
    }

    /// The micro-batches that `make` makes of their numbers.
    fn from_fn(workers: usize, make: impl Fn(u64) -> Result<Batch> + Clone + Send + 'static) -> Result<Self> {
        let workers = workers.max(1);
        let mut loader = Self { batches: Vec::new(), turn: Cell::new(0), threads: Vec::new() };
        for worker in 0..workers {
            let (sender, batches) = sync_channel(AHEAD.div_ceil(workers));
            let make = make.clone();
            let work = move || {
                for number in (worker as u64..).step_by(workers) {
                    // Nothing is used again after a panic.
                    let batch = catch_unwind(AssertUnwindSafe(|| make(number)));
                    let batch = batch.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
                    let last = batch.is_err();
                    // Sending fails when the loader was dropped.
                    if sender.send(batch).is_err() || last {
                        return;
                    }
                }
            };
            let thread = thread::Builder::new()
                .name(format!("loader-{worker}"))
                .spawn(work)
                .map_err(|error| Error::failed("cannot start the loader's threads").caused_by(error))?;
            loader.batches.push(batches);
            loader.threads.push(thread);
        }
        Ok(loader)
    }

    /// The next micro-batch.
    ///
    /// # Errors
    /// A damaged shard, or a thread that panicked; and from then on that the thread has ended.
    pub fn next_batch(&self) -> Result<Batch> {
        let turn = self.turn.get();
        let batch = self.batches[turn].recv().map_err(|_| Error::failed("a thread of the loader has ended"))??;
        self.turn.set((turn + 1) % self.batches.len());
        Ok(batch)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Threads that wait to send see that nobody receives any more.
        self.batches.clear();
        for thread in self.threads.drain(..) {
            // Panics were caught and sent.
            let _ = thread.join();
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    Error::failed(format!("a thread of the loader panicked: {}", text.unwrap_or("no message")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    fn numbered(number: u64) -> Batch {
        Batch { num_targets: number as usize, ..Default::default() }
    }

    /// Two steps of 12 samples: the pieces of all ranks together are all samples, each once.
    #[test]
    fn ranks_share_every_step() {
        for (ranks, micro_batch) in [(1, 3), (2, 3), (3, 2), (4, 3), (6, 1), (12, 1)] {
            let mut seen = Vec::new();
            for rank in 0..ranks {
                let share = Share { global_batch: 12, micro_batch, rank, ranks };
                let starts = (0..(24 / ranks / micro_batch) as u64).map(|number| share.start(number));
                seen.extend(starts.flat_map(|start| start..start + micro_batch as u64));
            }
            // By hand for two ranks: rank 1 has samples 6 to 11 of the first step.
            assert!(ranks != 2 || seen[12..15] == [6, 7, 8]);
            seen.sort_unstable();
            assert_eq!(seen, (0..24).collect::<Vec<_>>(), "{ranks} ranks");
        }
        assert_eq!((0..3).map(|number| Share::whole(5).start(number)).collect::<Vec<_>>(), [0, 5, 10]);
    }

    #[test]
    fn batches_come_in_order_from_any_number_of_threads() {
        for workers in 1..6 {
            let loader = Loader::from_fn(workers, |number| {
                // The first are the slowest.
                thread::sleep(Duration::from_micros(500_u64.saturating_sub(100 * number)));
                Ok(numbered(number))
            });
            let loader = loader.unwrap();
            for number in 0..40 {
                assert_eq!(loader.next_batch().unwrap().num_targets, number);
            }
        }
    }

    #[test]
    fn errors_and_panics_reach_the_reader_in_their_place() {
        for workers in 1..4 {
            let loader = Loader::from_fn(workers, |number| match number {
                5 => Err(Error::data("batch 5 is damaged")),
                _ => Ok(numbered(number)),
            });
            let loader = loader.unwrap();
            (0..5).for_each(|number| assert_eq!(loader.next_batch().unwrap().num_targets, number));
            assert_eq!(loader.next_batch().unwrap_err().report(), "error: batch 5 is damaged");
            assert_eq!(loader.next_batch().unwrap_err().report(), "error: a thread of the loader has ended");

            let loader = Loader::from_fn(workers, |number| {
                assert_ne!(number, 3, "three");
                Ok(numbered(number))
            });
            let loader = loader.unwrap();
            (0..3).for_each(|number| assert_eq!(loader.next_batch().unwrap().num_targets, number));
            let report = loader.next_batch().unwrap_err().report();
            assert!(report.contains("a thread of the loader panicked") && report.contains("three"), "{report}");
        }
    }

    #[test]
    fn few_batches_wait_and_dropping_ends_the_threads() {
        for workers in 1..6 {
            let made = Arc::new(AtomicU64::new(0));
            let counter = made.clone();
            let loader = Loader::from_fn(workers, move |number| {
                counter.fetch_add(1, Ordering::SeqCst);
                Ok(numbered(number))
            });
            let loader = loader.unwrap();
            loader.next_batch().unwrap();
            thread::sleep(Duration::from_millis(20));
            // One was taken; a queue a thread, and one that each thread holds while it waits.
            let most = 1 + workers * (AHEAD.div_ceil(workers) + 1);
            assert!(made.load(Ordering::SeqCst) <= most as u64);
            drop(loader);
            // The threads held the only other handles.
            assert_eq!(Arc::strong_count(&made), 1);
        }
    }
}
