//! What the fused kernels say that they hold, against what they hold.

use std::thread;

use tch::{Device, Kind, Tensor};
use untie::shim::{
    embeddings, embeddings_bytes, fits, head_bytes, held_bytes, layer_bytes, EmbeddingIds, EmbeddingTables, FusedHead,
    FusedLayer, LayerContext, LayerSizes, Targets,
};

use crate::own_process::in_own_process;

/// A leaf that needs a gradient.
fn leaf(shape: &[i64], kind: Kind) -> Tensor {
    (Tensor::rand(shape, (kind, Device::Cpu)) - 0.5).detach().set_requires_grad(true)
}

fn wide(kind: Kind) -> Kind {
    if kind == Kind::Double {
        Kind::Double
    } else {
        Kind::Float
    }
}

/// Those that there are kernels for.
fn kinds() -> Vec<Kind> {
    let sizes = LayerSizes { hidden_size: 64, intermediate_size: 64, heads: 1, pre_norm: false, epsilon: 1e-12 };
    [Kind::Float, Kind::Double, Kind::BFloat16]
        .into_iter()
        .filter(|&kind| kind != Kind::BFloat16 || fits(sizes, kind, Device::Cpu))
        .collect()
}

/// A thread of its own has the memory of one layer alone.
#[test]
fn a_layer_holds_what_it_says() {
    in_own_process(module_path!(), "a_layer_holds_what_it_says", compare_layers);
}

fn compare_layers() {
    for kind in kinds() {
        for pre_norm in [false, true] {
            for (batch, length, hidden_size, intermediate_size, heads) in [
                (1, 1, 16, 16, 2),
                (3, 37, 48, 150, 2),
                (2, 130, 96, 50, 3),
                (1, 261, 64, 1000, 1),
                (9, 128, 256, 1024, 4),
                // In fp32 qkv alone is larger than what the heap keeps.
                (6000, 32, 16, 16, 2),
            ] {
                let sizes = LayerSizes { hidden_size, intermediate_size, heads, pre_norm, epsilon: 1e-12 };
                thread::spawn(move || compare_layer(sizes, batch, length, kind)).join().unwrap();
            }
        }
    }
}

fn compare_layer(sizes: LayerSizes, batch: i64, length: i64, kind: Kind) {
    tch::set_num_threads(1);
    let said = layer_bytes(sizes, batch, length, kind).unwrap();
    let LayerSizes { hidden_size: c, intermediate_size: i, .. } = sizes;
    let shapes: [&[i64]; 12] =
        [&[3 * c, c], &[3 * c], &[c, c], &[c], &[c], &[c], &[i, c], &[i], &[c, i], &[c], &[c], &[c]];
    let parts = shapes.map(|shape| leaf(shape, wide(kind)));
    let layer = FusedLayer::new(&parts, sizes, kind).unwrap();
    let x = leaf(&[batch, length, c], kind);
    let context = LayerContext {
        visible: None,
        documents: None,
        bias: None,
        keys: None,
        site: 0,
        attention_dropout: 0.0,
        hidden_dropout: 0.0,
        recompute: false,
    };
    let y = layer.forward(&x, context).unwrap();
    let case = format!("{sizes:?}, {batch} x {length}, {kind:?}");
    assert_eq!(held_bytes(&y).unwrap().saved, said.saved, "{case}: saved");
    y.to_kind(Kind::Double).square().sum(Kind::Double).backward();
    let held = held_bytes(&y).unwrap();
    assert_eq!(held.saved, 0, "{case}: saved after the backward");
    assert_eq!(held.packed, said.packed, "{case}: packed");
    assert_eq!(held.workspace, said.workspace, "{case}: workspace");
    assert_eq!(held.per_thread, said.per_thread, "{case}: for tasks");
}

#[test]
fn a_head_and_embeddings_hold_what_they_say() {
    for kind in kinds() {
        for (batch, length, hidden_size, vocabulary, targets) in [(2, 19, 48, 90, 1), (3, 50, 144, 2560, 130)] {
            let of = |shape: &[i64]| leaf(shape, wide(kind));
            let (c, v) = (hidden_size, vocabulary);
            let parts = [of(&[c, c]), of(&[c]), of(&[c]), of(&[c]), of(&[v, c]), of(&[v])];
            let head = FusedHead::new(&parts, kind, 1e-12).unwrap();
            let hidden = leaf(&[batch, length, c], kind);
            let positions = Tensor::arange(targets, (Kind::Int64, Device::Cpu));
            let (labels, weights) = (positions.remainder(v), Tensor::ones([targets], (Kind::Float, Device::Cpu)));
            let targets_of = Targets { positions: &positions, labels: &labels, weights: &weights, total: 1.0 };
            let [loss, _] = head.loss(&hidden, targets_of).unwrap();
            let said = head_bytes(batch * length, targets, c, v, kind).unwrap();
            let held = held_bytes(&loss).unwrap();
            assert_eq!((held.saved, held.packed), (said.saved, said.packed), "head {c} x {v} {targets} {kind:?}");

            let (word, position, token_type) = (of(&[v, c]), of(&[length, c]), of(&[2, c]));
            let (weight, bias) = (of(&[c]), of(&[c]));
            let tokens = Tensor::zeros([batch, length], (Kind::Int64, Device::Cpu));
            for norm in [None, Some((&weight, &bias, 1e-12))] {
                let tables = EmbeddingTables { word: &word, position: &position, token_type: &token_type, norm };
                let ids = EmbeddingIds { tokens: &tokens, positions: None, types: None };
                let out = embeddings(tables, ids, None, kind).unwrap();
                let said = embeddings_bytes(batch * length, c, norm.is_some(), kind).unwrap();
                assert_eq!(held_bytes(&out).unwrap().saved, said.saved, "embeddings {batch} x {length} {kind:?}");
            }
        }
    }
    assert!(held_bytes(&leaf(&[2], Kind::Float)).is_err());
}
