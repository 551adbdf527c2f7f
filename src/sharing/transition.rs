//! How to untie: (LayerMap, weights, moments) → (LayerMap, weights, moments).
//!
//! Every group of the new map gets a deep copy of the tensors and of both AdamW moments of the group that it was part
//! of. Step count, schedule, data order and random state are not touched. Cost: one copy of the encoder's new groups;
//! the tensors outside the encoder are handed over as they are.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::model::weights::layer_prefix;
use crate::model::{Weight, Weights};
use crate::optim::Moments;

/// What AdamW's moments become at a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentsAt {
    /// Every layer gets its own copy; the count of updates goes on.
    Carry,
    /// All moments and the count of updates start at zero, as those of an optimizer made anew do.
    Reset,
}

/// Splits groups: `to` must refine `from`.
///
/// # Errors
/// When `to` joins layers that `from` keeps apart, or memory for a copy cannot be had.
pub fn transition(
    from: &LayerMap,
    weights: &Weights,
    moments: &Moments,
    to: &LayerMap,
    moments_at: MomentsAt,
) -> Result<(Weights, Moments)> {
    if !to.refines(from) {
        return Err(Error::failed(format!(
            "a transition can only split groups: expected a refinement of {:?}, got {:?}",
            Vec::from(from.clone()),
            Vec::from(to.clone())
        )));
    }
    let old = weights.entries();
    let mut new = Gathered::default();
    // The store's order: tensors before the layers, the layers group by group, tensors after them.
    let is_layer = |weight: &Weight| weight.spec.group.is_some();
    let first = old.iter().position(is_layer).unwrap_or(old.len());
    let last = old.iter().rposition(is_layer).map_or(old.len(), |at| at + 1);
    for (at, weight) in old.iter().enumerate().take(first) {
        new.hand_over(weight, moments, at);
    }
    for group in 0..to.num_groups() {
        let source = from.group_of(to.lowest(group));
        for at in (first..last).filter(|&at| old[at].spec.group == Some(source)) {
            new.weights.push(copy_for(&old[at], from, to, group)?);
            new.exp_avg.push(deep_copy(&moments.exp_avg[at])?);
            new.exp_avg_sq.push(deep_copy(&moments.exp_avg_sq[at])?);
        }
    }
    for (at, weight) in old.iter().enumerate().skip(last) {
        new.hand_over(weight, moments, at);
    }
    let weights = Weights::new(new.weights);
    let moments = match moments_at {
        MomentsAt::Carry => {
            Moments { exp_avg: new.exp_avg, exp_avg_sq: new.exp_avg_sq, num_updates: moments.num_updates }
        }
        MomentsAt::Reset => Moments::zeros(&weights)?,
    };
    Ok((weights, moments))
}

/// The new store, as it grows.
#[derive(Default)]
struct Gathered {
    weights: Vec<Weight>,
    exp_avg: Vec<Tensor>,
    exp_avg_sq: Vec<Tensor>,
}

impl Gathered {
    /// A tensor outside the layers goes on as it is, storage and all.
    fn hand_over(&mut self, weight: &Weight, moments: &Moments, at: usize) {
        let tensor = weight.tensor.shallow_clone();
        self.weights.push(Weight { spec: weight.spec.clone(), tensor, members: weight.members });
        self.exp_avg.push(moments.exp_avg[at].shallow_clone());
        self.exp_avg_sq.push(moments.exp_avg_sq[at].shallow_clone());
    }
}

/// Equal values in storage of its own, without a graph.
fn deep_copy(tensor: &Tensor) -> Result<Tensor> {
    let source = tensor.detach();
    let mut copy = source.f_empty_like()?;
    copy.f_copy_(&source)?;
    Ok(copy)
}

/// A deep copy of `weight` under the name of `group` of the new map.
fn copy_for(weight: &Weight, from: &LayerMap, to: &LayerMap, group: usize) -> Result<Weight> {
    let old_prefix = layer_prefix(from.lowest(from.group_of(to.lowest(group))));
    let suffix = weight
        .spec
        .name
        .strip_prefix(&old_prefix)
        .ok_or_else(|| Error::failed(format!("tensor `{}` is not below `{old_prefix}`", weight.spec.name)))?;
    let mut spec = weight.spec.clone();
    spec.name = format!("{}{suffix}", layer_prefix(to.lowest(group)));
    spec.group = Some(group);
    let tensor = deep_copy(&weight.tensor)?.f_set_requires_grad(true)?;
    Ok(Weight { spec, tensor, members: to.members(group).len() })
}
