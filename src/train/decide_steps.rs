//! The steps of a run that asks for a time or for epochs.
//!
//! In: a [`Plan`] whose steps are open, and for a time the costs that are measured here. Out: the steps, the same on all processes.
//! Cost: none for epochs; for a time the part of it in which steps are measured.

use std::path::Path;
use std::time::Instant;

use crate::error::Result;
use crate::metrics::human::{human_duration, human_integer};
use crate::train::length::{self, Asked};
use crate::train::measure::measure;
use crate::train::plan::Plan;

/// The part of `train.time` in which steps are measured.
const MEASURING: f64 = 0.04;
/// The part of it that is kept for what is not measured, and for a machine that slows down.
const RESERVE: f64 = 0.04;

/// The steps of a run that asks for time or epochs; for a time as `folder`'s disk and this machine take it now, of which `begin`
/// is the start. All processes get the same. `check` says whether a run of so many steps is possible.
///
/// # Errors
/// A time or epochs without room for the run, and as [`Plan::stats`].
pub fn decide_steps(
    plan: &Plan,
    asked: Asked,
    (folder, begin): (&Path, Instant),
    check: impl Fn(u64) -> Result<()>,
) -> Result<u64> {
    let course = plan.course();
    match asked {
        Asked::Epochs(epochs) => {
            let sizes: Vec<u64> = plan.stats()?.phases.iter().map(|phase| phase.samples_per_epoch).collect();
            length::steps_of_epochs(epochs, check, |steps| {
                let phases = course.phases(steps)?;
                let samples = phases.list().iter().map(|phase| phase.position(steps) as f64);
                Ok(samples.zip(&sizes).map(|(samples, &size)| samples / size as f64).sum())
            })
        }
        Asked::Time(time) => {
            let costs = measure(plan, folder, time.0.mul_f64(MEASURING))?;
            // All processes go by the clock of rank 0, so that they get the same steps.
            let left = || (time.0.mul_f64(1.0 - RESERVE).as_secs_f64() - begin.elapsed().as_secs_f64()).to_le_bytes();
            let left = plan.world.from_first(|| Ok(left().to_vec()))?;
            let left = <[u8; 8]>::try_from(left).map_or(0.0, f64::from_le_bytes);
            let steps = length::steps_in_time(time, left, check, |steps| costs.seconds(&course, steps))?;
            if plan.world.is_first() {
                let predicted = begin.elapsed().as_secs_f64() + costs.seconds(&course, steps)?;
                eprintln!(
                    "{:<18} {} steps, predicted to end after {}\n{costs}",
                    asked.to_string().replace('`', ""),
                    human_integer(steps),
                    human_duration(predicted)
                );
            }
            Ok(steps)
        }
    }
}
