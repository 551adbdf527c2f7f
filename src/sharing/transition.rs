//! How to untie: (LayerMap, weights, moments) → (LayerMap, weights, moments).
//!
//! Of the groups that a group splits into, the one with its lowest layer takes over its tensors, storage and all, and so do groups
//! that do not split and the tensors outside the encoder; each of the others gets a deep copy of the tensors and of both AdamW
//! moments. Step count, schedule, data order and random state are not touched. Cost: one copy for each group that there is more
//! afterwards, and no memory beyond what the new weights and moments take.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::model::weights::{layer_prefix, Spec};
use crate::model::{Weight, Weights};
use crate::optim::Moments;

/// What AdamW's moments become at a transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentsAt {
    /// Every group has those of the group that it was part of; the count of updates goes on.
    #[default]
    Carry,
    /// All moments and the count of updates start at zero, as those of an optimizer made anew do.
    Reset,
}

/// Splits groups: `to` must refine `from`. Takes the weights and moments, since the new ones share their storage.
///
/// # Errors
/// When `to` joins layers that `from` keeps apart, or memory for a copy cannot be had.
pub fn transition(
    from: &LayerMap,
    weights: Weights,
    moments: Moments,
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
    let mut new = Gathered { moments_at, ..Gathered::default() };
    // The store's order: tensors before the layers, the layers group by group, tensors after them.
    let is_layer = |weight: &Weight| weight.spec.group.is_some();
    let first = old.iter().position(is_layer).unwrap_or(old.len());
    let last = old.iter().rposition(is_layer).map_or(old.len(), |at| at + 1);
    for (at, weight) in old.iter().enumerate().take(first) {
        new.hand_over(weight, weight.spec.clone(), weight.members, &moments, at)?;
    }
    for group in 0..to.num_groups() {
        let source = from.group_of(to.lowest(group));
        let takes_over = from.lowest(source) == to.lowest(group);
        let members = to.members(group).len();
        for at in (first..last).filter(|&at| old[at].spec.group == Some(source)) {
            let spec = spec_of(&old[at], from.lowest(source), to, group)?;
            match takes_over {
                true => new.hand_over(&old[at], spec, members, &moments, at)?,
                false => new.copy(&old[at], spec, members, &moments, at)?,
            }
        }
    }
    for (at, weight) in old.iter().enumerate().skip(last) {
        new.hand_over(weight, weight.spec.clone(), weight.members, &moments, at)?;
    }
    let num_updates = match moments_at {
        MomentsAt::Carry => moments.num_updates,
        MomentsAt::Reset => 0,
    };
    let Gathered { weights, exp_avg, exp_avg_sq, .. } = new;
    Ok((Weights::new(weights), Moments { exp_avg, exp_avg_sq, num_updates }))
}

/// The new store, as it grows.
#[derive(Default)]
struct Gathered {
    moments_at: MomentsAt,
    weights: Vec<Weight>,
    exp_avg: Vec<Tensor>,
    exp_avg_sq: Vec<Tensor>,
}

impl Gathered {
    /// The weight `at` and its moments go on as they are, storage and gradient and all.
    fn hand_over(&mut self, weight: &Weight, spec: Spec, members: usize, moments: &Moments, at: usize) -> Result<()> {
        self.weights.push(Weight { spec, tensor: weight.tensor.shallow_clone(), members });
        for (new, old) in [(&mut self.exp_avg, &moments.exp_avg), (&mut self.exp_avg_sq, &moments.exp_avg_sq)] {
            let mut moment = old[at].shallow_clone();
            if self.moments_at == MomentsAt::Reset {
                moment = moment.f_zero_()?;
            }
            new.push(moment);
        }
        Ok(())
    }

    /// The weight `at` and its moments, with storage of their own.
    fn copy(&mut self, weight: &Weight, spec: Spec, members: usize, moments: &Moments, at: usize) -> Result<()> {
        let tensor = deep_copy(&weight.tensor)?.f_set_requires_grad(true)?;
        self.weights.push(Weight { spec, tensor, members });
        for (new, old) in [(&mut self.exp_avg, &moments.exp_avg), (&mut self.exp_avg_sq, &moments.exp_avg_sq)] {
            new.push(match self.moments_at {
                MomentsAt::Carry => deep_copy(&old[at])?,
                MomentsAt::Reset => old[at].f_zeros_like()?,
            });
        }
        Ok(())
    }
}

/// Equal values in storage of its own, without a graph.
fn deep_copy(tensor: &Tensor) -> Result<Tensor> {
    let source = tensor.detach();
    let mut copy = source.f_empty_like()?;
    copy.f_copy_(&source)?;
    Ok(copy)
}

/// What `weight`, of the group whose lowest layer was `lowest`, is in `group` of the new map.
fn spec_of(weight: &Weight, lowest: usize, to: &LayerMap, group: usize) -> Result<Spec> {
    let old_prefix = layer_prefix(lowest);
    let suffix = weight
        .spec
        .name
        .strip_prefix(&old_prefix)
        .ok_or_else(|| Error::failed(format!("tensor `{}` is not below `{old_prefix}`", weight.spec.name)))?;
    let name = format!("{}{suffix}", layer_prefix(to.lowest(group)));
    Ok(Spec { name, group: Some(group), ..weight.spec.clone() })
}
