//! The device's path of a step, forced on the CPU, where it runs the same libtorch operations as on CUDA: against the host's
//! path, and against the rules of loss scaling.

use std::cell::Cell;

use tch::{Device, Kind, Tensor};
use untie::batch::Batch;
use untie::error::Result;
use untie::layer_map::LayerMap;
use untie::loss::masked_lm;
use untie::model::{Bert, BertConfig, Mode, ModelConfig, Weights};
use untie::optim::scaler::GROWTH_INTERVAL;
use untie::optim::{GroupGradient, Moments, OptimConfig, ScalerState};
use untie::sharing::{RuleKind, SharingConfig};
use untie::step::{StepReport, Stepper, Update};
use untie::train::trainee::{Recipe, Trainee};

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

#[derive(Clone, Copy)]
enum Path {
    Host,
    Device(Option<ScalerState>),
    /// The device's, on a GPU.
    Gpu(Device),
}

/// A model, its moments and what takes its steps.
struct Side {
    weights: Weights,
    moments: Moments,
    stepper: Stepper,
    model: Bert,
    optim: OptimConfig,
    gradient: GroupGradient,
    device: Device,
}

impl Side {
    fn new(path: Path, groups: &[Vec<usize>], clip_norm: f64, gradient: GroupGradient) -> Self {
        tch::set_num_threads(1);
        let map = LayerMap::from_groups(LAYERS, groups).unwrap();
        let device = if let Path::Gpu(device) = path { device } else { Device::Cpu };
        let weights = Weights::initialise(&bert(), &map, 3, Kind::Float, device).unwrap();
        let moments = Moments::zeros(&weights).unwrap();
        let stepper = match path {
            Path::Host | Path::Gpu(_) => Stepper::new(&weights, &moments, gradient, None),
            Path::Device(scaler) => Stepper::on_device(&weights, &moments, gradient, scaler),
        };
        let model = Bert::new(&bert(), &map, &weights, Kind::Float).unwrap();
        let optim = OptimConfig { clip_norm, weight_decay: 0.05, ..Default::default() };
        Self { weights, moments, stepper: stepper.unwrap(), model, optim, gradient, device }
    }

    fn tied(path: Path) -> Self {
        Self::new(path, &[(0..LAYERS).collect()], 0.5, GroupGradient::Mean)
    }

    /// One step whose loss is multiplied by `factor`.
    fn step(&mut self, factor: f64) -> StepReport {
        let Self { weights, moments, stepper, model, optim, gradient, device } = self;
        let update = Update { optim, learning_rate: LEARNING_RATE, gradient: *gradient, gradients: None };
        let pending = stepper
            .step(weights, moments, update, 2, |index| Ok(loss_on(*device, model, index)?.f_mul_scalar(factor)?))
            .unwrap();
        pending.read().unwrap()
    }

    fn tensors(&self) -> Vec<Tensor> {
        let weights = self.weights.entries().iter().map(|weight| weight.tensor.detach());
        let moments = self.moments.exp_avg.iter().chain(&self.moments.exp_avg_sq);
        weights.chain(moments.map(Tensor::shallow_clone)).map(|tensor| tensor.copy()).collect()
    }
}

/// Largest difference, in units of the learning rate.
fn difference(left: &Side, right: &Side) -> f64 {
    let pairs = left.tensors().into_iter().zip(right.tensors());
    let far = |(left, right): (Tensor, Tensor)| f64::try_from((left - right).abs().max()).unwrap();
    pairs.map(far).inspect(|far| assert!(!far.is_nan())).fold(0.0, f64::max) / LEARNING_RATE
}

const SCALED: ScalerState = ScalerState { scale: 65_536.0, growth_tracker: 0 };

