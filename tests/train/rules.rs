//! The rules on gradients that were made for the purpose, through the very code of `untie train`, also across a kill and
//! resume between checks.
//!
//! The problem: a Pre-LN BERT whose loss is a sum of ⟨hidden state after layer l, Rₗ⟩, without dropout. The stream of
//! hidden states carries a gradient almost unchanged from layer to layer (the weights are small, so layers start near the
//! identity), so the gradient that reaches layer l's output is close to Dₗ = Rₗ + Rₗ₊₁ + … . The test chooses D: layers
//! whose D is the same random field have gradients of a correlation near 1, others near 0.

use std::path::Path;

use serde_json::Value;
use tch::{Device, Kind, Tensor};
use untie::checkpoint::{self, CheckpointConfig, RunState};
use untie::error::Result;
use untie::growth::{RuleKind, SharingConfig, Splits, Start};
use untie::layer_map::LayerMap;
use untie::model::{Bert, BertConfig, Input, Mode, ModelConfig, Norm, Weights};
use untie::optim::{Moments, OptimConfig};
use untie::parallel::World;
use untie::shim::uniform;
use untie::train::{InitialState, TrainSpec, TrainState};

const LAYERS: usize = 6;
const CHECK_EVERY: u64 = 4;

/// For each layer the number of the random field that it shall see as its gradient.
type Fields = [u64; LAYERS];
const ALIKE: Fields = [7; LAYERS];

fn bert() -> BertConfig {
    let sizes = ModelConfig {
        hidden_size: Some(16),
        num_hidden_layers: Some(LAYERS),
        num_attention_heads: Some(2),
        intermediate_size: Some(32),
        max_position_embeddings: Some(8),
        norm: Some(Norm::Pre),
        hidden_dropout_prob: Some(0.0),
        attention_probs_dropout_prob: Some(0.0),
        ..Default::default()
    };
    sizes.resolve(64).unwrap()
}

fn spec(sharing: &SharingConfig) -> TrainSpec {
    TrainSpec::new(bert(), OptimConfig::default(), sharing.clone(), Kind::Float.into(), 1000)
}

fn fresh(sharing: &SharingConfig) -> TrainState {
    tch::set_num_threads(1);
    let map = sharing.start_map(LAYERS).unwrap();
    let weights = Weights::initialise(&bert(), &map, 1, Kind::Float, Device::Cpu).unwrap();
    // Hidden states of size 1: LayerNorm then hands gradients on as they are, not magnified.
    let embeddings = &weights.entries()[0].tensor;
    let _ = tch::no_grad(|| embeddings.shallow_clone().g_mul_scalar_(50.0));
    let moments = Moments::zeros(&weights).unwrap();
    TrainState::new(spec(sharing), InitialState::new(map, weights, moments), World::alone().into()).unwrap()
}

/// Σₗ ⟨hidden state after layer l, Dₗ − Dₗ₊₁⟩ with D after the last layer 0. Tensors outside the layers get a gradient of
/// 0, as AdamW wants one for each.
fn loss(model: &Bert, outside: &[Tensor], fields: Fields) -> Result<Tensor> {
    let ids = Tensor::from_slice(&(0..32_i64).map(|at| 5 + at * 7 % 50).collect::<Vec<_>>()).view([4, 8]);
    let states = model.hidden_states(Input::full(&ids), Mode::Train)?;
    // Not libtorch's own generator, which the tests that run beside this one share.
    let field = |number: u64| (uniform(&[4, 8, 16], number).unwrap() * 2.0 - 1.0).to_kind(Kind::Float);
    let mut sum = Tensor::zeros([], (Kind::Float, Device::Cpu));
    for tensor in outside {
        sum += tensor.sum(Kind::Float) * 0.0;
    }
    for layer in 0..LAYERS {
        let here = field(fields[layer]);
        let above = if layer + 1 < LAYERS { field(fields[layer + 1]) } else { here.zeros_like() };
        sum += (&states[layer + 1] * (here - above)).sum(Kind::Float);
    }
    Ok(sum)
}

/// Saves and loads: what a kill right after a checkpoint leaves.
fn killed_and_resumed(sharing: &SharingConfig, state: TrainState, step: u64, folder: &Path) -> TrainState {
    let first = RunState::first(state.map().clone(), bert(), Value::Null, Default::default(), Default::default());
    let (num_updates, rule) = (state.moments().num_updates, state.rule().state());
    let saved = RunState { step, num_updates, rule, ..first };
    let config = CheckpointConfig::default();
    let path = checkpoint::save(folder, &saved, state.weights(), state.moments(), None, &config).unwrap();
    drop(state);
    let loaded = checkpoint::load(&path, Kind::Float, Device::Cpu).unwrap();
    let checkpoint::Loaded { state: saved, weights, moments, .. } = loaded;
    let start = InitialState { rule_state: Some(saved.rule), ..InitialState::new(saved.layer_map, weights, moments) };
    TrainState::new(spec(sharing), start, World::alone().into()).unwrap()
}

