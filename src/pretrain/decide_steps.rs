//! The steps of a run that asks for a time or for epochs.
//!
//! In: a [`ResolvedRun`] whose steps are open, and for a time the costs that are measured here. Out: the steps, the same on all processes.
//! Cost: none for epochs; for a time the part of it in which steps are measured.

use std::path::Path;
use std::time::Instant;

use crate::config::length::{Asked, TimeBudget, OPEN};
use crate::config::Phases;
use crate::error::{Error, Result};
use crate::metrics::human::{human_duration, human_integer};
use crate::pretrain::measure::measure;
use crate::pretrain::resolved_run::ResolvedRun;
use crate::train::Event;

/// The part of `train.time` in which steps are measured.
const MEASURING: f64 = 0.04;
/// The part of it that is kept for what is not measured, and for a machine that slows down.
const RESERVE: f64 = 0.04;

/// The steps of a run that asks for time or epochs; for a time as `folder`'s disk and this machine take it now, of which `begin`
/// is the start. All processes get the same. `check` says whether a run of so many steps is possible.
///
/// # Errors
/// A time or epochs without room for the run, and as [`ResolvedRun::stats`].
pub fn decide_steps(
    run: &ResolvedRun,
    asked: Asked,
    (folder, begin): (&Path, Instant),
    check: impl Fn(u64) -> Result<()>,
    events: &mut dyn FnMut(Event),
) -> Result<u64> {
    let layers = run.bert.num_hidden_layers;
    match asked {
        Asked::Epochs(epochs) => {
            let sizes: Vec<u64> = run.stats()?.phases.iter().map(|phase| phase.samples_per_epoch).collect();
            steps_of_epochs(epochs, check, |steps| {
                let phases = Phases::new(&run.config.data, &run.config.train.of_steps(steps))?;
                let samples = phases.list().iter().map(|phase| phase.position(steps) as f64);
                Ok(samples.zip(&sizes).map(|(samples, &size)| samples / size as f64).sum())
            })
        }
        Asked::Time(time) => {
            let costs = measure(run, folder, time.0.mul_f64(MEASURING))?;
            // All processes go by the clock of rank 0, so that they get the same steps.
            let left = || (time.0.mul_f64(1.0 - RESERVE).as_secs_f64() - begin.elapsed().as_secs_f64()).to_le_bytes();
            let left = run.world.from_first(|| Ok(left().to_vec()))?;
            let left = <[u8; 8]>::try_from(left).map_or(0.0, f64::from_le_bytes);
            let steps = steps_in_time(time, left, check, |steps| costs.seconds(&run.config, layers, steps))?;
            let predicted = begin.elapsed().as_secs_f64() + costs.seconds(&run.config, layers, steps)?;
            events(Event::Note(format!(
                "{:<18} {} steps, predicted to end after {}\n{costs}",
                asked.to_string().replace('`', ""),
                human_integer(steps),
                human_duration(predicted)
            )));
            Ok(steps)
        }
    }
}

/// The largest number of steps for which `holds`, which holds up to some number and never above; 0 where it never does, at most
/// [`OPEN`].
fn largest(mut holds: impl FnMut(u64) -> bool) -> u64 {
    let (mut below, mut above) = (0, 1);
    while above <= OPEN && holds(above) {
        (below, above) = (above, 2 * above);
    }
    while above - below > 1 {
        let middle = below + (above - below) / 2;
        match holds(middle) {
            true => below = middle,
            false => above = middle,
        }
    }
    below
}

/// The most steps that end within `left` seconds, by `seconds`, which tells what a run of so many takes. `check` refuses a run
/// of so few that its parts have no room.
///
/// # Errors
/// Where not even the fewest steps do.
fn steps_in_time(
    time: TimeBudget,
    left: f64,
    check: impl Fn(u64) -> Result<()>,
    seconds: impl Fn(u64) -> Result<f64>,
) -> Result<u64> {
    let fewest = largest(|steps| check(steps).is_err()) + 1;
    check(fewest)?;
    let needed = seconds(fewest)?;
    if needed > left {
        return Err(Error::config(format!(
            "`train.time` = {time} is too short: {} left after measuring, and the shortest run of this configuration, {} steps, \
             is predicted to take {}",
            human_duration(left.max(0.0)),
            human_integer(fewest),
            human_duration(needed.ceil())
        ))
        .hint("give it more time, or make the model smaller"));
    }
    Ok(largest(|steps| check(steps).is_err() || seconds(steps).is_ok_and(|needed| needed <= left)))
}

/// The fewest steps that pass `epochs` times over the data; `passes` tells how often so many do.
///
/// # Errors
/// What `check` says of that number.
fn steps_of_epochs(epochs: f64, check: impl Fn(u64) -> Result<()>, passes: impl Fn(u64) -> Result<f64>) -> Result<u64> {
    // A rounded product must not add a step.
    let enough = epochs * (1.0 - 1e-9);
    let steps = largest(|steps| passes(steps).map_or(true, |passes| passes < enough)) + 1;
    check(steps).map_err(|error| {
        Error::config(format!("`train.epochs` = {epochs} amounts to {} steps", human_integer(steps))).caused_by(error)
    })?;
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// 2 seconds and 0.5 a step: 10 seconds are 16 steps, and 9.9 are 15.
    #[test]
    fn the_most_steps_that_fit() {
        let time = TimeBudget(Duration::from_secs(10));
        let in_time = |left, fewest: u64| {
            let check = |steps| if steps < fewest { Err(Error::config("no room")) } else { Ok(()) };
            steps_in_time(time, left, check, |steps| Ok(2.0 + 0.5 * steps as f64))
        };
        assert_eq!((in_time(10.0, 1).unwrap(), in_time(9.9, 4).unwrap(), in_time(2.5, 1).unwrap()), (16, 15, 1));
        let message = in_time(2.4, 1).unwrap_err().to_string();
        assert!(message.contains("`train.time` = 10s is too short"), "{message}");
        let message = in_time(10.0, 17).unwrap_err().to_string();
        assert!(message.contains("17 steps, is predicted to take 11s"), "{message}");
    }

    /// 24 samples a step of 1,000: 2 epochs need 83.3 steps, so 84; 3 epochs exactly 125.
    #[test]
    fn epochs_are_rounded_up() {
        let steps = |epochs| steps_of_epochs(epochs, |_| Ok(()), |steps| Ok(steps as f64 * 24.0 / 1000.0)).unwrap();
        assert_eq!((steps(2.0), steps(3.0), steps(0.001)), (84, 125, 1));
        let refused = steps_of_epochs(0.5, |_| Err(Error::config("too short")), |steps| Ok(steps as f64 / 10.0));
        assert_eq!(refused.unwrap_err().report(), "error: `train.epochs` = 0.5 amounts to 5 steps: too short");
    }
}
