//! Rules that change the depth, in fp64: thirty steps of both sides across every kind of transition; and what is wrong on purpose is
//! seen.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};
use untie::growth::{apply, growing, GrowthConfig, ModelState, MomentsAt, Transition};
use untie::layer_map::LayerMap;
use untie::loss::masked_lm;
use untie::model::{Bert, BertConfig, Mode, Norm};
use untie::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming};
use untie::step::{train_step, Update};

use super::sides::{self, LAYERS};
use crate::literal::growth::{coalesce, de_coalesce, expand, gradual, stack};
use crate::literal::{self, Combine, Reference};

const STEPS: u64 = 30;
/// Not a half, so that α and 1 − α differ.
const ALPHA: f64 = 0.3;

/// What the reference does, after which steps.
#[derive(Clone, Copy)]
enum Literal {
    Expand,
    Stack,
    Gradual,
    VCycle([[usize; 2]; LAYERS / 2]),
}

/// A rule of the product, and the same by the reference.
struct Case {
    name: &'static str,
    config: String,
    literal: Literal,
    /// Layers from the start, and after each transition.
    depths: [usize; 3],
    resets: bool,
}

const AT: [u64; 2] = [10, 20];

fn cases() -> Vec<Case> {
    let lists = "depths = [2, 4, 6]\nat = [10, 20]";
    let cycle = |pairs: &str| {
        format!("rule = \"v_cycle\"\n[v_cycle]\nat = 10\nsteps = 10\nalpha = {ALPHA}\npairs = \"{pairs}\"")
    };
    let case = |name, config, literal, depths, resets| Case { name, config, literal, depths, resets };
    vec![
        case("expand", "rule = \"expand\"\n[expand]\nat = 10".into(), Literal::Expand, [1, 6, 6], false),
        case(
            "expand, reset",
            "rule = \"expand\"\nmoments = \"reset\"\n[expand]\nat = 10\nlayers = 4".into(),
            Literal::Expand,
            [4, 6, 6],
            true,
        ),
        case("stack", format!("rule = \"stack\"\n[stack]\n{lists}"), Literal::Stack, [2, 4, 6], true),
        case(
            "stack, carry",
            format!("rule = \"stack\"\nmoments = \"carry\"\n[stack]\n{lists}"),
            Literal::Stack,
            [2, 4, 6],
            false,
        ),
        case("gradual", format!("rule = \"gradual\"\n[gradual]\n{lists}"), Literal::Gradual, [2, 4, 6], true),
        case(
            "gradual, carry",
            format!("rule = \"gradual\"\nmoments = \"carry\"\n[gradual]\n{lists}"),
            Literal::Gradual,
            [2, 4, 6],
            false,
        ),
        case("halves", cycle("halves"), Literal::VCycle([[0, 3], [1, 4], [2, 5]]), [6, 3, 6], true),
        case("neighbours", cycle("neighbours"), Literal::VCycle([[0, 1], [2, 3], [4, 5]]), [6, 3, 6], true),
    ]
}

/// The product, without a run around it.
struct Product {
    bert: BertConfig,
    optim: OptimConfig,
    grown: Option<ModelState>,
    optimizer: Optimizer,
}

impl Product {
    fn new(bert: BertConfig, optim: OptimConfig, walk: LayerMap) -> Self {
        let weights = sides::weights(&bert, &walk, Kind::Double);
        let moments = Moments::zeros(&weights).unwrap();
        let grown = ModelState::new(walk, weights, moments);
        Self { bert, optim, optimizer: optimizer(&grown), grown: Some(grown) }
    }

    fn grown(&self) -> &ModelState {
        self.grown.as_ref().unwrap()
    }

    fn step(&mut self, number: u64, batches: &[literal::Batch; 2]) -> f64 {
        let Self { bert, optim, grown, optimizer } = self;
        let ModelState { walk, weights, moments, .. } = grown.as_mut().unwrap();
        let model = Bert::new(bert, walk, weights, Kind::Double).unwrap();
        let update = Update { optim, learning_rate: sides::learning_rate(number), sync: None };
        let num_targets = batches.iter().map(|batch| batch.targets.len()).sum();
        let loss = |index: usize| {
            let batch = sides::house(&batches[index]).to_device(Device::Cpu)?;
            Ok(masked_lm(&model, &batch, num_targets, Mode::Train)?.loss)
        };
        train_step(optimizer, weights, moments, update, 2, loss).unwrap().read().unwrap().loss
    }

