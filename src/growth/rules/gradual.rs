//! Gradual stacking: copies of the top layers are appended; if asked for, only the new layers train (MSLT, Yang et al. 2020, arXiv
//! 2011.13635).
//!
//! Growing from n to N layers, layers 0 to n stay and the new ones are copies of the top N − n: layer l of them is a copy of layer
//! l − (N − n). With `freeze` the old layers and the embeddings do not train until the next transition, and a last stage trains
//! everything.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::growth::point::RunPoint;
use crate::growth::rules::staged::{layers, validate_points, validate_sizes, RunContext, Staged};
use crate::growth::transition::Transition;
use crate::keys::classes;
use crate::layer_map::LayerMap;

/// Copies of the top layers are appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradualConfig {
    /// Number of layers in each stage. Each number is at most twice the one before, the last one is `model.num_hidden_layers`.
    /// Default: [3, 6, 9, 12].
    pub depths: Vec<usize>,
    /// Where each stage after the first begins: steps (integers) or fractions of the run. `freeze` needs one more: where the
    /// last stage begins, which trains everything. Default: none (stages of equal length).
    pub at: Vec<RunPoint>,
    /// Train only the new layers, the last LayerNorm and the heads (MSLT). Default: false.
    pub freeze: bool,
}

classes! { GradualConfig {
    Identity: depths, at, freeze;
} }

impl Default for GradualConfig {
    fn default() -> Self {
        Self { depths: vec![3, 6, 9, 12], at: Vec::new(), freeze: false }
    }
}

impl GradualConfig {
    fn num_transitions(&self) -> usize {
        self.depths.len() - 1 + usize::from(self.freeze)
    }

    /// Where the stages begin.
    fn points(&self) -> Vec<RunPoint> {
        if !self.at.is_empty() {
            return self.at.clone();
        }
        let transitions = self.num_transitions();
        (1..=transitions).map(|number| RunPoint::Fraction(number as f64 / (transitions + 1) as f64)).collect()
    }

    /// Checks both lists for a run of `steps` to `num_layers`.
    ///
    /// # Errors
    /// The first setting that is impossible, by name.
    pub fn validate(&self, num_layers: usize, steps: u64) -> Result<()> {
        validate_sizes("growth.gradual.depths", &self.depths, num_layers, 2)?;
        validate_points("growth.gradual.at", &self.points(), self.num_transitions(), steps)
    }
}

/// The rule of a run.
pub fn gradual(config: &GradualConfig, run: &RunContext) -> Staged {
    let points: Vec<u64> = config.points().iter().map(|at| at.step(run.steps)).collect();
    let mut words = layers(config.depths[0]);
    let mut stages = Vec::new();
    for (two, &at) in config.depths.windows(2).zip(&points) {
        let (before, after) = (two[0], two[1]);
        let sources = (0..after).map(|layer| if layer < before { layer } else { layer + before - after });
        let reason = format!("gradual stacking from {before} to {after} layers after step {at}");
        words += &format!(", {after} after step {at}");
        let frozen = if config.freeze { (0..before).collect() } else { Vec::new() };
        stages.push((at, Transition { frozen, ..run.copying(LayerMap::untied(after), sources, reason) }));
    }
    if let (true, Some(&at)) = (config.freeze, points.last()) {
        let all = run.num_layers;
        words += &format!("; only the new ones train until step {at}");
        stages.push((at, run.copying(LayerMap::untied(all), 0..all, format!("every layer trains after step {at}"))));
    }
    Staged::new(LayerMap::untied(config.depths[0]), stages, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::rule::Rule;
    use crate::growth::transition::{MomentsAt, Source};

    const RUN: RunContext =
        RunContext { num_layers: 6, steps: 100, seed: 1, moments: MomentsAt::Reset, restarts_schedule: false };

    fn whole(groups: &[usize]) -> Vec<Vec<Source>> {
        groups.iter().map(|&group| vec![Source::whole(group)]).collect()
    }

    /// By hand: of 3 layers the top two go on top, then of 5 the top one.
    #[test]
    fn copies_of_the_top_layers_are_appended() {
        let config = GradualConfig { depths: vec![3, 5, 6], ..Default::default() };
        config.validate(6, 100).unwrap();
        let rule = gradual(&config, &RUN);
        let found: Vec<_> = rule.stages().iter().map(|(at, transition)| (*at, transition.sources.clone())).collect();
        assert_eq!(found, [(33, whole(&[0, 1, 2, 1, 2])), (67, whole(&[0, 1, 2, 3, 4, 4]))]);
        assert!(rule.stages().iter().all(|(_, transition)| transition.frozen.is_empty()));
        assert_eq!(rule.describe(), "3 layers, 5 after step 33, 6 after step 67");
    }

    #[test]
    fn with_freeze_only_the_new_layers_train_until_the_last_stage() {
        let config = GradualConfig { depths: vec![2, 4, 6], freeze: true, ..Default::default() };
        config.validate(6, 100).unwrap();
        let mut rule = gradual(&config, &RUN);
        let frozen: Vec<_> = rule.stages().iter().map(|(at, transition)| (*at, transition.frozen.clone())).collect();
        assert_eq!(frozen, [(25, vec![0, 1]), (50, vec![0, 1, 2, 3]), (75, Vec::new())]);
        assert_eq!(rule.stages()[2].1.sources, whole(&[0, 1, 2, 3, 4, 5]));
        for (at, before) in [(25, 2), (50, 4), (75, 6)] {
            let transition = rule.decide(at, None, &LayerMap::untied(before)).unwrap();
            transition.validate(&LayerMap::untied(before)).unwrap();
        }
        let courses: Vec<_> = rule.course(100).into_iter().map(|(at, walk)| (at, walk.num_layers())).collect();
        assert_eq!(courses, [(0, 2), (25, 4), (50, 6)]);
    }

    #[test]
    fn impossible_stages_are_named() {
        let with = |depths: &[usize], at: &[u64], freeze| {
            let at = at.iter().map(|&step| RunPoint::Step(step)).collect();
            GradualConfig { depths: depths.into(), at, freeze }.validate(6, 100)
        };
        with(&[3, 6], &[50], false).unwrap();
        with(&[3, 6], &[50, 80], true).unwrap();
        for (result, words) in [
            (with(&[2, 6], &[], false), "at most 2 times as many"),
            (with(&[3, 6], &[50], true), "`growth.gradual.at`: expected 2 points of the run"),
            (with(&[3, 6], &[100], false), "is not before the end of the run"),
            (GradualConfig::default().validate(6, 100), "`growth.gradual.depths` = [3, 6, 9, 12]"),
        ] {
            let report = result.unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
    }
}
