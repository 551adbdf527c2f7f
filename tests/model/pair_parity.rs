//! Pairs of segments and isolated documents: transformers computes the same. The expected numbers are those of
//! tests/fixtures/hub/make_pair_fixtures.py, in fp64.

use std::collections::BTreeSet;
use std::path::Path;

use tch::{Device, Kind, Tensor};
use untie::batch::Batch;
use untie::hub;
use untie::layer_map::LayerMap;
use untie::loss::{pretraining, Totals};
use untie::model::{Bert, Input, Mode, Weights};
use untie::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming};
use untie::step::{train_step, Update};

use crate::fixtures::{distance, fixture, read, Tensors, NORMS};

/// fp32: logits are below 16, where neighbouring numbers are 1e-6 apart.
const KINDS: [(Kind, f64); 2] = [(Kind::Double, 1e-10), (Kind::Float, 5e-6)];
const LENGTH: usize = 12;

fn list(tensor: &Tensor) -> Vec<i64> {
    Vec::try_from(tensor.flatten(0, -1)).unwrap()
}

/// The fixture's sequences from `first` to `last` as a batch, with four target slots each.
fn batch(found: &Tensors, first: usize, last: usize) -> Batch {
    const CAPACITY: usize = 4;
    let rows = |name: &str| Some(list(&found[name])[first * LENGTH..last * LENGTH].to_vec());
    let mut batch = Batch {
        token_ids: rows("input_ids").unwrap(),
        token_types: rows("token_type_ids"),
        attention_mask: rows("attention_mask"),
        pair_labels: Some(list(&found["classes"])[first..last].to_vec()),
        sequence_length: LENGTH,
        ..Default::default()
    };
    let targets: Vec<(i64, i64)> = list(&found["positions"]).into_iter().zip(list(&found["labels"])).collect();
    for sequence in first..last {
        let within = |position: i64| position as usize / LENGTH == sequence;
        let of_sequence: Vec<&(i64, i64)> = targets.iter().filter(|(position, _)| within(*position)).collect();
        for slot in 0..CAPACITY {
            let target = of_sequence.get(slot);
            batch.positions.push(target.map_or(0, |(position, _)| position - (first * LENGTH) as i64));
            batch.labels.push(target.map_or(0, |(_, label)| *label));
            batch.weights.push(f32::from(target.is_some()));
        }
        batch.num_targets += of_sequence.len();
    }
    batch
}

#[test]
fn logits_of_both_heads_are_those_of_transformers() {
    let _no_grad = tch::no_grad_guard();
    for norm in NORMS {
        let expected = read(&fixture(&format!("{norm}-pairs.safetensors")));
        for (kind, tolerance) in KINDS {
            let model = hub::load(&fixture(&format!("{norm}-pairs")), kind, Device::Cpu).unwrap();
            assert!(model.config.pair_head && model.has_head);
            let bert =
                Bert::new(&model.config, &LayerMap::tied(3), &tied(&model.weights, &model.config, kind), kind).unwrap();
            let inputs = batch(&expected, 0, 3).to_device(Device::Cpu).unwrap();
            let hidden = bert.encode((&inputs).into(), Mode::Eval).unwrap();
            let mlm = bert.mlm_logits(&hidden, &expected["positions"]).unwrap().narrow(1, 0, 61);
            let errors = [
                distance(&mlm, &expected["mlm_logits"]),
                distance(&bert.pair_logits(&hidden).unwrap(), &expected["pair_logits"]),
            ];
            println!("{norm} {kind:?}: logits {:e}, pairs {:e} off", errors[0], errors[1]);
            assert!(errors.iter().all(|error| *error <= tolerance), "{norm} {kind:?}: {errors:?}");
        }
    }
}

/// The weights of layer 0 for all layers, as the fixture's model is tied.
fn tied(source: &Weights, config: &untie::model::BertConfig, kind: Kind) -> Weights {
    Weights::from_named(config, &LayerMap::tied(3), kind, Device::Cpu, |spec| {
        let own = source.get(&spec.name).unwrap();
        Ok(own.in_file(&own.tensor).detach())
    })
    .unwrap()
}

