//! The stack of layers: walks the layer map, so that tied layers are the same [`Layer`] called again.
//! With [`LayerGradients`] every layer is a [`Layer`] of its own over aliases of its group's weights.

use std::cell::RefCell;

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
    /// The layers that a forward executes instead, by their modules.
    executed: RefCell<Option<Vec<usize>>>,
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
        Ok(Self { modules, module_of, executed: RefCell::default(), final_norm })
    }

    /// Whether its layers are single operations of our own kernels.
    pub fn is_fused(&self) -> bool {
        self.modules.iter().all(Layer::is_fused)
    }

    /// Forwards execute the layers of `walk` from now on, which has the same groups; `None`: those of the model's own walk.
    pub fn execute(&self, walk: Option<&LayerMap>) {
        *self.executed.borrow_mut() = walk.map(|walk| walk.clone().into());
    }

    /// [B, T, C] → [B, T, C]; `visit` sees the hidden states that enter each layer, with its module where no layer before uses
    /// that, and those after the last layer (and the final LayerNorm, where there is one), with the number of modules.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn forward(
        &self,
        embedded: Tensor,
        context: &ForwardContext<'_>,
        mut visit: impl FnMut(&Tensor, Option<usize>),
    ) -> Result<Tensor> {
        let mut hidden = embedded;
        let executed = self.executed.borrow();
        let walk = executed.as_ref().unwrap_or(&self.module_of);
        for (layer, &module) in walk.iter().enumerate() {
            visit(&hidden, Some(module).filter(|module| !walk[..layer].contains(module)));
            hidden = self.modules[module].forward(&hidden, layer, context)?;
        }
        if let Some(norm) = &self.final_norm {
            hidden = norm.forward(&hidden)?;
        }
        visit(&hidden, Some(self.modules.len()));
        Ok(hidden)
    }
}
