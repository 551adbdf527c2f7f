//! What a run of so many steps takes: the parts that were measured, added up.

use std::fmt;

use crate::batch::DataConfig;
use crate::checkpoint::CheckpointConfig;
use crate::config::phases::Phases;
use crate::config::{EvalConfig, RunConfig, TrainConfig};
use crate::error::Result;
use crate::growth::{rule, SharingConfig};

/// Seconds of the parts of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PhaseCosts {
    /// Tokens of a sequence.
    pub sequence_length: usize,
    /// A step with the sharing of the start.
    pub at_start: f64,
    /// A step with every layer on its own.
    pub untied: f64,
    /// What a check of the layers' gradients adds to a step.
    pub check: f64,
    /// An evaluation.
    pub evaluation: f64,
}

/// Seconds of the parts of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Costs {
    /// Of each phase.
    pub phases: Vec<PhaseCosts>,
    /// Weights and data, before the first step and at each border.
    pub opening: f64,
    /// A checkpoint of the untied model.
    pub save: f64,
    /// The export.
    pub export: f64,
}

/// The tables that say how often each part comes.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    /// `[data]`.
    pub data: &'a DataConfig,
    /// `[train]`.
    pub train: &'a TrainConfig,
    /// `[sharing]`.
    pub sharing: &'a SharingConfig,
    /// `[eval]`.
    pub eval: &'a EvalConfig,
    /// `[checkpoint]`.
    pub checkpoint: &'a CheckpointConfig,
    /// Layers of the model.
    pub num_layers: usize,
}

impl<'a> Course<'a> {
    /// That of a run of `config`, whose model has `num_layers` layers.
    pub fn new(config: &'a RunConfig, num_layers: usize) -> Self {
        let RunConfig { data, train, sharing, eval, checkpoint, .. } = config;
        Self { data, train, sharing, eval, checkpoint, num_layers }
    }

    /// The phases of a run of `steps`.
    ///
    /// # Errors
    /// As [`Phases::new`].
    pub fn phases(&self, steps: u64) -> Result<Phases> {
        Phases::new(self.data, &self.train.of_steps(steps))
    }
}

impl Costs {
    /// What a run of `steps` takes. An untying is an evaluation; where only the run will tell when it comes, all steps count as
    /// untied.
    ///
    /// # Errors
    /// Phases or transitions that have no room in `steps`.
    pub fn seconds(&self, course: &Course<'_>, steps: u64) -> Result<f64> {
        let phases = course.phases(steps)?;
        let walks = rule(course.sharing, course.num_layers, steps)?.course(steps);
        let border = walks.get(1).map_or(steps, |(step, _)| *step);
        let times = |every: u64, from: u64, to: u64| match every {
            0 => 0.0,
            every => (to / every - from / every) as f64,
        };
        let mut seconds = self.opening + self.export + self.save * (times(course.checkpoint.every, 0, steps) + 1.0);
        for (phase, costs) in phases.list().iter().zip(&self.phases) {
            let at_start = border.clamp(phase.start, phase.end) - phase.start;
            let untied = phase.end - phase.start - at_start;
            let unties = border < steps && (phase.start..phase.end).contains(&border);
            let ends = phase.end == steps;
            let evaluations = times(course.eval.every, phase.start, phase.end) + f64::from(unties) + f64::from(ends);
            let checks = match course.sharing.has_checks() {
                true => times(course.sharing.check_every, phase.start, phase.end),
                false => 0.0,
            };
            seconds += at_start as f64 * costs.at_start
                + untied as f64 * costs.untied
                + evaluations * costs.evaluation
                + checks * costs.check;
        }
        Ok(seconds)
    }

    /// The measured times in a fixed order, so that processes can take the largest of each.
    pub(super) fn times_mut(&mut self) -> Vec<&mut f64> {
        let phases = self.phases.iter_mut();
        let of_phases = phases.flat_map(|of| [&mut of.at_start, &mut of.untied, &mut of.check, &mut of.evaluation]);
        of_phases.chain([&mut self.opening, &mut self.save, &mut self.export]).collect()
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for costs in &self.phases {
            let PhaseCosts { sequence_length, at_start, untied, evaluation, .. } = costs;
            writeln!(
                formatter,
                "  {sequence_length:>4} tokens      {at_start:.4} s a step at the start, {untied:.4} s untied, \
                 {evaluation:.2} s an evaluation"
            )?;
        }
        write!(formatter, "  once             {:.2} s a checkpoint, {:.2} s the export", self.save, self.export)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::phase::{PhaseConfig, Until};
    use crate::growth::{RuleKind, RunPoint};

    fn phase(until: Option<Until>, sequence_length: usize) -> PhaseConfig {
        PhaseConfig { until, sequence_length, micro_batch: None, global_batch: None }
    }

    /// 100 steps, 50 of each phase, untied after 20: 20·1 + 30·2 + 50·4 = 280; evaluations after 30, at the untying, after 60,
    /// 90 and 100: 2·10 + 3·20 = 80; checkpoints after 40, 80 and 100: 15; 3 to open, 7 to export; 10 checks of .1 and of .3.
    #[test]
    fn the_parts_of_a_run_add_up() {
        let data =
            DataConfig { phase: vec![phase(Some(Until::Fraction(0.5)), 16), phase(None, 64)], ..Default::default() };
        let mut sharing = SharingConfig {
            rule: Some(RuleKind::Fixed),
            untie_at: RunPoint::Fraction(0.2),
            check_every: 5,
            ..Default::default()
        };
        let costs = Costs {
            phases: vec![
                PhaseCosts { sequence_length: 16, at_start: 1.0, untied: 2.0, check: 0.1, evaluation: 10.0 },
                PhaseCosts { sequence_length: 64, at_start: 3.0, untied: 4.0, check: 0.3, evaluation: 20.0 },
            ],
            opening: 3.0,
            save: 5.0,
            export: 7.0,
        };
        let checkpoint = CheckpointConfig { every: 40, ..Default::default() };
        let eval = EvalConfig { every: 30, ..Default::default() };
        let seconds = |sharing: &SharingConfig| {
            let train = TrainConfig::default();
            let course =
                Course { data: &data, train: &train, sharing, eval: &eval, checkpoint: &checkpoint, num_layers: 2 };
            costs.seconds(&course, 100).unwrap()
        };
        assert_eq!(seconds(&sharing), 280.0 + 80.0 + 15.0 + 3.0 + 7.0);
        sharing.monitor = true;
        assert!((seconds(&sharing) - (385.0 + 10.0 * 0.1 + 10.0 * 0.3)).abs() < 1e-9);
        sharing.monitor = false;
        // Never untied: 50·1 + 50·3, and no evaluation at an untying.
        sharing.rule = Some(RuleKind::Never);
        assert_eq!(seconds(&sharing), 200.0 + 70.0 + 15.0 + 3.0 + 7.0);
    }
}
