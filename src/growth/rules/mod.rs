//! The rules, a file each.

mod adaptive;
pub mod by_hand;
pub mod depth;
pub mod expand;
mod fixed;
pub mod gradual;
mod multi_step;
mod scheduled;
pub mod stack;
mod staged;
pub mod v_cycle;

use crate::error::Result;
use crate::growth::config::{GrowthConfig, GrowthKind};
use crate::growth::rule::Rule;
use crate::growth::sharing::{RuleKind, SharingConfig};

/// The untying rule of a run of `steps` with `num_layers`, before its first step.
///
/// # Errors
/// A pattern of sharing that does not fit `num_layers`.
pub fn rule(config: &SharingConfig, num_layers: usize, steps: u64) -> Result<Box<dyn Rule>> {
    let start = config.start_map(num_layers)?;
    Ok(match config.rule {
        Some(RuleKind::Never) => Box::new(scheduled::never(start)),
        Some(RuleKind::Fixed) => Box::new(fixed::fixed(config, start, steps)),
        Some(RuleKind::Adaptive) => Box::new(adaptive::Adaptive::new(config, start)),
        Some(RuleKind::MultiStep) => Box::new(multi_step::MultiStep::new(config, start)),
        None => Box::new(by_hand::by_hand(&config.transition, start, steps, config.moments)?),
    })
}

/// The rule of a run of `steps` that grows to `num_layers`, before its first step; none where nothing is to grow. `config` is valid.
///
/// # Errors
/// Groups that do not fit `num_layers`.
pub fn growing(config: &GrowthConfig, num_layers: usize, steps: u64, seed: u64) -> Result<Option<Box<dyn Rule>>> {
    let Some(rule) = config.rule else { return Ok(None) };
    let (moments, restarts_schedule) = (config.moments(), config.restarts_schedule());
    let run = staged::RunContext { num_layers, steps, seed, moments, restarts_schedule };
    Ok(Some(match rule {
        GrowthKind::Expand => Box::new(expand::expand(&config.expand, &run)),
        GrowthKind::Stack => Box::new(stack::stack(&config.stack, &run)),
        GrowthKind::Gradual => Box::new(gradual::gradual(&config.gradual, &run)),
        GrowthKind::VCycle => Box::new(v_cycle::v_cycle(&config.v_cycle, &run)),
        GrowthKind::Depth => Box::new(depth::Depth::new(&config.depth, &run)?),
    }))
}

/// The rule of a run of `steps` with `num_layers` and these tables, which are valid: of growth, or of sharing where nothing grows.
///
/// # Errors
/// A pattern of sharing or groups that do not fit `num_layers`.
pub fn rule_of(
    sharing: &SharingConfig,
    growth: &GrowthConfig,
    num_layers: usize,
    steps: u64,
    seed: u64,
) -> Result<Box<dyn Rule>> {
    growing(growth, num_layers, steps, seed)?.map_or_else(|| rule(sharing, num_layers, steps), Ok)
}

/// What `rule` does in a run of `steps`, in words.
pub fn describe(rule: &dyn Rule, steps: u64) -> String {
    match rule.course(steps).as_slice() {
        [(_, only)] if only.num_groups() == only.num_layers() => "untied from the start".into(),
        _ => rule.describe(),
    }
}

/// For tests: the correlations `values` of the pairs that `rule` watches in `walk`, by lower layer.
#[cfg(test)]
pub(crate) fn check(
    rule: &dyn Rule,
    walk: &crate::layer_map::LayerMap,
    values: &[f64],
) -> Vec<crate::growth::probe::Correlation> {
    let pairs = rule.pairs(walk).unwrap();
    assert_eq!(pairs.len(), values.len());
    let found = pairs.iter().zip(values);
    found.map(|(pair, &value)| crate::growth::probe::Correlation { lower: pair.lower[0], value }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::growth::point::RunPoint;
    use crate::growth::rules::by_hand::TransitionConfig;
    use crate::growth::start::Start;
    use crate::layer_map::LayerMap;

    fn of(kind: RuleKind, num_layers: usize) -> Box<dyn Rule> {
        rule(&SharingConfig { rule: Some(kind), ..Default::default() }, num_layers, 1000).unwrap()
    }

    #[test]
    fn never_is_never() {
        assert_eq!(of(RuleKind::Never, 4).decide(1_000_000, None, &LayerMap::tied(4)), None);
    }

    #[test]
    fn a_course_names_every_walk_once() {
        let at =
            |step, groups: &str| TransitionConfig { at: RunPoint::Step(step), groups: Start::Named(groups.into()) };
        let courses = |config: &SharingConfig| -> Vec<(u64, Vec<usize>)> {
            let course = rule(config, 4, 12).unwrap().course(12);
            course.into_iter().map(|(step, walk)| (step, Vec::from(walk))).collect()
        };
        let (tied, untied) = (vec![0, 0, 0, 0], vec![0, 1, 2, 3]);
        let by_hand = SharingConfig { transition: vec![at(3, "2x2"), at(5, "untied")], ..Default::default() };
        assert_eq!(courses(&by_hand), [(0, tied.clone()), (3, vec![0, 1, 0, 1]), (5, untied.clone())]);
        let with = |rule| SharingConfig { rule: Some(rule), ..Default::default() };
        assert_eq!(courses(&with(RuleKind::Never)), [(0, tied.clone())]);
        assert_eq!(courses(&with(RuleKind::Fixed)), [(0, tied.clone()), (1, untied.clone())]);
        assert_eq!(courses(&with(RuleKind::Adaptive)), [(0, tied.clone()), (0, untied.clone())]);
        assert_eq!(courses(&with(RuleKind::MultiStep)), [(0, tied), (0, vec![0, 1, 2, 2]), (0, untied.clone())]);
        for kind in [RuleKind::Fixed, RuleKind::Adaptive, RuleKind::MultiStep] {
            let config = SharingConfig { start: Start::Named("untied".into()), ..with(kind) };
            assert_eq!(courses(&config), [(0, untied.clone())]);
            assert_eq!(describe(&*rule(&config, 4, 12).unwrap(), 12), "untied from the start");
        }
        assert_eq!(describe(&*of(RuleKind::Fixed, 4), 1000), "untied after step 100");
    }

    #[test]
    fn state_survives_a_checkpoint_and_another_rules_is_refused() {
        let tied = LayerMap::tied(3);
        let mut adaptive = of(RuleKind::Adaptive, 3);
        let low = check(&*adaptive, &tied, &[0.0, 0.0]);
        assert_eq!(adaptive.decide(1, Some(&low), &tied), None);
        assert_eq!(adaptive.decide(2, Some(&low), &tied), None);
        assert_eq!(adaptive.standing(&tied).unwrap(), "a majority at 2 of 3 checks in a row");
        assert_eq!(adaptive.standing(&LayerMap::untied(3)), None);
        let mut resumed = of(RuleKind::Adaptive, 3);
        resumed.restore(&adaptive.state()).unwrap();
        assert!(resumed.decide(3, Some(&low), &tied).is_some());
        let mut multi_step = of(RuleKind::MultiStep, 3);
        assert!(multi_step.restore(&adaptive.state()).unwrap_err().to_string().contains("no state of this rule"));
        assert!(multi_step.restore(&json!({ "streaks": [1, 2] })).is_err());
        multi_step.restore(&json!({ "streaks": [1, 2, 0] })).unwrap();
        assert_eq!(multi_step.state(), json!({ "streaks": [1, 2, 0] }));
        assert!(of(RuleKind::Fixed, 3).restore(&adaptive.state()).is_err());
    }
}
