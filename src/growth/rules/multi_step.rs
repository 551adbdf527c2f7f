//! SWE-M: each group splits where the gradients of its layers stop agreeing (arXiv 2110.03848, algorithm 2).

use serde_json::{json, Value};

use crate::error::Result;
use crate::growth::probe::{watched_pairs, Correlation, Pair};
use crate::growth::rule::{course_of, foreign_state, Rule};
use crate::growth::sharing::{SharingConfig, Splits};
use crate::growth::transition::{MomentsAt, Transition};
use crate::layer_map::LayerMap;

/// Splits each group where the correlation is low.
#[derive(Debug)]
pub struct MultiStep {
    start: LayerMap,
    threshold: f64,
    patience: u64,
    check_every: u64,
    splits: Splits,
    moments: MomentsAt,
    /// For each lower layer of a boundary: consecutive checks so far at which its correlation was below the threshold.
    streaks: Vec<u64>,
}

impl MultiStep {
    /// For layers that share as `start`, before any check.
    pub fn new(config: &SharingConfig, start: LayerMap) -> Self {
        let &SharingConfig { threshold, patience, check_every, splits, moments, .. } = config;
        Self { threshold, patience, check_every, splits, moments, streaks: vec![0; start.num_layers()], start }
    }
}

impl Rule for MultiStep {
    fn decide(&mut self, _finished: u64, check: Option<&[Correlation]>, walk: &LayerMap) -> Option<Transition> {
        let check = check?;
        let Self { threshold, patience, splits, moments, streaks, .. } = self;
        for found in check {
            let streak = &mut streaks[found.lower];
            *streak = if found.value < *threshold { *streak + 1 } else { 0 };
        }
        let ripe = check.iter().map(|found| found.lower).filter(|&lower| streaks[lower] >= *patience);
        let mut cuts: Vec<usize> = Vec::new();
        for lower in ripe {
            let is_first = cuts.iter().all(|&cut| walk.group_of(cut) != walk.group_of(lower));
            if is_first || *splits == Splits::All {
                cuts.push(lower);
            }
        }
        cuts.iter().for_each(|&cut| streaks[cut] = 0);
        if cuts.is_empty() {
            return None;
        }
        let reason = format!("split above layers {cuts:?}: correlation below {threshold}, {patience} checks in a row");
        Transition::untying(walk, walk.split_after(&cuts), *moments, reason).ok()
    }

    fn pairs(&self, walk: &LayerMap) -> Option<Vec<Pair>> {
        Some(watched_pairs(walk, false)).filter(|pairs| !pairs.is_empty())
    }

    fn course(&self, steps: u64) -> Vec<(u64, LayerMap)> {
        let cuts: Vec<usize> = self.start.boundaries().into_iter().map(|(lower, _)| lower).collect();
        let last_but_one = self.start.split_after(&cuts[..cuts.len().saturating_sub(1)]);
        course_of(&self.start, [(0, last_but_one), (0, LayerMap::untied(self.start.num_layers()))], steps)
    }

    fn state(&self) -> Value {
        json!({ "streaks": self.streaks })
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        let found = serde_json::from_value::<Vec<u64>>(state["streaks"].clone()).ok();
        let found = found.filter(|found| found.len() == self.streaks.len());
        self.streaks = found.ok_or_else(|| foreign_state(&self.state(), state))?;
        Ok(())
    }

    fn standing(&self, walk: &LayerMap) -> Option<String> {
        self.pairs(walk)?;
        let longest = self.streaks.iter().max().copied().unwrap_or(0);
        Some(format!("longest streak at a boundary {longest} of {} checks", self.patience))
    }

    fn describe(&self) -> String {
        let Self { threshold, patience, check_every, .. } = self;
        format!(
            "a group splits where the correlation is below {threshold} at {patience} checks in a row, one every {check_every} \
             steps"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::rules::check;

    /// By hand, layers 0..5 and patience 3. Boundary 1|2 is low at every check, 3|4 from the second, 0|1 at checks 1, 2, 4,
    /// 5, 6. Lowest only: check 3 cuts 1|2; check 4 cuts 3|4; check 6 cuts 0|1.
    #[test]
    fn it_splits_where_patience_ends() {
        let mut map = LayerMap::tied(5);
        let mut multi_step = MultiStep::new(&SharingConfig::default(), map.clone());
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
            let walk = multi_step.decide(number, Some(&found), &map).map(|transition| transition.walk);
            assert_eq!(walk.clone().map(Vec::from), expected.map(Vec::from));
            map = walk.unwrap_or(map);
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
            let config = SharingConfig { patience: 1, splits, ..Default::default() };
            let mut multi_step = MultiStep::new(&config, halves.clone());
            let mut map = halves.clone();
            for expected in sequence {
                let found = check(&multi_step, &map, &vec![0.0; map.boundaries().len()]);
                map = multi_step.decide(1, Some(&found), &map).unwrap().walk;
                assert_eq!(Vec::from(map.clone()), expected);
            }
            assert_eq!(multi_step.pairs(&map), None);
        }
    }
}
