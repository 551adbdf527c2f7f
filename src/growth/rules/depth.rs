//! Sampled depth: few groups serve many layers, and every step draws how many layers it executes (Apollo, Pan et al. 2024, arXiv
//! 2401.09192).
//!
//! U groups of a model of L layers; r = L/U. A step executes d = ⌊U · clip(m/(x + n), 1, r)⌋ layers, x uniform in (x₀, 1], where m and n
//! make the curve go from b = r + `offset` at x₀ = `floor` to e = `end` at 1: n = (b·x₀ − e)/(e − b), m = e·(n + 1). So shallow steps are
//! the most frequent. Executed layer j uses group ⌊jU/d⌋. Growing to more groups, group j is a copy of the old group ⌊j·U_old/U_new⌋.
//! The authors draw for every micro-batch; here every step draws once, so that accumulation changes nothing.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Error, Result};
use crate::growth::point::RunPoint;
use crate::growth::probe::Correlation;
use crate::growth::rule::Rule;
use crate::growth::rules::staged::{validate_points, validate_sizes, RunContext, Staged};
use crate::growth::transition::Transition;
use crate::keys::classes;
use crate::layer_map::LayerMap;

/// Every step has a random depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DepthConfig {
    /// Number of weight groups in each stage. Each number divides `model.num_hidden_layers`, which is the last one. Default:
    /// [1, 3, 6, 12] (the paper).
    pub groups: Vec<usize>,
    /// Where each stage after the first begins: steps (integers) or fractions of the run. Default: [0.05, 0.1, 0.25] (the
    /// paper: 2, 4 and 10 of 40 epochs).
    pub at: Vec<RunPoint>,
    /// How far above the full depth the curve begins (docs/growth.md). A larger value makes full steps more frequent. Default:
    /// 0.4 (the paper).
    pub offset: f64,
    /// Where the curve ends, above 0 and at most 1. A smaller value makes the shallowest steps more frequent. Default: 0.6 (the
    /// paper).
    pub end: f64,
    /// The smallest x of the curve, between 0 and 1. Default: 1e-6 (the paper).
    pub floor: f64,
}

classes! { DepthConfig {
    Identity: groups, at, offset, end, floor;
} }

impl Default for DepthConfig {
    fn default() -> Self {
        let at = [0.05, 0.1, 0.25].map(RunPoint::Fraction).to_vec();
        Self { groups: vec![1, 3, 6, 12], at, offset: 0.4, end: 0.6, floor: 1e-6 }
    }
}

impl DepthConfig {
    /// Checks the lists and the curve for a run of `steps` with `num_layers`.
    ///
    /// # Errors
    /// The first setting that is impossible, by name.
    pub fn validate(&self, num_layers: usize, steps: u64) -> Result<()> {
        let Self { groups, at, offset, end, floor } = self;
        validate_sizes("growth.depth.groups", groups, num_layers, usize::MAX)?;
        if let Some(odd) = groups.iter().find(|&&groups| !num_layers.is_multiple_of(groups)) {
            return Err(Error::config(format!(
                "`growth.depth.groups`: {num_layers} layers do not split into {odd} groups of equal size"
            )));
        }
        validate_points("growth.depth.at", at, groups.len() - 1, steps)?;
        let refuse = |name: &str, range: &str, value: &f64| {
            Err(Error::config(format!("`growth.depth.{name}` must be {range}, got {value}")))
        };
        if !(*offset >= 0.0 && offset.is_finite()) {
            return refuse("offset", "0 or more", offset);
        }
        if !(*end > 0.0 && *end <= 1.0) {
            return refuse("end", "in (0, 1]", end);
        }
        if !(*floor > 0.0 && *floor < 1.0) {
            return refuse("floor", "in (0, 1)", floor);
        }
        Ok(())
    }

    /// The layers of a step that drew `x`, of `num_layers` with `groups` groups.
    fn layers(&self, x: f64, num_layers: usize, groups: usize) -> usize {
        let ratio = num_layers as f64 / groups as f64;
        let Some((m, n)) = self.curve(ratio) else { return num_layers };
        (groups as f64 * (m / (x + n)).clamp(1.0, ratio)) as usize
    }

    /// m and n of the curve for so many layers a group; none where all steps have all layers.
    fn curve(&self, ratio: f64) -> Option<(f64, f64)> {
        let (begin, end) = (ratio + self.offset, self.end);
        let n = (begin * self.floor - end) / (end - begin);
        (begin > end).then_some((end * (n + 1.0), n))
    }

