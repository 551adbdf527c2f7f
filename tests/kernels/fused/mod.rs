//! Fused kernels against the composition of libtorch's operations: here encoder layers (outputs, gradients, masks, levels,
//! dropout), in `loss` a whole training loss.

mod cuda;
mod loss;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor};
use untie::layer_map::LayerMap;
use untie::model::{Bert, BertConfig, Compute, Input, Kernels, Mode, ModelConfig, Norm, TaskHead, Weights};
use untie::shim::{
    embeddings, fits, head_fits, kernel_level, set_kernel_level, EmbeddingIds, EmbeddingTables, KeyedDropout,
    LayerSizes,
};

/// The level of the kernels is chosen for the process.
fn alone() -> MutexGuard<'static, ()> {
    static PROCESS: Mutex<()> = Mutex::new(());
    PROCESS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Errors of fused kernels over those of the composition: their geometric mean.
#[derive(Default)]
struct MeanRatio {
    logarithms: f64,
    count: f64,
}

impl MeanRatio {
    fn add(&mut self, ours: f64, theirs: f64) {
        self.logarithms += (ours / theirs).ln();
        self.count += 1.0;
    }

    fn value(&self) -> f64 {
        (self.logarithms / self.count).exp()
    }
}

fn config(norm: Norm, dropout: f64) -> BertConfig {
    let sizes = ModelConfig {
        hidden_size: Some(48),
        num_hidden_layers: Some(3),
        num_attention_heads: Some(2),
        intermediate_size: Some(150),
        max_position_embeddings: Some(300),
        norm: Some(norm),
        hidden_dropout_prob: Some(dropout),
        attention_probs_dropout_prob: Some(dropout),
        ..Default::default()
    };
    sizes.resolve(90).unwrap()
}

/// Weights far enough from their start that every part matters: biases and LayerNorms are not 0 and 1.
fn weights(config: &BertConfig, map: &LayerMap, kind: Kind) -> Weights {
    let weights = Weights::initialise(config, map, 3, kind, Device::Cpu).unwrap();
    tch::no_grad(|| {
        for (at, weight) in weights.entries().iter().enumerate() {
            let mut tensor = weight.tensor.shallow_clone();
            let size = tensor.numel() as i64;
            let wave = (Tensor::arange(size, (Kind::Double, Device::Cpu)) * (0.37 + 0.01 * at as f64)).sin();
            let _ = tensor.g_add_(&(wave.view_(tensor.size()) * 0.1).to_kind(kind));
        }
    });
    weights
}

struct Case {
    token_ids: Tensor,
    visible: Option<Tensor>,
    documents: Option<Tensor>,
    keys: Tensor,
}

impl Case {
    fn new(batch: i64, length: i64) -> Self {
        let ids = Tensor::arange(batch * length, (Kind::Int64, Device::Cpu)).f_mul_scalar(37).unwrap();
        let keys = Tensor::arange(batch, (Kind::Int64, Device::Cpu)) + 11;
        Self { token_ids: ids.remainder(90).view([batch, length]), visible: None, documents: None, keys }
    }

    fn input(&self) -> Input<'_> {
        Input {
            attention_mask: self.visible.as_ref(),
            documents: self.documents.as_ref(),
            dropout_keys: Some(&self.keys),
            ..Input::full(&self.token_ids)
        }
    }
}

/// The last hidden states, and every gradient of a smooth function of them; all in fp64.
fn run(config: &BertConfig, map: &LayerMap, kind: Kind, kernels: Kernels, case: &Case, mode: Mode) -> Vec<Tensor> {
    let wide = if kind == Kind::Double { Kind::Double } else { Kind::Float };
    let weights = weights(config, map, wide);
    let compute = Compute { kind, kernels, recompute: false };
    let model = Bert::new(config, map, &weights, compute).unwrap();
    let hidden = model.encode(case.input(), mode).unwrap();
    let probe = (Tensor::arange(hidden.numel() as i64, (Kind::Double, Device::Cpu)) * 0.7).cos().view_(hidden.size());
    (hidden.to_kind(Kind::Double) * probe).sum(Kind::Double).backward();
    let gradients = weights.entries().iter().map(|weight| weight.tensor.grad()).filter(Tensor::defined);
    std::iter::once(hidden.detach()).chain(gradients).map(|tensor| tensor.to_kind(Kind::Double)).collect()
}

