//! The `[growth]` table: rules that change the number of layers, or of those that a step executes.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::growth::rules::depth::DepthConfig;
use crate::growth::rules::expand::ExpandConfig;
use crate::growth::rules::gradual::GradualConfig;
use crate::growth::rules::stack::StackConfig;
use crate::growth::rules::v_cycle::VCycleConfig;
use crate::growth::sharing::{RuleKind, SharingConfig};
use crate::growth::start::Start;
use crate::growth::transition::MomentsAt;
use crate::keys::classes;

/// How a model grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrowthKind {
    /// One layer becomes all.
    Expand,
    /// A model is put on top of itself.
    Stack,
    /// Copies of the top layers are appended.
    Gradual,
    /// Layers are averaged in pairs for a time.
    VCycle,
    /// Every step draws its depth.
    Depth,
}

/// How a model changes its depth, instead of `sharing.rule`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrowthConfig {
    /// How the depth changes: `expand`, `stack`, `gradual`, `v_cycle` or `depth`. Each rule has a table with its name. Default:
    /// none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<GrowthKind>,
    /// AdamW's moments at a transition: `carry` (copied) or `reset` (they start at zero). Default: `carry` for `expand`,
    /// `reset` for the others, as in their papers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moments: Option<MomentsAt>,
    /// Start the schedule of the learning rate again at each transition, for the steps until the next one. Default: true for
    /// `v_cycle`, false for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<bool>,
    /// One layer becomes all.
    pub expand: ExpandConfig,
    /// A model is put on top of itself.
    pub stack: StackConfig,
    /// Copies of the top layers are appended.
    pub gradual: GradualConfig,
    /// Layers are averaged in pairs for a time.
    pub v_cycle: VCycleConfig,
    /// Every step draws its depth.
    pub depth: DepthConfig,
}

classes! { GrowthConfig {
    Identity: rule, moments, restart;
} with expand: ExpandConfig, stack: StackConfig, gradual: GradualConfig, v_cycle: VCycleConfig, depth: DepthConfig }

impl GrowthConfig {
    /// Whether nothing changes the depth.
    pub fn is_unset(&self) -> bool {
        *self == Self::default()
    }

    /// What the moments become at a transition.
    pub fn moments(&self) -> MomentsAt {
        self.moments.unwrap_or(match self.rule {
            None | Some(GrowthKind::Expand) => MomentsAt::Carry,
            Some(_) => MomentsAt::Reset,
        })
    }

    /// Whether each transition starts the schedule anew.
    pub fn restarts_schedule(&self) -> bool {
        self.restart.unwrap_or(self.rule == Some(GrowthKind::VCycle))
    }

    /// Decides the keys of `sharing` where a rule of this table says how layers start; before [`SharingConfig::resolve`].
    pub fn resolve(&self, sharing: &mut SharingConfig) {
        if self.rule.is_some() && sharing.transition.is_empty() {
            sharing.rule.get_or_insert(RuleKind::Never);
            if sharing.start == Start::Named("auto".into()) {
                sharing.start = Start::Named("untied".into());
            }
        }
    }