#[test]
fn both_paths_take_the_same_steps() {
    let splits = [
        (vec![(0..LAYERS).collect()], "tied"),
        (vec![vec![0, 2, 4], vec![1], vec![3, 5]], "groups of three sizes"),
        ((0..LAYERS).map(|layer| vec![layer]).collect(), "untied"),
    ];
    for (groups, case) in &splits {
        for (clip_norm, gradient) in [
            (0.0, GroupGradient::Mean),
            (0.5, GroupGradient::Mean),
            (0.5, GroupGradient::Sum),
            (50.0, GroupGradient::Mean),
        ] {
            let mut host = Side::new(Path::Host, groups, clip_norm, gradient);
            let mut device = Side::new(Path::Device(None), groups, clip_norm, gradient);
            for step in 1..=4 {
                let (left, right) = (host.step(1.0), device.step(1.0));
                let case = format!("{case}, {gradient:?}, clip {clip_norm}, step {step}");
                assert!((left.loss - right.loss).abs() < 1e-6, "{case}: {left:?} {right:?}");
                assert!((left.grad_norm / right.grad_norm - 1.0).abs() < 1e-5, "{case}: {left:?} {right:?}");
                assert!(left.applied && right.applied);
                // One rounding of a gradient moves an update, which is about one learning rate, by parts of 1e-7; where
                // m/√v is that of a gradient near 0, by more.
                let difference = difference(&host, &device);
                assert!(difference < 1e-3, "{case}: {difference}");
            }
            assert_eq!(device.stepper.settle(&mut device.moments).unwrap(), 0);
            assert_eq!((host.moments.num_updates, device.moments.num_updates), (4, 4));
        }
    }
}

/// In fp32 a power of two only moves exponents: nothing rounds differently.
#[test]
fn a_scaled_loss_gives_the_same_updates_bit_for_bit() {
    let mut plain = Side::tied(Path::Device(None));
    let mut scaled = Side::tied(Path::Device(Some(SCALED)));
    for _ in 0..3 {
        let (left, right) = (plain.step(1.0), scaled.step(1.0));
        assert_eq!((left.loss, left.grad_norm), (right.loss, right.grad_norm));
        assert_eq!((left.loss_scale, right.loss_scale), (None, Some(65_536.0)));
    }
    assert!(plain.tensors().iter().zip(scaled.tensors()).all(|(left, right)| *left == right));
}

#[test]
fn an_overflow_skips_halves_and_leaves_no_trace_in_adamw() {
    let mut clean = Side::tied(Path::Device(Some(SCALED)));
    let mut struck = Side::tied(Path::Device(Some(SCALED)));
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
    assert_eq!(struck.stepper.settle(&mut struck.moments).unwrap(), 3);
    assert_eq!(struck.moments.num_updates, 2);
    assert_eq!(struck.stepper.settle(&mut struck.moments).unwrap(), 0, "counted once");
    // 2^16 halved three times.
    assert_eq!(struck.stepper.scaler().unwrap(), Some(ScalerState { scale: 8192.0, growth_tracker: 1 }));
}

#[test]
fn the_scale_grows_after_the_interval() {
    let state = ScalerState { scale: 1024.0, growth_tracker: GROWTH_INTERVAL - 2 };
    let mut side = Side::tied(Path::Device(Some(state)));
    let scales = [1, 2, 3].map(|_| side.step(1.0).loss_scale.unwrap());
    assert_eq!(scales, [1024.0, 1024.0, 2048.0]);
    assert_eq!(side.stepper.scaler().unwrap(), Some(ScalerState { scale: 2048.0, growth_tracker: 1 }));
}

#[test]
fn the_host_counts_its_skipped_steps_too() {
    let mut side = Side::tied(Path::Host);
    let applied = [1.0, f64::INFINITY, f64::NAN, 1.0].map(|factor| side.step(factor).applied);
    assert_eq!(applied, [true, false, false, true]);
    assert_eq!(side.stepper.settle(&mut side.moments).unwrap(), 2);
    assert_eq!((side.moments.num_updates, side.stepper.scaler().unwrap()), (2, None));
}

/// Watches correlations every second step.
fn recipe(compute: Kind) -> Recipe {
    let sharing = SharingConfig { rule: Some(RuleKind::Never), check_every: 2, monitor: true, ..Default::default() };
    Recipe { bert: bert(), optim: OptimConfig::default(), sharing, compute: compute.into(), steps: 1000 }
}

