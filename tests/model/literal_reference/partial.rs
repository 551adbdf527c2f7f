//! Steps that train a part of the model (frozen layers) and steps that execute a part of it (drawn depth), in fp64: thirty steps of a
//! whole [`TrainState`] and of the reference across every transition; and what is wrong on purpose is seen.

use tch::Kind;
use untie::growth::{GrowthConfig, SharingConfig};
use untie::model::Norm;
use untie::optim::GroupGradient;
use untie::train::state::{TrainSpec, TrainState};

use super::sides::{self, LAYERS};
use crate::literal::growth::{depth, gradual, split, step_through};
use crate::literal::{self, prefix, Combine, Reference};

const STEPS: u64 = 30;
const SEED: u64 = 27;
const AT: [u64; 3] = [8, 16, 24];
/// So small that every step is clipped: what is in the norm is in the moments.
const CLIP_NORM: f64 = 0.4;
/// The layers of each stage with frozen ones, and how many of them are frozen.
const DEPTHS: [(usize, usize); 4] = [(2, 0), (4, 2), (6, 4), (6, 0)];
/// The groups of each stage with drawn depths.
const GROUPS: [usize; 4] = [1, 2, 3, 6];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Frozen,
    Depth,
}

/// What the reference does by mistake.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    /// Frozen tensors have gradients of zero, so that they decay.
    Decay,
    /// The norm is also over the gradients of frozen tensors.
    Norm,
    /// The embeddings train while layers are frozen.
    Embeddings,
    /// The sum over a group instead of the mean, or the mean instead of the sum.
    Combine,
    /// Executed layer j uses group j mod U.
    Modulo,
}

#[derive(Debug)]
struct Case {
    norm: Norm,
    rule: Rule,
    resets: bool,
    gradient: GroupGradient,
}

impl Case {
    fn spec(&self) -> TrainSpec {
        let moments = if self.resets { "reset" } else { "carry" };
        let text = match self.rule {
            Rule::Frozen => format!("\"gradual\"\n[gradual]\ndepths = [2, 4, 6]\nfreeze = true\nat = {AT:?}"),
            Rule::Depth => format!("\"depth\"\n[depth]\ngroups = {GROUPS:?}\nat = {AT:?}"),
        };
        let growth: GrowthConfig = toml::from_str(&format!("moments = \"{moments}\"\nrule = {text}")).unwrap();
        let mut sharing = SharingConfig { gradient: self.gradient, ..Default::default() };
        growth.resolve(&mut sharing);
        growth.validate(&sharing, LAYERS, STEPS, false).unwrap();
        let mut spec = sides::spec(sides::config(self.norm, 16, 0.0), sharing, Kind::Double);
        spec.optim.clip_norm = CLIP_NORM;
        TrainSpec { growth, seed: SEED, steps: STEPS, ..spec }
    }
}

/// One step in which the `frozen` lowest layers and, if there are such, the embeddings do not train; their words are the decoder too.
fn step_above(
    reference: &mut Reference,
    frozen: usize,
    mistake: Option<Mistake>,
    batch: &literal::Batch,
    learning_rate: f64,
) -> literal::Step {
    let (mut seen, mut gradients) = reference.backward(batch);
    let embeddings_train = frozen == 0 || mistake == Some(Mistake::Embeddings);
    let is_frozen = |name: &str| {
        let of_embeddings = !embeddings_train && name.starts_with("bert.embeddings.");
        of_embeddings || (0..frozen).any(|layer| name.starts_with(&prefix(layer)))
    };
    match mistake {
        Some(Mistake::Decay) => {
            let zeroed = gradients.iter_mut().filter(|(name, _)| is_frozen(name));
            zeroed.for_each(|(_, gradient)| *gradient = gradient.zeros_like());
        }
        _ => gradients.retain(|name, _| !is_frozen(name)),
    }
    if mistake != Some(Mistake::Norm) {
        seen.norm = reference.norm(&gradients);
    }
    reference.descend(gradients, seen.norm, learning_rate);
    seen
}

/// Takes the reference to the next stage.
fn grow(reference: &mut Reference, case: &Case, stage: usize) {
    match case.rule {
        // The last one makes no layer, it lets all train.
        Rule::Frozen if reference.sizes.layers < DEPTHS[stage].0 => gradual(reference, DEPTHS[stage].0),
        Rule::Frozen => {}
        Rule::Depth => split(reference, GROUPS[stage]),
    }
    if case.resets {
        reference.reset_moments();
    }
}

