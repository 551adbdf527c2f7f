//! Transitions by hand: each splits groups of the sharing before it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::growth::point::RunPoint;
use crate::growth::rules::scheduled::Scheduled;
use crate::growth::start::Start;
use crate::growth::transition::MomentsAt;
use crate::layer_map::LayerMap;

/// A transition that the configuration gives itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransitionConfig {
    /// The transition happens after this step (an integer) or fraction of `train.steps`. Required.
    pub at: RunPoint,
    /// The sharing from then on, written like `sharing.start`. It must split groups of the sharing before it. Required.
    pub groups: Start,
}

/// The sharings of `list` after `start`, each with its steps of a run of `steps`, in their order.
///
/// # Errors
/// A pattern that does not fit, or that joins layers which were apart; steps that do not rise.
pub fn transitions(list: &[TransitionConfig], start: &LayerMap, steps: u64) -> Result<Vec<(u64, LayerMap)>> {
    let mut found: Vec<(u64, LayerMap)> = Vec::new();
    for (at, transition) in list.iter().enumerate() {
        let before = found.last().map_or(start, |(_, map)| map);
        let name = format!("sharing.transition[{at}].groups");
        let map = transition.groups.map(&name, start.num_layers())?;
        if !map.refines(before) {
            return Err(Error::config(format!("`{name}` joins layers that are apart by then"))
                .hint("a transition can only split groups of the sharing before it"));
        }
        let step = transition.at.step(steps);
        if found.last().is_some_and(|(earlier, _)| *earlier >= step) {
            return Err(Error::config(format!(
                "`sharing.transition[{at}].at` = {step} is not after the transition before it"
            )));
        }
        found.push((step, map));
    }
    Ok(found)
}

/// Unties as `list` says.
///
/// # Errors
/// As [`transitions`].
pub fn by_hand(list: &[TransitionConfig], start: LayerMap, steps: u64, moments: MomentsAt) -> Result<Scheduled> {
    let later = transitions(list, &start, steps)?;
    let at: Vec<String> = later.iter().map(|(step, _)| step.to_string()).collect();
    Ok(Scheduled { start, later, moments, words: format!("transitions by hand after step {}", at.join(", ")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::rule::Rule;

    #[test]
    fn transitions_come_in_their_order() {
        let at =
            |step, groups: &str| TransitionConfig { at: RunPoint::Step(step), groups: Start::Named(groups.into()) };
        let list = [at(5, "contiguous:2"), at(9, "untied")];
        let (tied, halves) = (LayerMap::tied(4), LayerMap::contiguous(4, 2).unwrap());
        let mut by_hand = by_hand(&list, tied.clone(), 20, MomentsAt::Carry).unwrap();
        assert_eq!(by_hand.decide(4, None, &tied), None);
        assert_eq!(by_hand.decide(5, None, &tied).unwrap().walk, halves);
        assert_eq!(by_hand.decide(8, None, &halves), None);
        assert_eq!(by_hand.decide(9, None, &halves).unwrap().walk, LayerMap::untied(4));
        assert_eq!(by_hand.describe(), "transitions by hand after step 5, 9");
    }
}
