//! The size of each layer's first updates after untying, for AdamW's moments carried or reset and for the mean or the sum of
//! the tied layers' gradients, beside the literal reference of tests/literal. `docs/untying.md` explains what comes out.
//!
//! `untying_updates [--tied N] [--out DIR]` trains a small BERT in fp64 on made-up text, tied and then untied, and prints
//! tables; into DIR it writes `updates.csv`, `losses.csv` and the picture `untying-updates.{svg,png}`. Two minutes of one
//! core.

#[path = "../../tests/literal/mod.rs"]
#[expect(
    dead_code,
    reason = "the untying point is fixed and numbers are whole: no rule is asked, no signed number drawn"
)]
mod literal;
mod output;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;
use tch::{Device, Kind, Tensor};
use untie::error::Result;
use untie::growth::{MomentsAt, RuleKind, RunPoint, SharingConfig};
use untie::layer_map::LayerMap;
use untie::loss::masked_lm;
use untie::model::{Bert, BertConfig, Mode, ModelConfig, Norm, Weights};
use untie::optim::{GroupGradient, Moments, OptimConfig};
use untie::parallel::World;
use untie::train::state::{InitialState, TrainSpec, TrainState};

use literal::{border, Adam, Combine, Reference, Sizes};
use text::{batch, house, LENGTH, VOCABULARY};

const LAYERS: usize = 12;
/// Updates after them.
const UNTIED: u64 = 200;
/// Updates of the tables and of the reference, counted from untying; update 1 is the first untied one.
const SHOWN: std::ops::RangeInclusive<i64> = -2..=10;
const LEARNING_RATE: f64 = 1e-3;
/// Held-out batches.
const HELD_OUT: u64 = 12;

/// What is compared: name, moments at the transition, gradient of a group.
const VARIANTS: [(&str, MomentsAt, GroupGradient); 3] = [
    ("carry, mean", MomentsAt::Carry, GroupGradient::Mean),
    ("reset, mean", MomentsAt::Reset, GroupGradient::Mean),
    ("carry, sum", MomentsAt::Carry, GroupGradient::Sum),
];

#[derive(Parser)]
struct Arguments {
    /// Tied updates; after 400 the loss is nearly flat
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(3..))]
    tied: u64,
    /// Folder for CSV files and the picture
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The norm of each layer's update, by the update's number from untying.
type Norms = BTreeMap<i64, Vec<f64>>;

/// One run.
struct Curves {
    name: &'static str,
    product: Norms,
    reference: Norms,
    /// Held-out loss after each update that was evaluated, by its number from untying.
    losses: Vec<(i64, f64)>,
}

fn spec(moments: MomentsAt, gradient: GroupGradient, tied: u64) -> Result<TrainSpec> {
    let sizes = ModelConfig {
        hidden_size: Some(64),
        num_hidden_layers: Some(LAYERS),
        num_attention_heads: Some(4),
        intermediate_size: Some(128),
        max_position_embeddings: Some(LENGTH as i64),
        norm: Some(Norm::Pre),
        hidden_dropout_prob: Some(0.0),
        attention_probs_dropout_prob: Some(0.0),
        ..ModelConfig::default()
    };
    let bert = BertConfig { initializer_range: 0.05, ..sizes.resolve(VOCABULARY as usize)? };
    // No clipping: it would hide that a sum is larger than a mean.
    let optim = OptimConfig { clip_norm: 0.0, ..OptimConfig::default() };
    let sharing = SharingConfig {
        rule: Some(RuleKind::Fixed),
        untie_at: RunPoint::Step(tied),
        moments,
        gradient,
        ..SharingConfig::default()
    };
    Ok(TrainSpec::new(bert, optim, sharing, Kind::Double.into(), tied + UNTIED))
}

/// Warm-up over 50 updates, then constant.
fn learning_rate(step: u64) -> f64 {
    LEARNING_RATE * (step as f64 / 50.0).min(1.0)
}

/// Each layer's weights in one vector, from tensors under the reference's names.
fn by_layer<'a>(tensors: impl Iterator<Item = (&'a String, Tensor)>) -> Vec<Tensor> {
    let mut layers: Vec<Vec<Tensor>> = (0..LAYERS).map(|_| Vec::new()).collect();
    for (name, tensor) in tensors {
        if let Some(layer) = (0..LAYERS).find(|&layer| name.starts_with(&literal::prefix(layer))) {
            layers[layer].push(tensor.flatten(0, -1));
        }
    }
    layers.iter().map(|parts| Tensor::cat(parts, 0)).collect()
}