/// Trains both sides, to the end or until they are far apart; returns the largest difference after any step.
fn run(case: &Case, mistake: Option<Mistake>) -> f64 {
    let spec = case.spec();
    let mut product: TrainState = sides::train_state(spec.clone(), Kind::Double);
    let sums = (case.gradient == GroupGradient::Sum) != (mistake == Some(Mistake::Combine));
    let combine = if sums { Combine::Sum } else { Combine::Mean };
    let labels = Vec::from(product.map().clone());
    let mut reference = sides::reference(&spec, &product, &labels, combine);
    let (mut stage, mut clipped, mut furthest, mut depths) = (0, 0, 0.0_f64, Vec::new());
    for step in 1..=STEPS {
        let batches = sides::micro_batches(step);
        let (whole, learning_rate) = (sides::whole(&batches), sides::learning_rate(step));
        let executed = product.executed(step).unwrap_or_else(|| product.map().clone());
        let seen = match case.rule {
            Rule::Frozen => {
                assert_eq!(product.num_frozen_layers(), DEPTHS[stage].1, "{case:?}, step {step}");
                step_above(&mut reference, DEPTHS[stage].1, mistake, &whole, learning_rate)
            }
            Rule::Depth => {
                let groups = GROUPS[stage];
                let depth = depth(LAYERS, groups, step - 1, SEED);
                assert_eq!(executed.num_layers(), depth, "{case:?}, step {step}");
                let group_of = |layer: usize| match mistake {
                    Some(Mistake::Modulo) => layer % groups,
                    _ => layer * groups / depth,
                };
                let labels: Vec<usize> = (0..depth).map(group_of).collect();
                step_through(&mut reference, &labels, &whole, learning_rate)
            }
        };
        depths.push(executed.num_layers());
        let (report, _) = sides::step(&mut product, step, &batches);
        if mistake.is_none() {
            for (got, expected) in [(report.loss, seen.loss), (report.grad_norm, seen.norm)] {
                assert!((got / expected - 1.0).abs() <= 1e-12, "{case:?}, step {step}: {got} is not {expected}");
            }
        }
        clipped += u64::from(seen.norm > CLIP_NORM);
        let transition = product.decide(step, None);
        assert_eq!(transition.is_some(), AT.contains(&step), "{case:?}, step {step}");
        if let Some(transition) = transition {
            product.grow(&transition).unwrap();
            stage += 1;
            grow(&mut reference, case, stage);
        }
        let map = Vec::from(product.map().clone());
        assert_eq!(map, reference.labels, "{case:?}, step {step}");
        furthest = furthest.max(sides::difference(sides::tensors(&product, &map), &reference));
        if furthest > 1e-6 {
            return furthest;
        }
        assert!(furthest <= 1e-10 || mistake.is_some(), "{case:?}, step {step}: {furthest:e} off");
        assert_eq!(product.moments().num_updates, reference.updates as u64, "{case:?}, step {step}");
    }
    assert_eq!(clipped, STEPS, "{case:?}: not every step is clipped");
    if case.rule == Rule::Depth {
        // At each number of groups that leaves a choice, a step of some layers more than groups and not all.
        let between = |stage: usize| {
            let steps = if stage == 0 { 0 } else { AT[stage - 1] } as usize..AT[stage] as usize;
            depths[steps].iter().any(|&depth| GROUPS[stage] < depth && depth < LAYERS)
        };
        assert!((0..3).all(between), "{depths:?}");
    }
    println!("{case:?}: {furthest:.1e} off; executed {depths:?}");
    furthest
}

/// Frozen layers, whose moments must start anew; drawn depths with the mean and with the sum, with moments that go on and with moments
/// that start anew.
fn cases(norm: Norm) -> Vec<Case> {
    let rules =
        [(Rule::Frozen, GroupGradient::Mean), (Rule::Depth, GroupGradient::Mean), (Rule::Depth, GroupGradient::Sum)];
    let both = rules.into_iter().flat_map(|(rule, gradient)| [true, false].map(|resets| (rule, gradient, resets)));
    let allowed = both.filter(|(rule, _, resets)| *rule != Rule::Frozen || *resets);
    allowed.map(|(rule, gradient, resets)| Case { norm, rule, resets, gradient }).collect()
}

#[test]
fn a_part_of_the_model_is_that_of_lists_of_layers() {
    for case in [Norm::Post, Norm::Pre].into_iter().flat_map(cases) {
        let furthest = run(&case, None);
        assert!(furthest > 0.0, "two computations that never differ are one");
    }
}

#[test]
fn mistakes_with_a_part_are_seen() {
    for case in cases(Norm::Post) {
        let mistakes = match case.rule {
            Rule::Frozen => &[Mistake::Decay, Mistake::Norm, Mistake::Embeddings][..],
            Rule::Depth => &[Mistake::Combine, Mistake::Modulo],
        };
        for &mistake in mistakes {
            let furthest = run(&case, Some(mistake));
            assert!(furthest > 1e-6, "{case:?}, {mistake:?}: {furthest:e}");
        }
    }
}