#[test]
fn a_gpu_takes_the_steps_of_the_host() {
    let Some(gpu) = gpu() else { return };
    let (mut host, mut device) = (Side::tied(Path::Host), Side::tied(Path::Gpu(gpu)));
    for factor in [1.0, f64::INFINITY, 1.0, 1.0] {
        let (left, right) = (host.step(factor), device.step(factor));
        assert_eq!(left.applied, right.applied);
        if left.applied {
            assert!((left.loss / right.loss - 1.0).abs() < 1e-4, "{left:?} {right:?}");
            assert!((left.grad_norm / right.grad_norm - 1.0).abs() < 1e-4, "{left:?} {right:?}");
        }
    }
    assert_eq!(device.stepper.settle(&mut device.moments).unwrap(), 1);
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
fn trainee(compute: Kind) -> Trainee {
    tch::set_num_threads(1);
    let map = LayerMap::tied(LAYERS);
    let weights = Weights::initialise(&bert(), &map, 3, Kind::Float, Device::Cpu).unwrap();
    let moments = Moments::zeros(&weights).unwrap();
    Trainee::new(recipe(compute), map, weights, moments, None).unwrap()
}

fn advance(trainee: &mut Trainee, number: u64) -> (StepReport, bool) {
    let (pending, check) = trainee.step(number, LEARNING_RATE, 2, loss).unwrap();
    assert_eq!(pending.is_read(), !matches!(trainee.scaler(), Ok(Some(_))));
    (pending.read().unwrap(), check.is_some())
}

fn copies(trainee: &Trainee) -> Vec<Tensor> {
    trainee.weights().entries().iter().map(|weight| weight.tensor.detach().copy()).collect()
}

#[test]
fn fp16_follows_fp32_and_its_checks_do_not_see_the_scale() {
    let (mut half, mut full) = (trainee(Kind::Half), trainee(Kind::Float));
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
    let mut trainee = trainee(Kind::Half);
    let start = 2_f64.powi(40);
    trainee.rescale(ScalerState { scale: start, growth_tracker: 0 }).unwrap();
    let mut num_skipped = 0;
    let report = loop {
        // Odd steps, which are not checked.
        let (report, _) = advance(&mut trainee, 2 * num_skipped + 1);
        assert!(report.loss.is_finite());
        if report.applied {
            break report;
        }
        num_skipped += 1;
        assert!(num_skipped < 40, "no scale is small enough");
    };
    assert!(num_skipped > 0);
    assert_eq!(report.loss_scale, Some(start / 2_f64.powi(num_skipped as i32)));
    assert_eq!((trainee.settle().unwrap(), trainee.moments().num_updates), (num_skipped, 1));
}

#[test]
fn a_check_is_not_made_of_gradients_that_overflow() {
    let mut trainee = trainee(Kind::Half);
    trainee.rescale(ScalerState { scale: 2_f64.powi(40), growth_tracker: 0 }).unwrap();
    let (report, checked) = advance(&mut trainee, 2);
    assert!(!report.applied && !checked);
}

#[test]
fn scale_and_counts_survive_a_transition() {
    let mut trainee = trainee(Kind::Half);
    let bad = Cell::new(true);
    for number in [1, 3, 5] {
        let (pending, _) = trainee
            .step(number, LEARNING_RATE, 2, |model, index| {
                Ok(loss(model, index)?.f_mul_scalar(if bad.get() { f64::INFINITY } else { 1.0 })?)
            })
            .unwrap();
        assert_eq!(pending.read().unwrap().applied, !bad.get());
        bad.set(false);
    }
    let scaler = ScalerState { scale: 32_768.0, growth_tracker: 2 };
    assert_eq!(trainee.scaler().unwrap(), Some(scaler));
    trainee.untie(LayerMap::untied(LAYERS)).unwrap();
    assert_eq!((trainee.scaler().unwrap(), trainee.moments().num_updates), (Some(scaler), 2));
    advance(&mut trainee, 7);
    assert_eq!((trainee.settle().unwrap(), trainee.moments().num_updates), (1, 3));
}

/// Weights, moments, their count and the scaler are all that a step depends on.
#[test]
fn a_resumed_scaler_goes_on_where_it_stood() {
    let mut whole = trainee(Kind::Half);
    whole.rescale(ScalerState { scale: 256.0, growth_tracker: GROWTH_INTERVAL - 3 }).unwrap();
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
    let mut resumed = Trainee::new(recipe(Kind::Half), map, weights, moments, None).unwrap();
    resumed.rescale(whole.scaler().unwrap().unwrap()).unwrap();
    for number in 3..=5 {
        assert_eq!(advance(&mut whole, number), advance(&mut resumed, number));
    }
    assert!(copies(&whole).iter().zip(copies(&resumed)).all(|(left, right)| *left == right));
    // Good steps 1998 to 2000 double it, two more follow.
    let scaler = Some(ScalerState { scale: 512.0, growth_tracker: 2 });
    assert_eq!((whole.scaler().unwrap(), resumed.scaler().unwrap()), (scaler, scaler));
}
