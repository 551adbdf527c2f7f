//! The weights of another model as those of a run.
//!
//! In: a model whose layers are all apart, and the sharing at step 0. Out: weights of the run's own, with a new head where the
//! model lacks one that the run needs. Cost: the unique weights once more.

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::growth::GroupInit;
use crate::hub::HubModel;
use crate::layer_map::LayerMap;
use crate::model::weights::{initial_values, is_of_pair_head, layer_prefix};
use crate::model::{BertConfig, Weights};

/// The weights of `source` for a model `bert` that is shared as `map`: a group of several layers takes theirs as `groups` says.
/// New heads start as BERT's do, from `seed`.
///
/// # Errors
/// A `source` of other sizes, and memory that cannot be had.
pub fn weights(
    source: &HubModel,
    bert: &BertConfig,
    map: &LayerMap,
    groups: GroupInit,
    seed: u64,
    kind: Kind,
    device: Device,
) -> Result<Weights> {
    Weights::from_named(bert, map, kind, device, |spec| {
        let is_new = source.new_tensors.contains(&spec.name)
            || is_of_pair_head(&spec.name) && source.weights.get(&spec.name).is_none();
        if is_new {
            return initial_values(spec, bert.initializer_range, seed);
        }
        let members = spec.group.map_or_else(Vec::new, |group| map.members(group));
        match (groups, &members[..]) {
            (GroupInit::Mean, [lowest, _, ..]) => {
                let of = |layer: &usize| spec.name.replacen(&layer_prefix(*lowest), &layer_prefix(*layer), 1);
                let values = members.iter().map(|layer| values(source, &of(layer))).collect::<Result<Vec<_>>>()?;
                Ok(Tensor::f_stack(&values, 0)?.f_mean_dim(0_i64, false, Kind::Double)?)
            }
            _ => values(source, &spec.name),
        }
    })
}

fn values(source: &HubModel, name: &str) -> Result<Tensor> {
    let weight = source.weights.get(name).ok_or_else(|| Error::failed(format!("the model has no tensor `{name}`")))?;
    Ok(weight.in_file(&weight.tensor.detach()))
}
