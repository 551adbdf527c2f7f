//! The operations that CUDA has (csrc/device) on the CPU, over the emulated kernels of csrc/cuda_kernels: whole layers, embeddings and
//! the head with its loss. Products and attention are libtorch's for the CPU. Each test has a process of its own: what computes in
//! bf16 and fp16 is chosen for the process.

use std::ffi::{c_char, c_void, CStr};
use std::sync::Mutex;

use tch::{Device, Kind, Tensor};
use untie::layer_map::LayerMap;
use untie::model::{Bert, BertConfig, Compute, Kernels, Mode, ModelConfig, Norm};
use untie::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming};
use untie::shim::{emulate_cuda, CLaunch};
use untie::step::{train_step, Update};
use untie::train::cuda_kernels::{first_difference, CheckedSizes};

use super::{distance, loss, run, weights, Case, MeanRatio};
use crate::cuda_kernels::emulated;
use crate::own_process::in_own_process;

fn launcher() -> CLaunch {
    // SAFETY: the function has this signature (tests/cuda_kernels/emulated.cpp).
    unsafe { std::mem::transmute::<*const c_void, CLaunch>(emulated::launch_pointer()) }
}

/// From now on bf16 and fp16 are computed as on CUDA, with threads in the order of `seed`.
fn emulate(seed: u64) {
    emulated::set_seed(seed);
    // SAFETY: the emulator has the kernels of the same source, with the same arguments.
    unsafe { emulate_cuda(launcher()) };
}

/// The mean ratio of two errors that are equally large: some tens of tensors, each rounded differently on either side, and libtorch's
/// products and attention round differently on other CPUs. Measured: 0.95 to 1.09.
const NOISE: f64 = 1.2;

/// The widths take the kernels for 256 and those for any multiple of 8.
fn config(norm: Norm, hidden_size: i64, dropout: f64, attention_dropout: f64) -> BertConfig {
    let sizes = ModelConfig {
        hidden_size: Some(hidden_size),
        num_hidden_layers: Some(2),
        num_attention_heads: Some(if hidden_size % 3 == 0 { 3 } else { 4 }),
        intermediate_size: Some(hidden_size + 64),
        max_position_embeddings: Some(64),
        norm: Some(norm),
        hidden_dropout_prob: Some(dropout),
        attention_probs_dropout_prob: Some(attention_dropout),
        ..Default::default()
    };
    let config = sizes.resolve(90).unwrap();
    assert!([Kind::BFloat16, Kind::Half].iter().all(|&kind| Compute::from(kind).fuses_layers(&config, Device::Cpu)));
    config
}

fn cases() -> Vec<Case> {
    let visible: Vec<i64> = (0..3).flat_map(|b| (0..19).map(move |t| i64::from(t < 17 - 3 * b))).collect();
    let documents: Vec<i64> = (0..2).flat_map(|_| (0..16).map(|t| t / 7)).collect();
    let table = |values: &[i64], batch| Some(Tensor::from_slice(values).view([batch, -1]));
    vec![
        Case::new(3, 11),
        Case { visible: table(&visible, 3), ..Case::new(3, 19) },
        Case { documents: table(&documents, 2), ..Case::new(2, 16) },
    ]
}

/// As the CPU's layers: no further from fp64 than libtorch's composition in the same precision, tensor by tensor within the noise of
/// rounding, and on the whole.
#[test]
fn layers_are_no_further_from_fp64_than_the_composition() {
    in_own_process(module_path!(), "layers_are_no_further_from_fp64_than_the_composition", || {
        emulate(0);
        for kind in [Kind::BFloat16, Kind::Half] {
            let mut ratio = MeanRatio::default();
            for (norm, hidden_size) in [(Norm::Post, 256), (Norm::Pre, 256), (Norm::Post, 72), (Norm::Pre, 72)] {
                let config = config(norm, hidden_size, 0.0, 0.0);
                for (map, case) in [LayerMap::tied(2), LayerMap::untied(2), LayerMap::tied(2)].iter().zip(cases()) {
                    let run = |kind, kernels| run(&config, map, kind, kernels, &case, Mode::Train);
                    let exact = run(Kind::Double, Kernels::Plain);
                    let (ours, theirs) = (run(kind, Kernels::Fused), run(kind, Kernels::Plain));
                    for at in 0..exact.len() {
                        let [ours, theirs] = [&ours, &theirs].map(|found| distance(&found[at..=at], &exact[at..=at]));
                        assert!(ours < 4.0 * theirs + 1e-3, "{kind:?}, {norm:?}, {at}: {ours:e}, composed {theirs:e}");
                        ratio.add(ours, theirs);
                    }
                }
            }
            let ratio = ratio.value();
            println!("{kind:?}: errors over those of composed layers, geometric mean: {ratio:.3}");
            assert!(ratio < NOISE, "{kind:?}: {ratio}");
        }
    });
}

