//! One V-cycle over the depth: coalesce, train the short model, de-coalesce and blend (Zou et al. 2024, arXiv 2404.07999).
//!
//! After some steps pairs of layers are averaged and the weights are remembered. The model of half the layers trains, then each of its
//! layers is copied back to both of its pair, and every tensor becomes (1 − α) times the remembered one plus α times the new one.
//! Each stage starts the optimizer and the schedule anew.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::growth::point::RunPoint;
use crate::growth::rules::staged::{validate_points, RunContext, Staged};
use crate::growth::transition::{Source, Transition};
use crate::keys::classes;
use crate::layer_map::LayerMap;

/// Which layers are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairs {
    /// i and i + L/2.
    Halves,
    /// 2i and 2i + 1.
    Neighbours,
}

impl Pairs {
    /// The two of `num_layers` that layer `short` of the short model stands for.
    fn layers(self, short: usize, num_layers: usize) -> [usize; 2] {
        match self {
            Self::Halves => [short, short + num_layers / 2],
            Self::Neighbours => [2 * short, 2 * short + 1],
        }
    }

    /// The layer of the short model that stands for `layer` of `num_layers`.
    fn short(self, layer: usize, num_layers: usize) -> usize {
        match self {
            Self::Halves => layer % (num_layers / 2),
            Self::Neighbours => layer / 2,
        }
    }
}

/// Pairs of layers are averaged for a time, and later blended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VCycleConfig {
    /// When the layers are averaged in pairs: a step (an integer) or a fraction of the run. Default: 0.05 (the authors'
    /// example: 5,000 of 105,000 steps).
    pub at: RunPoint,
    /// How long the shorter model trains: steps (an integer) or a fraction of the run. Default: 0.5 (the paper).
    pub steps: RunPoint,
    /// Which layers form a pair: `halves` (layers i and i + L/2) or `neighbours` (layers 2i and 2i + 1). Default: `halves` (the
    /// published configuration).
    pub pairs: Pairs,
    /// α: the share of the shorter model in the blend at the end, from 0 to 1. Default: 0.5 (the paper, for BERT).
    pub alpha: f64,
}

classes! { VCycleConfig {
    Identity: at, steps, pairs, alpha;
} }

impl Default for VCycleConfig {
    fn default() -> Self {
        Self { at: RunPoint::Fraction(0.05), steps: RunPoint::Fraction(0.5), pairs: Pairs::Halves, alpha: 0.5 }
    }
}

impl VCycleConfig {
    /// Where the model of a run of `steps` becomes short, and long again.
    fn border_steps(&self, steps: u64) -> [u64; 2] {
        let first = self.at.step(steps);
        [first, first.saturating_add(self.steps.step(steps))]
    }

    /// Checks the points and the blend for a run of `steps` with `num_layers`.
    ///
    /// # Errors
    /// The first setting that is impossible, by name.
    pub fn validate(&self, num_layers: usize, steps: u64) -> Result<()> {
        if !num_layers.is_multiple_of(2) || num_layers == 0 {
            return Err(Error::config(format!(
                "`growth.rule = \"v_cycle\"` averages pairs of layers: `model.num_hidden_layers` = {num_layers} is not even"
            )));
        }
        validate_points("growth.v_cycle.at", &[self.at], 1, steps)?;
        validate_points("growth.v_cycle.steps", &[self.steps], 1, steps)?;
        let [_, second] = self.border_steps(steps);
        if second >= steps {
            return Err(Error::config(format!(
                "`growth.v_cycle`: the short model trains to step {second}, which is not before the end of the run, `train.steps` = \
                 {steps}"
            ))
            .hint("coalesce earlier or train the short model for less"));
        }
        if !(0.0..=1.0).contains(&self.alpha) {
            return Err(Error::config(format!("`growth.v_cycle.alpha` must be in [0, 1], got {}", self.alpha)));
        }
        Ok(())
    }
}

