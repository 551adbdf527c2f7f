//! When to untie: a rule looks at the progress after each step and may ask for a transition.
//!
//! In: the number of finished steps and the present sharing. Out: a new [`LayerMap`] with the reason, or nothing. A
//! decision taken from step t's state takes effect after step t's update.

use crate::layer_map::LayerMap;
use crate::sharing::config::SharingConfig;

/// What a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The sharing after the transition.
    pub map: LayerMap,
    /// Why, for the log.
    pub reason: String,
}

/// An untying rule of one run.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Keeps the sharing of the start.
    Never,
    /// Unties everything after a number of steps (SWE-F).
    Fixed {
        /// Tied steps.
        at: u64,
    },
}

impl Rule {
    /// The rule of a run of `steps`.
    pub fn new(config: &SharingConfig, steps: u64) -> Self {
        match config.untie_step(steps) {
            Some(at) => Self::Fixed { at },
            None => Self::Never,
        }
    }

    /// Whether to change the sharing `map` now that `finished` steps are done.
    pub fn decide(&self, finished: u64, map: &LayerMap) -> Option<Decision> {
        match self {
            Self::Fixed { at } if finished >= *at && map.num_groups() < map.num_layers() => Some(Decision {
                map: LayerMap::untied(map.num_layers()),
                reason: format!("the fixed untying point, step {at}, is reached"),
            }),
            Self::Fixed { .. } | Self::Never => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_unties_once_at_its_step_and_never_does_not() {
        let rule = Rule::Fixed { at: 3 };
        let (tied, untied) = (LayerMap::tied(4), LayerMap::untied(4));
        assert_eq!(rule.decide(2, &tied), None);
        assert_eq!(rule.decide(3, &tied).unwrap().map, untied);
        assert_eq!(rule.decide(4, &untied), None);
        assert_eq!(Rule::Never.decide(1_000_000, &tied), None);
    }
}
