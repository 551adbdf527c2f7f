//! Steps that are read late, and steps whose loss is scaled: against those that are read at once, and against the rules of loss
//! scaling.

use std::cell::Cell;

use tch::{Device, Kind, Tensor};
use untie::batch::Batch;
use untie::error::Result;
use untie::growth::{MomentsAt, RuleKind, SharingConfig, Transition};
use untie::layer_map::LayerMap;
use untie::loss::masked_lm;
use untie::model::{Bert, BertConfig, Mode, ModelConfig, Weights};
use untie::optim::scaler::GROWTH_INTERVAL;
use untie::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming, ScalerState};
use untie::parallel::World;
use untie::step::{train_step, StepReport, Update};
use untie::train::state::{InitialState, TrainSpec, TrainState};

const LAYERS: usize = 6;
const LEARNING_RATE: f64 = 1e-3;

fn bert() -> BertConfig {
    let sizes = ModelConfig {
        hidden_size: Some(16),
        num_hidden_layers: Some(LAYERS),
        num_attention_heads: Some(4),
        intermediate_size: Some(24),
        max_position_embeddings: Some(12),
        hidden_dropout_prob: Some(0.0),
        attention_probs_dropout_prob: Some(0.0),
        ..Default::default()
    };
    sizes.resolve(90).unwrap()
}

/// Micro-batch `index` of two, seven targets each.
fn batch(index: usize) -> Batch {
    let ids: Vec<i64> = (0..48).map(|at| 5 + (at * at * 7 + 11 * index as i64) % 80).collect();
    Batch {
        token_ids: ids,
        sequence_length: 12,
        positions: vec![1, 5, 14, 20, 27, 33, 40, 0],
        labels: vec![9, 17, 33, 8, 70, 61, 25, 0],
        weights: vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        num_targets: 7,
        ..Default::default()
    }
}

fn loss(model: &Bert, index: usize) -> Result<Tensor> {
    loss_on(Device::Cpu, model, index)
}

fn loss_on(device: Device, model: &Bert, index: usize) -> Result<Tensor> {
    Ok(masked_lm(model, &batch(index).to_device(device)?, 14, Mode::Train)?.loss)
}

/// The GPU, for what can only be seen there; says so where there is none.
fn gpu() -> Option<Device> {
    let found = tch::Cuda::is_available().then_some(Device::Cuda(0));
    if found.is_none() {
        println!("skipped: there is no CUDA device here");
    }
    found
}

/// A model, its moments and what takes its steps.
struct Side {
    weights: Weights,
    moments: Moments,
    optimizer: Optimizer,
    model: Bert,
    optim: OptimConfig,
    device: Device,
}

impl Side {
    fn new(
        groups: &[Vec<usize>],
        (clip_norm, gradient): (f64, GroupGradient),
        scaler: Option<ScalerState>,
        (device, reads): (Device, ReportTiming),
    ) -> Self {
        tch::set_num_threads(1);
        let map = LayerMap::from_groups(LAYERS, groups).unwrap();
        let weights = Weights::initialise(&bert(), &map, 3, Kind::Float, device).unwrap();
        let moments = Moments::zeros(&weights).unwrap();
        let optimizer = Optimizer::new(&weights, 0, gradient, scaler, reads).unwrap();
        let model = Bert::new(&bert(), &map, &weights, Kind::Float).unwrap();
        let optim = OptimConfig { clip_norm, weight_decay: 0.05, ..Default::default() };
        Self { weights, moments, optimizer, model, optim, device }
    }

    fn tied(scaler: Option<ScalerState>, place: (Device, ReportTiming)) -> Self {
        Self::new(&[(0..LAYERS).collect()], (0.5, GroupGradient::Mean), scaler, place)
    }

    /// One step whose loss is multiplied by `factor`.
    fn step(&mut self, factor: f64) -> StepReport {
        let Self { weights, moments, optimizer, model, optim, device } = self;
        let update = Update { optim, learning_rate: LEARNING_RATE, sync: None };
        let loss = |index| Ok(loss_on(*device, model, index)?.f_mul_scalar(factor)?);
        train_step(optimizer, weights, moments, update, 2, loss).unwrap().read().unwrap()
    }

    fn tensors(&self) -> Vec<Tensor> {
        let weights = self.weights.entries().iter().map(|weight| weight.tensor.detach());
        let moments = self.moments.exp_avg.iter().chain(&self.moments.exp_avg_sq);
        weights.chain(moments.map(Tensor::shallow_clone)).map(|tensor| tensor.copy()).collect()
    }
}

const AT_ONCE: (Device, ReportTiming) = (Device::Cpu, ReportTiming::AtOnce);
const LATE: (Device, ReportTiming) = (Device::Cpu, ReportTiming::Late);
const SCALED: ScalerState = ScalerState { scale: 65_536.0, growth_tracker: 0 };

