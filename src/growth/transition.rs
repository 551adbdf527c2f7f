//! How a model changes its shape: (walk, weights, moments) → (walk, weights, moments).
//!
//! In: for each weight group of the new walk the groups of the old one that it is made of, W'ⱼ = Σ Aⱼᵢ·Wᵢ, and if asked for a blend
//! with a remembered state. Untying is the case in which each new group is one old group and the number of layers stays.
//!
//! Of the new groups that are a copy of one old group, the lowest takes over its tensors, storage and all; each of the others gets a
//! deep copy of the tensors and of both AdamW moments. The tensors outside the encoder go on as they are. A group that is made of
//! several is summed in fp64 and rounded once; moments then start anew. Step count, data order and random state are not touched.
//! Cost: one copy for each group that there is more afterwards, and no memory beyond what the new weights and moments take; a
//! remembered state costs its weights.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::model::weights::{layer_prefix, Spec};
use crate::model::{Weight, Weights};
use crate::optim::Moments;

/// What AdamW's moments become at a transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentsAt {
    /// Every group has those of the group that it comes from; the count of updates goes on.
    #[default]
    Carry,
    /// All moments and the count of updates start at zero, as those of an optimizer made anew do.
    Reset,
}

/// A part of a new group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Source {
    /// The group before the transition.
    pub group: usize,
    /// What its weights are multiplied by.
    pub coefficient: f64,
}

impl Source {
    /// The whole of `group`.
    pub fn whole(group: usize) -> Self {
        Self { group, coefficient: 1.0 }
    }
}

/// A change of depth or of sharing.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The weight group of each layer from then on.
    pub walk: LayerMap,
    /// What each group of it is made of.
    pub sources: Vec<Vec<Source>>,
    /// What the moments become.
    pub moments: MomentsAt,
    /// Whether the weights before it are remembered for a later blend.
    pub remembers: bool,
    /// α of a blend: every tensor becomes (1 − α) · the remembered one + α · the new one, and nothing is remembered any more.
    pub blend: Option<f64>,
    /// The groups that do not train from then on.
    pub frozen: Vec<usize>,
    /// Whether the learning rate's schedule starts anew.
    pub restarts_schedule: bool,
    /// Why, for the log.
    pub reason: String,
}

impl Transition {
    /// From `walk`, whose group j is a copy of the old group `sources[j]`; nothing is remembered, blended or frozen.
    pub fn copying(
        walk: LayerMap,
        sources: impl IntoIterator<Item = usize>,
        moments: MomentsAt,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            walk,
            sources: sources.into_iter().map(|group| vec![Source::whole(group)]).collect(),
            moments,
            remembers: false,
            blend: None,
            frozen: Vec::new(),
            restarts_schedule: false,
            reason: reason.into(),
        }
    }

    /// Splits groups of `from` and changes nothing else.
    ///
    /// # Errors
    /// When `to` joins layers that `from` keeps apart, or has another number of layers.
    pub fn untying(from: &LayerMap, to: LayerMap, moments: MomentsAt, reason: impl Into<String>) -> Result<Self> {
        if !to.refines(from) {
            return Err(Error::failed(format!(
                "a transition can only split groups: expected a refinement of {:?}, got {:?}",
                Vec::from(from.clone()),
                Vec::from(to)
            )));
        }
        let sources: Vec<usize> = (0..to.num_groups()).map(|group| from.group_of(to.lowest(group))).collect();
        Ok(Self::copying(to, sources, moments, reason))
    }

    /// The old group whose tensors the new `group` has unchanged; none where it is made of several or blended.
    fn copied(&self, group: usize) -> Option<usize> {
        match self.sources[group].as_slice() {
            &[Source { group, coefficient: 1.0 }] if self.blend.is_none() => Some(group),
            _ => None,
        }
    }

    /// Checks that it fits a model of walk `from`.
    ///
    /// # Errors
    /// A group without sources or with ones that are not there, coefficients that are not finite, a frozen group that is not there,
    /// and moments to be carried to where there are none.
    pub fn validate(&self, from: &LayerMap) -> Result<()> {
        let refuse = |words: String| Err(Error::failed(format!("an impossible transition: {words}")));
        let groups = self.walk.num_groups();
        if self.sources.len() != groups {
            return refuse(format!("expected sources of {groups} groups, got those of {}", self.sources.len()));
        }
        for (group, sources) in self.sources.iter().enumerate() {
            let fits = |source: &Source| source.group < from.num_groups() && source.coefficient.is_finite();
            if sources.is_empty() || !sources.iter().all(fits) {
                return refuse(format!(
                    "group {group} is made of {sources:?}, and there are {} groups",
                    from.num_groups()
                ));
            }
        }
        if self.blend.is_some_and(|alpha| !(0.0..=1.0).contains(&alpha)) {
            return refuse(format!("expected a blend in [0, 1], got {:?}", self.blend));
        }
        if let Some(group) = self.frozen.iter().find(|&&group| group >= groups) {
            return refuse(format!("group {group} is frozen, and there are {groups} groups"));
        }
        let copies = (0..groups).all(|group| self.copied(group).is_some());
        if self.moments == MomentsAt::Carry && !copies {
            return refuse("groups that are made of several have no moments to carry".into());
        }
        Ok(())
    }
}

