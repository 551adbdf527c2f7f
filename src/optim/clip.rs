//! Gradient mean over tied layers, and clipping by the global norm.
//!
//! Autograd leaves in a group's leaf the SUM over its n layers. AdamW must see the mean ḡ; the global norm is
//! norm² = Σ_g n_g·‖ḡ_g‖², what n equal copies would give, so that it has no √n jump at a transition
//! (docs/architecture.md, "Numerics").

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// What the layers of a group, which share weights, hand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupGradient {
    /// The mean of their gradients.
    Mean,
    /// The sum, as autograd leaves it; the norm counts it once. What a script with one shared module does.
    Sum,
}

impl GroupGradient {
    /// What a sum over `members` tied layers is divided by.
    pub fn divisor(self, members: usize) -> f64 {
        match self {
            Self::Mean => members as f64,
            Self::Sum => 1.0,
        }
    }
}

/// What the gradients of a step are multiplied with before AdamW sees them.
#[derive(Debug)]
pub struct Scaling {
    /// Global norm before clipping, a group's mean counted once a member; an fp64 scalar.
    pub norm: Tensor,
    /// One factor a weight, fp64: 1/n for the mean over its n layers, clipping, and 1/scale. Meaningless where the norm is not
    /// finite.
    pub factors: Tensor,
}

/// What turns gradients, sums over tied layers times the loss `scale` (none: 1), into means with a global norm of at most
/// `clip_norm` (0: no limit). `norms` are those of the gradients and `divisors` the n of each, fp64 `[number of weights]`.
///
/// # Errors
/// libtorch's own.
pub fn scaling(norms: &Tensor, divisors: &Tensor, scale: Option<&Tensor>, clip_norm: f64) -> Result<Scaling> {
    let unscaled = |value: Tensor| match scale {
        Some(scale) => value.f_div(scale),
        None => Ok(value),
    };
    // n·‖sum/n‖² = ‖sum‖²/n
    let norm = unscaled(root_of_sum(&norms.f_square()?.f_div(divisors)?)?)?;
    let coefficient = match clip_norm > 0.0 {
        // The 1e-6 is torch.nn.utils.clip_grad_norm_'s.
        true => norm.f_full_like(clip_norm)?.f_div(&norm.f_add_scalar(1e-6)?)?.f_clamp_max(1.0)?,
        false => norm.f_ones_like()?,
    };
    Ok(Scaling { factors: unscaled(coefficient.f_div(divisors)?)?, norm })
}

/// The square root of a sum, as a scalar on the device. On the CPU the numbers are added one after the other: the order of libtorch's
/// sum depends on the CPU, and its root, MKL's, is not always the nearest number.
fn root_of_sum(squares: &Tensor) -> Result<Tensor> {
    match squares.device() {
        Device::Cpu => Ok(Tensor::from(Vec::<f64>::try_from(squares)?.iter().sum::<f64>().sqrt())),
        _ => Ok(squares.f_sum(Kind::Double)?.f_sqrt()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same formula in plain fp64, to the last bit: a run's losses depend on it.
    #[test]
    fn tensors_round_as_numbers_do() {
        let cases = [(0.0, None), (1.0, None), (1e9, None), (1.0, Some(65_536.0))];
        for (case, (clip_norm, scale)) in (1..=1000).flat_map(|case| cases.map(|settings| (case, settings))) {
            let numbers: Vec<f64> = (0..40).map(|at| f64::from((at * at + case) % 97 + 1) / 7.3).collect();
            let divisors: Vec<f64> = (0..40).map(|at| [1.0, 12.0, 7.0][at % 3]).collect();
            let tensors = [&numbers, &divisors].map(|values| Tensor::from_slice(values));
            let scale_tensor = scale.map(Tensor::from);
            let found = scaling(&tensors[0], &tensors[1], scale_tensor.as_ref(), clip_norm).unwrap();
            let squares: f64 = numbers.iter().zip(&divisors).map(|(norm, n)| norm * norm / n).sum();
            let norm = squares.sqrt() / scale.unwrap_or(1.0);
            let coefficient = if clip_norm > 0.0 { (clip_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
            let factors: Vec<f64> = divisors.iter().map(|n| coefficient / n / scale.unwrap_or(1.0)).collect();
            assert_eq!(f64::try_from(&found.norm).unwrap(), norm);
            assert_eq!(Vec::<f64>::try_from(&found.factors).unwrap(), factors);
        }
    }

    #[test]
    fn a_norm_that_is_not_finite_stays_so() {
        for bad in [f64::NAN, f64::INFINITY] {
            let norms = Tensor::from_slice(&[1.0, bad]);
            let found = scaling(&norms, &Tensor::ones([2], (Kind::Double, Device::Cpu)), None, 1.0).unwrap();
            assert!(!f64::try_from(&found.norm).unwrap().is_finite());
        }
    }
}