/// Two micro-batches of two pairs and one, with different numbers of targets, are the one batch of transformers: both
/// losses divide by the whole.
#[test]
fn one_step_is_that_of_transformers_and_pytorch() {
    for norm in NORMS {
        let expected = read(&fixture(&format!("{norm}-pairs.safetensors")));
        for (kind, tolerance) in [(Kind::Double, 1e-10), (Kind::Float, 1e-6)] {
            let model = hub::load(&fixture(&format!("{norm}-pairs")), kind, Device::Cpu).unwrap();
            let map = LayerMap::tied(3);
            let weights = tied(&model.weights, &model.config, kind);
            let bert = Bert::new(&model.config, &map, &weights, kind).unwrap();
            let batches = [batch(&expected, 0, 2), batch(&expected, 2, 3)];
            let targets = batches.iter().map(|batch| batch.num_targets).sum();
            assert_eq!(targets, 9);
            let mut losses = [0.0; 2];
            let optim = OptimConfig { eps: 1e-6, weight_decay: 0.01, clip_norm: 1.0, ..OptimConfig::default() };
            let update = Update { optim: &optim, learning_rate: 1e-4, sync: None };
            let mut moments = Moments::zeros(&weights).unwrap();
            let mut optimizer = Optimizer::new(&weights, 0, GroupGradient::Mean, None, ReportTiming::AtOnce).unwrap();
            let pending = train_step(&mut optimizer, &weights, &mut moments, update, 2, |index| {
                let totals = Totals { targets, sequences: 3 };
                let found = pretraining(&bert, &batches[index].to_device(Device::Cpu)?, totals, Mode::Train)?;
                losses[0] += f64::try_from(&found.mlm.loss)?;
                losses[1] += f64::try_from(&found.pair.as_ref().unwrap().loss)?;
                found.total()
            })
            .unwrap();
            let report = pending.read().unwrap();
            let case = format!("{norm} {kind:?}");
            for (loss, name) in losses.into_iter().zip(["mlm_loss", "pair_loss"]) {
                let error = (loss - expected[name].double_value(&[])).abs();
                assert!(error <= tolerance, "{case}: `{name}` is {error:e} off");
            }
            let norm_error = (report.grad_norm / expected["norm"].double_value(&[]) - 1.0).abs();
            assert!(norm_error <= tolerance, "{case}: the norm is {norm_error:e} off");
            assert_eq!(weights.entries().len(), expected.keys().filter(|name| name.starts_with("after/")).count());
            for weight in weights.entries() {
                let name = &weight.spec.name;
                let error = distance(&weight.in_file(&weight.tensor), &expected[&format!("after/{name}")]);
                assert!(error <= tolerance, "{case}: `{name}` is {error:e} off");
            }
        }
    }
}

/// The names and values of an export are those of transformers' own `save_pretrained`, heads included.
#[test]
fn an_export_with_a_pair_head_is_what_transformers_saves() {
    for (norm, architecture) in [("post", "BertForPreTraining"), ("pre", "MegatronBertForPreTraining")] {
        let source = fixture(&format!("{norm}-pairs"));
        let model = hub::load(&source, Kind::Float, Device::Cpu).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("export");
        hub::export(&out, &model.config, &model.layer_map(), &model.weights, &source.join("tokenizer.json")).unwrap();
        let tensors = |dir: &Path| read(&dir.join("model.safetensors"));
        let (expected, got) = (tensors(&source), tensors(&out));
        let names = |tensors: &Tensors| tensors.keys().cloned().collect::<BTreeSet<String>>();
        assert_eq!(names(&got), names(&expected), "{norm}");
        for (name, tensor) in &expected {
            assert_eq!(&got[name], tensor, "{norm}: `{name}`");
        }
        let config = std::fs::read_to_string(out.join("config.json")).unwrap();
        assert!(config.contains(&format!("\"{architecture}\"")), "{config}");
    }
}

/// A model that has lost a part of its pair head is one without.
#[test]
fn a_part_of_a_pair_head_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(fixture("post-pairs").join(name), dir.path().join(name)).unwrap();
    }
    let tensors = Tensor::read_safetensors(fixture("post-pairs").join("model.safetensors")).unwrap();
    let rest: Vec<_> = tensors.iter().filter(|(name, _)| name != "cls.seq_relationship.bias").collect();
    let rest: Vec<(&String, &Tensor)> = rest.into_iter().map(|(name, tensor)| (name, tensor)).collect();
    Tensor::write_safetensors(&rest, dir.path().join("model.safetensors")).unwrap();
    let model = hub::load(dir.path(), Kind::Float, Device::Cpu).unwrap();
    assert!(model.has_head && !model.config.pair_head);
}

/// Packed documents that are kept apart have the hidden states of transformers with a 4D mask, and those of each document
/// run alone.
#[test]
fn isolated_documents_see_themselves_alone() {
    let _no_grad = tch::no_grad_guard();
    for norm in NORMS {
        let found = read(&fixture(&format!("{norm}-isolated.safetensors")));
        for (kind, tolerance) in KINDS {
            let model = hub::load(&fixture(&format!("{norm}-pairs")), kind, Device::Cpu).unwrap();
            let bert = Bert::new(&model.config, &model.layer_map(), &model.weights, kind).unwrap();
            let packed = Input {
                position_ids: Some(&found["position_ids"]),
                documents: Some(&found["documents"]),
                ..Input::full(&found["input_ids"])
            };
            let states = bert.encode(packed, Mode::Eval).unwrap();
            let error = distance(&states, &found["hidden_states"]);
            println!("{norm} {kind:?}: isolated documents {error:e} off");
            assert!(error <= tolerance, "{norm} {kind:?}: {error:e} off");
            for (row, start, length) in [(0, 0, 5), (0, 5, 4), (0, 9, 3), (1, 0, 1), (1, 1, 11)] {
                let ids = found["input_ids"].narrow(0, row, 1).narrow(1, start, length);
                let alone = bert.encode(Input::full(&ids), Mode::Eval).unwrap();
                let within = states.narrow(0, row, 1).narrow(1, start, length);
                let error = distance(&within, &alone.to_kind(Kind::Double));
                assert!(error <= tolerance, "{norm} {kind:?}: document at {row}, {start} is {error:e} off");
            }
        }
    }
}
