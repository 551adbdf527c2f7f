//! The phases of a run: which step reads sequences of which length.
//!
//! In: `[[data.phase]]`, `[data]` and `[train]`. Out: for every step its phase, and the place in the data of that phase; a pure
//! function, so that the state of the data stays the number of the step. Without `[[data.phase]]` the whole run is one phase.

use crate::batch::DataConfig;
use crate::config::TrainConfig;
use crate::error::{Error, Result};

/// Consecutive steps with the same sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Its number, from 0.
    pub number: u32,
    /// Steps of the run before it.
    pub start: u64,
    /// Steps of the run at its end.
    pub end: u64,
    /// Tokens of a sequence.
    pub sequence_length: usize,
    /// Sequences of one step.
    pub global_batch: usize,
    /// Sequences of one forward and backward; divides a process's part of `global_batch`.
    pub micro_batch: usize,
    /// Processes that share a step.
    pub ranks: usize,
}

impl Phase {
    /// Samples of the phase that came before step `step` + 1 of the run.
    pub fn position(&self, step: u64) -> u64 {
        (step.clamp(self.start, self.end) - self.start) * self.global_batch as u64
    }

    /// Tokens of one step.
    pub fn tokens(&self) -> u64 {
        (self.global_batch * self.sequence_length) as u64
    }

    /// Forwards and backwards of one step in one process.
    pub fn num_micro_batches(&self) -> usize {
        self.part() / self.micro_batch
    }

    /// Sequences of one step in one process.
    pub fn part(&self) -> usize {
        self.global_batch / self.ranks
    }

    /// The `[data]` table with the sequence length of the phase.
    pub fn data(&self, data: &DataConfig) -> DataConfig {
        DataConfig { sequence_length: self.sequence_length, ..data.clone() }
    }
}

/// All phases of a run, which cover it without a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phases(Vec<Phase>);

impl Phases {
    /// The phases that the tables declare.
    ///
    /// # Errors
    /// Phases that do not follow one another to the end of the run, or sizes that do not fit, by name.
    pub fn new(data: &DataConfig, train: &TrainConfig) -> Result<Self> {
        // Until `auto` is decided.
        let micro_batch = train.micro_batch.sequences().unwrap_or(1);
        if data.phase.is_empty() {
            let TrainConfig { steps, global_batch, .. } = *train;
            let sequence_length = data.sequence_length;
            return Ok(Self(vec![Phase {
                number: 0,
                start: 0,
                end: steps,
                sequence_length,
                global_batch,
                micro_batch,
                ranks: 1,
            }]));
        }
        let mut phases: Vec<Phase> = Vec::new();
        for (number, config) in data.phase.iter().enumerate() {
            let name = format!("data.phase[{number}]");
            let is_last = number + 1 == data.phase.len();
            let start = phases.last().map_or(0, |phase| phase.end);
            let end = match config.until {
                Some(until) => until.step(train.steps),
                None if is_last => train.steps,
                None => {
                    return Err(Error::config(format!(
                        "`{name}.until` is missing: expected the step where the next begins"
                    )))
                }
            };
            if end <= start || end > train.steps {
                return Err(Error::config(format!(
                    "`{name}.until` must be after step {start} and at most `train.steps` = {}, got {end}",
                    train.steps
                ))
                .hint("list the phases in their order; a fraction such as 0.9 follows `train.steps`"));
            }
            let micro_batch = config.micro_batch.unwrap_or(micro_batch);
            let global_batch = config.global_batch.unwrap_or(train.global_batch);
            if micro_batch == 0 || global_batch == 0 || !global_batch.is_multiple_of(micro_batch) {
                return Err(Error::config(format!(
                    "`{name}`: `global_batch` = {global_batch} is not a multiple of `micro_batch` = {micro_batch}"
                ))
                .hint("micro-batches add up to the global batch; change one of the two"));
            }
            DataConfig { sequence_length: config.sequence_length, phase: Vec::new(), ..data.clone() }
                .validate()
                .map_err(|error| Error::config(format!("`{name}` is not valid")).caused_by(error))?;
            let (number, sequence_length) = (number as u32, config.sequence_length);
            phases.push(Phase { number, start, end, sequence_length, global_batch, micro_batch, ranks: 1 });
        }
        match phases.last() {
            Some(last) if last.end < train.steps => Err(Error::config(match train.asked() {
                None => format!(
                    "the phases end at step {}, before the end of the run, `train.steps` = {}",
                    last.end, train.steps
                ),
                Some(asked) => {
                    format!("the phases end at step {}, and {asked} leaves the end of the run open", last.end)
                }
            })
            .hint("leave out `until` of the last `[[data.phase]]`")),
            _ => Ok(Self(phases)),
        }
    }

