//! Thirty steps of both sides, in fp64: loss, norm, sharing, weights and moments.

use std::collections::HashMap;

use tch::Kind;
use untie::growth::{MomentsAt, RuleKind, RunPoint, SharingConfig, Start, TransitionConfig};
use untie::model::Norm;
use untie::optim::GroupGradient;

use super::sides::{self, LAYERS, STARTS};
use crate::literal::rules::{Adaptive, MultiStep};
use crate::literal::{Combine, Parameter};

const STEPS: u64 = 30;
/// Where fixed points untie.
const UNTIE_AT: u64 = 15;

/// When the reference unties.
enum When {
    /// After these steps, to these labels.
    At(Vec<(u64, [usize; LAYERS])>),
    Adaptive(Adaptive),
    MultiStep(MultiStep),
}

/// One run of both.
struct Case {
    name: String,
    sharing: SharingConfig,
    labels: [usize; LAYERS],
    when: When,
}

/// What a run came to.
struct Found {
    /// The labels of the layers after each untying, and its step.
    splits: Vec<(u64, Vec<usize>)>,
    /// Largest difference of a weight or a moment.
    difference: f64,
}

/// Whether layers share in `map` as they do by `labels`.
fn same_sharing(map: &[usize], labels: &[usize]) -> bool {
    let pairs = (0..LAYERS).flat_map(|one| (0..LAYERS).map(move |other| (one, other)));
    pairs.into_iter().all(|(one, other)| (map[one] == map[other]) == (labels[one] == labels[other]))
}

/// Trains both sides and holds them against each other.
fn run(norm: Norm, case: Case) -> Found {
    let Case { name, sharing, labels, mut when } = case;
    let name = format!("{norm:?}-LN {name}");
    let (check_every, reset) = (sharing.check_every, sharing.moments == MomentsAt::Reset);
    let combine = match sharing.gradient {
        GroupGradient::Mean => Combine::Mean,
        GroupGradient::Sum => Combine::Sum,
    };
    let spec = sides::spec(sides::config(norm, 16, 0.0), sharing, Kind::Double);
    let mut product = sides::train_state(spec.clone(), Kind::Double);
    assert!(same_sharing(&Vec::from(product.map().clone()), &labels), "{name}");
    let mut reference = sides::reference(&spec, &product, &labels, combine);
    let (mut splits, mut clipped, mut furthest) = (Vec::new(), 0, [0.0_f64; 2]);
    for step in 1..=STEPS {
        let batches = sides::micro_batches(step);
        let (report, check) = sides::step(&mut product, step, &batches);
        let seen = reference.step(&sides::whole(&batches), sides::learning_rate(step));
        for (at, (got, expected)) in [(report.loss, seen.loss), (report.grad_norm, seen.norm)].into_iter().enumerate() {
            furthest[at] = furthest[at].max((got / expected - 1.0).abs());
            assert!((got / expected - 1.0).abs() <= 1e-12, "{name}, step {step}: {got} is not {expected}");
        }
        clipped += u64::from(seen.norm > spec.optim.clip_norm);
        let before = reference.labels.clone();
        match &mut when {
            When::At(transitions) => {
                let due = transitions.iter().find(|(at, _)| *at == step);
                due.into_iter().for_each(|(_, labels)| reference.labels = labels.to_vec());
            }
            When::Adaptive(rule) if step % check_every == 0 => rule.check(&seen.gradients, &mut reference.labels),
            When::MultiStep(rule) if step % check_every == 0 => rule.check(&seen.gradients, &mut reference.labels),
            When::Adaptive(_) | When::MultiStep(_) => {}
        }
        if let Some(transition) = product.decide(step, check.as_ref()) {
            product.grow(&transition).unwrap();
        }
        let map = Vec::from(product.map().clone());
        assert!(same_sharing(&map, &reference.labels), "{name}, step {step}: {map:?} is not {:?}", reference.labels);
        if reference.labels != before {
            splits.push((step, map));
            if reset {
                reference.reset_moments();
            }
        }
    }
    assert!((1..STEPS).contains(&clipped), "{name}: clipped in {clipped} of {STEPS} steps");
    // 1e-10, and for what is small, 1e-10 of the largest of its kind.
    let scales = [0, 1, 2].map(|what| {
        let largest = |parameter: &Parameter| f64::try_from(parameter.kind(what).abs().max()).unwrap();
        reference.parameters.values().map(largest).fold(0.0, f64::max)
    });
    let mut differences = [0.0_f64; 3];
    for (what, tensors) in sides::tensors(&product, &Vec::from(product.map().clone())).into_iter().enumerate() {
        assert!(tensors.keys().eq(reference.parameters.keys()), "{name}");
        for (tensor, got) in tensors {
            let expected = reference.parameters[&tensor].kind(what);
            let difference = f64::try_from((got - expected).abs().max()).unwrap();
            assert!(difference <= 1e-10 * scales[what].min(1.0), "{name}: `{tensor}` is {difference:e} off ({what})");
            differences[what] = differences[what].max(difference);
        }
    }
    assert_eq!(product.moments().num_updates, reference.updates as u64, "{name}");
    println!(
        "{name}: weights {:.1e} off, first moments {:.1e}, second {:.1e} (the largest are {:.1e}, {:.1e}, {:.1e}); loss \
         {:.1e}, norm {:.1e} (relative); clipped {clipped} of {STEPS}; untied {splits:?}",
        differences[0], differences[1], differences[2], scales[0], scales[1], scales[2], furthest[0], furthest[1]
    );
    Found { splits, difference: differences.into_iter().fold(0.0, f64::max) }
}