/// Dropout of hidden states is that of the CPU's layers, bit for bit: another mask would be an error above 0.4.
#[test]
fn hidden_dropout_is_the_cpus() {
    in_own_process(module_path!(), "hidden_dropout_is_the_cpus", || {
        emulate(5);
        for (norm, hidden_size) in [(Norm::Post, 256), (Norm::Pre, 72)] {
            let with_dropout = config(norm, hidden_size, 0.1, 0.0);
            for case in cases() {
                let run = |kind| run(&with_dropout, &LayerMap::tied(2), kind, Kernels::Fused, &case, Mode::Train);
                let exact = run(Kind::Double);
                let (bf16, fp16) = (distance(&run(Kind::BFloat16), &exact), distance(&run(Kind::Half), &exact));
                assert!(bf16 < 0.25 && fp16 < 0.02, "{norm:?}: {bf16:e}, {fp16:e}");
            }
        }
    });
}

/// The order of threads changes nothing, and nor does running the forward again in the backward, with attention's dropout from
/// libtorch's generator.
#[test]
fn orders_of_threads_and_recomputation_give_the_same_bits() {
    in_own_process(module_path!(), "orders_of_threads_and_recomputation_give_the_same_bits", || {
        emulate(0);
        for (norm, hidden_size) in [(Norm::Post, 72), (Norm::Pre, 256)] {
            let config = config(norm, hidden_size, 0.1, 0.2);
            let run = |seed, recompute| {
                emulated::set_seed(seed);
                tch::manual_seed(4);
                let (weights, map) = (weights(&config, &LayerMap::tied(2), Kind::Float), LayerMap::tied(2));
                let compute = Compute { kind: Kind::BFloat16, kernels: Kernels::Fused, recompute };
                let model = Bert::new(&config, &map, &weights, compute).unwrap();
                let hidden = model.encode(Case::new(3, 11).input(), Mode::Train).unwrap();
                (hidden.to_kind(Kind::Double) * hidden.detach().cos()).sum(Kind::Double).backward();
                let gradients = weights.entries().iter().map(|weight| weight.tensor.grad()).filter(Tensor::defined);
                std::iter::once(hidden.detach()).chain(gradients).collect::<Vec<_>>()
            };
            let first = run(0, false);
            assert!(first.iter().all(|tensor| f64::try_from(tensor.abs().sum(Kind::Double)).unwrap() > 0.0));
            assert!(run(1, false) == first && run(2, false) == first, "{norm:?}: another order of threads, other bits");
            assert!(run(0, true) == first, "{norm:?}: recomputed, other bits");
        }
    });
}

/// A probed layer's own gradients add up to its leaf's, which is the same bits as without probes.
#[test]
fn probes_change_nothing() {
    in_own_process(module_path!(), "probes_change_nothing", || {
        emulate(0);
        let (config, map) = (config(Norm::Post, 72, 0.1, 0.0), LayerMap::tied(2));
        let run = |is_probed| {
            let weights = weights(&config, &map, Kind::Float);
            let compute = Compute { kind: Kind::BFloat16, kernels: Kernels::Fused, recompute: false };
            let (model, gradients) = if is_probed {
                let (model, gradients) = Bert::probed(&config, &map, &weights, compute).unwrap();
                (model, Some(gradients))
            } else {
                (Bert::new(&config, &map, &weights, compute).unwrap(), None)
            };
            let hidden = model.encode(Case::new(3, 11).input(), Mode::Train).unwrap();
            (hidden.to_kind(Kind::Double) * hidden.detach().cos()).sum(Kind::Double).backward();
            let of_group: Vec<Tensor> = weights
                .entries()
                .iter()
                .filter(|weight| weight.spec.group.is_some())
                .map(|weight| weight.tensor.grad())
                .collect();
            (of_group, gradients.map(|gradients| gradients.read().unwrap()))
        };
        let (plain, _) = run(false);
        let (probed, layers) = run(true);
        for (at, (plain, probed)) in plain.iter().zip(&probed).enumerate() {
            assert!(plain == probed, "{at}: {:e}", distance(&[probed.shallow_clone()], &[plain.shallow_clone()]));
        }
        let layers = layers.unwrap();
        for (at, sum) in probed.iter().enumerate() {
            let error = distance(&[&layers[0][at] + &layers[1][at]], &[sum.shallow_clone()]);
            assert!(error < 1e-6, "{at}: {error:e}");
        }
    });
}

