//! Activation checkpointing changes no bit of training: losses, norms, checks, weights and gradients with and without it.

use crate::common::{stderr, TestWorkspace};
use crate::own_process::in_own_process;
use crate::runs::metrics;
use tch::{Device, Kind, Tensor};
use untie::batch::Batch;
use untie::bench::batch::made_up;
use untie::growth::{RuleKind, SharingConfig};
use untie::layer_map::LayerMap;
use untie::loss::{pretraining, Totals};
use untie::model::{BertConfig, Compute, Kernels, Mode, ModelConfig, Norm, Weights};
use untie::optim::{Moments, OptimConfig};
use untie::parallel::World;
use untie::train::{InitialState, TrainSpec, TrainState};

const STEPS: u64 = 4;

fn config(norm: Norm) -> BertConfig {
    let sizes = ModelConfig {
        hidden_size: Some(32),
        num_hidden_layers: Some(3),
        num_attention_heads: Some(2),
        intermediate_size: Some(96),
        max_position_embeddings: Some(32),
        norm: Some(norm),
        hidden_dropout_prob: Some(0.1),
        attention_probs_dropout_prob: Some(0.1),
        ..Default::default()
    };
    sizes.resolve(90).unwrap()
}

/// Losses, norms and correlations of a few steps of two micro-batches each, every second step probed; and the weights and
/// gradients after them.
fn train(config: &BertConfig, map: &LayerMap, compute: Compute) -> (Vec<f64>, Vec<Tensor>) {
    let (optim, sharing) = (OptimConfig::default(), SharingConfig::default());
    let sharing = SharingConfig { rule: Some(RuleKind::Never), monitor: true, check_every: 2, ..sharing };
    let spec = TrainSpec::new(config.clone(), optim, sharing, compute, STEPS);
    let weights = Weights::initialise(config, map, 3, Kind::Float, Device::Cpu).unwrap();
    let moments = Moments::zeros(&weights).unwrap();
    let mut state =
        TrainState::new(spec, InitialState::new(map.clone(), weights, moments), World::alone().into()).unwrap();
    let batches = [made_up(3, 21, 90), made_up(2, 32, 80)];
    let totals = Totals {
        targets: batches.iter().map(|batch| batch.num_targets).sum(),
        sequences: batches.iter().map(Batch::num_sequences).sum(),
    };
    let mut numbers = Vec::new();
    for step in 1..=STEPS {
        let (report, check) = state
            .step(step, 1e-2, batches.len(), |model, index| {
                tch::manual_seed((step * 10 + index as u64) as i64);
                pretraining(model, &batches[index].to_device(Device::Cpu)?, totals, Mode::Train)?.total()
            })
            .unwrap();
        assert_eq!(check.is_some(), step % 2 == 0);
        let report = report.read().unwrap();
        numbers.extend([report.loss, report.grad_norm]);
        numbers.extend(check.iter().flat_map(|check| check.matrix.clone()));
    }
    let entries = state.weights().entries().iter();
    (numbers, entries.flat_map(|weight| [weight.tensor.detach(), weight.tensor.grad()]).collect())
}

#[test]
fn a_run_is_the_same_bit_for_bit() {
    in_own_process(module_path!(), "a_run_is_the_same_bit_for_bit", compare_runs);
}

fn compare_runs() {
    // Tensors this small are not worth the threads.
    tch::set_num_threads(1);
    for kernels in [Kernels::Fused, Kernels::Plain] {
        for kind in [Kind::Float, Kind::BFloat16] {
            for norm in [Norm::Post, Norm::Pre] {
                for map in [LayerMap::tied(3), LayerMap::untied(3)] {
                    let config = config(norm);
                    let [without, with] =
                        [false, true].map(|recompute| train(&config, &map, Compute { kind, kernels, recompute }));
                    let case = format!("{kernels:?} {kind:?} {norm:?} {} groups", map.num_groups());
                    assert!(without.0.iter().all(|number| number.is_finite()), "{case}: {:?}", without.0);
                    assert_eq!(without.0, with.0, "{case}: losses, norms, correlations");
                    assert!(without.1 == with.1, "{case}: weights and gradients");
                }
            }
        }
    }
}

/// Through the command line: the same metrics but for the times, and a resume that turns it on.
#[test]
fn a_run_turns_it_on_and_goes_on_alike() {
    let workspace = TestWorkspace::new();
    let run = |dir: &str, arguments: &[&str]| {
        let base = ["train", "--config", "run.toml", "--run-dir", dir, "--set", "train.steps=12"];
        let output = workspace.untie(&[&base[..], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let on = ["--set", "train.activation_checkpointing=true"];
    run("off", &[]);
    run("on", &on);
    assert_eq!(metrics(&workspace.path("off")), metrics(&workspace.path("on")));
    let text = run("off", &[&on[..], &["--resume"]].concat());
    assert!(text.contains("resume: `train.activation_checkpointing`: false → true"), "{text}");
}