fn start(name: &str) -> Start {
    Start::Named(name.into())
}

const UNTIED: [usize; LAYERS] = [0, 1, 2, 3, 4, 5];

/// Both norms; every start, untied after step 15 (the untied one never is).
#[test]
fn fixed_untying_is_that_of_separate_copies() {
    for norm in [Norm::Post, Norm::Pre] {
        for (name, labels) in STARTS {
            let sharing = SharingConfig {
                start: start(name),
                rule: Some(RuleKind::Fixed),
                untie_at: RunPoint::Step(UNTIE_AT),
                ..Default::default()
            };
            let when = When::At(vec![(UNTIE_AT, UNTIED)]);
            let found = run(norm, Case { name: format!("{name}, fixed"), sharing, labels, when });
            assert_eq!(found.splits.len(), usize::from(name != "untied"));
            assert!(found.difference > 0.0, "two computations that never differ are one");
        }
    }
}

#[test]
fn untying_by_hand_is_that_of_separate_copies() {
    let transition = [(8, "contiguous:3"), (20, "untied")]
        .map(|(at, groups)| TransitionConfig { at: RunPoint::Step(at), groups: start(groups) })
        .to_vec();
    for norm in [Norm::Post, Norm::Pre] {
        let when = When::At(vec![(8, STARTS[2].1), (20, UNTIED)]);
        let sharing = SharingConfig { transition: transition.clone(), ..Default::default() };
        let found = run(norm, Case { name: "by hand".into(), sharing, labels: [0; LAYERS], when });
        assert_eq!(found.splits, [(8, vec![0, 0, 1, 1, 2, 2]), (20, UNTIED.to_vec())]);
    }
}

/// What docs/untying.md warns of, equally literal: moments that start anew, and the sum in place of the mean.
#[test]
fn the_choices_that_cost_are_those_of_separate_copies() {
    for norm in [Norm::Post, Norm::Pre] {
        for (moments, gradient) in [(MomentsAt::Reset, GroupGradient::Mean), (MomentsAt::Carry, GroupGradient::Sum)] {
            let sharing = SharingConfig {
                rule: Some(RuleKind::Fixed),
                untie_at: RunPoint::Step(UNTIE_AT),
                moments,
                gradient,
                ..Default::default()
            };
            let when = When::At(vec![(UNTIE_AT, UNTIED)]);
            run(norm, Case { name: format!("{moments:?} {gradient:?}"), sharing, labels: [0; LAYERS], when });
        }
    }
}

/// Algorithm 2 from one group and from units, at least three splits; SWE-A from both. The thresholds lie among the
/// correlations that this small model has, so that some boundaries wait longer than others.
#[test]
fn rules_decide_as_the_paper_says() {
    const PATIENCE: u64 = 2;
    for (norm, threshold) in [(Norm::Post, 0.955), (Norm::Pre, 0.97)] {
        for (at, unit) in [(0, 1), (1, 2)] {
            let (name, labels) = STARTS[at];
            for kind in [RuleKind::MultiStep, RuleKind::Adaptive] {
                let sharing = SharingConfig {
                    start: start(name),
                    rule: Some(kind),
                    check_every: 2,
                    patience: PATIENCE,
                    threshold,
                    ..Default::default()
                };
                let when = match kind {
                    RuleKind::MultiStep => {
                        When::MultiStep(MultiStep { threshold, patience: PATIENCE, in_a_row: HashMap::new() })
                    }
                    _ => When::Adaptive(Adaptive { threshold, patience: PATIENCE, unit, in_a_row: 0 }),
                };
                let found = run(norm, Case { name: format!("{name}, {kind:?}"), sharing, labels, when });
                if kind == RuleKind::MultiStep {
                    // Every split makes one group more; from one group they come at three checks at least.
                    let groups = |labels: &[usize]| labels.iter().max().unwrap() + 1;
                    let gained = groups(&found.splits.last().unwrap().1) - groups(&labels);
                    assert!(gained >= 3 && (at > 0 || found.splits.len() >= 3), "{norm:?} {name}: {:?}", found.splits);
                } else {
                    assert_eq!(found.splits.len(), 1, "{norm:?} {name}");
                }
            }
        }
    }
}
