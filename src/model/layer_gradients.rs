//! The gradient of every layer by itself, while layers share weights.
//!
//! Each layer of a group reads aliases of the group's leaves, and the backward keeps the aliases' gradients before it adds
//! them up in the leaves: the same values in the same order as without aliases, so the step is bit-equal. A layer with
//! weights of its own needs no alias: its leaves' gradients are its own.
//! Cost: one more gradient (4 bytes a parameter in fp32) for each layer that shares weights, until this is dropped.

use tch::Tensor;

use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::model::weights::{layer_prefix, Weight, Weights};
use crate::shim::retain_gradient;

/// What each layer reads its weights through.
#[derive(Debug)]
pub struct LayerGradients {
    layers: Vec<Weights>,
}

impl LayerGradients {
    /// Aliases of `weights` for the layers of `map`.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn new(map: &LayerMap, weights: &Weights) -> Result<Self> {
        let layers = (0..map.num_layers()).map(|layer| aliases(map, weights, layer)).collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// The tensors that `layer` reads, under the names of its group.
    pub(super) fn weights(&self, layer: usize) -> &Weights {
        &self.layers[layer]
    }

    /// The gradients after the backward that are not those of leaves too.
    ///
    /// # Errors
    /// When no backward has run.
    pub fn apart(&self) -> Result<Vec<Tensor>> {
        let aliases = self.layers.iter().flat_map(Weights::entries).filter(|weight| !weight.tensor.is_leaf());
        aliases.map(gradient_of).collect()
    }

    /// The gradients of each layer after the backward, summed over the micro-batches; a layer's tensors are in the order of
    /// [`layer_specs`](crate::model::weights::layer_specs).
    ///
    /// # Errors
    /// When no backward has run.
    pub fn read(&self) -> Result<Vec<Vec<Tensor>>> {
        self.layers.iter().map(|layer| layer.entries().iter().map(gradient_of).collect()).collect()
    }
}

fn gradient_of(weight: &Weight) -> Result<Tensor> {
    let gradient = weight.tensor.grad();
    if gradient.defined() {
        Ok(gradient)
    } else {
        Err(Error::failed(format!("tensor `{}` has no gradient", weight.spec.name)))
    }
}

fn aliases(map: &LayerMap, weights: &Weights, layer: usize) -> Result<Weights> {
    let group = map.group_of(layer);
    let prefix = layer_prefix(map.lowest(group));
    let mut entries = Vec::new();
    for weight in weights.entries().iter().filter(|weight| weight.spec.name.starts_with(&prefix)) {
        let tensor = if weight.members > 1 {
            let alias = weight.tensor.f_alias()?;
            retain_gradient(&alias)?;
            alias
        } else {
            weight.tensor.shallow_clone()
        };
        entries.push(Weight { spec: weight.spec.clone(), tensor, members: 1 });
    }
    Ok(Weights::new(entries))
}
