//! The `[sharing]` table.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::growth::point::RunPoint;
use crate::growth::rules::by_hand::{transitions, TransitionConfig};
use crate::growth::start::{GroupInit, Start};
use crate::growth::transition::MomentsAt;
use crate::keys::classes;
use crate::layer_map::LayerMap;
use crate::optim::GroupGradient;

/// What to do where nothing can untie before the run ends.
const HINT: &str = "untie earlier, or set `sharing.rule = \"never\"`";

/// When layers are untied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// Nothing: the sharing of the start stays.
    Never,
    /// The step `untie_at` (SWE-F).
    Fixed,
    /// Unties everything when the gradients of most neighbours have a low correlation (SWE-A).
    Adaptive,
    /// Splits a group at a boundary where the gradients of two neighbours have a low correlation (SWE-M).
    MultiStep,
}

/// How many boundaries of a group `multi_step` may split at one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Splits {
    /// The lowest one whose patience has ended.
    Lowest,
    /// Every one whose patience has ended.
    All,
}

/// How layers share weights, and when that ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SharingConfig {
    /// Which layers share weights at the start: `tied` (all), `untied` (none), `AxB` (a unit of A layers, repeated B times),
    /// `contiguous:G` (G groups of neighbouring layers), or lists of layers. `auto` is `tied`; with `model.init` and without
    /// `init` it is `untied`. Default: `auto`.
    pub start: Start,
    /// For a run from `model.init` that ties layers: a group takes the weights of its `lowest` layer or the `mean` of its
    /// layers' weights. Without this key such a run is refused. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<GroupInit>,
    /// When to untie: `never`, `fixed` (at one step), `adaptive` or `multi_step` (by the correlation of gradients). Default:
    /// `fixed`; `never` for a run from `model.init` that starts `untied`; no rule with `[[sharing.transition]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleKind>,
    /// For `fixed`: when to untie, a fraction of all steps or a step. A step N means: N tied updates, update N+1 is untied.
    /// Default: 0.1.
    pub untie_at: RunPoint,
    /// Steps between two checks of the correlations of gradients. Default: 1000 (the paper).
    pub check_every: u64,
    /// A correlation below this value counts as low; from -1 to 1. Default: 0.5 (the paper).
    pub threshold: f64,
    /// For `adaptive`: untie if more than this fraction of the correlations is low; from 0 to below 1. Default: 0.5 (the paper).
    pub majority: f64,
    /// Number of checks in a row at which correlations must be low. Default: 3 (the paper).
    pub patience: u64,
    /// For `multi_step`: how often a check may split a group: `lowest` (once, at the lowest boundary) or `all`. Default: `lowest`.
    pub splits: Splits,
    /// Measure correlations at every check, also if no rule needs them: under `fixed` and `never`, and after untying. It
    /// changes no weight. Default: false.
    pub monitor: bool,
    /// AdamW's moments at a transition: `carry` (each layer gets its own copy) or `reset` (they start at zero). Default: `carry`.
    pub moments: MomentsAt,
    /// The gradient of a group of tied layers: the `mean` of its layers' gradients, or their `sum`. The sum is wrong after
    /// untying and exists only to show this (docs/untying.md). Default: `mean`.
    pub gradient: GroupGradient,
    /// Transitions that you give yourself, instead of a rule. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transition: Vec<TransitionConfig>,
}

classes! { SharingConfig {
    Identity: start, init, rule, untie_at, check_every, threshold, majority, patience, splits, moments, gradient, transition;
    Observation: monitor;
} }

impl Default for SharingConfig {
    fn default() -> Self {
        Self {
            start: Start::Named("auto".into()),
            init: None,
            rule: None,
            untie_at: RunPoint::Fraction(0.1),
            check_every: 1000,
            threshold: 0.5,
            majority: 0.5,
            patience: 3,
            splits: Splits::Lowest,
            monitor: false,
            moments: MomentsAt::Carry,
            gradient: GroupGradient::Mean,
            transition: Vec::new(),
        }
    }
}

impl SharingConfig {
    /// The same without a rule, transitions and checks: for steps that are only timed.
    #[must_use]
    pub fn without_transitions(&self) -> Self {
        Self { rule: Some(RuleKind::Never), transition: Vec::new(), monitor: false, ..self.clone() }
    }