/// Loss, correct targets and every gradient of a whole model, with segments, positions and unused slots.
#[test]
fn a_loss_is_no_further_from_fp64_than_the_composition() {
    in_own_process(module_path!(), "a_loss_is_no_further_from_fp64_than_the_composition", || {
        emulate(0);
        for (kind, segments) in [(Kind::BFloat16, true), (Kind::Half, false)] {
            let buffers = loss::batch_of(9, segments);
            let batch = buffers.to_device(Device::Cpu).unwrap();
            let mut ratio = MeanRatio::default();
            for norm in [Norm::Post, Norm::Pre] {
                let run = |kind, kernels| loss::run(norm, kind, kernels, &batch, buffers.num_targets);
                let exact = run(Kind::Double, Kernels::Plain);
                let (ours, theirs) = (run(kind, Kernels::Fused), run(kind, Kernels::Plain));
                for (at, (name, expected)) in exact.iter().enumerate() {
                    let (ours, theirs) =
                        (loss::distance(&ours[at].1, expected), loss::distance(&theirs[at].1, expected));
                    assert!(ours < 4.0 * theirs + 2e-3, "{kind:?}, {norm:?}, {name}: {ours:e}, composed {theirs:e}");
                    if ours > 0.0 && theirs > 0.0 {
                        ratio.add(ours, theirs);
                    }
                }
            }
            let ratio = ratio.value();
            println!("{kind:?}: errors of the loss over those of the composed one, geometric mean: {ratio:.3}");
            assert!(ratio < NOISE, "{kind:?}: {ratio}");
        }
    });
}

/// An update by the CUDA kernel is libtorch's within rounding; it leaves gradients of 0 and copies of 16 bits that the next forward reads; a
/// step that is not finite changes nothing.
#[test]
fn updates_equal_libtorchs_and_refresh_the_copies() {
    in_own_process(module_path!(), "updates_equal_libtorchs_and_refresh_the_copies", || {
        emulate(3);
        let (config, map) = (config(Norm::Pre, 72, 0.0, 0.0), LayerMap::tied(2));
        let compute = Compute { kind: Kind::BFloat16, kernels: Kernels::Fused, recompute: false };
        let encode = |model: &Bert| model.encode(Case::new(3, 11).input(), Mode::Eval).unwrap();
        let run = |on_cuda: bool, factors: &[f64]| {
            let weights = weights(&config, &map, Kind::Float);
            let mut moments = Moments::zeros(&weights).unwrap();
            let optimizer = Optimizer::new(&weights, 0, GroupGradient::Mean, None, ReportTiming::AtOnce).unwrap();
            let mut optimizer =
                if on_cuda { optimizer.with_cuda_adamw().unwrap() } else { optimizer.with_libtorchs_adamw() };
            let model = Bert::new(&config, &map, &weights, compute).unwrap();
            let optim = OptimConfig { clip_norm: 0.5, weight_decay: 0.05, ..Default::default() };
            for &factor in factors {
                let update = Update { optim: &optim, learning_rate: 1e-2, sync: None };
                // Every weight of the encoder and the embeddings has a gradient; those of the head have none and stay.
                weights.make_gradients().unwrap();
                let loss = |_| Ok((encode(&model).to_kind(Kind::Double) * factor).square().sum(Kind::Double));
                let report =
                    train_step(&mut optimizer, &weights, &mut moments, update, 1, loss).unwrap().read().unwrap();
                assert_eq!(report.applied, factor.is_finite());
                if on_cuda {
                    let gradients = weights.entries().iter().map(|weight| weight.tensor.grad());
                    assert!(gradients.into_iter().all(|gradient| gradient.count_nonzero(None).int64_value(&[]) == 0));
                }
            }
            // Of other tensors with the same numbers, whose copies are made by libtorch.
            let same = self::weights(&config, &map, Kind::Float);
            for (to, from) in same.entries().iter().zip(weights.entries()) {
                to.tensor.detach().copy_(&from.tensor.detach());
            }
            let fresh = Bert::new(&config, &map, &same, compute).unwrap();
            assert_eq!(encode(&model), encode(&fresh), "the copies are not those of the weights");
            let all = weights.entries().iter().map(|weight| weight.tensor.detach().copy());
            all.chain(moments.exp_avg).chain(moments.exp_avg_sq).map(|tensor| tensor.to_kind(Kind::Double)).collect()
        };
        let factors = [1.0, 0.5, f64::INFINITY, 2.0];
        let (ours, theirs): (Vec<Tensor>, Vec<Tensor>) = (run(true, &factors), run(false, &factors));
        for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            let error = f64::try_from((ours - theirs).abs().max()).unwrap();
            assert!(error < 2e-5 * f64::try_from(theirs.abs().max()).unwrap().max(1e-3), "{at}: {error:e}");
        }
    });
}