/// The largest ‖a − b‖ / ‖b‖ of all tensors.
fn distance(found: &[Tensor], expected: &[Tensor]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let of_pair = |(a, b): (&Tensor, &Tensor)| {
        let error = f64::try_from((a - b).norm()).unwrap() / f64::try_from(b.norm()).unwrap().max(1e-3);
        if error.is_nan() {
            f64::INFINITY
        } else {
            error
        }
    };
    found.iter().zip(expected).map(of_pair).fold(0.0, f64::max)
}

fn cases() -> Vec<(&'static str, Case)> {
    let integers = |values: Vec<i64>, batch: i64, length: i64| Tensor::from_slice(&values).view([batch, length]);
    let padded = |batch: i64, length: i64| {
        let visible = (0..batch).flat_map(|b| (0..length).map(move |t| i64::from(t < length - 3 * b - 1)));
        Some(integers(visible.collect(), batch, length))
    };
    let documents = |batch: i64, length: i64| {
        Some(integers((0..batch).flat_map(|_| (0..length).map(|t| t / 7)).collect(), batch, length))
    };
    vec![
        ("one block", Case::new(2, 32)),
        ("odd length", Case::new(3, 37)),
        ("several blocks of queries", Case::new(1, 261)),
        ("padding", Case { visible: padded(3, 30), ..Case::new(3, 30) }),
        ("documents", Case { documents: documents(2, 140), ..Case::new(2, 140) }),
        ("both", Case { documents: documents(2, 33), visible: padded(2, 33), ..Case::new(2, 33) }),
    ]
}

#[test]
fn fused_layers_equal_the_composition_in_fp64_and_fp32() {
    let _alone = alone();
    let mut ratio = MeanRatio::default();
    for norm in [Norm::Post, Norm::Pre] {
        let config = config(norm, 0.0);
        for map in [LayerMap::untied(3), LayerMap::tied(3)] {
            for (name, case) in cases() {
                let run = |kind, kernels| run(&config, &map, kind, kernels, &case, Mode::Train);
                let exact = run(Kind::Double, Kernels::Plain);
                let double = distance(&run(Kind::Double, Kernels::Fused), &exact);
                assert!(double < 1e-12, "{norm:?}, {name}: fp64 {double:e}");
                let (ours, theirs) = (run(Kind::Float, Kernels::Fused), run(Kind::Float, Kernels::Plain));
                for at in 0..exact.len() {
                    let [ours, theirs] = [&ours, &theirs].map(|all| distance(&all[at..=at], &exact[at..=at]));
                    assert!(ours < 2e-5, "{norm:?}, {name}, {at}: fp32 {ours:e}, composed {theirs:e}");
                    ratio.add(ours, theirs);
                }
            }
        }
    }
    // One bias is rounded better here, another there; on the whole neither is.
    let ratio = ratio.value();
    println!("fp32: errors of fused layers over those of composed ones, geometric mean: {ratio:.3}");
    assert!(ratio < 1.1, "{ratio}");
}

