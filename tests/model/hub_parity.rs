//! transformers computes the same: hidden states, logits, one training step, fill-mask. The expected numbers are those
//! of tests/fixtures/hub/make_fixtures.py, in fp64; scripts/parity.py does the same with real weights.

use tch::{Device, Kind, Tensor};
use untie::cli::fill_mask::fill_mask;
use untie::hub::{self, HubModel};
use untie::layer_map::LayerMap;
use untie::model::{Bert, Mode, Weights};
use untie::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming};

use crate::fixtures::{distance, fixture, input, read, NORMS};

fn load(norm: &str, kind: Kind) -> (HubModel, Bert) {
    let model = hub::load(&fixture(norm), kind, Device::Cpu).unwrap();
    let bert = Bert::new(&model.config, &model.layer_map(), &model.weights, kind).unwrap();
    (model, bert)
}

/// fp32: values are below 16, where neighbouring numbers are 1e-6 apart.
#[test]
fn hidden_states_and_logits_are_those_of_transformers() {
    let _no_grad = tch::no_grad_guard();
    for norm in NORMS {
        let expected = read(&fixture(&format!("{norm}-outputs.safetensors")));
        for (kind, tolerance) in [(Kind::Double, 1e-10), (Kind::Float, 5e-6)] {
            let (model, bert) = load(norm, kind);
            assert!(model.has_head);
            let states = bert.hidden_states(input(&expected), Mode::Eval).unwrap();
            assert_eq!(states.len(), 4);
            let positions = &expected["positions"];
            for (layer, state) in states.iter().enumerate() {
                let seen = |state: &Tensor| state.flatten(0, 1).index_select(0, positions);
                let error = distance(&seen(state), &seen(&expected["hidden_states"].get(layer as i64)));
                assert!(error <= tolerance, "{norm} {kind:?}: hidden states {layer} are {error:e} off");
            }
            let logits = bert.mlm_logits(&states[3], positions).unwrap();
            let (seen, padding) = (logits.narrow(1, 0, 61), logits.narrow(1, 61, 3));
            let error = distance(&seen, &expected["logits"]);
            println!("{norm} {kind:?}: logits {error:e} off");
            assert!(error <= tolerance, "{norm} {kind:?}: logits are {error:e} off");
            assert_eq!(f64::try_from(padding.max()).unwrap(), -1e9);
        }
    }
}

/// torch.optim.AdamW on n separate layers with equal gradients, clipped at 1 by the norm over all of them, moves every
/// parameter where our one update of a group does. What fp32 gets least right are the keys' biases: their gradient is 0
/// but for rounding, and AdamW's first update is lr·g/(|g| + ε), a hundred times g.
#[test]
fn one_step_is_that_of_pytorch_with_mean_gradients() {
    let maps = [
        ("tied", LayerMap::tied(3)),
        ("outer", LayerMap::from_groups(3, &[vec![0, 2], vec![1]]).unwrap()),
        ("untied", LayerMap::untied(3)),
    ];
    for norm in NORMS {
        let batch = read(&fixture(&format!("{norm}-step.safetensors")));
        for (sharing, map) in &maps {
            for (kind, tolerance) in [(Kind::Double, 1e-10), (Kind::Float, 1e-6)] {
                let (start, _) = load(norm, kind);
                let weights = Weights::from_named(&start.config, map, kind, Device::Cpu, |spec| {
                    let own = start.weights.get(&spec.name).unwrap();
                    Ok(own.in_file(&own.tensor).detach())
                })
                .unwrap();
                let bert = Bert::new(&start.config, map, &weights, kind).unwrap();
                let hidden = bert.encode(input(&batch), Mode::Train).unwrap();
                let logits = bert.mlm_logits(&hidden, &batch["positions"]).unwrap();
                let surprise =
                    logits.cross_entropy_loss(&batch["labels"], None::<Tensor>, tch::Reduction::None, -100, 0.0);
                let loss = surprise.mean(Kind::Double);
                loss.backward();
                let optim = OptimConfig { eps: 1e-6, weight_decay: 0.01, clip_norm: 1.0, ..OptimConfig::default() };
                let mut moments = Moments::zeros(&weights).unwrap();
                let mut optimizer =
                    Optimizer::new(&weights, 0, GroupGradient::Mean, None, ReportTiming::AtOnce).unwrap();
                let numbers = optimizer.update(&weights, &mut moments, &optim, 1e-4).unwrap();
                let found_norm = numbers.double_value(&[1]);

                let case = format!("{norm} {sharing} {kind:?}");
                let error = distance(&loss, &batch[&format!("{sharing}/loss")]);
                assert!(error <= tolerance, "{case}: the loss is {error:e} off");
                let expected = batch[&format!("{sharing}/norm")].double_value(&[]);
                let norm_error = (found_norm / expected - 1.0).abs();
                assert!(norm_error <= tolerance, "{case}: the norm is {found_norm}, expected {expected}");
                let prefix = format!("{sharing}/");
                let parameters = batch.keys().filter(|name| name.starts_with(&prefix)).count() - 2;
                assert_eq!(weights.entries().len(), parameters, "{case}");
                let mut worst = (0.0, "");
                for weight in weights.entries() {
                    let name = &weight.spec.name;
                    let error = distance(&weight.in_file(&weight.tensor), &batch[&format!("{prefix}{name}")]);
                    assert!(error <= tolerance, "{case}: `{name}` is {error:e} off");
                    if error > worst.0 {
                        worst = (error, name);
                    }
                }
                let (worst, name) = worst;
                println!("{case}: loss {error:e}, norm {norm_error:e} (relative), parameters {worst:e} (`{name}`) off");
            }
        }
    }
}

#[derive(serde::Deserialize)]
struct Filled {
    text: String,
    masks: Vec<Vec<ExpectedCandidate>>,
}

#[derive(serde::Deserialize)]
struct ExpectedCandidate {
    token: String,
    probability: f64,
}

#[test]
fn fill_mask_finds_what_the_pipeline_of_transformers_finds() {
    for norm in NORMS {
        let json = std::fs::read(fixture(&format!("{norm}-fill-mask.json"))).unwrap();
        for filled in serde_json::from_slice::<Vec<Filled>>(&json).unwrap() {
            let got = fill_mask(&fixture(norm), &filled.text, 3, Device::Cpu).unwrap();
            assert_eq!(got.len(), filled.masks.len());
            for (got, expected) in got.iter().flatten().zip(filled.masks.iter().flatten()) {
                assert_eq!(got.token, expected.token);
                assert!((got.probability - expected.probability).abs() < 1e-5);
            }
        }
    }
    let got = fill_mask(&fixture("post"), "a [MASK] and a [MASK] ran .", 1, Device::Cpu).unwrap();
    let sequences: Vec<&str> = got.iter().map(|mask| mask[0].sequence.as_str()).collect();
    assert_eq!(sequences, ["aj and a [MASK] ran.", "a [MASK] and ak ran."]);
}

#[test]
fn fill_mask_says_what_is_wrong_with_a_text() {
    let refused = |text: &str| fill_mask(&fixture("post"), text, 5, Device::Cpu).unwrap_err().report();
    assert!(refused("the cat sat").contains("no `[MASK]`"));
    let long = format!("[MASK] {}", "cat ".repeat(30));
    assert!(refused(&long).contains("expected at most 24 tokens, got 33"), "{}", refused(&long));
}
