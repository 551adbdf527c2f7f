//! What a step computes in, and how `auto` is decided.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::error::{Error, Result};
use crate::shim::{cpu_capability, multiplies};

/// What activations and products are computed in; weights and moments stay fp32 (fp64 for `fp64`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bf16 on CUDA and on CPUs with AVX512-BF16 or AMX (unless `ATEN_CPU_CAPABILITY` forbids them), else fp32.
    Auto,
    /// 32-bit floating point.
    Fp32,
    /// bfloat16 activations over fp32 weights.
    Bf16,
    /// 16-bit floating point activations over fp32 weights, with a dynamic loss scale; on CUDA only.
    Fp16,
    /// 64-bit, all state and kernels; for tests.
    Fp64,
}

impl Precision {
    /// Decides `auto` for `device`.
    ///
    /// # Errors
    /// A precision that there is not on `device`.
    pub fn resolve(self, device: Device) -> Result<Self> {
        match self {
            Self::Auto if device.is_cuda() || cpu_has_bf16() => Ok(Self::Bf16),
            Self::Auto => Ok(Self::Fp32),
            Self::Fp16 if !device.is_cuda() => {
                Err(Error::config("`train.precision` = \"fp16\" needs a CUDA device, and this run is on the CPU")
                    .hint("set `train.precision` to \"bf16\" or \"fp32\", or leave it at \"auto\""))
            }
            decided => Ok(decided),
        }
    }

    /// What a user should know who asked for it on `device`: bf16 on a CPU without AVX-512 is slower than fp32.
    pub fn warning(self, device: Device) -> Option<String> {
        (self == Self::Bf16 && !device.is_cuda() && !multiplies(Kind::BFloat16, Device::Cpu)).then(|| {
            let level = cpu_capability().unwrap_or_else(|_| "unknown".into());
            format!(
                "bf16 is emulated on this CPU ({level}, bf16 needs AVX-512): a step takes several times as long as in fp32\n\
                 hint: set `train.precision` to \"fp32\" (`--precision fp32` where there is such an option)"
            )
        })
    }

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
            Self::Fp64 => "fp64",
        }
    }

    /// Kind of activations.
    pub fn compute_kind(self) -> Kind {
        match self {
            Self::Bf16 => Kind::BFloat16,
            Self::Fp16 => Kind::Half,
            Self::Fp64 => Kind::Double,
            Self::Auto | Self::Fp32 => Kind::Float,
        }
    }

    /// Kind of weights, gradients and moments.
    pub fn weight_kind(self) -> Kind {
        match self {
            Self::Fp64 => Kind::Double,
            _ => Kind::Float,
        }
    }
}

/// Whether the CPU multiplies bf16 matrices in hardware (AVX512-BF16 or AMX), and libtorch's kernels may use it.
fn cpu_has_bf16() -> bool {
    let has_it = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
        text.lines()
            .find(|line| line.starts_with("flags"))
            .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "avx512_bf16" || flag == "amx_bf16"))
    });
    has_it && multiplies(Kind::BFloat16, Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fp16_is_refused_on_the_cpu() {
        let report = Precision::Fp16.resolve(Device::Cpu).unwrap_err().report();
        assert!(report.contains("`train.precision` = \"fp16\"") && report.contains("\"bf16\""), "{report}");
        let on_cuda = Precision::Fp16.resolve(Device::Cuda(0)).unwrap();
        assert_eq!((on_cuda.compute_kind(), on_cuda.weight_kind()), (Kind::Half, Kind::Float));
    }

    #[test]
    fn names_are_those_of_configurations() {
        for precision in [Precision::Auto, Precision::Fp32, Precision::Bf16, Precision::Fp16, Precision::Fp64] {
            assert_eq!(serde_json::to_value(precision).unwrap(), precision.name());
        }
    }
}