/// A gradient is the derivative of the loss: fp64 differences along the gradient's own direction, with dropout on.
#[test]
fn gradients_are_derivatives_with_dropout() {
    let _alone = alone();
    for norm in [Norm::Post, Norm::Pre] {
        let (config, map) = (config(norm, 0.3), LayerMap::tied(3));
        let case = Case { keys: Tensor::from_slice(&[5_i64, -7]), ..Case::new(2, 45) };
        let weights = weights(&config, &map, Kind::Double);
        let model = Bert::new(&config, &map, &weights, Kind::Double).unwrap();
        let loss = || model.encode(case.input(), Mode::Train).unwrap().square().sin().sum(Kind::Double);
        loss().backward();
        for weight in weights.entries() {
            let gradient = weight.tensor.grad();
            if !gradient.defined() {
                continue;
            }
            let direction = gradient.copy();
            let slope = f64::try_from((&direction * &direction).sum(Kind::Double)).unwrap();
            let shifted = |by: f64| {
                tch::no_grad(|| {
                    let _ = weight.tensor.shallow_clone().g_add_(&(&direction * by));
                    let found = f64::try_from(loss()).unwrap();
                    let _ = weight.tensor.shallow_clone().g_sub_(&(&direction * by));
                    found
                })
            };
            let by = 1e-5 / slope.sqrt().max(1e-3);
            let measured = (shifted(by) - shifted(-by)) / (2.0 * by);
            assert!(
                (measured - slope).abs() < 1e-5 * slope + 1e-9,
                "{norm:?}, {}: {slope} {measured}",
                weight.spec.name
            );
        }
    }
}

/// The kernels of each level compute the same up to the rounding of fused multiply-adds, and drop the same elements.
#[test]
fn every_level_computes_the_same() {
    let _alone = alone();
    let (config, map) = (config(Norm::Post, 0.2), LayerMap::untied(3));
    let (_, case) = cases().pop().unwrap();
    let mut found = Vec::new();
    let usual = kernel_level();
    for level in ["DEFAULT", "AVX2", "AVX512", "AVX512BF16"] {
        if let Err(error) = set_kernel_level(level) {
            println!("{level} is left out: {error}");
            continue;
        }
        assert_eq!(kernel_level(), level);
        for kind in [Kind::Float, Kind::BFloat16] {
            if kind == Kind::Float || has_bf16() {
                found.push((level, kind, run(&config, &map, kind, Kernels::Fused, &case, Mode::Train)));
            }
        }
    }
    set_kernel_level(&usual).unwrap();
    for (level, kind, tensors) in &found {
        let (_, _, first) = found.iter().find(|(_, other, _)| other == kind).unwrap();
        let far = distance(tensors, first);
        assert!(far < if *kind == Kind::Float { 2e-5 } else { 0.2 }, "{level} {kind:?}: {far:e}");
    }
}

fn has_bf16() -> bool {
    let sizes = LayerSizes { hidden_size: 64, intermediate_size: 64, heads: 1, pre_norm: false, epsilon: 1e-12 };
    fits(sizes, Kind::BFloat16, Device::Cpu)
}

/// Dropout keeps 1 - p of the elements, scales them by 1/(1 - p), and depends on key, site and place only. Shown on embeddings
/// that are 1 everywhere.
#[test]
fn dropout_is_a_function_of_key_site_and_place() {
    let table = |rows: i64, value: f64| Tensor::full([rows, 192], value, (Kind::Float, Device::Cpu));
    let (word, position, token_type) = (table(1, 1.0), table(100, 0.0), table(1, 0.0));
    let drop = |keys: &Tensor, site, probability| {
        let tokens = Tensor::zeros([keys.numel() as i64, 100], (Kind::Int64, Device::Cpu));
        let tables = EmbeddingTables { word: &word, position: &position, token_type: &token_type, norm: None };
        let ids = EmbeddingIds { tokens: &tokens, positions: None, types: None };
        embeddings(tables, ids, Some(KeyedDropout { keys, site, probability }), Kind::Float)
    };
    let keys = Tensor::from_slice(&[1_i64, 2, 3, 1]);
    let dropped = drop(&keys, 5, 0.1).unwrap();
    let kept = f64::try_from(dropped.gt(0.0).to_kind(Kind::Double).mean(Kind::Double)).unwrap();
    // The standard deviation of the mean of 57,600 coins (three different keys) is 0.00125.
    assert!((kept - 0.9).abs() < 0.006, "{kept}");
    assert!((f64::try_from(dropped.max()).unwrap() - 1.0 / 0.9).abs() < 1e-4);
    assert_eq!(dropped.get(0), dropped.get(3));
    assert_ne!(dropped.get(0), dropped.get(1));
    assert_eq!(drop(&keys.narrow(0, 1, 2), 5, 0.1).unwrap().get(0), dropped.get(1));
    assert_ne!(drop(&keys, 6, 0.1).unwrap(), dropped);
    assert!(drop(&keys, 5, 1.0).is_err());
}