    /// Checks the rule's table and what it excludes, for a run of `steps` to `num_layers`; `has_weights`: it starts from the
    /// weights of a model.
    ///
    /// # Errors
    /// The first setting that is impossible, by name.
    pub fn validate(&self, sharing: &SharingConfig, num_layers: usize, steps: u64, has_weights: bool) -> Result<()> {
        let unused = [
            (GrowthKind::Expand, "expand", self.expand == ExpandConfig::default()),
            (GrowthKind::Stack, "stack", self.stack == StackConfig::default()),
            (GrowthKind::Gradual, "gradual", self.gradual == GradualConfig::default()),
            (GrowthKind::VCycle, "v_cycle", self.v_cycle == VCycleConfig::default()),
            (GrowthKind::Depth, "depth", self.depth == DepthConfig::default()),
        ];
        if let Some((_, name, _)) = unused.iter().find(|(kind, _, is_default)| !is_default && self.rule != Some(*kind))
        {
            return Err(Error::config(format!("`[growth.{name}]` has settings, but `growth.rule` is not \"{name}\""))
                .hint(format!("set `growth.rule = \"{name}\"`, or leave the table out")));
        }
        let Some(rule) = self.rule else {
            return match (self.moments, self.restart) {
                (None, None) => Ok(()),
                _ => Err(Error::config("`growth.moments` and `growth.restart` are for a run with `growth.rule`")
                    .hint("leave them out, or name a rule; `sharing.moments` is for untying")),
            };
        };
        let refuse = |key: &str, hint: &str| {
            Err(Error::config(format!("`growth.rule` and `{key}` are both set")).hint(hint.to_owned()))
        };
        if !matches!(sharing.rule, None | Some(RuleKind::Never)) {
            return refuse("sharing.rule", "one rule a run: leave out one of the two");
        }
        if !sharing.transition.is_empty() {
            return refuse("sharing.transition", "one rule a run: leave out one of the two");
        }
        if ![Start::Named("auto".into()), Start::Named("untied".into())].contains(&sharing.start) {
            return refuse("sharing.start", "the rule says how layers start: leave out `sharing.start`");
        }
        if has_weights {
            return refuse(
                "model.init",
                "a model that grows starts with fewer layers than the model of `model.init` has",
            );
        }
        if rule == GrowthKind::Depth && sharing.monitor {
            return refuse(
                "sharing.monitor",
                "the executed layers change with every step: leave out `sharing.monitor`",
            );
        }
        if rule == GrowthKind::VCycle && self.moments() == MomentsAt::Carry {
            return Err(Error::config("`growth.moments = \"carry\"` is impossible with `growth.rule = \"v_cycle\"`")
                .hint("layers that are averaged or blended have no moments to carry: leave out `growth.moments`"));
        }
        if rule == GrowthKind::Gradual && self.gradual.freeze && self.moments() == MomentsAt::Carry {
            return Err(Error::config("`growth.moments = \"carry\"` is impossible with `growth.gradual.freeze`")
                .hint("layers that were frozen have no recent moments to carry: leave out `growth.moments`"));
        }
        match rule {
            GrowthKind::Expand => self.expand.validate(num_layers, steps),
            GrowthKind::Stack => self.stack.validate(num_layers, steps),
            GrowthKind::Gradual => self.gradual.validate(num_layers, steps),
            GrowthKind::VCycle => self.v_cycle.validate(num_layers, steps),
            GrowthKind::Depth => self.depth.validate(num_layers, steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::point::RunPoint;
    use crate::growth::rules::by_hand::TransitionConfig;
    use crate::growth::rules::growing;
    use crate::keys::assert_names;

    fn config(text: &str) -> GrowthConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn every_key_has_its_class_under_the_name_in_files() {
        assert_names::<GrowthConfig>();
        assert_names::<ExpandConfig>();
        assert_names::<StackConfig>();
        assert_names::<GradualConfig>();
        assert_names::<VCycleConfig>();
        assert_names::<DepthConfig>();
    }

    #[test]
    fn each_rule_has_the_defaults_of_its_authors() {
        for (name, moments, restarts, start, transitions) in [
            ("expand", MomentsAt::Carry, false, 1, 1),
            ("stack", MomentsAt::Reset, false, 3, 2),
            ("gradual", MomentsAt::Reset, false, 3, 3),
            ("v_cycle", MomentsAt::Reset, true, 12, 2),
            ("depth", MomentsAt::Reset, false, 12, 3),
        ] {
            let config = config(&format!("rule = \"{name}\""));
            assert_eq!((config.moments(), config.restarts_schedule()), (moments, restarts), "{name}");
            let mut sharing = SharingConfig::default();
            config.resolve(&mut sharing);
            sharing.resolve(false).unwrap();
            assert_eq!((sharing.rule, &sharing.start), (Some(RuleKind::Never), &Start::Named("untied".into())));
            config.validate(&sharing, 12, 1000, false).unwrap();
            let mut rule = growing(&config, 12, 1000, 1).unwrap().unwrap();
            let course = rule.course(1000);
            assert_eq!((course[0].1.num_layers(), course.len()), (start, 1 + transitions), "{name}");
            // The rule's own transitions lead from walk to walk.
            for two in course.windows(2) {
                let transition = rule.decide(two[1].0, None, &two[0].1).unwrap();
                transition.validate(&two[0].1).unwrap();
                assert_eq!((&transition.walk, transition.moments), (&two[1].1, moments), "{name}");
            }
        }
        assert!(growing(&GrowthConfig::default(), 12, 1000, 1).unwrap().is_none());
        let written = toml::to_string(&config("rule = \"stack\"\n[stack]\ndepths = [6, 12]\nat = [0.5]")).unwrap();
        assert_eq!(config(&written).stack, StackConfig { depths: vec![6, 12], at: vec![RunPoint::Fraction(0.5)] });
    }

    #[test]
    fn what_excludes_a_rule_is_named() {
        let default = SharingConfig::default;
        let by_hand = TransitionConfig { at: RunPoint::Step(3), groups: Start::Named("untied".into()) };
        let fixed = SharingConfig { rule: Some(RuleKind::Fixed), ..default() };
        for (text, sharing, has_weights, words) in [
            ("rule = \"stack\"", fixed.clone(), false, "`growth.rule` and `sharing.rule` are both set"),
            (
                "rule = \"stack\"",
                SharingConfig { transition: vec![by_hand], ..default() },
                false,
                "`sharing.transition`",
            ),
            (
                "rule = \"stack\"",
                SharingConfig { start: Start::Named("tied".into()), ..default() },
                false,
                "`sharing.start`",
            ),
            ("rule = \"stack\"", default(), true, "`growth.rule` and `model.init` are both set"),
            ("rule = \"depth\"", SharingConfig { monitor: true, ..default() }, false, "`sharing.monitor`"),
            ("rule = \"v_cycle\"\nmoments = \"carry\"", default(), false, "`growth.moments = \"carry\"` is impossible"),
            ("moments = \"carry\"", fixed.clone(), false, "are for a run with `growth.rule`"),
            ("[expand]\nat = 0.5", default(), false, "`[growth.expand]` has settings, but `growth.rule` is not"),
            (
                "rule = \"gradual\"\nmoments = \"carry\"\n[gradual]\nfreeze = true",
                default(),
                false,
                "`growth.gradual.freeze`",
            ),
            ("rule = \"stack\"\n[stack]\ndepths = [4, 12]", default(), false, "`growth.stack.depths`"),
            ("rule = \"expand\"\n[expand]\nlayers = 12", default(), false, "`growth.expand.layers`"),
            ("rule = \"gradual\"\n[gradual]\ndepths = [2, 12]", default(), false, "`growth.gradual.depths`"),
            ("rule = \"v_cycle\"\n[v_cycle]\nalpha = 2.0", default(), false, "`growth.v_cycle.alpha`"),
            ("rule = \"depth\"\n[depth]\nend = 2.0", default(), false, "`growth.depth.end`"),
        ] {
            let report = config(text).validate(&sharing, 12, 1000, has_weights).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
        GrowthConfig::default().validate(&fixed, 12, 1000, true).unwrap();
        let kept = SharingConfig { rule: Some(RuleKind::Fixed), ..default() };
        let mut sharing = kept.clone();
        config("rule = \"stack\"").resolve(&mut sharing);
        assert_eq!(sharing.rule, kept.rule, "a contradiction is not resolved but refused");
        assert!(toml::from_str::<GrowthConfig>("rule = \"grow\"").is_err());
    }
}