#[test]
fn reading_late_changes_no_bit() {
    let splits = [
        (vec![(0..LAYERS).collect()], "tied"),
        (vec![vec![0, 2, 4], vec![1], vec![3, 5]], "groups of three sizes"),
        ((0..LAYERS).map(|layer| vec![layer]).collect(), "untied"),
    ];
    for (groups, case) in &splits {
        for clip in [
            (0.0, GroupGradient::Mean),
            (0.5, GroupGradient::Mean),
            (0.5, GroupGradient::Sum),
            (50.0, GroupGradient::Mean),
        ] {
            let mut at_once = Side::new(groups, clip, None, AT_ONCE);
            let mut late = Side::new(groups, clip, None, LATE);
            for step in 1..=4 {
                let (left, right) = (at_once.step(1.0), late.step(1.0));
                assert!(left.applied, "{case}, {clip:?}, step {step}");
                assert_eq!(left, right, "{case}, {clip:?}, step {step}");
            }
            assert!(at_once.tensors().iter().zip(late.tensors()).all(|(left, right)| *left == right));
            assert_eq!((at_once.moments.num_updates, late.moments.num_updates), (4, 0));
            assert_eq!(late.optimizer.settle(&mut late.moments).unwrap(), 0);
            assert_eq!(late.moments.num_updates, 4);
        }
    }
}

/// Largest difference of weights and moments, in units of the learning rate.
fn difference(left: &Side, right: &Side) -> f64 {
    let pairs = left.tensors().into_iter().zip(right.tensors());
    let far = |(left, right): (Tensor, Tensor)| f64::try_from((left - right).abs().max()).unwrap();
    pairs.map(far).inspect(|far| assert!(!far.is_nan())).fold(0.0, f64::max) / LEARNING_RATE
}

/// AdamW as CUDA runs it, on the CPU, against the kernel of this project: tied, in groups of three sizes, and untied.
#[test]
fn libtorchs_adamw_takes_the_same_steps() {
    let untied = (0..LAYERS).map(|layer| vec![layer]).collect();
    for groups in [vec![(0..LAYERS).collect()], vec![vec![0, 2, 4], vec![1], vec![3, 5]], untied] {
        for clip in [(0.0, GroupGradient::Mean), (0.5, GroupGradient::Mean), (0.5, GroupGradient::Sum)] {
            let (mut own, mut other) = (Side::new(&groups, clip, None, LATE), Side::new(&groups, clip, None, LATE));
            other.optimizer = other.optimizer.with_libtorchs_adamw();
            for factor in [1.0, f64::INFINITY, 1.0, 1.0] {
                let (left, right) = (own.step(factor), other.step(factor));
                assert_eq!(left.applied, right.applied);
                // One rounding of a gradient moves an update, which is about one learning rate, by parts of 1e-7; where m/√v is
                // that of a gradient near 0, by more.
                let difference = difference(&own, &other);
                assert!(difference < 1e-3, "{groups:?}, {clip:?}: {difference}");
            }
            assert_eq!(other.optimizer.settle(&mut other.moments).unwrap(), 1);
            assert_eq!(other.moments.num_updates, 3);
        }
    }
}

/// In fp32 a power of two only moves exponents: nothing rounds differently.
#[test]
fn a_scaled_loss_gives_the_same_updates_bit_for_bit() {
    let mut plain = Side::tied(None, LATE);
    let mut scaled = Side::tied(Some(SCALED), LATE);
    for _ in 0..3 {
        let (left, right) = (plain.step(1.0), scaled.step(1.0));
        assert_eq!((left.loss, left.grad_norm), (right.loss, right.grad_norm));
        assert_eq!((left.loss_scale, right.loss_scale), (None, Some(65_536.0)));
    }
    assert!(plain.tensors().iter().zip(scaled.tensors()).all(|(left, right)| *left == right));
}

#[test]
fn an_overflow_skips_halves_and_leaves_no_trace_in_adamw() {
    let mut clean = Side::tied(Some(SCALED), LATE);
    let mut struck = Side::tied(Some(SCALED), LATE);
    // The first step too: AdamW's first update must still be number 1.
    for factor in [f64::INFINITY, 1.0, f64::NAN, f64::INFINITY, 1.0] {
        let before = struck.tensors();
        let report = struck.step(factor);
        assert_eq!(report.applied, factor == 1.0);
        if report.applied {
            clean.step(1.0);
        } else {
            assert!(before.iter().zip(struck.tensors()).all(|(before, after)| *before == after));
        }
    }
    assert!(clean.tensors().iter().zip(struck.tensors()).all(|(left, right)| *left == right));
    assert_eq!(struck.moments.num_updates, 0, "nobody asked yet");
    assert_eq!(struck.optimizer.settle(&mut struck.moments).unwrap(), 3);
    assert_eq!(struck.moments.num_updates, 2);
    assert_eq!(struck.optimizer.settle(&mut struck.moments).unwrap(), 0, "counted once");
    // 2^16 halved three times.
    assert_eq!(struck.optimizer.scaler().unwrap(), Some(ScalerState { scale: 8192.0, growth_tracker: 1 }));
}