    /// Decides what depends on other keys: `start` where it is `auto`, and the default of `rule`. `has_weights`: the run starts
    /// from the weights of a model, which tying would throw away.
    ///
    /// # Errors
    /// A rule or a transition for a run that starts untied because of its weights.
    pub fn resolve(&mut self, has_weights: bool) -> Result<()> {
        let is_named = |start: &Start, name: &str| matches!(start, Start::Named(found) if found == name);
        if is_named(&self.start, "auto") {
            let keeps_layers = has_weights && self.init.is_none();
            if let Some(name) = self.unties().filter(|_| keeps_layers) {
                return Err(Error::config(format!(
                    "`sharing.{name}` has nothing to untie: a run from the weights of `model.init` starts untied"
                ))
                .hint(format!(
                    "leave out `sharing.{name}`, or tie the layers with `sharing.start` and `sharing.init`"
                )));
            }
            self.start = Start::Named(if keeps_layers { "untied" } else { "tied" }.into());
        }
        if self.transition.is_empty() {
            let keeps_layers = has_weights && is_named(&self.start, "untied");
            self.rule.get_or_insert(if keeps_layers { RuleKind::Never } else { RuleKind::Fixed });
        }
        Ok(())
    }

    /// The key that says that something unties, if one is given.
    fn unties(&self) -> Option<&'static str> {
        match self.rule {
            _ if !self.transition.is_empty() => Some("transition"),
            Some(RuleKind::Never) => None,
            Some(_) => Some("rule"),
            None => (self.untie_at != Self::default().untie_at).then_some("untie_at"),
        }
    }

    /// Checks what concerns the weights that the run starts from, those of a model if `has_weights`.
    ///
    /// # Errors
    /// Layers of a model that would be tied without [`Self::init`], and that key where it means nothing.
    pub fn validate_init(&self, num_layers: usize, has_weights: bool) -> Result<()> {
        let groups = self.start_map(num_layers)?.num_groups();
        match self.init {
            None if has_weights && groups < num_layers => Err(Error::config(format!(
                "`sharing.start` ties the {num_layers} layers of `model.init` to {groups}: what the others have learnt would be lost"
            ))
            .hint(
                "start untied: leave out `sharing.start` and the keys that untie; or, to tie them nevertheless, say which \
                 weights a group takes: `sharing.init = \"lowest\"` or `\"mean\"`",
            )),
            Some(_) if !has_weights => Err(Error::config("`sharing.init` needs `model.init`: without it weights are random")
                .hint("leave out `sharing.init`, or name a model with `model.init`")),
            Some(_) if groups == num_layers => Err(Error::config("`sharing.init` is for tied layers, and `sharing.start` ties none")
                .hint("leave out `sharing.init`, or tie layers with `sharing.start`")),
            _ => Ok(()),
        }
    }

    /// Whether the gradients' correlations are measured every `check_every` steps, at least at the start.
    pub fn has_checks(&self) -> bool {
        self.monitor || matches!(self.rule, Some(RuleKind::Adaptive | RuleKind::MultiStep))
    }

    /// The sharing at step 0 of a model with `num_layers`.
    ///
    /// # Errors
    /// An unknown pattern, or one that does not fit the number of layers.
    pub fn start_map(&self, num_layers: usize) -> Result<LayerMap> {
        self.start.map("sharing.start", num_layers)
    }

    /// Checks the pattern, the untying point and the numbers of the rule.
    ///
    /// # Errors
    /// The first setting that is impossible, by name.
    pub fn validate(&self, num_layers: usize, steps: u64) -> Result<()> {
        let start = self.start_map(num_layers)?;
        let refuse = |name: &str, range: &str, value: f64| {
            Err(Error::config(format!("`sharing.{name}` must be {range}, got {value}")))
        };
        if !(-1.0..=1.0).contains(&self.threshold) {
            return refuse("threshold", "in [-1, 1]", self.threshold);
        }
        if !(0.0..1.0).contains(&self.majority) {
            return refuse("majority", "in [0, 1)", self.majority);
        }
        for (name, value) in [("check_every", self.check_every), ("patience", self.patience)] {
            if value == 0 {
                return refuse(name, "at least 1", 0.0);
            }
        }
        if self.rule.is_some() && !self.transition.is_empty() {
            return Err(Error::config("`sharing.rule` and `sharing.transition` are both set")
                .hint("transitions by hand take the place of a rule; remove one of the two"));
        }
        for (at, transition) in self.transition.iter().enumerate() {
            transition.at.validate(&format!("sharing.transition[{at}].at"), steps, HINT)?;
        }
        transitions(&self.transition, &start, steps)?;
        match self.rule {
            Some(RuleKind::Fixed) => self.untie_at.validate("sharing.untie_at", steps, HINT),
            Some(RuleKind::Adaptive | RuleKind::MultiStep)
                if self.check_every.saturating_mul(self.patience) >= steps =>
            {
                Err(Error::config(format!(
                    "`sharing.rule` can never untie: expected {} checks, one every `sharing.check_every` = {} steps, \
                     before the end of the run, `train.steps` = {steps}",
                    self.patience, self.check_every
                ))
                .hint("check more often; the paper checks every 1000 of 500,000 steps"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_from_weights_starts_untied_unless_told_otherwise() {
        let named = |name: &str| Start::Named(name.into());
        let default = SharingConfig::default;
        let resolved = |mut config: SharingConfig, has_weights| config.resolve(has_weights).map(|()| config);
        for (config, has_weights, start, rule) in [
            (default(), false, "tied", RuleKind::Fixed),
            (default(), true, "untied", RuleKind::Never),
            (SharingConfig { init: Some(GroupInit::Mean), ..default() }, true, "tied", RuleKind::Fixed),
            (SharingConfig { start: named("untied"), ..default() }, true, "untied", RuleKind::Never),
            (SharingConfig { start: named("untied"), ..default() }, false, "untied", RuleKind::Fixed),
            (SharingConfig { start: named("2x2"), ..default() }, true, "2x2", RuleKind::Fixed),
        ] {
            let found = resolved(config, has_weights).unwrap();
            assert_eq!((found.start, found.rule), (named(start), Some(rule)));
        }
        let by_hand = TransitionConfig { at: RunPoint::Step(3), groups: named("untied") };
        for (config, name) in [
            (SharingConfig { rule: Some(RuleKind::Adaptive), ..default() }, "rule"),
            (SharingConfig { untie_at: RunPoint::Step(3), ..default() }, "untie_at"),
            (SharingConfig { transition: vec![by_hand], ..default() }, "transition"),
        ] {
            let report = resolved(config, true).unwrap_err().report();
            assert!(report.contains(&format!("`sharing.{name}` has nothing to untie")), "{report}");
        }
    }

    #[test]
    fn layers_of_a_model_are_tied_only_where_a_key_says_how() {
        let lists = Start::Groups(vec![vec![0, 1], vec![2], vec![3]]);
        let named = |name: &str| Start::Named(name.into());
        let ties = [named("tied"), named("2x2"), named("1x4"), named("contiguous:2"), lists];
        for start in ties {
            let with = |init| SharingConfig { start: start.clone(), init, ..Default::default() };
            with(None).validate_init(4, false).unwrap();
            let report = with(None).validate_init(4, true).unwrap_err().report();
            assert!(
                report.contains("`sharing.start` ties the 4 layers") && report.contains("sharing.init"),
                "{report}"
            );
            for init in [GroupInit::Lowest, GroupInit::Mean] {
                with(Some(init)).validate_init(4, true).unwrap();
                let report = with(Some(init)).validate_init(4, false).unwrap_err().report();
                assert!(report.contains("`sharing.init` needs `model.init`"), "{report}");
            }
        }
        for start in ["untied", "4x1", "contiguous:4"].map(named) {
            let with = |init| SharingConfig { start: start.clone(), init, ..Default::default() };
            with(None).validate_init(4, true).unwrap();
            let report = with(Some(GroupInit::Mean)).validate_init(4, true).unwrap_err().report();
            assert!(report.contains("ties none"), "{report}");
        }
    }

    #[test]
    fn untying_points_lie_within_the_run() {
        let with = |untie_at| SharingConfig { rule: Some(RuleKind::Fixed), untie_at, ..Default::default() };
        assert!(with(RunPoint::Step(10)).validate(2, 10).is_err());
        assert!(with(RunPoint::Fraction(1.0)).validate(2, 10).is_err());
        with(RunPoint::Step(9)).validate(2, 10).unwrap();
    }

    #[test]
    fn impossible_rules_are_named() {
        let default = SharingConfig::default;
        let at =
            |step, groups: &str| TransitionConfig { at: RunPoint::Step(step), groups: Start::Named(groups.into()) };
        let adaptive = Some(RuleKind::Adaptive);
        for (config, words) in [
            (SharingConfig { threshold: 1.5, ..default() }, "`sharing.threshold` must be in [-1, 1], got 1.5"),
            (SharingConfig { majority: 1.0, ..default() }, "`sharing.majority`"),
            (SharingConfig { patience: 0, ..default() }, "`sharing.patience` must be at least 1"),
            (SharingConfig { rule: adaptive, check_every: 4, ..default() }, "can never untie: expected 3 checks"),
            (SharingConfig { rule: adaptive, transition: vec![at(3, "untied")], ..default() }, "are both set"),
            (SharingConfig { transition: vec![at(12, "untied")], ..default() }, "is not before the end of the run"),
            (SharingConfig { transition: vec![at(3, "untied"), at(5, "2x2")], ..default() }, "joins layers"),
            (SharingConfig { transition: vec![at(3, "2x2"), at(3, "untied")], ..default() }, "is not after"),
            (SharingConfig { transition: vec![at(3, "3x2")], ..default() }, "does not fit"),
        ] {
            let message = config.validate(4, 12).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        let by_hand = SharingConfig { transition: vec![at(3, "2x2"), at(5, "untied")], ..default() };
        by_hand.validate(4, 12).unwrap();
        SharingConfig { rule: adaptive, check_every: 3, ..default() }.validate(4, 12).unwrap();
    }
}