/// The kernel that [`but_one`] leaves out.
static LEFT_OUT: Mutex<&str> = Mutex::new("none");

/// The emulator, but kernels of one name do nothing.
unsafe extern "C" fn but_one(
    name: *const c_char,
    grid_x: u32,
    grid_y: u32,
    threads: u32,
    arguments: *mut *mut c_void,
) -> *const c_char {
    // SAFETY: the name is a terminated string, and the rest is passed on as it is.
    unsafe {
        if CStr::from_ptr(name).to_str().unwrap().starts_with(*LEFT_OUT.lock().unwrap()) {
            return std::ptr::null();
        }
        launcher()(name, grid_x, grid_y, threads, arguments)
    }
}

/// What a run compares before it trusts the kernels of its GPU.
#[test]
fn a_kernel_that_does_nothing_is_found() {
    in_own_process(module_path!(), "a_kernel_that_does_nothing_is_found", || {
        emulated::set_seed(0);
        // SAFETY: as in `emulate`; a kernel that does nothing leaves numbers as they are.
        unsafe { emulate_cuda(but_one) };
        let difference = |kind, hidden_sizes: &[i64]| {
            let sizes: Vec<CheckedSizes> = hidden_sizes.iter().map(|&size| CheckedSizes::small(size)).collect();
            first_difference(Device::Cpu, kind, &sizes).unwrap()
        };
        assert_eq!(difference(Kind::BFloat16, &[256, 72]), None);
        assert_eq!(difference(Kind::Half, &[72]), None);
        for name in [
            "norm_forward_any",
            "norm_backward_any",
            "norm_sums_any",
            "gelu_forward",
            "gelu_backward",
            "pack_qkv",
            "add_up",
            "column_sums",
            "cross_entropy",
            "embeddings_forward",
            "embeddings_backward",
            "embeddings_sums",
            "adamw",
        ] {
            *LEFT_OUT.lock().unwrap() = name;
            let found = difference(Kind::BFloat16, &[72]);
            println!("{name}: {found:?}");
            assert!(found.is_some(), "{name} does nothing, and nothing was found");
        }
    });
}

/// An update that is skipped writes no copy, and does not take one for fresh that was not before.
#[test]
fn a_skipped_update_leaves_stale_copies_stale() {
    in_own_process(module_path!(), "a_skipped_update_leaves_stale_copies_stale", || {
        emulate(0);
        let (config, map) = (config(Norm::Post, 72, 0.0, 0.0), LayerMap::tied(2));
        let compute = Compute { kind: Kind::BFloat16, kernels: Kernels::Fused, recompute: false };
        let weights = weights(&config, &map, Kind::Float);
        let encode = |model: &Bert| model.encode(Case::new(3, 11).input(), Mode::Eval).unwrap();
        let model = Bert::new(&config, &map, &weights, compute).unwrap();
        let before = encode(&model);
        weights.make_gradients().unwrap();
        tch::no_grad(|| {
            for weight in weights.entries() {
                let _ = weight.tensor.shallow_clone().g_add_scalar_(0.1);
                let _ = weight.tensor.grad().fill_(f64::INFINITY);
            }
        });
        let optimizer = Optimizer::new(&weights, 0, GroupGradient::Mean, None, ReportTiming::AtOnce).unwrap();
        let mut moments = Moments::zeros(&weights).unwrap();
        let report =
            optimizer.with_cuda_adamw().unwrap().update(&weights, &mut moments, &OptimConfig::default(), 1e-2).unwrap();
        assert_eq!(report.double_value(&[2]), 1.0, "the update was not skipped");
        let after = encode(&model);
        assert!(after != before && after == encode(&Bert::new(&config, &map, &weights, compute).unwrap()));
    });
}