#[test]
fn the_scale_grows_after_the_interval() {
    let state = ScalerState { scale: 1024.0, growth_tracker: GROWTH_INTERVAL - 2 };
    let mut side = Side::tied(Some(state), LATE);
    let scales = [1, 2, 3].map(|_| side.step(1.0).loss_scale.unwrap());
    assert_eq!(scales, [1024.0, 1024.0, 2048.0]);
    assert_eq!(side.optimizer.scaler().unwrap(), Some(ScalerState { scale: 2048.0, growth_tracker: 1 }));
}

#[test]
fn skipped_steps_are_counted_where_steps_are_read_at_once() {
    let mut side = Side::tied(None, AT_ONCE);
    let applied = [1.0, f64::INFINITY, f64::NAN, 1.0].map(|factor| side.step(factor).applied);
    assert_eq!(applied, [true, false, false, true]);
    assert_eq!(side.optimizer.settle(&mut side.moments).unwrap(), 2);
    assert_eq!((side.moments.num_updates, side.optimizer.scaler().unwrap()), (2, None));
}

/// Watches correlations every second step.
fn spec(compute: Kind) -> TrainSpec {
    let sharing = SharingConfig { rule: Some(RuleKind::Never), check_every: 2, monitor: true, ..Default::default() };
    TrainSpec::new(bert(), OptimConfig::default(), sharing, compute.into(), 1000)
}

#[test]
fn a_gpu_takes_the_steps_of_the_host() {
    let Some(gpu) = gpu() else { return };
    let (mut host, mut device) = (Side::tied(None, AT_ONCE), Side::tied(None, (gpu, ReportTiming::Late)));
    for factor in [1.0, f64::INFINITY, 1.0, 1.0] {
        let (left, right) = (host.step(factor), device.step(factor));
        assert_eq!(left.applied, right.applied);
        if left.applied {
            assert!((left.loss / right.loss - 1.0).abs() < 1e-4, "{left:?} {right:?}");
            assert!((left.grad_norm / right.grad_norm - 1.0).abs() < 1e-4, "{left:?} {right:?}");
        }
    }
    assert_eq!(device.optimizer.settle(&mut device.moments).unwrap(), 1);
    assert_eq!(device.moments.num_updates, 3);
}

/// Many batches on their way at once: none may overwrite the pinned memory of another.
#[test]
fn batches_reach_a_gpu_as_they_are() {
    let Some(gpu) = gpu() else { return };
    let sent: Vec<_> = (0..200).map(|index| batch(index).to_device(gpu).unwrap()).collect();
    for (index, sent) in sent.iter().enumerate() {
        let kept = batch(index).to_device(Device::Cpu).unwrap();
        assert!(sent.token_ids.to_device(Device::Cpu) == kept.token_ids, "batch {index}");
        assert!(
            sent.labels.to_device(Device::Cpu) == kept.labels && sent.weights.to_device(Device::Cpu) == kept.weights
        );
    }
}

/// A tied model that computes in `compute`.
fn state(compute: Kind) -> TrainState {
    state_at(compute, None)
}

/// The same with a loss scale to go on from.
fn state_at(compute: Kind, scaler: Option<ScalerState>) -> TrainState {
    tch::set_num_threads(1);
    let map = LayerMap::tied(LAYERS);
    let weights = Weights::initialise(&bert(), &map, 3, Kind::Float, Device::Cpu).unwrap();
    let moments = Moments::zeros(&weights).unwrap();
    let start = InitialState { scaler, ..InitialState::new(map, weights, moments) };
    TrainState::new(spec(compute), start, World::alone().into()).unwrap()
}

fn advance(state: &mut TrainState, number: u64) -> (StepReport, bool) {
    let (pending, check) = state.step(number, LEARNING_RATE, 2, loss).unwrap();
    (pending.read().unwrap(), check.is_some())
}

fn copies(state: &TrainState) -> Vec<Tensor> {
    state.weights().entries().iter().map(|weight| weight.tensor.detach().copy()).collect()
}