    fn difference(&self, reference: &Reference) -> f64 {
        let ModelState { walk, weights, moments, .. } = self.grown();
        sides::difference(sides::named(weights, moments, &Vec::from(walk.clone())), reference)
    }

    fn grow(&mut self, transition: &Transition) {
        let grown = apply(self.grown.take().unwrap(), transition).unwrap();
        self.optimizer = optimizer(&grown);
        self.grown = Some(grown);
    }
}

fn optimizer(grown: &ModelState) -> Optimizer {
    let updates = grown.moments.num_updates;
    Optimizer::new(&grown.weights, updates, GroupGradient::Mean, None, ReportTiming::AtOnce).unwrap()
}

/// Trains both sides, to the end or until they are far apart. `mutate` changes a transition of the product before it is applied. Returns
/// the difference after each transition and at the end, and the loss just before and just after each transition on the batch of the
/// next step.
fn run(norm: Norm, case: &Case, mutate: impl Fn(&mut Transition)) -> (Vec<f64>, Vec<[f64; 2]>) {
    let bert = sides::config(norm, 16, 0.0);
    let optim = sides::spec(bert.clone(), Default::default(), Kind::Double).optim;
    let growth: GrowthConfig = toml::from_str(&case.config).unwrap();
    growth.validate(&Default::default(), LAYERS, STEPS, false).unwrap();
    let mut rule = growing(&growth, LAYERS, STEPS, 1).unwrap().unwrap();
    let start = rule.course(STEPS)[0].1.clone();
    assert_eq!(start, LayerMap::untied(case.depths[0]));
    let mut product = Product::new(bert.clone(), optim.clone(), start.clone());
    let [values, ..] = sides::named(&product.grown().weights, &product.grown().moments, &Vec::from(start));
    let labels = (0..case.depths[0]).collect();
    let mut reference = sides::reference_of(&bert, &optim, labels, values, Combine::Mean);
    let (mut differences, mut jumps, mut transitions) = (Vec::new(), Vec::new(), 0);
    let mut remembered = BTreeMap::new();
    for step in 1..=STEPS {
        let batches = sides::micro_batches(step);
        let loss = product.step(step, &batches);
        let seen = reference.step(&sides::whole(&batches), sides::learning_rate(step));
        if differences.iter().all(|off| *off <= 1e-10) {
            assert!((loss / seen.loss - 1.0).abs() <= 1e-12, "{}, step {step}: {loss} is not {}", case.name, seen.loss);
        }
        let walk = product.grown().walk.clone();
        let Some(mut transition) = rule.decide(step, None, &walk) else { continue };
        let probe = sides::whole(&sides::micro_batches(step + 1));
        let before = literal_loss(&reference, &probe);
        assert_eq!(step, AT[transitions], "{}", case.name);
        mutate(&mut transition);
        product.grow(&transition);
        let depth = case.depths[transitions + 1];
        match case.literal {
            Literal::Expand => expand(&mut reference, depth),
            Literal::Stack => stack(&mut reference, depth),
            Literal::Gradual => gradual(&mut reference, depth),
            Literal::VCycle(pairs) if transitions == 0 => remembered = coalesce(&mut reference, &pairs),
            Literal::VCycle(pairs) => de_coalesce(&mut reference, &pairs, &remembered, ALPHA),
        }
        if case.resets {
            reference.reset_moments();
        }
        assert_eq!(product.grown().walk, LayerMap::untied(depth), "{}", case.name);
        differences.push(product.difference(&reference));
        if differences[transitions] > 1e-6 {
            break;
        }
        jumps.push([before, literal_loss(&reference, &probe)]);
        transitions += 1;
    }
    differences.push(product.difference(&reference));
    if differences.iter().all(|off| *off <= 1e-10) {
        assert_eq!(product.grown().moments.num_updates, reference.updates as u64, "{}", case.name);
        assert!(product.grown().remembered.is_none(), "{}", case.name);
    }
    (differences, jumps)
}

