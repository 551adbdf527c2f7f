//! What methods that change the depth do to a model, literally: it is a list of layers, each a set of tensors by name.
//!
//! Written down from the papers: expansion (Bu et al., arXiv 2511.04981), progressive stacking (Gong et al., ICML 2019), gradual
//! stacking (Yang et al., arXiv 2011.13635), coalescing, de-coalescing and interpolation (Zou et al., arXiv 2404.07999), and sampled
//! depth (Pan et al., arXiv 2401.09192).

use std::collections::BTreeMap;

use tch::Tensor;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{prefix, Batch, Parameter, Reference, Step};

/// The tensors of a layer, without their prefix.
type Layer = BTreeMap<String, Parameter>;

/// Every layer is a copy of one that was there, in turn.
pub fn expand(model: &mut Reference, depth: usize) {
    let old = take_layers(model);
    let new = (0..depth).map(|layer| copy(&old[layer % old.len()])).collect();
    put_layers(model, new);
}

/// The lowest layers once more on top.
pub fn stack(model: &mut Reference, depth: usize) {
    let mut layers = take_layers(model);
    for lowest in 0..depth - layers.len() {
        layers.push(copy(&layers[lowest]));
    }
    put_layers(model, layers);
}

/// The topmost layers once more on top, in their order.
pub fn gradual(model: &mut Reference, depth: usize) {
    let mut layers = take_layers(model);
    let before = layers.len();
    for layer in before - (depth - before)..before {
        layers.push(copy(&layers[layer]));
    }
    put_layers(model, layers);
}

/// Each of `pairs` becomes their mean; moments start anew. Returns all values as they were.
pub fn coalesce(model: &mut Reference, pairs: &[[usize; 2]]) -> BTreeMap<String, Tensor> {
    let remembered =
        model.parameters.iter().map(|(name, parameter)| (name.clone(), parameter.value.detach().copy())).collect();
    let old = take_layers(model);
    let mean = |[one, other]: &[usize; 2]| {
        let tensors = old[*one].iter().map(|(name, parameter)| {
            let value = (parameter.value.detach() + old[*other][name].value.detach()) / 2.0;
            (name.clone(), fresh(value))
        });
        tensors.collect()
    };
    let new = pairs.iter().map(mean).collect();
    put_layers(model, new);
    model.reset_moments();
    remembered
}

/// Both of each of `pairs` get the layer that stands for them; then every tensor moves by 1 − `alpha` to what is `remembered`.
pub fn de_coalesce(model: &mut Reference, pairs: &[[usize; 2]], remembered: &BTreeMap<String, Tensor>, alpha: f64) {
    let short = take_layers(model);
    let mut long: Vec<Option<Layer>> = (0..2 * pairs.len()).map(|_| None).collect();
    for (layer, pair) in short.iter().zip(pairs) {
        pair.iter().for_each(|&place| long[place] = Some(copy(layer)));
    }
    put_layers(model, long.into_iter().map(Option::unwrap).collect());
    for (name, parameter) in &mut model.parameters {
        *parameter = fresh(&remembered[name] * (1.0 - alpha) + parameter.value.detach() * alpha);
    }
    model.reset_moments();
}

/// The layers that step `step`, from 0, executes of `layers` by `groups` groups: the authors' curve with their offset of 0.4, end of 0.6
/// and floor of 1e-6, at an x in (1e-6, 1] from 53 bits of a hash.
pub fn depth(layers: usize, groups: usize, step: u64, seed: u64) -> usize {
    let bits = xxh3_64_with_seed(&[&step.to_le_bytes()[..], b"depth"].concat(), seed) >> 11;
    let x = 1.0 - (1.0 - 1e-6) * bits as f64 / 2.0_f64.powi(53);
    let most = layers as f64 / groups as f64;
    let (begin, end) = (most + 0.4, 0.6);
    let n = (begin * 1e-6 - end) / (end - begin);
    let m = end * (n + 1.0);
    (groups as f64 * (m / (x + n)).clamp(1.0, most)).floor() as usize
}

/// One step of a model whose layers are, for this step, one of group `executed[j]` at each place j.
pub fn step_through(model: &mut Reference, executed: &[usize], batch: &Batch, learning_rate: f64) -> Step {
    let labels = model.labels.clone();
    let groups = take_groups(model);
    put_groups(model, &groups, executed);
    let seen = model.step(batch, learning_rate);
    let groups = take_groups(model);
    put_groups(model, &groups, &labels);
    seen
}

/// To `after` groups, as equal as can be: group j is a copy of the old group ⌊j·before/after⌋.
pub fn split(model: &mut Reference, after: usize) {
    let depth = model.sizes.layers;
    let old = take_groups(model);
    let new: Vec<Layer> = (0..after).map(|group| copy(&old[group * old.len() / after])).collect();
    put_groups(model, &new, &(0..depth).map(|layer| layer * after / depth).collect::<Vec<_>>());
}

/// A layer of each group, and the model without layers.
fn take_groups(model: &mut Reference) -> Vec<Layer> {
    let labels = model.labels.clone();
    let layers = take_layers(model);
    let lowest = |group| labels.iter().position(|&label| label == group).unwrap();
    (0..=*labels.iter().max().unwrap()).map(|group| copy(&layers[lowest(group)])).collect()
}

/// Layer j is a copy of group `labels[j]`.
fn put_groups(model: &mut Reference, groups: &[Layer], labels: &[usize]) {
    put_layers(model, labels.iter().map(|&group| copy(&groups[group])).collect());
    model.labels = labels.to_vec();
}

/// A value without a past.
fn fresh(value: Tensor) -> Parameter {
    Parameter {
        first_moment: value.zeros_like(),
        second_moment: value.zeros_like(),
        value: value.set_requires_grad(true),
    }
}

fn copy(layer: &Layer) -> Layer {
    let parameter = |of: &Parameter| Parameter {
        value: of.value.detach().copy().set_requires_grad(true),
        first_moment: of.first_moment.copy(),
        second_moment: of.second_moment.copy(),
    };
    layer.iter().map(|(name, of)| (name.clone(), parameter(of))).collect()
}

fn take_layers(model: &mut Reference) -> Vec<Layer> {
    let depth = model.sizes.layers;
    let of_layer = |layer: usize| {
        let suffixes = model.suffixes(layer);
        let tensors = suffixes.into_iter().map(|suffix| {
            let parameter = model.parameters.remove(&(prefix(layer) + &suffix)).unwrap();
            (suffix, parameter)
        });
        tensors.collect()
    };
    (0..depth).map(of_layer).collect()
}

fn put_layers(model: &mut Reference, layers: Vec<Layer>) {
    (model.sizes.layers, model.labels) = (layers.len(), (0..layers.len()).collect());
    for (number, layer) in layers.into_iter().enumerate() {
        model.parameters.extend(layer.into_iter().map(|(suffix, of)| (prefix(number) + &suffix, of)));
    }
}