/// The product's weights as the reference names them.
fn weights(state: &TrainState) -> BTreeMap<String, Tensor> {
    let entries = state.weights().entries().iter();
    let house = entries.map(|weight| (weight.spec.name.clone(), weight.in_file(&weight.tensor).detach()));
    border::copies(&house.collect(), &Vec::from(state.map().clone()))
}

fn product_layers(state: &TrainState) -> Vec<Tensor> {
    by_layer(weights(state).iter().map(|(name, tensor)| (name, tensor.shallow_clone())))
}

fn reference_layers(reference: &Reference) -> Vec<Tensor> {
    by_layer(reference.parameters.iter().map(|(name, parameter)| (name, parameter.value.detach())))
}

fn distances(before: &[Tensor], after: &[Tensor]) -> Vec<f64> {
    before.iter().zip(after).map(|(before, after)| (after - before).norm().double_value(&[])).collect()
}

fn reference(spec: &TrainSpec, state: &TrainState) -> Reference {
    let TrainSpec { bert, optim, sharing, .. } = spec;
    let sizes = Sizes {
        layers: LAYERS,
        hidden: bert.hidden_size,
        heads: bert.num_attention_heads,
        pre_norm: true,
        epsilon: bert.layer_norm_eps,
    };
    let adam = Adam {
        beta1: optim.betas[0],
        beta2: optim.betas[1],
        epsilon: optim.eps,
        weight_decay: optim.weight_decay,
        clip_norm: f64::INFINITY,
    };
    let combine = match sharing.gradient {
        GroupGradient::Mean => Combine::Mean,
        GroupGradient::Sum => Combine::Sum,
    };
    Reference::new(sizes, vec![0; LAYERS], weights(state), adam, combine)
}

fn held_out_loss(model: &Bert) -> Result<f64> {
    let mut sum = 0.0;
    for number in 0..HELD_OUT {
        let batch = house(&batch(1_000_000 + number));
        let found = tch::no_grad(|| masked_lm(model, &batch.to_device(Device::Cpu)?, batch.num_targets, Mode::Eval))?;
        sum += f64::try_from(&found.loss)?;
    }
    Ok(sum / HELD_OUT as f64)
}

/// Trains one variant, and its reference to the last update that is shown.
fn run(name: &'static str, moments: MomentsAt, gradient: GroupGradient, tied: u64) -> Result<Curves> {
    let spec = spec(moments, gradient, tied)?;
    let map = LayerMap::tied(LAYERS);
    let start = Weights::initialise(&spec.bert, &map, 1, Kind::Double, Device::Cpu)?;
    let zeros = Moments::zeros(&start)?;
    let mut state = TrainState::new(spec.clone(), InitialState::new(map, start, zeros), World::alone().into())?;
    let mut reference = reference(&spec, &state);
    let mut curves = Curves { name, product: Norms::new(), reference: Norms::new(), losses: Vec::new() };
    for step in 1..=tied + UNTIED {
        let from_untying = step as i64 - tied as i64;
        let is_measured = from_untying >= *SHOWN.start();
        let batch = batch(step);
        let before = is_measured.then(|| product_layers(&state));
        let tensors = house(&batch).to_device(Device::Cpu)?;
        state.step(step, learning_rate(step), 1, |model, _| {
            Ok(masked_lm(model, &tensors, batch.targets.len(), Mode::Train)?.loss)
        })?;
        if let Some(before) = before {
            curves.product.insert(from_untying, distances(&before, &product_layers(&state)));
        }
        if from_untying <= *SHOWN.end() {
            let before = reference_layers(&reference);
            reference.step(&batch, learning_rate(step));
            if is_measured {
                curves.reference.insert(from_untying, distances(&before, &reference_layers(&reference)));
            }
        }
        if let Some(transition) = state.decide(step, None) {
            state.grow(&transition)?;
            reference.labels = (0..LAYERS).collect();
            if moments == MomentsAt::Reset {
                reference.reset_moments();
            }
        }
        if from_untying % 20 == 0 || SHOWN.contains(&from_untying) {
            curves.losses.push((from_untying, held_out_loss(&state.model_in(Kind::Double)?)?));
        }
    }
    Ok(curves)
}

fn main() -> Result<()> {
    let Arguments { tied, out } = Arguments::parse();
    let all = VARIANTS
        .into_iter()
        .map(|(name, moments, gradient)| run(name, moments, gradient, tied))
        .collect::<Result<Vec<Curves>>>()?;
    output::print(&all, tied);
    match out {
        Some(folder) => output::write(&all, &folder),
        None => Ok(()),
    }
}
