//! How a model computes: its precision, its kernels, and whether layers run their forward again in the backward.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::model::config::{BertConfig, Norm};
use crate::model::linear::statistics_kind;
use crate::shim::{fits, kernel_level, layer_bytes, multiplies, FusedBytes, KernelSet, LayerSizes};

/// How a model computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compute {
    /// Precision of activations and products.
    pub kind: Kind,
    /// Which kernels it takes. `Auto` and `Fused` are the same here: each part of the model takes one of our own kernels where
    /// there is one.
    pub kernels: Kernels,
    /// Whether layers keep their inputs only: the same bits, a third more products.
    pub recompute: bool,
}

impl From<Kind> for Compute {
    fn from(kind: Kind) -> Self {
        Self { kind, kernels: Kernels::Auto, recompute: false }
    }
}

impl Compute {
    /// Precision of weights, their gradients and statistics.
    pub fn weight_kind(self) -> Kind {
        statistics_kind(self.kind)
    }

    /// Whether kernels of our own are taken where there are some.
    pub fn fuses(self) -> bool {
        self.kernels != Kernels::Plain
    }

    /// Whether kernels of csrc/cuda_kernels are taken on `device`.
    pub fn fuses_on_cuda(self, device: Device) -> bool {
        self.fuses() && KernelSet::of(device, self.kind) == KernelSet::Cuda && multiplies(self.kind, device)
    }

    /// Whether a layer of the sizes of `config` on `device` is one operation of our own kernels.
    pub fn fuses_layers(self, config: &BertConfig, device: Device) -> bool {
        self.fuses() && fits(layer_sizes(config), self.kind, device)
    }

    /// What such a layer holds on `batch` sequences of `length`; `None` where it is no operation of the CPU's kernels. On CUDA a fused
    /// layer holds less than a composed one.
    pub fn layer_bytes(self, config: &BertConfig, device: Device, batch: i64, length: i64) -> Option<FusedBytes> {
        let is_fused = KernelSet::of(device, self.kind) == KernelSet::Cpu && self.fuses_layers(config, device);
        is_fused.then(|| layer_bytes(layer_sizes(config), batch, length, self.kind)).flatten()
    }
}

/// Which kernels a model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernels {
    /// `Fused` where this project has kernels for the device and the precision, else `Plain`.
    #[default]
    Auto,
    /// A layer is one operation, where there are kernels for its device, precision and sizes.
    Fused,
    /// A layer is a composition of libtorch's operations.
    Plain,
}

impl Kernels {
    /// Decides `Auto` for models that compute in `kind` on `device`.
    ///
    /// A fused step was at least as fast as a composed one wherever both were measured (docs/performance.md), so that
    /// what exists is taken.
    pub fn resolve(self, kind: Kind, device: Device) -> Self {
        match self {
            Self::Auto if multiplies(kind, device) => Self::Fused,
            Self::Auto => Self::Plain,
            decided => decided,
        }
    }

    /// What layers of `config` compute with, and why, for a person. `self` is resolved.
    pub fn describe(self, config: &BertConfig, kind: Kind, device: Device) -> String {
        let set = KernelSet::of(device, kind);
        let why = match (self, set) {
            (Self::Plain, _) if multiplies(kind, device) => "as `train.kernels` says",
            (_, KernelSet::Cpu) if fits(layer_sizes(config), kind, device) => {
                return format!("fused layers, level {}", kernel_level())
            }
            (_, KernelSet::Cuda) if fits(layer_sizes(config), kind, device) => return "fused layers, CUDA".into(),
            (_, KernelSet::Cuda) if matches!(kind, Kind::Float | Kind::Double) => {
                "fused layers on CUDA are in bf16 or fp16"
            }
            (_, KernelSet::Cuda) if !multiplies(kind, device) => "no kernels of this program run on this GPU",
            (_, KernelSet::Cuda) => "fused layers on CUDA need sizes of heads and feed-forward that are multiples of 8",
            (_, KernelSet::Cpu) if kind == Kind::BFloat16 => "fused layers in bf16 need a CPU with AVX-512",
            (_, KernelSet::Cpu) => "fused layers need an even intermediate size and an even head size",
        };
        format!("libtorch's operations: {why}")
    }
}

pub(super) fn layer_sizes(config: &BertConfig) -> LayerSizes {
    LayerSizes {
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        heads: config.num_attention_heads,
        pre_norm: config.norm == Norm::Pre,
        epsilon: config.layer_norm_eps,
    }
}
