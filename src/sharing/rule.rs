//! When to untie: a rule looks at the progress and at the correlations of a check, and may ask for a transition.
//!
//! In: the number of finished steps, the present sharing, and after a probed step the correlations. Out: a new
//! [`LayerMap`] with the reason, or nothing. A decision taken from step t's state takes effect after step t's update.
//! What a rule remembers between checks is its state, kept in checkpoints.

use serde_json::{json, Value};

use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::sharing::config::{RuleKind, SharingConfig, Splits};
use crate::sharing::probe::{watched_pairs, Correlation, Pair};

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
    /// Transitions at steps known beforehand: all at once (SWE-F), or a list by hand.
    Scheduled(Vec<(u64, LayerMap)>),
    /// Unties everything when most correlations are low (SWE-A).
    Adaptive {
        /// `sharing.threshold`.
        threshold: f64,
        /// `sharing.majority`.
        majority: f64,
        /// `sharing.patience`.
        patience: u64,
        /// Consecutive checks so far at which the majority was below the threshold.
        streak: u64,
    },
    /// Splits each group where the correlation is low (SWE-M, Algorithm 2).
    MultiStep {
        /// `sharing.threshold`.
        threshold: f64,
        /// `sharing.patience`.
        patience: u64,
        /// `sharing.splits`.
        splits: Splits,
        /// For each lower layer of a boundary: consecutive checks so far at which its correlation was below the threshold.
        streaks: Vec<u64>,
    },
}

impl Rule {
    /// The rule of a run of `steps`, before any check.
    ///
    /// # Errors
    /// A transition by hand that does not fit `num_layers`.
    pub fn new(config: &SharingConfig, num_layers: usize, steps: u64) -> Result<Self> {
        let (threshold, patience) = (config.threshold, config.patience);
        Ok(match config.rule {
            Some(RuleKind::Never) => Self::Never,
            Some(RuleKind::Fixed) => Self::Scheduled(vec![(config.untie_at.step(steps), LayerMap::untied(num_layers))]),
            Some(RuleKind::Adaptive) => Self::Adaptive { threshold, majority: config.majority, patience, streak: 0 },
            Some(RuleKind::MultiStep) => {
                Self::MultiStep { threshold, patience, splits: config.splits, streaks: vec![0; num_layers] }
            }
            None => Self::Scheduled(config.transitions(num_layers, steps)?),
        })
    }

    /// The state to keep in a checkpoint; null for a rule that remembers nothing.
    pub fn state(&self) -> Value {
        match self {
            Self::Never | Self::Scheduled(_) => Value::Null,
            Self::Adaptive { streak, .. } => json!({ "streak": streak }),
            Self::MultiStep { streaks, .. } => json!({ "streaks": streaks }),
        }
    }

    /// Goes on from the state of a checkpoint.
    ///
    /// # Errors
    /// A state of another rule or another depth.
    pub fn restore(&mut self, state: &Value) -> Result<()> {
        let fits = match self {
            Self::Never | Self::Scheduled(_) => state.is_null(),
            Self::Adaptive { streak, .. } => state["streak"].as_u64().map(|found| *streak = found).is_some(),
            Self::MultiStep { streaks, .. } => {
                let found = serde_json::from_value::<Vec<u64>>(state["streaks"].clone());
                found.ok().filter(|found| found.len() == streaks.len()).map(|found| *streaks = found).is_some()
            }
        };
        if fits {
            Ok(())
        } else {
            Err(Error::data(format!("the checkpoint holds no state of this untying rule: expected {}, got {state}", {
                self.state()
            })))
        }
    }

    /// The pairs whose correlations this rule decides by in a model shared as `map`; none if it needs no check.
    pub fn pairs(&self, map: &LayerMap) -> Option<Vec<Pair>> {
        let pairs = match self {
            Self::Never | Self::Scheduled(_) => return None,
            Self::Adaptive { .. } => watched_pairs(map, true),
            Self::MultiStep { .. } => watched_pairs(map, false),
        };
        Some(pairs).filter(|pairs| !pairs.is_empty())
    }

    /// How near the rule is to its next decision on `map`, for the log; none where it needs no check.
    pub fn standing(&self, map: &LayerMap) -> Option<String> {
        self.pairs(map)?;
        match self {
            Self::Never | Self::Scheduled(_) => None,
            Self::Adaptive { streak, patience, .. } => {
                Some(format!("a majority at {streak} of {patience} checks in a row"))
            }
            Self::MultiStep { streaks, patience, .. } => {
                let longest = streaks.iter().max().copied().unwrap_or(0);
                Some(format!("longest streak at a boundary {longest} of {patience} checks"))
            }
        }
    }

