//! Random numbers that depend on nothing but their seed.

use tch::{Device, Kind, Tensor};

use super::ffi::{check, untie_uniform};
use crate::error::Result;

/// Numbers drawn evenly from [0, 1), fp64 on the CPU: those of `torch.manual_seed(seed); torch.rand(shape, dtype=float64)`.
/// libtorch's default generator is neither read nor moved.
///
/// # Errors
/// When memory cannot be had.
pub fn uniform(shape: &[i64], seed: u64) -> Result<Tensor> {
    let tensor = Tensor::f_empty(shape, (Kind::Double, Device::Cpu))?;
    // SAFETY: the tensor was just made and lives through the call, which fills it in place.
    check(unsafe { untie_uniform(tensor.as_ptr(), seed) })?;
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Python: torch.manual_seed(7); torch.rand(3, dtype=torch.float64).tolist()
    #[test]
    fn numbers_are_those_of_the_seed() {
        let found = Vec::<f64>::try_from(uniform(&[3], 7).unwrap()).unwrap();
        assert_eq!(found, [0.279_380_429_906_404, 0.273_693_713_651_765_65, 0.862_092_961_417_625_5]);
        assert_eq!(uniform(&[0], 7).unwrap().numel(), 0);
    }
}
