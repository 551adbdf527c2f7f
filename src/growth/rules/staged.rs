//! Transitions at steps known beforehand, one after the other: what the rules that change the depth have in common.

use serde_json::{json, Value};

use crate::error::{Error, Result};
use crate::growth::point::RunPoint;
use crate::growth::probe::Correlation;
use crate::growth::rule::{course_of, foreign_state, Rule};
use crate::growth::transition::{MomentsAt, Transition};
use crate::layer_map::LayerMap;

/// What a rule needs to know of its run.
#[derive(Clone, Copy, Debug)]
pub struct RunContext {
    /// `model.num_hidden_layers`: the depth that the model grows to.
    pub num_layers: usize,
    /// `train.steps`.
    pub steps: u64,
    /// `train.seed`.
    pub seed: u64,
    /// What the moments become at each transition.
    pub moments: MomentsAt,
    /// Whether each transition starts the schedule anew.
    pub restarts_schedule: bool,
}

impl RunContext {
    /// A transition to `walk`, whose group j is a copy of the old group `sources[j]`.
    pub fn copying(&self, walk: LayerMap, sources: impl IntoIterator<Item = usize>, reason: String) -> Transition {
        let restarts_schedule = self.restarts_schedule;
        Transition { restarts_schedule, ..Transition::copying(walk, sources, self.moments, reason) }
    }
}

/// `count` layers, in words.
pub fn layers(count: usize) -> String {
    match count {
        1 => "1 layer".into(),
        _ => format!("{count} layers"),
    }
}

/// Transitions that come at their steps, each once.
#[derive(Debug)]
pub struct Staged {
    start: LayerMap,
    stages: Vec<(u64, Transition)>,
    done: usize,
    words: String,
}

impl Staged {
    /// From the walk `start` on, each of `stages` after so many steps; `words` say what the rule does.
    pub fn new(start: LayerMap, stages: Vec<(u64, Transition)>, words: String) -> Self {
        Self { start, stages, done: 0, words }
    }

    /// For tests: the transitions.
    #[cfg(test)]
    pub fn stages(&self) -> &[(u64, Transition)] {
        &self.stages
    }
}

impl Rule for Staged {
    fn decide(&mut self, finished: u64, _check: Option<&[Correlation]>, _walk: &LayerMap) -> Option<Transition> {
        let (_, transition) = self.stages.get(self.done).filter(|(at, _)| *at <= finished)?;
        self.done += 1;
        Some(transition.clone())
    }

    fn course(&self, steps: u64) -> Vec<(u64, LayerMap)> {
        course_of(&self.start, self.stages.iter().map(|(at, transition)| (*at, transition.walk.clone())), steps)
    }

    fn next_transition(&self) -> Option<u64> {
        self.stages.get(self.done).map(|(at, _)| *at)
    }

    fn state(&self) -> Value {
        json!({ "stage": self.done })
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        let found = state["stage"].as_u64().filter(|&stage| stage <= self.stages.len() as u64);
        self.done = found.ok_or_else(|| foreign_state(&self.state(), state))? as usize;
        Ok(())
    }

    fn describe(&self) -> String {
        self.words.clone()
    }
}

/// Checks that `at`, the key `name`, has `expected` points that rise from the first step to before the end of a run of `steps`.
pub fn validate_points(name: &str, at: &[RunPoint], expected: usize, steps: u64) -> Result<()> {
    if at.len() != expected {
        return Err(Error::config(format!(
            "`{name}`: expected {expected} points of the run, one a transition, got {}",
            at.len()
        )));
    }
    let mut before = 0;
    for point in at {
        point.validate(name, steps, "choose an earlier point, or train longer")?;
        let step = point.step(steps);
        if step <= before {
            return Err(Error::config(format!("`{name}` must rise from the first step on, got {step} after {before}")));
        }
        before = step;
    }
    Ok(())
}

