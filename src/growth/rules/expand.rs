//! A model of one layer becomes one of all layers, late in the run (Bu et al. 2025, arXiv 2511.04981).
//!
//! Every new layer is a copy of one that was there. Its authors keep the learning rate and train with the `wsd` schedule; with a
//! rate that has fallen by then, the new layers have no time to part.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::growth::point::RunPoint;
use crate::growth::rules::staged::{layers, validate_points, RunContext, Staged};
use crate::keys::classes;
use crate::layer_map::LayerMap;

/// One layer becomes all layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpandConfig {
    /// When the layer becomes all: a step (an integer) or a fraction of the run. Default: 0.8 (the paper).
    pub at: RunPoint,
    /// Number n of layers until then. Layer j then becomes a copy of layer j mod n. Default: 1 (the paper).
    pub layers: usize,
}

classes! { ExpandConfig {
    Identity: at, layers;
} }

impl Default for ExpandConfig {
    fn default() -> Self {
        Self { at: RunPoint::Fraction(0.8), layers: 1 }
    }
}

impl ExpandConfig {
    /// Checks the point and the start for a run of `steps` to `num_layers`.
    ///
    /// # Errors
    /// The first setting that is impossible, by name.
    pub fn validate(&self, num_layers: usize, steps: u64) -> Result<()> {
        validate_points("growth.expand.at", &[self.at], 1, steps)?;
        match self.layers {
            0 => Err(Error::config("`growth.expand.layers` must be at least 1, got 0")),
            layers if layers >= num_layers => Err(Error::config(format!(
                "`growth.expand.layers` = {layers} leaves nothing to grow to: `model.num_hidden_layers` = {num_layers}"
            ))),
            _ => Ok(()),
        }
    }
}

/// The rule of a run.
pub fn expand(config: &ExpandConfig, run: &RunContext) -> Staged {
    let (few, all, at) = (config.layers, run.num_layers, config.at.step(run.steps));
    let reason = format!("expansion from {few} to {all} layers after step {at}");
    let words = format!("{}, {all} after step {at}", layers(few));
    let transition = run.copying(LayerMap::untied(all), (0..all).map(|layer| layer % few), reason);
    Staged::new(LayerMap::untied(few), vec![(at, transition)], words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::rule::Rule;
    use crate::growth::transition::{MomentsAt, Source};

    #[test]
    fn one_layer_becomes_all() {
        let run =
            RunContext { num_layers: 4, steps: 1000, seed: 1, moments: MomentsAt::Carry, restarts_schedule: false };
        let rule = expand(&ExpandConfig::default(), &run);
        let (at, transition) = &rule.stages()[0];
        assert_eq!((*at, &transition.walk), (800, &LayerMap::untied(4)));
        assert_eq!(transition.sources, vec![vec![Source::whole(0)]; 4]);
        assert_eq!((transition.moments, transition.restarts_schedule), (MomentsAt::Carry, false));
        transition.validate(&LayerMap::untied(1)).unwrap();
        assert_eq!(rule.course(1000), [(0, LayerMap::untied(1)), (800, LayerMap::untied(4))]);
        assert_eq!(rule.describe(), "1 layer, 4 after step 800");
        let rule = expand(&ExpandConfig { layers: 3, ..Default::default() }, &run);
        assert_eq!(rule.stages()[0].1.sources, [0, 1, 2, 0].map(|group| vec![Source::whole(group)]));
    }

    #[test]
    fn impossible_expansions_are_named() {
        let default = ExpandConfig::default;
        default().validate(12, 1000).unwrap();
        for (config, words) in [
            (ExpandConfig { layers: 0, ..default() }, "`growth.expand.layers` must be at least 1"),
            (ExpandConfig { layers: 12, ..default() }, "leaves nothing to grow to"),
            (ExpandConfig { at: RunPoint::Step(1000), ..default() }, "`growth.expand.at` = 1000 is not before the end"),
            (
                ExpandConfig { at: RunPoint::Step(0), ..default() },
                "`growth.expand.at` must rise from the first step on",
            ),
        ] {
            let report = config.validate(12, 1000).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
    }
}