#[test]
fn fp16_follows_fp32_and_its_checks_do_not_see_the_scale() {
    let (mut half, mut full) = (state(Kind::Half), state(Kind::Float));
    for number in 1..=10 {
        let ((left, left_checked), (right, right_checked)) = (advance(&mut half, number), advance(&mut full, number));
        assert!((left.loss / right.loss - 1.0).abs() < 2e-3, "step {number}: {left:?} {right:?}");
        assert!((left.grad_norm / right.grad_norm - 1.0).abs() < 2e-2, "step {number}: {left:?} {right:?}");
        assert_eq!((left_checked, right_checked), (number % 2 == 0, number % 2 == 0));
        assert_eq!((left.loss_scale, right.loss_scale), (Some(65_536.0), None));
    }
}

/// A scale of 2^40 makes fp16's gradients infinite (the largest number is 65504) while the loss stays finite.
#[test]
fn fp16_finds_its_scale_by_halving() {
    let start = 2_f64.powi(40);
    let mut state = state_at(Kind::Half, Some(ScalerState { scale: start, growth_tracker: 0 }));
    let mut num_skipped = 0;
    let report = loop {
        // Odd steps, which are not checked.
        let (report, _) = advance(&mut state, 2 * num_skipped + 1);
        assert!(report.loss.is_finite());
        if report.applied {
            break report;
        }
        num_skipped += 1;
        assert!(num_skipped < 40, "no scale is small enough");
    };
    assert!(num_skipped > 0);
    assert_eq!(report.loss_scale, Some(start / 2_f64.powi(num_skipped as i32)));
    assert_eq!((state.settle().unwrap(), state.moments().num_updates), (num_skipped, 1));
}

#[test]
fn a_check_is_not_made_of_gradients_that_overflow() {
    let mut state = state_at(Kind::Half, Some(ScalerState { scale: 2_f64.powi(40), growth_tracker: 0 }));
    let (report, checked) = advance(&mut state, 2);
    assert!(!report.applied && !checked);
}

#[test]
fn scale_and_counts_survive_a_transition() {
    let mut state = state(Kind::Half);
    let bad = Cell::new(true);
    for number in [1, 3, 5] {
        let (pending, _) = state
            .step(number, LEARNING_RATE, 2, |model, index| {
                Ok(loss(model, index)?.f_mul_scalar(if bad.get() { f64::INFINITY } else { 1.0 })?)
            })
            .unwrap();
        assert_eq!(pending.read().unwrap().applied, !bad.get());
        bad.set(false);
    }
    let scaler = ScalerState { scale: 32_768.0, growth_tracker: 2 };
    assert_eq!(state.scaler().unwrap(), Some(scaler));
    let untying = Transition::untying(state.map(), LayerMap::untied(LAYERS), MomentsAt::Carry, "a test").unwrap();
    state.grow(&untying).unwrap();
    assert_eq!((state.scaler().unwrap(), state.moments().num_updates), (Some(scaler), 2));
    advance(&mut state, 7);
    assert_eq!((state.settle().unwrap(), state.moments().num_updates), (1, 3));
}

/// Weights, moments, their count and the scaler are all that a step depends on.
#[test]
fn a_resumed_scaler_goes_on_where_it_stood() {
    let scaler = ScalerState { scale: 256.0, growth_tracker: GROWTH_INTERVAL - 3 };
    let mut whole = state_at(Kind::Half, Some(scaler));
    for number in 1..=2 {
        advance(&mut whole, number);
    }
    whole.settle().unwrap();
    let map = LayerMap::tied(LAYERS);
    let weights = Weights::from_named(&bert(), &map, Kind::Float, Device::Cpu, |spec| {
        let weight = whole.weights().get(&spec.name).unwrap();
        Ok(weight.in_file(&weight.tensor.detach()).copy())
    })
    .unwrap();
    let copy = |all: &[Tensor]| all.iter().map(Tensor::copy).collect();
    let moments = Moments {
        exp_avg: copy(&whole.moments().exp_avg),
        exp_avg_sq: copy(&whole.moments().exp_avg_sq),
        num_updates: whole.moments().num_updates,
    };
    let start = InitialState { scaler: whole.scaler().unwrap(), ..InitialState::new(map, weights, moments) };
    let mut resumed = TrainState::new(spec(Kind::Half), start, World::alone().into()).unwrap();
    for number in 3..=5 {
        assert_eq!(advance(&mut whole, number), advance(&mut resumed, number));
    }
    assert!(copies(&whole).iter().zip(copies(&resumed)).all(|(left, right)| *left == right));
    // Good steps 1998 to 2000 double it, two more follow.
    let scaler = Some(ScalerState { scale: 512.0, growth_tracker: 2 });
    assert_eq!((whole.scaler().unwrap(), resumed.scaler().unwrap()), (scaler, scaler));
}