/// Weights that a later transition blends with; they do not train.
#[derive(Debug)]
pub struct Remembered {
    /// The weight group of each layer.
    pub walk: LayerMap,
    /// The weights, without gradients.
    pub weights: Weights,
}

/// What a transition changes.
#[derive(Debug)]
pub struct ModelState {
    /// The weight group of each layer.
    pub walk: LayerMap,
    /// The weights.
    pub weights: Weights,
    /// Their moments.
    pub moments: Moments,
    /// The state that a blend will need.
    pub remembered: Option<Remembered>,
    /// The groups that do not train.
    pub frozen: Vec<usize>,
}

impl ModelState {
    /// A model that remembers and freezes nothing.
    pub fn new(walk: LayerMap, weights: Weights, moments: Moments) -> Self {
        Self { walk, weights, moments, remembered: None, frozen: Vec::new() }
    }
}

/// Takes the step from one model to the next. Takes the old one, since the new one shares its storage.
///
/// # Errors
/// What [`Transition::validate`] refuses, a blend without a state of that walk to blend with, no memory for a copy.
pub fn apply(from: ModelState, transition: &Transition) -> Result<ModelState> {
    transition.validate(&from.walk)?;
    let ModelState { walk: old_walk, weights: old_weights, moments, remembered, .. } = from;
    let blended = match (&remembered, transition.blend) {
        (Some(earlier), Some(alpha)) if earlier.walk == transition.walk => Some((&earlier.weights, alpha)),
        (_, None) => None,
        _ => return Err(Error::failed("a transition blends with a state that is not remembered")),
    };
    let walk = &transition.walk;
    let (old, mut new) = (old_weights.entries(), Gathered::new(transition.moments, &moments, blended));
    // The store's order: tensors before the layers, the layers group by group, tensors after them.
    let is_layer = |weight: &Weight| weight.spec.group.is_some();
    let first = old.iter().position(is_layer).unwrap_or(old.len());
    let last = old.iter().rposition(is_layer).map_or(old.len(), |at| at + 1);
    let mut takers: Vec<Option<usize>> = vec![None; old_walk.num_groups()];
    for (at, weight) in old.iter().enumerate().take(first) {
        new.keep(weight, at)?;
    }
    for group in 0..walk.num_groups() {
        let of = |group: usize| (first..last).filter(move |&at| old[at].spec.group == Some(group));
        let members = walk.members(group).len();
        let sources = &transition.sources[group];
        let taker = transition.copied(group).map(|source| *takers[source].get_or_insert(group));
        for (number, at) in of(sources[0].group).enumerate() {
            let spec = spec_of(&old[at], old_walk.lowest(sources[0].group), walk, group)?;
            match taker {
                Some(taker) if taker == group => new.hand_over(&old[at], spec, members, at)?,
                Some(_) => new.copy(&old[at], spec, members, at)?,
                None => {
                    let part =
                        |source: &Source| of(source.group).nth(number).map(|at| (&old[at].tensor, source.coefficient));
                    let parts: Vec<_> = sources.iter().filter_map(part).collect();
                    new.mix(&parts, spec, members, at)?;
                }
            }
        }
    }
    for (at, weight) in old.iter().enumerate().skip(last) {
        new.keep(weight, at)?;
    }
    let (weights, new_moments) = new.finish();
    let remembered = match transition.remembers {
        true => Some(Remembered { weights: set_aside(old, &weights)?, walk: old_walk }),
        false => remembered.filter(|_| transition.blend.is_none()),
    };
    let (walk, frozen) = (walk.clone(), transition.frozen.clone());
    Ok(ModelState { walk, weights, moments: new_moments, remembered, frozen })
}

