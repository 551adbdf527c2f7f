//! What a model says about a task's sets, and how well that scores.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tch::Device;

use crate::error::{io, Result};
use crate::finetune::batch::{Example, TaskBatch};
use crate::finetune::eval_set::EvalSet;
use crate::finetune::loss::{outputs, Output};
use crate::finetune::task_data::TaskData;
use crate::model::{Bert, TaskHead};
use crate::parallel::World;

/// Examples of a forward without a graph.
const EVALUATED_AT_ONCE: usize = 64;

/// Scores of `model` on the sets of `data`, with predictions in `folder`; the processes of `world` take batches in turn, and each
/// gets all scores.
///
/// # Errors
/// Outputs that are not finite, a file that cannot be written, a process that is gone, and libtorch's own.
pub fn evaluate(
    model: &Bert,
    data: &TaskData,
    folder: &Path,
    device: Device,
    world: &World,
) -> Result<BTreeMap<String, f64>> {
    if world.is_first() {
        fs::create_dir_all(folder).map_err(|error| io("create", folder, error))?;
    }
    let mut scores = BTreeMap::new();
    for set in &data.sets {
        let outputs = ask(model, data, set, device, world)?;
        scores.extend(set.scores(&outputs)?);
        if world.is_first() {
            set.write(folder, &outputs)?;
        }
    }
    Ok(scores)
}

/// What `model` says about the examples of `set`, in their order; examples of like lengths are asked together.
///
/// # Errors
/// A process that is gone, and libtorch's own.
pub fn ask(model: &Bert, data: &TaskData, set: &EvalSet, device: Device, world: &World) -> Result<Vec<Output>> {
    let mut order: Vec<usize> = (0..set.examples.len()).collect();
    order.sort_by_key(|&at| set.examples[at].token_ids.len());
    // The outputs of all examples one after the other, zeros where another process asks.
    let size = |example: &Example| match data.head {
        TaskHead::Sequence { num_labels } => num_labels,
        TaskHead::Span => 2 * example.token_ids.len(),
        TaskHead::Token { num_labels } => num_labels * example.token_ids.len(),
    };
    let starts: Vec<usize> =
        set.examples.iter().scan(0, |next, example| Some(std::mem::replace(next, *next + size(example)))).collect();
    let mut values = vec![0.0; set.examples.iter().map(size).sum()];
    for chunk in order.chunks(EVALUATED_AT_ONCE).skip(world.rank()).step_by(world.size()) {
        let examples: Vec<&Example> = chunk.iter().map(|&at| &set.examples[at]).collect();
        let batch = TaskBatch::new(&examples, &[], data.padding, device)?;
        for (&at, output) in chunk.iter().zip(outputs(model, &batch, &examples, data.head)?) {
            let place = &mut values[starts[at]..];
            output.values().zip(place).for_each(|(value, to)| *to = f64::from(value));
        }
    }
    world.sum(&mut values)?;
    let output = |(example, &start): (&Example, &usize)| {
        let found = &values[start..start + size(example)];
        data.ordered(Output::new(data.head, found))
    };
    Ok(set.examples.iter().zip(&starts).map(output).collect())
}

/// Scores in per cent, for a person.
pub(super) fn described(scores: &BTreeMap<String, f64>) -> String {
    let shown = |(name, score): (&String, &f64)| match name.ends_with("threshold") {
        true => format!("{name} {score:.3}"),
        false => format!("{name} {:.2}", 100.0 * score),
    };
    scores.iter().map(shown).collect::<Vec<_>>().join(", ")
}
