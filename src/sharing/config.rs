//! The `[sharing]` table.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layer_map::LayerMap;

/// How layers share weights at step 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected `tied`, `untied`, `AxB`, `contiguous:G` or lists of layers")]
pub enum Start {
    /// `tied`, `untied`, `AxB` (units) or `contiguous:G`.
    Named(String),
    /// Layers that share, e.g. `[[0, 1], [2, 3]]`.
    Groups(Vec<Vec<usize>>),
}

/// What unties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// Nothing: the sharing of the start stays.
    Never,
    /// The step `untie_at` (SWE-F).
    Fixed,
}

/// When `fixed` unties.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a step (an integer of 0 or more) or a fraction of the run (0.1)")]
pub enum UntieAt {
    /// After so many updates.
    Step(u64),
    /// After that fraction of `train.steps`, in (0, 1).
    Fraction(f64),
}

/// How layers share weights, and when that ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SharingConfig {
    /// Sharing at step 0: `tied`, `untied`, `AxB` (unit of A layers repeated B times), `contiguous:G`, or lists of
    /// layers. Default: `tied`.
    pub start: Start,
    /// `never` or `fixed`. Default: `fixed`.
    pub rule: RuleKind,
    /// For `fixed`: a step (an integer N: N tied updates, update N+1 is untied) or a fraction of all steps. Default: 0.1.
    pub untie_at: UntieAt,
}

impl Default for SharingConfig {
    fn default() -> Self {
        Self { start: Start::Named("tied".into()), rule: RuleKind::Fixed, untie_at: UntieAt::Fraction(0.1) }
    }
}

impl SharingConfig {
    /// The sharing at step 0 of a model with `num_layers`.
    ///
    /// # Errors
    /// An unknown pattern, or one that does not fit the number of layers.
    pub fn start_map(&self, num_layers: usize) -> Result<LayerMap> {
        let name = match &self.start {
            Start::Groups(groups) => return LayerMap::from_groups(num_layers, groups),
            Start::Named(name) => name.as_str(),
        };
        let number = |text: &str| text.trim().parse::<usize>().ok();
        if name == "tied" {
            return Ok(LayerMap::tied(num_layers));
        }
        if name == "untied" {
            return Ok(LayerMap::untied(num_layers));
        }
        if let Some(groups) = name.strip_prefix("contiguous:").and_then(number) {
            return LayerMap::contiguous(num_layers, groups);
        }
        if let Some((Some(unit), Some(repeats))) = name.split_once('x').map(|(a, b)| (number(a), number(b))) {
            return LayerMap::units(num_layers, unit, repeats);
        }
        Err(Error::config(format!(
            "`sharing.start`: expected `tied`, `untied`, `AxB`, `contiguous:G` or lists of layers, got `{name}`"
        )))
    }

    /// The number of updates before untying in a run of `steps`; none if the rule never unties.
    pub fn untie_step(&self, steps: u64) -> Option<u64> {
        match (self.rule, self.untie_at) {
            (RuleKind::Never, _) => None,
            (RuleKind::Fixed, UntieAt::Step(step)) => Some(step),
            // A fraction asks for a tied phase, however short the run.
            (RuleKind::Fixed, UntieAt::Fraction(fraction)) => Some(((fraction * steps as f64).round() as u64).max(1)),
        }
    }

    /// Checks the pattern and the untying point.
    ///
    /// # Errors
    /// The first setting that is impossible, by name.
    pub fn validate(&self, num_layers: usize, steps: u64) -> Result<()> {
        self.start_map(num_layers)?;
        if let UntieAt::Fraction(fraction) = self.untie_at {
            if !(fraction > 0.0 && fraction < 1.0) {
                return Err(Error::config(format!(
                    "`sharing.untie_at` must be a step or a fraction in (0, 1), got {fraction}"
                ))
                .hint("write an integer for a step, e.g. `untie_at = 1000`"));
            }
        }
        match self.untie_step(steps) {
            Some(step) if step >= steps => Err(Error::config(format!(
                "`sharing.untie_at` = {step} is not before the end of the run, `train.steps` = {steps}"
            ))
            .hint("untie earlier, or set `sharing.rule = \"never\"`")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_parse_and_mistakes_are_named() {
        let with = |start: &str| SharingConfig { start: Start::Named(start.into()), ..Default::default() };
        assert_eq!(with("2x3").start_map(6).unwrap(), LayerMap::units(6, 2, 3).unwrap());
        assert_eq!(with("contiguous:3").start_map(6).unwrap(), LayerMap::contiguous(6, 3).unwrap());
        assert!(with("2x2").start_map(6).unwrap_err().to_string().contains("does not fit"));
        assert!(with("tide").start_map(6).unwrap_err().to_string().contains("got `tide`"));
    }

    #[test]
    fn untying_points_are_steps_or_fractions() {
        let with = |untie_at| SharingConfig { untie_at, ..Default::default() };
        assert_eq!(with(UntieAt::Fraction(0.1)).untie_step(1500), Some(150));
        assert_eq!(with(UntieAt::Step(7)).untie_step(1500), Some(7));
        assert!(with(UntieAt::Step(10)).validate(2, 10).is_err());
        assert!(with(UntieAt::Fraction(1.0)).validate(2, 10).is_err());
        let never = SharingConfig { rule: RuleKind::Never, ..Default::default() };
        assert_eq!(never.untie_step(10), None);
    }
}
