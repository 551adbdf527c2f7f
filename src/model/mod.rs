//! BERT on libtorch: embeddings, an encoder that walks a [`LayerMap`](crate::layer_map::LayerMap), and heads: those of
//! pre-training, or one of a task.
//!
//! In: token ids. Out: hidden states, and logits for chosen positions, for sequences or for spans. The modules hold views
//! of the tensors in [`Weights`]; a group's layer exists once, however many layers use it. Weights are fp32 (or fp64) and
//! are cast to the compute precision where they are used, so that autograd sums their gradients over tied layers in fp32.
//!
//! Shapes in comments: B sequences, T tokens each, C hidden size, H heads, D = C/H, V vocabulary (padded to 64 in
//! memory), N chosen positions, L labels.

pub mod attention;
pub mod bert;
pub mod compute;
pub mod config;
pub mod embeddings;
pub mod encoder;
pub mod forward_context;
pub mod heads;
pub mod input;
pub mod layer;
pub mod layer_gradients;
pub mod linear;
pub mod weights;

pub use bert::Bert;
pub use compute::{Compute, Kernels};
pub use config::{BertConfig, ModelConfig, Norm, Preset, TaskHead};
pub use forward_context::ForwardContext;
pub use input::{Input, Mode};
pub use layer_gradients::LayerGradients;
pub use weights::{Spec, Weight, Weights};