fn literal_loss(reference: &Reference, batch: &literal::Batch) -> f64 {
    let lookup = |name: &str| reference.parameters[name].value.detach();
    literal::bert::loss(&reference.sizes, &lookup, batch).double_value(&[])
}

#[test]
fn growing_is_that_of_lists_of_layers() {
    for norm in [Norm::Post, Norm::Pre] {
        for case in cases() {
            let (differences, jumps) = run(norm, &case, |_| {});
            assert!(differences.iter().all(|off| *off <= 1e-10), "{norm:?} {}: {differences:?}", case.name);
            assert!(*differences.last().unwrap() > 0.0, "two computations that never differ are one");
            // None of these keeps the function: the loss of the next batch jumps.
            assert!(
                jumps.iter().all(|[before, after]| (before - after).abs() > 1e-6),
                "{norm:?} {}: {jumps:?}",
                case.name
            );
            println!("{norm:?}-LN {}: {differences:?} off; loss before and after {jumps:.4?}", case.name);
        }
    }
}

/// What the product would do by mistake is far from what it should do, at once or some steps later.
#[test]
fn mistakes_are_seen() {
    type Mutation = fn(&mut Transition);
    let swap: Mutation = |transition| {
        let last = transition.sources.len() - 1;
        transition.sources.swap(0, last);
    };
    let keep: Mutation = |transition| transition.moments = MomentsAt::Carry;
    let forget: Mutation = |transition| transition.moments = MomentsAt::Reset;
    let other_alpha: Mutation = |transition| transition.blend = transition.blend.map(|alpha| 1.0 - alpha);
    let uneven: Mutation = |transition| {
        if transition.sources[0].len() == 2 {
            transition.sources[0][0].coefficient = 0.6;
            transition.sources[0][1].coefficient = 0.4;
        }
    };
    let top: Mutation = |transition| transition.sources.rotate_left(1);
    let mutations =
        [("swap", swap), ("keep", keep), ("forget", forget), ("alpha", other_alpha), ("uneven", uneven), ("top", top)];
    for case in cases() {
        for (name, mutation) in mutations {
            let (is_cycle, is_of_one) = (matches!(case.literal, Literal::VCycle(_)), case.depths[0] == 1);
            let applies = match name {
                // All sources of one layer are equal; a cycle has no moments to keep.
                "swap" | "top" => !is_of_one,
                "keep" => case.resets && !is_cycle,
                "forget" => !case.resets,
                _ => is_cycle,
            };
            if applies {
                let (differences, _) = run(Norm::Post, &case, mutation);
                let off = differences.into_iter().fold(0.0, f64::max);
                assert!(off > 1e-6, "{}, {name}: {off:e}", case.name);
            }
        }
    }
}

/// α = 0: the model is what it was before coalescing, so its loss is the same bits, whatever the short one has learnt.
#[test]
fn a_blend_of_nothing_new_is_what_was_remembered() {
    for norm in [Norm::Post, Norm::Pre] {
        let bert = sides::config(norm, 16, 0.0);
        let optim = OptimConfig { clip_norm: 1.5, ..Default::default() };
        let mut product = Product::new(bert, optim, LayerMap::untied(LAYERS));
        let text = "rule = \"v_cycle\"\n[v_cycle]\nat = 2\nsteps = 2\nalpha = 0.0";
        let mut rule = growing(&toml::from_str(text).unwrap(), LAYERS, 9, 1).unwrap().unwrap();
        let values = |product: &Product| -> Vec<Tensor> {
            product.grown().weights.entries().iter().map(|weight| weight.tensor.detach().copy()).collect()
        };
        let mut before = Vec::new();
        for step in 1..=4 {
            product.step(step, &sides::micro_batches(step));
            if let Some(transition) = rule.decide(step, None, &product.grown().walk) {
                if step == 2 {
                    before = values(&product);
                }
                product.grow(&transition);
                let remembers = product.grown().remembered.is_some();
                assert_eq!(remembers, step == 2);
            }
        }
        let after = values(&product);
        assert!(before.len() == after.len() && before.iter().zip(&after).all(|(one, other)| one.equal(other)));
    }
}
