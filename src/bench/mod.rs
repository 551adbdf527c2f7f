//! Measured training steps: how fast, how much memory, how near to what the machine's matrix products allow.
//!
//! In: a model in training and its batches. Out: the times of whole steps (batch to device, forward, backward, clipping,
//! AdamW), the losses of the first, the peak of memory, and where wanted the time by op. Cost: the warm-up steps, and then
//! as many seconds as asked for, at least [`FEWEST_STEPS`] steps. Nothing is recorded and nothing is saved, unless the time of a
//! checkpoint is wanted.

pub mod batch;
pub mod calibration;
pub mod memory;
pub mod model;
pub mod profile;
pub mod report;
mod timing_stats;

use std::time::{Duration, Instant};

use tch::Device;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::Batch;
use crate::error::Result;
use crate::loss::{pretraining, Totals};
use crate::model::Mode;
use crate::pretrain::calibrate::synchronise;
use crate::train::{Event, TrainState};

pub use model::BenchModel;
pub use timing_stats::TimingStats;

/// Steps that are measured however long they take.
pub const FEWEST_STEPS: usize = 3;

/// Losses that a report holds.
const NUM_LOSSES: usize = 3;

/// Least time between two lines on stderr.
const SILENCE: Duration = Duration::from_secs(2);

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// Steps before the measured ones.
    pub warmup_steps: usize,
    /// Least time of the measured steps together.
    pub seconds: f64,
}

/// What was measured; one entry a step.
#[derive(Debug, Default)]
pub struct Measured {
    /// Losses of the first steps, warm-up included.
    pub losses: Vec<f64>,
    /// Whole steps.
    pub step_seconds: Vec<f64>,
    /// Forward and backward of the first micro-batch, where a step has more than one.
    pub micro_seconds: Vec<f64>,
    /// What each step waited for its batch; no part of the step's time.
    pub wait_seconds: Vec<f64>,
    /// Largest resident size, without mapped files, during the measured steps; none where the system does not tell, and on GPUs.
    pub peak_bytes: Option<u64>,
}

/// A model in training whose steps are timed.
#[derive(Debug)]
pub struct Stopwatch {
    state: TrainState,
    device: Device,
    learning_rate: f64,
    /// Steps so far.
    steps: u64,
}

/// One step.
struct Lap {
    loss: f64,
    seconds: f64,
    micro_seconds: Option<f64>,
}

impl Stopwatch {
    /// Times the steps of `state` on `device`, all with one learning rate.
    pub fn new(state: TrainState, device: Device, learning_rate: f64) -> Self {
        Self { state, device, learning_rate, steps: 0 }
    }

    /// The model in training.
    pub fn state(&self) -> &TrainState {
        &self.state
    }

    /// Takes warm-up steps and then measured ones, on the micro-batches that `next` gives; each is told to `events`.
    ///
    /// # Errors
    /// `next`'s own and libtorch's.
    pub fn measure(
        &mut self,
        options: BenchOptions,
        mut next: impl FnMut() -> Result<Vec<Batch>>,
        events: &mut dyn FnMut(Event),
    ) -> Result<Measured> {
        let mut measured = Measured::default();
        for number in 1..=options.warmup_steps {
            let lap = self.lap(&next()?)?;
            events(Event::Note(format!("warm-up step {number}: {:.3} s, loss {:.4}", lap.seconds, lap.loss)));
            measured.losses.push(lap.loss);
        }
        let resets = memory::reset_peak(self.device);
        let (begin, mut said) = (Instant::now(), Instant::now());
        while measured.step_seconds.len() < FEWEST_STEPS || begin.elapsed().as_secs_f64() < options.seconds {
            let waits = Instant::now();
            let batches = next()?;
            measured.wait_seconds.push(waits.elapsed().as_secs_f64());
            let lap = self.lap(&batches)?;
            measured.losses.push(lap.loss);
            measured.step_seconds.push(lap.seconds);
            if said.elapsed() >= SILENCE || measured.step_seconds.len() <= FEWEST_STEPS {
                let number = measured.step_seconds.len();
                events(Event::note(number as u64, &format!("{:.3} s, loss {:.4}", lap.seconds, lap.loss)));
                said = Instant::now();
            }
            measured.micro_seconds.extend(lap.micro_seconds);
        }
        // Without the right to reset it, the peak is that of the whole process.
        measured.peak_bytes = memory::peak_bytes(self.device).filter(|_| resets);
        measured.losses.truncate(NUM_LOSSES);
        Ok(measured)
    }

    /// One step, as a run takes it.
    fn lap(&mut self, batches: &[Batch]) -> Result<Lap> {
        let totals = Totals {
            targets: batches.iter().map(|batch| batch.num_targets).sum::<usize>().max(1),
            sequences: batches.iter().map(Batch::num_sequences).sum(),
        };
        self.steps += 1;
        let (device, step) = (self.device, self.steps);
        synchronise(device);
        let begin = Instant::now();
        // The time when each micro-batch begins and the work of the one before is done.
        let mut begins = Vec::with_capacity(batches.len());
        let (pending, _check) = self.state.step(step, self.learning_rate, batches.len(), |model, index| {
            if index > 0 {
                synchronise(device);
            }
            begins.push(Instant::now());
            tch::manual_seed(xxh3_64(&[step, index as u64].map(u64::to_le_bytes).concat()) as i64);
            pretraining(model, &batches[index].to_device(device)?, totals, Mode::Train)?.total()
        })?;
        synchronise(device);
        let micro_seconds = begins.get(1).map(|second| second.duration_since(begins[0]).as_secs_f64());
        let seconds = begin.elapsed().as_secs_f64();
        Ok(Lap { loss: pending.read()?.loss, seconds, micro_seconds })
    }
}
