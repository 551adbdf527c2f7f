//! The probe: its correlations against the reference's, and that probing changes nothing.

use tch::{Kind, Tensor};
use untie::growth::{RuleKind, RunPoint, SharingConfig, Start};
use untie::model::Norm;
use untie::train::state::TrainState;

use super::sides::{self, LAYERS, STARTS};
use crate::literal::{rules, Combine};
use crate::own_process::in_own_process;

/// A probed run whose rule, with a threshold that no correlation is below, never unties.
fn watching(start: &str, rule: RuleKind) -> SharingConfig {
    SharingConfig {
        start: Start::Named(start.into()),
        rule: Some(rule),
        check_every: 1,
        threshold: -1.0,
        monitor: true,
        ..Default::default()
    }
}

/// The largest difference of the correlations of `kind` weights computed in `compute`, over three steps.
fn difference(norm: Norm, start: usize, rule: RuleKind, kind: Kind, compute: Kind) -> f64 {
    let (name, labels) = STARTS[start];
    let spec = sides::spec(sides::config(norm, 16, 0.0), watching(name, rule), compute);
    let mut product = sides::train_state(spec.clone(), kind);
    let mut largest = 0.0_f64;
    for number in 1..=3 {
        // The reference reads the product's weights of this step, so that precision is all that can differ.
        let mut reference = sides::reference(&spec, &product, &labels, Combine::Mean);
        let batches = sides::micro_batches(number);
        let gradients = reference.step(&sides::whole(&batches), 0.0).gradients;
        let check = sides::step(&mut product, number, &batches).1.unwrap();
        let watched: Vec<(usize, f64)> = if rule == RuleKind::Adaptive && name == "tied" {
            rules::of_units(&gradients, 1).into_iter().enumerate().collect()
        } else if rule == RuleKind::Adaptive && name == "2x3" {
            rules::of_units(&gradients, 2).into_iter().enumerate().map(|(at, value)| (2 * at, value)).collect()
        } else {
            rules::within_groups(&gradients, &labels).into_iter().map(|(lower, _, value)| (lower, value)).collect()
        };
        assert_eq!(check.watched.len(), watched.len(), "{name}");
        let mut compare = |got: f64, expected: f64| {
            assert!(!got.is_nan(), "{name}");
            largest = largest.max((got - expected).abs());
        };
        for (found, (lower, value)) in check.watched.iter().zip(watched) {
            assert_eq!(found.lower, lower, "{name}");
            compare(found.value, value);
        }
        for found in &check.drifting {
            assert_ne!(labels[found.lower], labels[found.lower + 1]);
            compare(found.value, rules::cosine(&gradients[found.lower], &gradients[found.lower + 1]));
        }
        assert_eq!(check.matrix.len(), LAYERS * LAYERS);
        for (at, &found) in check.matrix.iter().enumerate() {
            compare(found, rules::cosine(&gradients[at / LAYERS], &gradients[at % LAYERS]));
        }
    }
    largest
}

/// bf16 keeps 8 bits of each activation and product, 2⁻⁹ = 0.002 a rounding, and a gradient is hundreds of them
/// away from the loss; a correlation is asked whether it is below 0.5.
#[test]
fn correlations_are_those_of_separate_copies() {
    for norm in [Norm::Post, Norm::Pre] {
        for (start, (name, _)) in STARTS.into_iter().enumerate() {
            for rule in [RuleKind::Adaptive, RuleKind::MultiStep] {
                for (kind, compute, tolerance) in [
                    (Kind::Double, Kind::Double, 1e-10),
                    (Kind::Float, Kind::Float, 1e-4),
                    (Kind::Float, Kind::BFloat16, 0.05),
                ] {
                    let found = difference(norm, start, rule, kind, compute);
                    println!("{norm:?}-LN {name} {rule:?} {compute:?}: correlations {found:.1e} off");
                    assert!(found <= tolerance, "{norm:?}-LN {name} {rule:?} {compute:?}: {found:e} off");
                }
            }
        }
    }
}

/// The bits of every weight and moment.
fn bits(state: &TrainState) -> Vec<Tensor> {
    let weights = state.weights().entries().iter().map(|weight| weight.tensor.detach());
    let moments = state.moments();
    let all = weights.chain(moments.exp_avg.iter().chain(&moments.exp_avg_sq).map(Tensor::shallow_clone));
    let as_integers = |tensor: Tensor| match tensor.kind() {
        Kind::Double => tensor.view_dtype(Kind::Int64),
        _ => tensor.view_dtype(Kind::Int),
    };
    all.map(as_integers).collect()
}

/// With dropout, over an untying; at a width at which libtorch does divide the work among two threads.
#[test]
fn a_probed_step_is_bit_equal_to_a_plain_one() {
    in_own_process(module_path!(), "a_probed_step_is_bit_equal_to_a_plain_one", compare_probed_and_plain_steps);
}

fn compare_probed_and_plain_steps() {
    const STEPS: u64 = 4;
    for (threads, hidden) in [(1, 16), (2, 160)] {
        tch::set_num_threads(threads);
        for norm in [Norm::Post, Norm::Pre] {
            for (name, _) in STARTS {
                for (kind, compute) in
                    [(Kind::Float, Kind::Float), (Kind::Float, Kind::BFloat16), (Kind::Double, Kind::Double)]
                {
                    let case = format!("{threads} threads, {norm:?}-LN {name} {compute:?}");
                    let sharing = |monitor| SharingConfig {
                        untie_at: RunPoint::Step(2),
                        monitor,
                        ..watching(name, RuleKind::Fixed)
                    };
                    let [mut plain, mut probed] = [false, true].map(|monitor| {
                        let config = sides::config(norm, hidden, 0.1);
                        sides::train_state(sides::spec(config, sharing(monitor), compute), kind)
                    });
                    for number in 1..=STEPS {
                        let batches = sides::micro_batches(number);
                        let (plain_report, nothing) = sides::step(&mut plain, number, &batches);
                        let (report, check) = sides::step(&mut probed, number, &batches);
                        assert!(nothing.is_none() && check.is_some(), "{case}");
                        assert_eq!(plain_report.loss.to_bits(), report.loss.to_bits(), "{case}, step {number}");
                        assert_eq!(plain_report.grad_norm.to_bits(), report.grad_norm.to_bits(), "{case}");
                        let equal = bits(&plain).iter().zip(bits(&probed)).all(|(one, other)| one.equal(&other));
                        assert!(equal, "{case}, step {number}");
                        for state in [&mut plain, &mut probed] {
                            if let Some(transition) = state.decide(number, None) {
                                state.grow(&transition).unwrap();
                            }
                        }
                    }
                    assert_eq!(plain.map().num_groups(), LAYERS);
                }
            }
        }
    }
}