    /// The mean of [`Self::layers`]: all groups, and each further layer as often as U·m/(x + n) reaches it.
    fn mean_layers(&self, num_layers: usize, groups: usize) -> f64 {
        let Some((m, n)) = self.curve(num_layers as f64 / groups as f64) else { return num_layers as f64 };
        let reaches = |layers: usize| {
            let highest = groups as f64 * m / layers as f64 - n;
            ((highest - self.floor) / (1.0 - self.floor)).clamp(0.0, 1.0)
        };
        groups as f64 + (groups + 1..=num_layers).map(reaches).sum::<f64>()
    }
}

/// Draws the depth of every step, and grows the number of groups.
#[derive(Debug)]
pub struct Depth {
    config: DepthConfig,
    num_layers: usize,
    seed: u64,
    growth: Staged,
}

impl Depth {
    /// The rule of a run.
    pub fn new(config: &DepthConfig, run: &RunContext) -> Result<Self> {
        let num_layers = run.num_layers;
        let walk = |groups| LayerMap::spread(num_layers, groups);
        let mut words = format!("steps of {} to {num_layers} layers", config.groups[0]);
        let mut stages = Vec::new();
        for (two, at) in config.groups.windows(2).zip(&config.at) {
            let (before, after, at) = (two[0], two[1], at.step(run.steps));
            let sources = (0..after).map(|group| group * before / after);
            words += &format!(", {after} to {num_layers} after step {at}");
            let reason = format!("growth from {before} to {after} groups after step {at}");
            stages.push((at, run.copying(walk(after)?, sources, reason)));
        }
        let growth = Staged::new(walk(config.groups[0])?, stages, words);
        Ok(Self { config: config.clone(), num_layers, seed: run.seed, growth })
    }

    /// The number that `step` draws, in (`floor`, 1]: 53 bits of a hash of the seed and the step.
    fn draw(&self, step: u64) -> f64 {
        let bytes: Vec<u8> = step.to_le_bytes().into_iter().chain(*b"depth").collect();
        let uniform = (xxh3_64_with_seed(&bytes, self.seed) >> 11) as f64 / (1_u64 << 53) as f64; // [0, 1)
        1.0 - (1.0 - self.config.floor) * uniform
    }
}

impl Rule for Depth {
    fn decide(&mut self, finished: u64, check: Option<&[Correlation]>, walk: &LayerMap) -> Option<Transition> {
        self.growth.decide(finished, check, walk)
    }

    fn executed(&self, step: u64, walk: &LayerMap) -> Option<LayerMap> {
        let groups = walk.num_groups();
        let layers = self.config.layers(self.draw(step), self.num_layers, groups);
        LayerMap::spread(layers, groups).ok().filter(|executed| executed != walk)
    }

    fn mean_layers(&self, walk: &LayerMap) -> f64 {
        self.config.mean_layers(self.num_layers, walk.num_groups())
    }

    fn draws_depth(&self) -> bool {
        true
    }

    fn course(&self, steps: u64) -> Vec<(u64, LayerMap)> {
        self.growth.course(steps)
    }

    fn next_transition(&self) -> Option<u64> {
        self.growth.next_transition()
    }

    fn state(&self) -> Value {
        self.growth.state()
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        self.growth.restore(state)
    }