/// Checks that `sizes`, the key `name`, rise from at least 1 to the `num_layers` of the model, at most `most`-fold at a time.
pub fn validate_sizes(name: &str, sizes: &[usize], num_layers: usize, most: usize) -> Result<()> {
    let refuse = |words: String| {
        Err(Error::config(format!("`{name}` = {sizes:?}: {words}"))
            .hint(format!("begin small and end with the {num_layers} of `model.num_hidden_layers`")))
    };
    if sizes.first().is_none_or(|&first| first == 0) || sizes.last() != Some(&num_layers) {
        return refuse(format!("expected numbers from at least 1 to {num_layers}"));
    }
    match sizes.windows(2).find(|two| two[1] <= two[0] || two[1] > most.saturating_mul(two[0])) {
        Some(two) if two[1] <= two[0] => refuse(format!("expected numbers that rise, got {} after {}", two[1], two[0])),
        Some(two) => {
            refuse(format!("expected at most {most} times as many as before, got {} after {}", two[1], two[0]))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged() -> Staged {
        let copying = |layers, sources: &[usize]| {
            Transition::copying(LayerMap::untied(layers), sources.iter().copied(), MomentsAt::Reset, "a test")
        };
        let stages = vec![(3, copying(2, &[0, 0])), (5, copying(2, &[0, 1])), (8, copying(4, &[0, 1, 0, 1]))];
        Staged::new(LayerMap::untied(1), stages, "grows".into())
    }

    /// Each at its step and once, also where the walk does not change, and after a resume; the second again is not due.
    #[test]
    fn each_stage_comes_once() {
        let mut rule = staged();
        let mut seen = Vec::new();
        for finished in 0..10 {
            if let Some(transition) = rule.decide(finished, None, &LayerMap::untied(1)) {
                seen.push((finished, transition.walk.num_layers()));
            }
            let mut resumed = staged();
            resumed.restore(&rule.state()).unwrap();
            assert_eq!(resumed.state(), rule.state());
            rule = resumed;
        }
        assert_eq!(seen, [(3, 2), (5, 2), (8, 4)]);
        let walks =
            |steps| rule.course(steps).into_iter().map(|(at, walk)| (at, walk.num_layers())).collect::<Vec<_>>();
        assert_eq!(walks(10), [(0, 1), (3, 2), (8, 4)]);
        assert_eq!(walks(8), [(0, 1), (3, 2)]);
        for foreign in [json!({ "stage": 4 }), json!({ "streak": 1 }), Value::Null] {
            assert!(rule.restore(&foreign).is_err());
        }
    }

    #[test]
    fn impossible_lists_are_named() {
        use RunPoint::{Fraction, Step};
        for (at, words) in [
            (&[Step(2)][..], "`at`: expected 2 points of the run, one a transition, got 1"),
            (&[Step(2), Step(2)], "must rise from the first step on, got 2 after 2"),
            (&[Step(0), Step(2)], "must rise from the first step on, got 0 after 0"),
            (&[Step(2), Step(10)], "is not before the end of the run"),
            (&[Fraction(0.5), Fraction(1.5)], "a fraction in (0, 1), got 1.5"),
        ] {
            let report = validate_points("at", at, 2, 10).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
        validate_points("at", &[Step(1), Fraction(0.9)], 2, 10).unwrap();
        for (sizes, words) in [
            (&[][..], "expected numbers from at least 1 to 12"),
            (&[0, 12], "expected numbers from at least 1 to 12"),
            (&[3, 6], "end with the 12 of `model.num_hidden_layers`"),
            (&[6, 6, 12], "expected numbers that rise, got 6 after 6"),
            (&[3, 12], "at most 2 times as many as before, got 12 after 3"),
        ] {
            let report = validate_sizes("depths", sizes, 12, 2).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
        validate_sizes("depths", &[3, 5, 7, 12], 12, 2).unwrap();
    }
}