/// Trains on gradients of `fields(check)` until check `checks`; the sharing after each check. With `folder`, killed and
/// resumed between every two checks.
fn run(sharing: &SharingConfig, checks: u64, fields: impl Fn(u64) -> Fields, folder: Option<&Path>) -> Vec<Vec<usize>> {
    let mut state = fresh(sharing);
    let mut maps = Vec::new();
    for step in 1..=checks * CHECK_EVERY {
        let number = step.div_ceil(CHECK_EVERY);
        let outside = state.weights().entries().iter().filter(|weight| weight.spec.group.is_none());
        let outside: Vec<Tensor> = outside.map(|weight| weight.tensor.shallow_clone()).collect();
        let (_, check) = state.step(step, 1e-4, 1, |model, _| loss(model, &outside, fields(number))).unwrap();
        if let Some(check) = &check {
            // Far from the threshold of 0.5 on either side: what the rule does is not a matter of rounding.
            assert!(check.watched.iter().all(|found| found.value < 0.45 || found.value > 0.9), "{check:?}");
        }
        assert_eq!(check.is_some(), step % CHECK_EVERY == 0 && state.map().num_groups() < LAYERS, "step {step}");
        if let Some(transition) = state.decide(step, check.as_ref()) {
            assert!(check.is_some(), "only a check can untie");
            state.grow(&transition).unwrap();
        }
        if step % CHECK_EVERY == 0 {
            maps.push(Vec::from(state.map().clone()));
        } else if step % CHECK_EVERY == 2 {
            if let Some(folder) = folder {
                state = killed_and_resumed(sharing, state, step, folder);
            }
        }
    }
    maps
}

fn both_ways(sharing: &SharingConfig, fields: impl Fn(u64) -> Fields + Copy, expected: &[Vec<usize>]) {
    let checks = expected.len() as u64;
    assert_eq!(run(sharing, checks, fields, None), expected);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(sharing, checks, fields, Some(folder.path())), expected, "killed and resumed");
}

fn sharing(rule: RuleKind, start: &str) -> SharingConfig {
    let start = Start::Named(start.into());
    SharingConfig { rule: Some(rule), start, check_every: CHECK_EVERY, ..Default::default() }
}

fn tied() -> Vec<usize> {
    vec![0; LAYERS]
}

fn untied() -> Vec<usize> {
    (0..LAYERS).collect()
}

/// Three of five pairs apart from check 3 on, except at check 5: the third check in a row is number 8.
#[test]
fn adaptive_fires_at_the_third_check_in_a_row() {
    let fields = |check| if check >= 3 && check != 5 { [1, 2, 3, 4, 4, 4] } else { ALIKE };
    let expected = [vec![tied(); 7], vec![untied(); 1]].concat();
    both_ways(&sharing(RuleKind::Adaptive, "tied"), fields, &expected);
}

/// Two of five pairs apart are no majority, however long it lasts.
#[test]
fn adaptive_needs_more_than_half() {
    let fields = |_| [1, 2, 3, 3, 3, 3];
    both_ways(&sharing(RuleKind::Adaptive, "tied"), fields, &vec![tied(); 6]);
}

/// Units 2×3: layers within a unit are apart all the time and do not count; the units are apart from check 2 on.
#[test]
fn adaptive_compares_whole_units() {
    let fields = |check| if check >= 2 { [1, 2, 3, 4, 5, 6] } else { [1, 2, 1, 2, 1, 2] };
    let units = vec![0, 1, 0, 1, 0, 1];
    let expected = [vec![units; 3], vec![untied()]].concat();
    both_ways(&sharing(RuleKind::Adaptive, "2x3"), fields, &expected);
}

/// By hand: 2|3 is apart from check 1, 0|1 from check 2, 4|5 from check 2. Check 3 cuts 2|3: {0,1,2} {3,4,5}. At check 4
/// both groups have a ripe boundary: {0} {1,2} {3,4} {5}. 1|2 and 3|4 come apart at checks 5 to 7.
#[test]
fn multi_step_splits_in_the_order_worked_out_by_hand() {
    let fields = |check| match check {
        1 => [1, 1, 1, 2, 2, 2],
        2..=4 => [1, 2, 2, 3, 3, 4],
        _ => [1, 2, 3, 4, 5, 6],
    };
    let thirds = vec![0, 1, 1, 2, 2, 3];
    let expected = [vec![tied(); 2], vec![vec![0, 0, 0, 1, 1, 1]], vec![thirds; 3], vec![untied()]];
    both_ways(&sharing(RuleKind::MultiStep, "tied"), fields, &expected.concat());
}

/// All boundaries ripe at check 3: one at a time from below, or all at once.
#[test]
fn multi_step_takes_the_lowest_boundary_or_all() {
    let fields = |_| [1, 2, 3, 4, 5, 6];
    let lowest = [tied(), tied(), vec![0, 1, 1, 1, 1, 1], vec![0, 1, 2, 2, 2, 2], vec![0, 1, 2, 3, 3, 3]];
    both_ways(&sharing(RuleKind::MultiStep, "tied"), fields, &lowest);
    let all = SharingConfig { splits: Splits::All, ..sharing(RuleKind::MultiStep, "tied") };
    both_ways(&all, fields, &[tied(), tied(), untied()]);
}

/// Units 2×3: the groups {0, 2, 4} and {1, 3, 5} split by themselves, here only the second one: above layer 3, where its
/// members 3 and 5 are apart.
#[test]
fn multi_step_splits_each_group_of_units_by_itself() {
    let fields = |_| [1, 2, 1, 2, 1, 3];
    let units = vec![0, 1, 0, 1, 0, 1];
    let expected = [units.clone(), units, vec![0, 1, 0, 1, 0, 2], vec![0, 1, 0, 1, 0, 2]];
    both_ways(&sharing(RuleKind::MultiStep, "2x3"), fields, &expected);
    assert!(LayerMap::from_groups(LAYERS, &[vec![0, 2, 4], vec![1, 3], vec![5]])
        .is_ok_and(|map| Vec::from(map) == expected[3]));
}