/// The rule of a run.
pub fn v_cycle(config: &VCycleConfig, run: &RunContext) -> Staged {
    let (all, pairs) = (run.num_layers, config.pairs);
    let [first, second] = config.border_steps(run.steps);
    let half = all / 2;
    let averaged = |short| pairs.layers(short, all).map(|group| Source { group, coefficient: 0.5 }).to_vec();
    let coalesce = Transition {
        sources: (0..half).map(averaged).collect(),
        remembers: true,
        ..run.copying(LayerMap::untied(half), [], format!("coalescing of {all} layers to {half} after step {first}"))
    };
    let reason = format!("de-coalescing of {half} layers to {all} after step {second}");
    let sources = (0..all).map(|layer| pairs.short(layer, all));
    let blend = Some(config.alpha);
    let de_coalesce = Transition { blend, ..run.copying(LayerMap::untied(all), sources, reason) };
    let words = format!("{all} layers, {half} after step {first}, {all} again after step {second}");
    Staged::new(LayerMap::untied(all), vec![(first, coalesce), (second, de_coalesce)], words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::rule::Rule;
    use crate::growth::transition::MomentsAt;

    /// By hand, four layers: {0, 2} and {1, 3}, or {0, 1} and {2, 3}; and back.
    #[test]
    fn pairs_are_averaged_and_copied_back() {
        let run = RunContext { num_layers: 4, steps: 100, seed: 1, moments: MomentsAt::Reset, restarts_schedule: true };
        for (pairs, together, back) in
            [(Pairs::Halves, [[0, 2], [1, 3]], [0, 1, 0, 1]), (Pairs::Neighbours, [[0, 1], [2, 3]], [0, 0, 1, 1])]
        {
            let config = VCycleConfig { pairs, ..Default::default() };
            config.validate(4, 100).unwrap();
            let rule = v_cycle(&config, &run);
            let [(first, coalesce), (second, de_coalesce)] = rule.stages() else { panic!("{rule:?}") };
            assert_eq!((*first, *second), (5, 55));
            let expected = together.map(|pair| pair.map(|group| Source { group, coefficient: 0.5 }).to_vec());
            assert_eq!((&coalesce.walk, &coalesce.sources[..]), (&LayerMap::untied(2), &expected[..]));
            assert!(coalesce.remembers && coalesce.blend.is_none());
            assert_eq!(de_coalesce.sources, back.map(|group| vec![Source::whole(group)]));
            assert_eq!((de_coalesce.remembers, de_coalesce.blend), (false, Some(0.5)));
            for (transition, before) in [(coalesce, 4), (de_coalesce, 2)] {
                transition.validate(&LayerMap::untied(before)).unwrap();
                let carries = Transition { moments: MomentsAt::Carry, ..transition.clone() };
                assert!(carries.validate(&LayerMap::untied(before)).is_err(), "there is nothing to carry");
                assert!(transition.restarts_schedule);
            }
            let courses: Vec<_> = rule.course(100).into_iter().map(|(at, walk)| (at, walk.num_layers())).collect();
            assert_eq!(courses, [(0, 4), (5, 2), (55, 4)]);
        }
    }

    #[test]
    fn impossible_cycles_are_named() {
        let default = VCycleConfig::default;
        for (config, layers, words) in [
            (default(), 3, "`model.num_hidden_layers` = 3 is not even"),
            (
                VCycleConfig { steps: RunPoint::Step(95), ..default() },
                4,
                "trains to step 100, which is not before the end",
            ),
            (VCycleConfig { at: RunPoint::Fraction(0.0), ..default() }, 4, "`growth.v_cycle.at` must be a step"),
            (VCycleConfig { alpha: 1.5, ..default() }, 4, "`growth.v_cycle.alpha` must be in [0, 1], got 1.5"),
        ] {
            let report = config.validate(layers, 100).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
    }
}
