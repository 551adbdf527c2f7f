//! Progressive stacking: a model is put on top of itself (Gong et al., ICML 2019).
//!
//! Growing from n to N layers, layers 0 to n stay and layer n + l is a copy of layer l. The authors' recipe trains 3, 6 and 12 layers
//! for 50,000, 70,000 and 400,000 updates, and starts the optimizer anew each time.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::growth::point::RunPoint;
use crate::growth::rules::staged::{layers, validate_points, validate_sizes, RunContext, Staged};
use crate::keys::classes;
use crate::layer_map::LayerMap;

/// The layers are repeated on top of themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StackConfig {
    /// Number of layers in each stage. Each number is at most twice the one before, the last one is `model.num_hidden_layers`.
    /// Default: [3, 6, 12] (the paper).
    pub depths: Vec<usize>,
    /// Where each stage after the first begins: steps (integers) or fractions of the run. Default: [0.096, 0.23] (the paper).
    pub at: Vec<RunPoint>,
}

classes! { StackConfig {
    Identity: depths, at;
} }

impl Default for StackConfig {
    fn default() -> Self {
        Self { depths: vec![3, 6, 12], at: vec![RunPoint::Fraction(0.096), RunPoint::Fraction(0.23)] }
    }
}

impl StackConfig {
    /// Checks both lists for a run of `steps` to `num_layers`.
    ///
    /// # Errors
    /// The first setting that is impossible, by name.
    pub fn validate(&self, num_layers: usize, steps: u64) -> Result<()> {
        validate_sizes("growth.stack.depths", &self.depths, num_layers, 2)?;
        validate_points("growth.stack.at", &self.at, self.depths.len() - 1, steps)
    }
}

/// The rule of a run.
pub fn stack(config: &StackConfig, run: &RunContext) -> Staged {
    let mut words = layers(config.depths[0]);
    let mut stages = Vec::new();
    for (two, at) in config.depths.windows(2).zip(&config.at) {
        let (before, after, at) = (two[0], two[1], at.step(run.steps));
        let sources = (0..after).map(|layer| if layer < before { layer } else { layer - before });
        let reason = format!("stacking from {before} to {after} layers after step {at}");
        words += &format!(", {after} after step {at}");
        stages.push((at, run.copying(LayerMap::untied(after), sources, reason)));
    }
    Staged::new(LayerMap::untied(config.depths[0]), stages, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::rule::Rule;
    use crate::growth::transition::{MomentsAt, Source};

    /// By hand: 2 layers twice, then 4 and the lowest two on top.
    #[test]
    fn a_model_is_put_on_top_of_itself() {
        let run = RunContext { num_layers: 6, steps: 100, seed: 1, moments: MomentsAt::Reset, restarts_schedule: true };
        let config = StackConfig { depths: vec![2, 4, 6], at: vec![RunPoint::Step(10), RunPoint::Fraction(0.5)] };
        config.validate(6, 100).unwrap();
        let rule = stack(&config, &run);
        for ((at, transition), (step, before, sources)) in
            rule.stages().iter().zip([(10, 2, &[0, 1, 0, 1][..]), (50, 4, &[0, 1, 2, 3, 0, 1])])
        {
            assert_eq!((*at, &transition.walk), (step, &LayerMap::untied(sources.len())));
            let expected: Vec<_> = sources.iter().map(|&group| vec![Source::whole(group)]).collect();
            assert_eq!(transition.sources, expected);
            assert!(transition.restarts_schedule && transition.frozen.is_empty());
            transition.validate(&LayerMap::untied(before)).unwrap();
        }
        assert_eq!(rule.describe(), "2 layers, 4 after step 10, 6 after step 50");
    }

    #[test]
    fn the_default_is_the_papers() {
        let config = StackConfig::default();
        config.validate(12, 520_000).unwrap();
        assert_eq!([config.at[0], config.at[1]].map(|at| at.step(520_000)), [49_920, 119_600]);
        let report = config.validate(6, 1000).unwrap_err().report();
        assert!(
            report.contains("`growth.stack.depths` = [3, 6, 12]: expected numbers from at least 1 to 6"),
            "{report}"
        );
        let config = StackConfig { depths: vec![3, 12], ..config };
        assert!(config.validate(12, 1000).unwrap_err().to_string().contains("at most 2 times as many"));
        let config = StackConfig { depths: vec![6, 12], ..config };
        assert!(config.validate(12, 1000).unwrap_err().to_string().contains("`growth.stack.at`: expected 1 points"));
    }
}