/// The new store, as it grows.
struct Gathered<'a> {
    moments_at: MomentsAt,
    old: &'a Moments,
    /// The weights to blend with, and α.
    blended: Option<(&'a Weights, f64)>,
    weights: Vec<Weight>,
    exp_avg: Vec<Tensor>,
    exp_avg_sq: Vec<Tensor>,
}

impl<'a> Gathered<'a> {
    fn new(moments_at: MomentsAt, old: &'a Moments, blended: Option<(&'a Weights, f64)>) -> Self {
        Self { moments_at, old, blended, weights: Vec::new(), exp_avg: Vec::new(), exp_avg_sq: Vec::new() }
    }

    /// A weight outside the layers, number `at` of the old ones.
    fn keep(&mut self, weight: &Weight, at: usize) -> Result<()> {
        match self.blended {
            None => self.hand_over(weight, weight.spec.clone(), weight.members, at),
            Some(_) => self.mix(&[(&weight.tensor, 1.0)], weight.spec.clone(), weight.members, at),
        }
    }

    /// The weight `at` and its moments go on as they are, storage and gradient and all.
    fn hand_over(&mut self, weight: &Weight, spec: Spec, members: usize, at: usize) -> Result<()> {
        self.weights.push(Weight { spec, tensor: weight.tensor.shallow_clone(), members });
        for (new, old) in [(&mut self.exp_avg, &self.old.exp_avg), (&mut self.exp_avg_sq, &self.old.exp_avg_sq)] {
            let mut moment = old[at].shallow_clone();
            if self.moments_at == MomentsAt::Reset {
                moment = moment.f_zero_()?;
            }
            new.push(moment);
        }
        Ok(())
    }

    /// The weight `at` and its moments, with storage of their own.
    fn copy(&mut self, weight: &Weight, spec: Spec, members: usize, at: usize) -> Result<()> {
        let tensor = deep_copy(&weight.tensor)?.f_set_requires_grad(true)?;
        self.weights.push(Weight { spec, tensor, members });
        for (new, old) in [(&mut self.exp_avg, &self.old.exp_avg), (&mut self.exp_avg_sq, &self.old.exp_avg_sq)] {
            new.push(match self.moments_at {
                MomentsAt::Carry => deep_copy(&old[at])?,
                MomentsAt::Reset => old[at].f_zeros_like()?,
            });
        }
        Ok(())
    }

    /// The sum of `parts`, each a tensor and its coefficient, blended where that is asked for; its moments are zeros.
    fn mix(&mut self, parts: &[(&Tensor, f64)], spec: Spec, members: usize, at: usize) -> Result<()> {
        let mut parts = parts.to_vec();
        if let Some((earlier, alpha)) = self.blended {
            let earlier = earlier.get(&spec.name);
            let earlier = earlier.ok_or_else(|| Error::failed(format!("nothing to blend `{}` with", spec.name)))?;
            parts.iter_mut().for_each(|(_, coefficient)| *coefficient *= alpha);
            parts.push((&earlier.tensor, 1.0 - alpha));
        }
        let mut sum: Option<Tensor> = None;
        for (tensor, coefficient) in parts {
            let part = tensor.detach().f_to_kind(Kind::Double)?.f_mul_scalar(coefficient)?;
            sum = Some(match sum {
                None => part,
                Some(mut sum) => sum.f_add_(&part)?,
            });
        }
        let sum = sum.ok_or_else(|| Error::failed(format!("`{}` is made of nothing", spec.name)))?;
        let old = &self.old.exp_avg[at];
        let tensor = sum.f_to_kind(old.kind())?.f_set_requires_grad(true)?;
        self.weights.push(Weight { spec, tensor, members });
        self.exp_avg.push(old.f_zeros_like()?);
        self.exp_avg_sq.push(old.f_zeros_like()?);
        Ok(())
    }

    fn finish(self) -> (Weights, Moments) {
        let Self { moments_at, old, weights, exp_avg, exp_avg_sq, .. } = self;
        let num_updates = match moments_at {
            MomentsAt::Carry => old.num_updates,
            MomentsAt::Reset => 0,
        };
        (Weights::new(weights), Moments { exp_avg, exp_avg_sq, num_updates })
    }
}

