//! What a run of so many steps takes: the parts that were measured, added up.

use std::fmt;

use crate::config::{Phases, RunConfig};
use crate::error::Result;
use crate::layer_map::LayerMap;

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

impl PhaseCosts {
    /// A step of `walk`, one of the walks between `start` and every layer on its own. Times of walks of other lengths than these
    /// lie on the line between theirs.
    fn step(&self, walk: &LayerMap, start: &LayerMap, num_layers: usize) -> f64 {
        let (layers, fewest) = (walk.num_layers(), start.num_layers());
        if fewest == num_layers {
            return if walk == start { self.at_start } else { self.untied };
        }
        let part = (layers as f64 - fewest as f64) / (num_layers as f64 - fewest as f64);
        self.at_start + part * (self.untied - self.at_start)
    }
}

impl Costs {
    /// What a run of `config` takes that has `steps` and a model of `num_layers`. An untying is an evaluation; where only the run will
    /// tell when it comes, all steps count as untied.
    ///
    /// # Errors
    /// Phases or transitions that have no room in `steps`.
    pub fn seconds(&self, config: &RunConfig, num_layers: usize, steps: u64) -> Result<f64> {
        let config = RunConfig { train: config.train.of_steps(steps), ..config.clone() };
        let RunConfig { sharing, eval, checkpoint, .. } = &config;
        let phases = Phases::new(&config.data, &config.train)?;
        let course = config.rule(num_layers)?.course(steps);
        let Some((_, start)) = course.first() else { return Ok(0.0) };
        let times = |every: u64, from: u64, to: u64| match every {
            0 => 0.0,
            every => (to / every - from / every) as f64,
        };
        let mut seconds = self.opening + self.export + self.save * (times(checkpoint.every, 0, steps) + 1.0);
        for (phase, costs) in phases.list().iter().zip(&self.phases) {
            let inside = |step: u64| step.clamp(phase.start, phase.end);
            for (at, (from, walk)) in course.iter().enumerate() {
                let to = course.get(at + 1).map_or(steps, |(next, _)| *next);
                seconds += (inside(to) - inside(*from)) as f64 * costs.step(walk, start, num_layers);
            }
            let transitions = course.iter().skip(1).filter(|(at, _)| (phase.start..phase.end).contains(at)).count();
            let ends = phase.end == steps;
            let evaluations = times(eval.every, phase.start, phase.end) + transitions as f64 + f64::from(ends);
            let checks = match sharing.has_checks() {
                true => times(sharing.check_every, phase.start, phase.end),
                false => 0.0,
            };
            seconds += evaluations * costs.evaluation + checks * costs.check;
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
    use crate::growth::{GrowthKind, RuleKind, RunPoint};

    fn phase(until: Option<Until>, sequence_length: usize) -> PhaseConfig {
        PhaseConfig { until, sequence_length, micro_batch: None, global_batch: None }
    }

    /// 100 steps, 50 of each phase, untied after 20: 20·1 + 30·2 + 50·4 = 280; evaluations after 30, at the untying, after 60,
    /// 90 and 100: 2·10 + 3·20 = 80; checkpoints after 40, 80 and 100: 15; 3 to open, 7 to export; 10 checks of .1 and of .3.
    #[test]
    fn the_parts_of_a_run_add_up() {
        let mut config = RunConfig::default();
        config.data.phase = vec![phase(Some(Until::Fraction(0.5)), 16), phase(None, 64)];
        config.sharing.rule = Some(RuleKind::Fixed);
        config.sharing.untie_at = RunPoint::Fraction(0.2);
        config.sharing.check_every = 5;
        config.checkpoint.every = 40;
        config.eval.every = 30;
        let costs = Costs {
            phases: vec![
                PhaseCosts { sequence_length: 16, at_start: 1.0, untied: 2.0, check: 0.1, evaluation: 10.0 },
                PhaseCosts { sequence_length: 64, at_start: 3.0, untied: 4.0, check: 0.3, evaluation: 20.0 },
            ],
            opening: 3.0,
            save: 5.0,
            export: 7.0,
        };
        let seconds = |config: &RunConfig| costs.seconds(config, 2, 100).unwrap();
        assert_eq!(seconds(&config), 280.0 + 80.0 + 15.0 + 3.0 + 7.0);
        config.sharing.monitor = true;
        assert!((seconds(&config) - (385.0 + 10.0 * 0.1 + 10.0 * 0.3)).abs() < 1e-9);
        config.sharing.monitor = false;
        // Never untied: 50·1 + 50·3, and no evaluation at an untying.
        config.sharing.rule = Some(RuleKind::Never);
        assert_eq!(seconds(&config), 200.0 + 70.0 + 15.0 + 3.0 + 7.0);
    }

    /// One of 4 layers until step 20, then all: 20·1 + 30·2 + 50·4; from 2 layers a step of 3 lies between those of 2 and of 4.
    #[test]
    fn a_step_takes_what_its_layers_take() {
        let costs = PhaseCosts { sequence_length: 16, at_start: 1.0, untied: 2.0, check: 0.0, evaluation: 0.0 };
        let other = PhaseCosts { at_start: 3.0, untied: 4.0, ..costs };
        let mut config = RunConfig::default();
        config.data.phase = vec![phase(Some(Until::Fraction(0.5)), 16), phase(None, 64)];
        config.growth.rule = Some(GrowthKind::Expand);
        config.growth.expand.at = RunPoint::Fraction(0.2);
        config.checkpoint.every = 1000;
        config.eval.every = 0;
        let costs_of = Costs { phases: vec![costs, other], ..Default::default() };
        assert_eq!(costs_of.seconds(&config, 4, 100).unwrap(), 20.0 + 60.0 + 200.0);
        let walk = |layers| LayerMap::untied(layers);
        assert_eq!([2, 3, 4].map(|layers| costs.step(&walk(layers), &walk(2), 4)), [1.0, 1.5, 2.0]);
    }
}
