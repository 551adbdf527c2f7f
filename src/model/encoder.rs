//! The stack of layers: walks the layer map, so that tied layers are the same [`Layer`] called again.
//! With [`LayerGradients`] every layer is a [`Layer`] of its own over aliases of its group's weights.

use tch::Tensor;

use crate::error::Result;
use crate::layer_map::LayerMap;
use crate::model::compute::Compute;
use crate::model::config::{BertConfig, Norm};
use crate::model::layer::Layer;
use crate::model::layer_gradients::LayerGradients;
use crate::model::linear::LayerNorm;
use crate::model::weights::{layer_prefix, Weights};
use crate::model::ForwardContext;

/// The modules, and which of them each layer is.
#[derive(Debug)]
pub struct Encoder {
    modules: Vec<Layer>,
    module_of: Vec<usize>,
    final_norm: Option<LayerNorm>,
}

impl Encoder {
    /// The tensors below `bert.encoder.`, named by each group's lowest layer.
    ///
    /// # Errors
    /// When one is missing.
    pub fn new(config: &BertConfig, map: &LayerMap, weights: &Weights, compute: Compute) -> Result<Self> {
        let modules = (0..map.num_groups())
            .map(|group| Layer::new(config, weights, &layer_prefix(map.lowest(group)), compute))
            .collect::<Result<_>>()?;
        Self::assemble(config, weights, modules, map.clone().into())
    }

    /// The same, with every layer's gradients apart in `gradients`.
    ///
    /// # Errors
    /// When a tensor is missing.
    pub fn probed(
        config: &BertConfig,
        map: &LayerMap,
        weights: &Weights,
        gradients: &LayerGradients,
        compute: Compute,
    ) -> Result<Self> {
        let prefix = |layer| layer_prefix(map.lowest(map.group_of(layer)));
        let modules = (0..map.num_layers())
            .map(|layer| Layer::new(config, gradients.weights(layer), &prefix(layer), compute))
            .collect::<Result<_>>()?;
        Self::assemble(config, weights, modules, (0..map.num_layers()).collect())
    }

    fn assemble(config: &BertConfig, weights: &Weights, modules: Vec<Layer>, module_of: Vec<usize>) -> Result<Self> {
        let final_norm = match config.norm {
            Norm::Post => None,
            Norm::Pre => Some(LayerNorm::new(weights, "bert.encoder.ln", config.layer_norm_eps)?),
        };
        Ok(Self { modules, module_of, final_norm })
    }

    /// Whether its layers are single operations of our own kernels.
    pub fn is_fused(&self) -> bool {
        self.modules.iter().all(Layer::is_fused)
    }

    /// [B, T, C] → [B, T, C]; `visit` sees the hidden states that enter the first layer and those after each layer
    /// (the last after the final LayerNorm, where there is one).
    ///
    /// # Errors
    /// libtorch's own.
    pub fn forward(
        &self,
        embedded: Tensor,
        context: &ForwardContext<'_>,
        mut visit: impl FnMut(&Tensor),
    ) -> Result<Tensor> {
        let mut hidden = embedded;
        for (layer, &module) in self.module_of.iter().enumerate() {
            visit(&hidden);
            hidden = self.modules[module].forward(&hidden, layer, context)?;
        }
        if let Some(norm) = &self.final_norm {
            hidden = norm.forward(&hidden)?;
        }
        visit(&hidden);
        Ok(hidden)
    }
}