    fn describe(&self) -> String {
        self.growth.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::transition::{MomentsAt, Source};

    const RUN: RunContext =
        RunContext { num_layers: 12, steps: 1000, seed: 3, moments: MomentsAt::Reset, restarts_schedule: false };

    /// By hand, one group of 12 layers: b = 12.4, n = (12.4e-6 − 0.6)/(0.6 − 12.4) = 0.0508464, m = 0.6·1.0508464 = 0.6305078.
    #[test]
    fn the_curve_is_the_papers() {
        let config = DepthConfig::default();
        // m/(x + n): 12.4, 4.18, 2.51, 1.14, 0.6.
        for (x, layers) in [(1e-6, 12), (0.1, 4), (0.2, 2), (0.5, 1), (1.0, 1)] {
            assert_eq!(config.layers(x, 12, 1), layers, "{x}");
        }
        // 12 groups: every layer has its own, and no step leaves one out.
        assert!([1e-6, 0.3, 1.0].iter().all(|&x| config.layers(x, 12, 12) == 12));
        let middle = |at: u32| (f64::from(at) + 0.5) / 200_000.0;
        for (groups, mean) in [(1, 1.77), (3, 4.23), (6, 7.14), (12, 12.0)] {
            let sum: usize = (0..200_000).map(|at| config.layers(middle(at), 12, groups)).sum();
            let found = sum as f64 / 200_000.0;
            assert!((found - mean).abs() < 0.01, "{groups}: {found}");
            assert!((config.mean_layers(12, groups) - found).abs() < 1e-3, "{groups}: {found}");
        }
    }

    #[test]
    fn a_step_draws_by_its_number_and_the_seed() {
        let rule = |seed| Depth::new(&DepthConfig::default(), &RunContext { seed, ..RUN }).unwrap();
        let (one, other) = (rule(3), rule(4));
        let walk = LayerMap::spread(12, 3).unwrap();
        let layers = |rule: &Depth, step| rule.executed(step, &walk).unwrap_or_else(|| walk.clone()).num_layers();
        let depths = |rule: &Depth| (0..20_000).map(|step| layers(rule, step)).collect::<Vec<_>>();
        assert_eq!(depths(&one), depths(&rule(3)));
        assert_ne!(depths(&one), depths(&other));
        let mean = depths(&one).iter().sum::<usize>() as f64 / 20_000.0;
        assert!((mean - 4.23).abs() < 0.05, "{mean}");
        let numbers: Vec<f64> = (0..20_000).map(|step| one.draw(step)).collect();
        assert!(numbers.iter().all(|x| (1e-6..=1.0).contains(x)));
        assert!((numbers.iter().sum::<f64>() / 20_000.0 - 0.5).abs() < 0.01);
        // Every group is used, whatever is drawn, and a step of all layers is the walk itself.
        for step in 0..100 {
            if let Some(executed) = one.executed(step, &walk) {
                assert!(executed.num_groups() == 3 && (3..12).contains(&executed.num_layers()));
            }
        }
        assert_eq!(one.executed(0, &LayerMap::untied(12)), None);
    }

    /// By hand: ⌊j/3⌋ of one group, ⌊j·3/6⌋, ⌊j·6/12⌋.
    #[test]
    fn groups_grow_by_copies() {
        let rule = Depth::new(&DepthConfig::default(), &RUN).unwrap();
        let found: Vec<_> = rule.growth.stages().iter().map(|(at, of)| (*at, of.sources.clone())).collect();
        let whole = |groups: &[usize]| groups.iter().map(|&group| vec![Source::whole(group)]).collect::<Vec<_>>();
        let last = whole(&[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
        assert_eq!(found, [(50, whole(&[0, 0, 0])), (100, whole(&[0, 0, 1, 1, 2, 2])), (250, last)]);
        let course: Vec<_> = rule.course(1000).into_iter().map(|(at, walk)| (at, walk.num_groups())).collect();
        assert_eq!(course, [(0, 1), (50, 3), (100, 6), (250, 12)]);
        assert!(rule.course(1000).iter().all(|(_, walk)| walk.num_layers() == 12));
        assert_eq!(
            rule.describe(),
            "steps of 1 to 12 layers, 3 to 12 after step 50, 6 to 12 after step 100, 12 to 12 after step 250"
        );
    }

    #[test]
    fn impossible_settings_are_named() {
        let default = DepthConfig::default;
        default().validate(12, 1000).unwrap();
        for (config, words) in [
            (DepthConfig { groups: vec![1, 5, 6, 12], ..default() }, "12 layers do not split into 5 groups"),
            (DepthConfig { groups: vec![1, 12], ..default() }, "`growth.depth.at`: expected 1 points"),
            (DepthConfig { groups: vec![1, 3, 4, 6], ..default() }, "expected numbers from at least 1 to 12"),
            (DepthConfig { offset: -0.1, ..default() }, "`growth.depth.offset` must be 0 or more, got -0.1"),
            (DepthConfig { end: 0.0, ..default() }, "`growth.depth.end` must be in (0, 1], got 0"),
            (DepthConfig { floor: 0.0, ..default() }, "`growth.depth.floor` must be in (0, 1), got 0"),
        ] {
            let report = config.validate(12, 1000).unwrap_err().report();
            assert!(report.contains(words), "{report}");
        }
    }
}