    /// Whether to change the sharing `map` now that `finished` steps are done. `check` holds the correlations of
    /// [`Self::pairs`], if the last step was probed. A correlation that is NaN counts as not below the threshold.
    pub fn decide(&mut self, finished: u64, check: Option<&[Correlation]>, map: &LayerMap) -> Option<Decision> {
        match (self, check) {
            (Self::Scheduled(transitions), _) => {
                let (at, due) = transitions.iter().rfind(|(at, _)| *at <= finished)?;
                let reason = format!("the untying point, step {at}, is reached");
                (due != map && due.refines(map)).then(|| Decision { map: due.clone(), reason })
            }
            (Self::Adaptive { threshold, majority, patience, streak }, Some(check)) if !check.is_empty() => {
                let below = check.iter().filter(|found| found.value < *threshold).count();
                *streak = if below as f64 > *majority * check.len() as f64 { *streak + 1 } else { 0 };
                let reason =
                    format!("{below} of {} correlations below {threshold}, {streak} checks in a row", check.len());
                (*streak >= *patience).then(|| Decision { map: LayerMap::untied(map.num_layers()), reason })
            }
            (Self::MultiStep { threshold, patience, splits, streaks }, Some(check)) => {
                for found in check {
                    let streak = &mut streaks[found.lower];
                    *streak = if found.value < *threshold { *streak + 1 } else { 0 };
                }
                let ripe = check.iter().map(|found| found.lower).filter(|&lower| streaks[lower] >= *patience);
                let mut cuts: Vec<usize> = Vec::new();
                for lower in ripe {
                    let is_first = cuts.iter().all(|&cut| map.group_of(cut) != map.group_of(lower));
                    if is_first || *splits == Splits::All {
                        cuts.push(lower);
                    }
                }
                cuts.iter().for_each(|&cut| streaks[cut] = 0);
                let reason =
                    format!("split above layers {cuts:?}: correlation below {threshold}, {patience} checks in a row");
                (!cuts.is_empty()).then(|| Decision { map: map.split_after(&cuts), reason })
            }
            (Self::Never | Self::Adaptive { .. } | Self::MultiStep { .. }, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharing::config::{Transition, UntieAt};
    use crate::sharing::start::Start;

    fn rule(kind: RuleKind, num_layers: usize) -> Rule {
        Rule::new(&SharingConfig { rule: Some(kind), ..Default::default() }, num_layers, 1000).unwrap()
    }

    /// The correlations of `rule`'s pairs of `map`, by lower layer.
    fn check(rule: &Rule, map: &LayerMap, values: &[f64]) -> Vec<Correlation> {
        let pairs = rule.pairs(map).unwrap();
        assert_eq!(pairs.len(), values.len());
        pairs.iter().zip(values).map(|(pair, &value)| Correlation { lower: pair.lower[0], value }).collect()
    }

    #[test]
    fn fixed_unties_once_at_its_step_and_never_does_not() {
        let config = SharingConfig { rule: Some(RuleKind::Fixed), untie_at: UntieAt::Step(3), ..Default::default() };
        let mut fixed = Rule::new(&config, 4, 1000).unwrap();
        let (tied, untied) = (LayerMap::tied(4), LayerMap::untied(4));
        assert_eq!(fixed.decide(2, None, &tied), None);
        assert_eq!(fixed.decide(3, None, &tied).unwrap().map, untied);
        assert_eq!(fixed.decide(4, None, &untied), None);
        assert_eq!(rule(RuleKind::Never, 4).decide(1_000_000, None, &tied), None);
    }

    #[test]
    fn transitions_by_hand_come_in_their_order() {
        let at = |step, groups: &str| Transition { at: UntieAt::Step(step), groups: Start::Named(groups.into()) };
        let transition = vec![at(5, "contiguous:2"), at(9, "untied")];
        let mut by_hand = Rule::new(&SharingConfig { transition, ..Default::default() }, 4, 20).unwrap();
        let (tied, halves) = (LayerMap::tied(4), LayerMap::contiguous(4, 2).unwrap());
        assert_eq!(by_hand.decide(4, None, &tied), None);
        assert_eq!(by_hand.decide(5, None, &tied).unwrap().map, halves);
        assert_eq!(by_hand.decide(8, None, &halves), None);
        assert_eq!(by_hand.decide(9, None, &halves).unwrap().map, LayerMap::untied(4));
    }

    /// docs/method.md, "The algorithms": more than half below 0.5, at three checks in a row; any other check starts the count anew.
    #[test]
    fn adaptive_needs_a_majority_three_times_in_a_row() {
        let mut adaptive = rule(RuleKind::Adaptive, 5);
        let tied = LayerMap::tied(5);
        let half = check(&adaptive, &tied, &[0.4, 0.4, 0.5, 0.9]);
        let most = check(&adaptive, &tied, &[0.4, -0.2, 0.49, 0.9]);
        let silent = check(&adaptive, &tied, &[f64::NAN; 4]);
        for (found, fires) in [
            (&most, false),
            (&most, false),
            (&half, false),
            (&most, false),
            (&most, false),
            (&silent, false),
            (&most, false),
            (&most, false),
            (&most, true),
        ] {
            assert_eq!(adaptive.decide(7, None, &tied), None, "a step without a check changes nothing");
            let decision = adaptive.decide(7, Some(found), &tied);
            assert_eq!(decision.is_some(), fires);
            if let Some(decision) = decision {
                assert_eq!(decision.map, LayerMap::untied(5));
                assert_eq!(decision.reason, "3 of 4 correlations below 0.5, 3 checks in a row");
            }
        }
    }

    /// By hand, layers 0..5 and patience 3. Boundary 1|2 is low at every check, 3|4 from the second, 0|1 at checks 1, 2, 4,
    /// 5, 6. Lowest only: check 3 cuts 1|2; check 4 cuts 3|4; check 6 cuts 0|1.
    #[test]
    fn multi_step_splits_where_patience_ends() {
        let mut multi_step = rule(RuleKind::MultiStep, 5);
        let mut map = LayerMap::tied(5);
        let expected = [None, None, Some([0, 0, 1, 1, 1]), Some([0, 0, 1, 1, 2]), None, Some([0, 1, 2, 2, 3])];
        for (at, expected) in expected.into_iter().enumerate() {
            let number = at as u64 + 1;
            let low = |lower: usize| match lower {
                0 => number != 3,
                1 => true,
                3 => number >= 2,
                _ => false,
            };
            let value = |pair: &Pair| if low(pair.lower[0]) { 0.1 } else { 0.8 };
            let found =
                check(&multi_step, &map, &multi_step.pairs(&map).unwrap().iter().map(value).collect::<Vec<_>>());
            let decision = multi_step.decide(number, Some(&found), &map);
            assert_eq!(decision.as_ref().map(|decision| Vec::from(decision.map.clone())), expected.map(Vec::from));
            map = decision.map_or(map, |decision| decision.map);
        }
    }

    /// Both boundaries of one group are ripe at once: the lowest goes first, the other at the next check; or both.
    /// Two groups split at the same check, each at its lowest.
    #[test]
    fn one_split_a_group_and_check_unless_all_are_asked_for() {
        let halves = LayerMap::contiguous(6, 2).unwrap();
        for (splits, sequence) in [
            (Splits::Lowest, vec![vec![0, 1, 1, 2, 3, 3], vec![0, 1, 2, 3, 4, 5]]),
            (Splits::All, vec![vec![0, 1, 2, 3, 4, 5]]),
        ] {
            let config = SharingConfig { rule: Some(RuleKind::MultiStep), patience: 1, splits, ..Default::default() };
            let mut multi_step = Rule::new(&config, 6, 1000).unwrap();
            let mut map = halves.clone();
            for expected in sequence {
                let found = check(&multi_step, &map, &vec![0.0; map.boundaries().len()]);
                map = multi_step.decide(1, Some(&found), &map).unwrap().map;
                assert_eq!(Vec::from(map.clone()), expected);
            }
            assert_eq!(multi_step.pairs(&map), None);
        }
    }

    #[test]
    fn state_survives_a_checkpoint_and_another_rules_is_refused() {
        let tied = LayerMap::tied(3);
        let mut adaptive = rule(RuleKind::Adaptive, 3);
        let low = check(&adaptive, &tied, &[0.0, 0.0]);
        assert_eq!(adaptive.decide(1, Some(&low), &tied), None);
        assert_eq!(adaptive.decide(2, Some(&low), &tied), None);
        assert_eq!(adaptive.standing(&tied).unwrap(), "a majority at 2 of 3 checks in a row");
        assert_eq!(adaptive.standing(&LayerMap::untied(3)), None);
        let mut resumed = rule(RuleKind::Adaptive, 3);
        resumed.restore(&adaptive.state()).unwrap();
        assert!(resumed.decide(3, Some(&low), &tied).is_some());
        let mut multi_step = rule(RuleKind::MultiStep, 3);
        assert!(multi_step
            .restore(&adaptive.state())
            .unwrap_err()
            .to_string()
            .contains("no state of this untying rule"));
        assert!(multi_step.restore(&json!({ "streaks": [1, 2] })).is_err());
        multi_step.restore(&json!({ "streaks": [1, 2, 0] })).unwrap();
        assert_eq!(multi_step.state(), json!({ "streaks": [1, 2, 0] }));
        assert!(rule(RuleKind::Fixed, 3).restore(&adaptive.state()).is_err());
    }
}
