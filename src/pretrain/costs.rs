//! What a run of so many steps takes: the parts that were measured, added up.

use std::fmt;

use crate::config::{Phases, RunConfig};
use crate::error::{Error, Result};
use crate::growth::Rule;
use crate::layer_map::LayerMap;

/// Seconds of the parts of one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PhaseCosts {
    /// Tokens of a sequence.
    pub sequence_length: usize,
    /// A step of the [`cheapest_walk`].
    pub cheapest: f64,
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

/// The walk whose step is measured beside one with every layer on its own: that of the start, or where a step of a run of `steps`
/// executes fewer layers than that, so many.
///
/// # Errors
/// A rule without a first walk.
pub fn cheapest_walk(rule: &dyn Rule, steps: u64) -> Result<LayerMap> {
    let course = rule.course(steps);
    let Some((_, start)) = course.first() else { return Err(Error::failed("the rule has no first walk")) };
    let fewest = course.iter().map(|(_, walk)| rule.mean_layers(walk) as usize).min();
    Ok(match fewest.filter(|&fewest| fewest < start.num_layers()) {
        Some(fewest) => LayerMap::untied(fewest.max(1)),
        None => start.clone(),
    })
}

impl PhaseCosts {
    /// A step of `walk` that executes `layers` in the mean, where `cheapest` has been measured and every layer on its own. Times of
    /// other numbers of layers lie on the line between theirs.
    fn step(&self, (walk, layers): (&LayerMap, f64), cheapest: &LayerMap, num_layers: usize) -> f64 {
        let fewest = cheapest.num_layers();
        if fewest == num_layers {
            return if walk == cheapest { self.cheapest } else { self.untied };
        }
        let part = (layers - fewest as f64) / (num_layers as f64 - fewest as f64);
        self.cheapest + part * (self.untied - self.cheapest)
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
        let rule = config.rule(num_layers)?;
        let (course, cheapest) = (rule.course(steps), cheapest_walk(&*rule, steps)?);
        let times = |every: u64, from: u64, to: u64| match every {
            0 => 0.0,
            every => (to / every - from / every) as f64,
        };
        let mut seconds = self.opening + self.export + self.save * (times(checkpoint.every, 0, steps) + 1.0);
        for (phase, costs) in phases.list().iter().zip(&self.phases) {
            let inside = |step: u64| step.clamp(phase.start, phase.end);
            for (at, (from, walk)) in course.iter().enumerate() {
                let to = course.get(at + 1).map_or(steps, |(next, _)| *next);
                seconds += (inside(to) - inside(*from)) as f64
                    * costs.step((walk, rule.mean_layers(walk)), &cheapest, num_layers);
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
        let of_phases = phases.flat_map(|of| [&mut of.cheapest, &mut of.untied, &mut of.check, &mut of.evaluation]);
        of_phases.chain([&mut self.opening, &mut self.save, &mut self.export]).collect()
    }
}

impl fmt::Display for Costs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for costs in &self.phases {
            let PhaseCosts { sequence_length, cheapest, untied, evaluation, .. } = costs;
            writeln!(
                formatter,
                "  {sequence_length:>4} tokens      {cheapest:.4} s the cheapest step, {untied:.4} s an untied one, \
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
                PhaseCosts { sequence_length: 16, cheapest: 1.0, untied: 2.0, check: 0.1, evaluation: 10.0 },
                PhaseCosts { sequence_length: 64, cheapest: 3.0, untied: 4.0, check: 0.3, evaluation: 20.0 },
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

    /// One of 4 layers until step 20, then all: 20·1 + 30·2 + 50·4; a step of 3 layers lies between those of 2 and of 4.
    #[test]
    fn a_step_takes_what_its_layers_take() {
        let costs = PhaseCosts { sequence_length: 16, cheapest: 1.0, untied: 2.0, check: 0.0, evaluation: 0.0 };
        let other = PhaseCosts { cheapest: 3.0, untied: 4.0, ..costs };
        let mut config = RunConfig::default();
        config.data.phase = vec![phase(Some(Until::Fraction(0.5)), 16), phase(None, 64)];
        config.growth.rule = Some(GrowthKind::Expand);
        config.growth.expand.at = RunPoint::Fraction(0.2);
        config.checkpoint.every = 1000;
        config.eval.every = 0;
        let costs_of = Costs { phases: vec![costs, other], ..Default::default() };
        assert_eq!(costs_of.seconds(&config, 4, 100).unwrap(), 20.0 + 60.0 + 200.0);
        let step = |layers| costs.step((&LayerMap::untied(layers), layers as f64), &LayerMap::untied(2), 4);
        assert_eq!([2, 3, 4].map(step), [1.0, 1.5, 2.0]);
        // Of 4 layers until step 5, of 2 until step 55, then of 4 again: 5·2 + 45·1 + 5·3 + 45·4.
        config.growth.rule = Some(GrowthKind::VCycle);
        assert_eq!(costs_of.seconds(&config, 4, 100).unwrap(), 10.0 + 45.0 + 15.0 + 180.0);
        // One group of 4 layers for 20 steps, then 4 groups; b = 4.4 and, with the floor as 0, n = 0.6/3.8 and m = 0.6·(1 + n):
        // 2, 3 and 4 layers for x up to m/2 − n, m/3 − n and m/4 − n, so 1 + 13/12·m − 3n layers in the mean.
        config.growth.rule = Some(GrowthKind::Depth);
        config.growth.depth.groups = vec![1, 4];
        config.growth.depth.at = vec![RunPoint::Fraction(0.2)];
        let n = 0.6 / 3.8;
        let mean = 1.0 + 13.0 / 12.0 * 0.6 * (1.0 + n) - 3.0 * n;
        let expected = 20.0 * (1.0 + (mean - 1.0) / 3.0) + 30.0 * 2.0 + 50.0 * 4.0;
        assert!((costs_of.seconds(&config, 4, 100).unwrap() - expected).abs() < 1e-3);
    }
}
