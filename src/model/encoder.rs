//! The stack of layers: walks the layer map, so that tied layers are the same [`Layer`] called again.

use tch::Tensor;

use crate::error::Result;
use crate::layer_map::LayerMap;
use crate::model::config::{BertConfig, Norm};
use crate::model::layer::Layer;
use crate::model::linear::LayerNorm;
use crate::model::weights::{layer_prefix, Weights};
use crate::model::Mode;

/// One [`Layer`] a group, and the map that says which layer uses which.
#[derive(Debug)]
pub struct Encoder {
    groups: Vec<Layer>,
    map: LayerMap,
    final_norm: Option<LayerNorm>,
}

impl Encoder {
    /// The tensors below `bert.encoder.`, named by each group's lowest layer.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, map: &LayerMap, weights: &Weights) -> Result<Self> {
        let groups = (0..map.num_groups())
            .map(|group| Layer::new(config, weights, &layer_prefix(map.lowest(group))))
            .collect::<Result<_>>()?;
        let final_norm = match config.norm {
            Norm::Post => None,
            Norm::Pre => Some(LayerNorm::new(weights, "bert.encoder.ln", config.layer_norm_eps)?),
        };
        Ok(Self { groups, map: map.clone(), final_norm })
    }

    /// [B, T, C] → [B, T, C]; `visit` sees the hidden states that enter the first layer and those after each layer
    /// (the last after the final LayerNorm, where there is one).
    ///
    /// # Errors
    /// libtorch's own.
    pub fn forward(
        &self,
        embedded: Tensor,
        bias: Option<&Tensor>,
        mode: Mode,
        mut visit: impl FnMut(&Tensor),
    ) -> Result<Tensor> {
        let mut hidden = embedded;
        for layer in 0..self.map.num_layers() {
            visit(&hidden);
            hidden = self.groups[self.map.group_of(layer)].forward(&hidden, bias, mode)?;
        }
        if let Some(norm) = &self.final_norm {
            hidden = norm.forward(&hidden)?;
        }
        visit(&hidden);
        Ok(hidden)
    }
}