/// Where models are composed of libtorch's operations, so is the dropout of the pooled vector, and nobody needs keys.
#[test]
fn composed_models_drop_the_pooled_vector_without_keys() {
    let head = Some(TaskHead::Sequence { num_labels: 2 });
    let (config, map) = (BertConfig { task_head: head, ..config(Norm::Post, 0.5) }, LayerMap::tied(3));
    let weights = weights(&config, &map, Kind::Float);
    let hidden = Tensor::ones([3, 2, 48], (Kind::Float, Device::Cpu));
    let plain = Compute { kernels: Kernels::Plain, ..Compute::from(Kind::Float) };
    let composed = Bert::new(&config, &map, &weights, plain).unwrap();
    let fused = Bert::new(&config, &map, &weights, Kind::Float).unwrap();
    let plain = composed.sequence_logits(&hidden, Mode::Eval, None).unwrap();
    assert_eq!(plain, fused.sequence_logits(&hidden, Mode::Eval, None).unwrap());
    let dropped = composed.sequence_logits(&hidden, Mode::Train, None).unwrap();
    assert_ne!(dropped.get(0), plain.get(0));
    assert_ne!(dropped.get(0), dropped.get(1), "each sequence drops its own");
    assert!(fused.sequence_logits(&hidden, Mode::Train, None).is_err());
}

/// bf16 has 8 bits: the composition itself is off by several per cent of the exact gradients. Ours must not be further off,
/// tensor by tensor within the noise of rounding, and on the whole.
#[test]
fn bf16_is_no_further_from_fp64_than_the_composition() {
    let _alone = alone();
    if !has_bf16() {
        println!("skipped: no fused layers in bf16 on this CPU");
        return;
    }
    let mut ratio = MeanRatio::default();
    for norm in [Norm::Post, Norm::Pre] {
        let config = config(norm, 0.0);
        for (name, case) in cases() {
            let map = LayerMap::tied(3);
            let run = |kind, kernels| run(&config, &map, kind, kernels, &case, Mode::Train);
            let exact = run(Kind::Double, Kernels::Plain);
            let (ours, theirs) = (run(Kind::BFloat16, Kernels::Fused), run(Kind::BFloat16, Kernels::Plain));
            for (at, expected) in exact.iter().enumerate() {
                let [ours, theirs] = [&ours, &theirs]
                    .map(|found| distance(std::slice::from_ref(&found[at]), std::slice::from_ref(expected)));
                assert!(ours < 4.0 * theirs && ours < 0.2, "{norm:?}, {name}, {at}: {ours:e}, composed {theirs:e}");
                ratio.add(ours, theirs);
            }
        }
    }
    let ratio = ratio.value();
    println!("errors of fused layers over those of composed ones, geometric mean: {ratio:.3}");
    assert!(ratio < 1.0, "{ratio}");
}

/// Attention would read behind its rows, or divide by zero.
#[test]
fn heads_that_do_not_divide_the_hidden_size_do_not_fit() {
    let all = |hidden_size, intermediate_size, heads| {
        let sizes = LayerSizes { hidden_size, intermediate_size, heads, pre_norm: false, epsilon: 1e-12 };
        fits(sizes, Kind::Float, Device::Cpu)
    };
    assert!(all(48, 150, 2) && all(48, 150, 24));
    for (hidden_size, intermediate_size, heads) in
        [(48, 150, 5), (50, 150, 4), (48, 150, 0), (48, 150, -2), (48, 150, 48), (48, 151, 2), (0, 150, 2), (48, 0, 2)]
    {
        assert!(!all(hidden_size, intermediate_size, heads), "{hidden_size}, {intermediate_size}, {heads}");
    }
    assert!(head_fits(48, 90, Kind::Float, Device::Cpu));
    assert!(!head_fits(47, 90, Kind::Float, Device::Cpu) && !head_fits(0, 90, Kind::Float, Device::Cpu));
}