/// The weights `old` as they are now, to be remembered: those that train on in `new` are copied.
fn set_aside(old: &[Weight], new: &Weights) -> Result<Weights> {
    let goes_on =
        |weight: &Weight| new.entries().iter().any(|other| other.tensor.data_ptr() == weight.tensor.data_ptr());
    let entry = |weight: &Weight| {
        let tensor = if goes_on(weight) { deep_copy(&weight.tensor)? } else { weight.tensor.f_detach()? };
        Ok(Weight { spec: weight.spec.clone(), tensor, members: weight.members })
    };
    Ok(Weights::new(old.iter().map(entry).collect::<Result<_>>()?))
}

/// Equal values in storage of its own, without a graph.
fn deep_copy(tensor: &Tensor) -> Result<Tensor> {
    let source = tensor.detach();
    let mut copy = source.f_empty_like()?;
    copy.f_copy_(&source)?;
    Ok(copy)
}

/// What `weight`, of the group whose lowest layer was `lowest`, is in `group` of the new walk.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::Init;

    const OUTSIDE: &str = "bert.embeddings.word_embeddings.weight";

    fn layer_name(layer: usize) -> String {
        format!("{}output.dense.bias", layer_prefix(layer))
    }

    /// A model of one tensor outside the layers and one in each of them, with moments of 1.
    fn model(outside: &[f64], layers: &[&[f64]], kind: Kind) -> ModelState {
        let weight = |name: String, group, values: &[f64]| {
            let spec = Spec { name, shape: vec![values.len() as i64], init: Init::Zero, group };
            let tensor = Tensor::from_slice(values).to_kind(kind).set_requires_grad(true);
            Weight { spec, tensor, members: 1 }
        };
        let mut entries = vec![weight(OUTSIDE.into(), None, outside)];
        entries.extend(layers.iter().enumerate().map(|(at, values)| weight(layer_name(at), Some(at), values)));
        let ones = || entries.iter().map(|entry| entry.tensor.detach().ones_like()).collect();
        let moments = Moments { exp_avg: ones(), exp_avg_sq: ones(), num_updates: 7 };
        ModelState::new(LayerMap::untied(layers.len()), Weights::new(entries), moments)
    }

    fn values(weights: &Weights, name: &str) -> Vec<f64> {
        Vec::try_from(weights.tensor(name).unwrap().detach().to_kind(Kind::Double)).unwrap()
    }

    fn mean_of_two() -> Transition {
        let half = |group| Source { group, coefficient: 0.5 };
        Transition {
            sources: vec![vec![half(0), half(1)]],
            remembers: true,
            ..Transition::copying(LayerMap::untied(1), [], MomentsAt::Reset, "a test")
        }
    }

    /// By hand: two layers become their mean; back, α = 1/4: 3/4 of what was remembered and 1/4 of the copies.
    #[test]
    fn a_mean_and_back_with_a_blend() {
        let two = model(&[8.0, 16.0], &[&[1.0, 2.0], &[3.0, 6.0]], Kind::Float);
        let outside = two.weights.tensor(OUTSIDE).unwrap();
        let one = apply(two, &mean_of_two()).unwrap();
        assert_eq!(values(&one.weights, &layer_name(0)), [2.0, 4.0]);
        assert_eq!(one.weights.tensor(OUTSIDE).unwrap().data_ptr(), outside.data_ptr(), "what stays is handed over");
        assert_eq!(one.moments.num_updates, 0);
        let moments = one.moments.exp_avg.iter().chain(&one.moments.exp_avg_sq);
        assert!(moments.into_iter().all(|moment| f64::try_from(moment.abs().max()).unwrap() == 0.0));
        let remembered = one.remembered.as_ref().unwrap();
        assert_eq!((&remembered.walk, remembered.weights.entries().len()), (&LayerMap::untied(2), 3));
        // Training goes on, and what is remembered stays.
        let _ = tch::no_grad(|| one.weights.tensor(OUTSIDE).unwrap().f_mul_scalar_(2.0).unwrap());
        let _ = tch::no_grad(|| one.weights.tensor(&layer_name(0)).unwrap().f_add_scalar_(2.0).unwrap());
        assert_eq!(values(&remembered.weights, OUTSIDE), [8.0, 16.0]);
        let back = Transition {
            blend: Some(0.25),
            ..Transition::copying(LayerMap::untied(2), [0, 0], MomentsAt::Reset, "a test")
        };
        let two = apply(one, &back).unwrap();
        assert_eq!(values(&two.weights, OUTSIDE), [10.0, 20.0]);
        assert_eq!(values(&two.weights, &layer_name(0)), [1.75, 3.0]);
        assert_eq!(values(&two.weights, &layer_name(1)), [3.25, 6.0]);
        assert!(two.remembered.is_none());
        assert!(two.weights.entries().iter().all(|weight| weight.tensor.requires_grad() && weight.tensor.is_leaf()));
    }

    /// In fp32, (1e8 + 1) − 1e8 would be 0.
    #[test]
    fn a_sum_is_rounded_once() {
        let part = |group, coefficient| Source { group, coefficient };
        let sum = Transition {
            sources: vec![vec![part(0, 1.0), part(1, 1.0), part(0, -1.0)]],
            ..Transition::copying(LayerMap::untied(1), [], MomentsAt::Reset, "a test")
        };
        let one = apply(model(&[0.0], &[&[1e8], &[1.0]], Kind::Float), &sum).unwrap();
        assert_eq!(values(&one.weights, &layer_name(0)), [1.0]);
        assert_eq!(one.weights.tensor(&layer_name(0)).unwrap().kind(), Kind::Float);
    }

    /// The lowest copy takes over, the others have storage of their own, and the moments go with them.
    #[test]
    fn a_longer_walk_copies_only_what_is_new() {
        let two = model(&[1.0], &[&[1.0], &[2.0]], Kind::Float);
        let before: Vec<_> = two.weights.entries().iter().map(|weight| weight.tensor.data_ptr()).collect();
        let longer = Transition::copying(LayerMap::untied(4), [1, 0, 1, 0], MomentsAt::Carry, "a test");
        let longer = Transition { frozen: vec![0, 1], ..longer };
        let four = apply(two, &longer).unwrap();
        assert_eq!((four.moments.num_updates, &four.frozen[..]), (7, &[0, 1][..]));
        let found: Vec<f64> = (0..4).flat_map(|layer| values(&four.weights, &layer_name(layer))).collect();
        assert_eq!(found, [2.0, 1.0, 2.0, 1.0]);
        let places: Vec<_> = four.weights.entries().iter().map(|weight| weight.tensor.data_ptr()).collect();
        assert_eq!(places[..3], [before[0], before[2], before[1]]);
        assert!(places[3..].iter().all(|place| !before.contains(place)));
        assert!(four.moments.exp_avg.iter().all(|moment| f64::try_from(moment.min()).unwrap() == 1.0));
    }

    #[test]
    fn impossible_transitions_are_named() {
        let copying = |layers, sources: &[usize]| {
            Transition::copying(LayerMap::untied(layers), sources.iter().copied(), MomentsAt::Reset, "a test")
        };
        let refused = |transition: Transition| {
            apply(model(&[1.0], &[&[1.0], &[2.0]], Kind::Float), &transition).unwrap_err().to_string()
        };
        for (transition, words) in [
            (copying(3, &[0, 1]), "expected sources of 3 groups, got those of 2"),
            (copying(1, &[2]), "and there are 2 groups"),
            (Transition { sources: vec![Vec::new()], ..copying(1, &[]) }, "group 0 is made of []"),
            (Transition { blend: Some(1.5), ..copying(2, &[0, 1]) }, "expected a blend in [0, 1]"),
            (Transition { frozen: vec![2], ..copying(2, &[0, 1]) }, "group 2 is frozen, and there are 2 groups"),
            (Transition { moments: MomentsAt::Carry, ..mean_of_two() }, "have no moments to carry"),
            (Transition { blend: Some(0.5), ..copying(2, &[0, 1]) }, "blends with a state that is not remembered"),
        ] {
            let message = refused(transition);
            assert!(message.contains(words), "{message}");
        }
    }
}