    /// The same phases with every step shared by `ranks` processes. Micro-batches that do not divide a process's part become the
    /// largest smaller ones that do: the same steps in other pieces.
    ///
    /// # Errors
    /// A global batch that `ranks` does not divide, with the nearest that it does.
    pub fn shared_by(mut self, ranks: usize) -> Result<Self> {
        for phase in &mut self.0 {
            let batch = phase.global_batch;
            if !batch.is_multiple_of(ranks) {
                let below = batch / ranks * ranks;
                let nearest = if below > 0 { format!("{below} or {}", below + ranks) } else { ranks.to_string() };
                return Err(Error::config(format!(
                    "a global batch of {batch} sequences cannot be divided among {ranks} processes: the nearest that can is {nearest}"
                ))
                .hint("set `train.global_batch` to that, or start another number of processes"));
            }
            phase.ranks = ranks;
            let part = phase.part();
            let fits = |size: &usize| part.is_multiple_of(*size);
            phase.micro_batch = (1..=phase.micro_batch.min(part)).rev().find(fits).unwrap_or(1);
        }
        Ok(self)
    }

    /// In their order.
    pub fn list(&self) -> &[Phase] {
        &self.0
    }

    /// Puts `phase` in the place of the one with its number.
    pub(crate) fn replace(&mut self, phase: Phase) {
        self.0[phase.number as usize] = phase;
    }

    /// The phase of step `step` + 1, or of the last step once the run is over.
    pub fn after(&self, step: u64) -> Phase {
        let last = self.0.len() - 1;
        self.0[self.0.iter().position(|phase| step < phase.end).unwrap_or(last)]
    }

    /// Samples of all phases that `step` steps read.
    pub fn samples_consumed(&self, step: u64) -> u64 {
        self.0.iter().map(|phase| phase.position(step)).sum()
    }

    /// Tokens of the longest sequence.
    pub fn longest_sequence(&self) -> usize {
        self.0.iter().map(|phase| phase.sequence_length).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::phase::{PhaseConfig, Until};

    fn phase(until: Option<Until>, sequence_length: usize) -> PhaseConfig {
        PhaseConfig { until, sequence_length, micro_batch: None, global_batch: None }
    }

    fn phases(phase: Vec<PhaseConfig>) -> Result<Phases> {
        let train = TrainConfig { steps: 100, global_batch: 8, micro_batch: 4.into(), ..Default::default() };
        Phases::new(&DataConfig { phase, ..Default::default() }, &train)
    }

    #[test]
    fn a_run_without_phases_is_one() {
        let phases = phases(Vec::new()).unwrap();
        assert_eq!(phases.list().len(), 1);
        assert_eq!(phases.after(99).position(99), 99 * 8);
        assert_eq!(phases.samples_consumed(100), 800);
    }

    #[test]
    fn every_step_has_its_phase_and_every_phase_its_own_samples() {
        let mut second = phase(None, 512);
        (second.global_batch, second.micro_batch) = (Some(4), Some(2));
        let phases = phases(vec![phase(Some(Until::Fraction(0.9)), 128), second]).unwrap();
        assert_eq!((phases.after(0).sequence_length, phases.after(89).sequence_length), (128, 128));
        assert_eq!((phases.after(90).sequence_length, phases.after(100).sequence_length), (512, 512));
        assert_eq!((phases.after(90).position(90), phases.after(95).position(95)), (0, 20));
        assert_eq!((phases.samples_consumed(90), phases.samples_consumed(100)), (720, 760));
        let tokens: u64 = phases.list().iter().map(|phase| (phase.end - phase.start) * phase.tokens()).sum();
        assert_eq!(tokens, 90 * 8 * 128 + 10 * 4 * 512);
        assert_eq!((phases.longest_sequence(), phases.after(95).num_micro_batches()), (512, 2));
    }

    #[test]
    fn steps_are_shared_by_processes() {
        let sized = |ranks| {
            let train = TrainConfig { steps: 10, global_batch: 24, micro_batch: 6.into(), ..Default::default() };
            let phases = Phases::new(&DataConfig::default(), &train).unwrap().shared_by(ranks)?;
            Ok::<_, Error>((phases.list()[0].micro_batch, phases.list()[0].num_micro_batches()))
        };
        let found: Vec<_> = [1, 2, 3, 4, 6, 8, 24].map(|ranks| sized(ranks).unwrap()).into();
        assert_eq!(found, [(6, 4), (6, 2), (4, 2), (6, 1), (4, 1), (3, 1), (1, 1)]);
        let message = |ranks| sized(ranks).unwrap_err().to_string();
        assert!(
            message(5).contains("24 sequences cannot be divided among 5 processes: the nearest that can is 20 or 25")
        );
        assert!(message(48).ends_with("is 48"));
    }

    #[test]
    fn phases_that_do_not_cover_the_run_are_refused() {
        let step = |step| Some(Until::Step(step));
        let mut indivisible = phase(None, 128);
        indivisible.micro_batch = Some(3);
        for (list, words) in [
            (vec![phase(None, 128), phase(None, 512)], "`data.phase[0].until` is missing"),
            (vec![phase(step(50), 128), phase(step(50), 512)], "`data.phase[1].until` must be after step 50"),
            (vec![phase(step(101), 128)], "at most `train.steps` = 100, got 101"),
            (vec![phase(step(50), 128)], "the phases end at step 50"),
            (vec![indivisible], "not a multiple of `micro_batch` = 3"),
            (vec![phase(None, 2)], "`data.sequence_length` must be at least"),
        ] {
            let report = phases(list).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
    }
}
