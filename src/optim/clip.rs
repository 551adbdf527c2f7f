//! Gradient mean over tied layers, and clipping by the global norm.
//!
//! Autograd leaves in a group's leaf the SUM over its n layers. AdamW must see the mean ḡ; the global norm is
//! norm² = Σ_g n_g·‖ḡ_g‖², what n equal copies would give, so that it has no √n jump at a transition (DESIGN §4).

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::Result;
use crate::model::Weights;
use crate::shim::{norms, scale};

/// What the layers of a group, which share weights, hand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupGradient {
    /// The mean of their gradients.
    Mean,
    /// The sum, as autograd leaves it; the norm counts it once. What a script with one shared module does.
    Sum,
}

/// Turns the gradients of `weights` from sums over tied layers into what `gradient` says, scaled so that the global norm
/// is at most `clip_norm` (0: no limit). Returns the norm before clipping; when it is not finite, the gradients are left
/// alone.
///
/// # Errors
/// When a weight has no gradient, and libtorch's own.
pub fn reduce_and_clip(weights: &Weights, gradient: GroupGradient, clip_norm: f64) -> Result<f64> {
    let gradients: Vec<Tensor> = weights.entries().iter().map(|weight| weight.tensor.grad()).collect();
    let divisor = |members: usize| match gradient {
        GroupGradient::Mean => members as f64,
        GroupGradient::Sum => 1.0,
    };
    let divisors: Vec<f64> = weights.entries().iter().map(|weight| divisor(weight.members)).collect();
    // n·‖sum/n‖² = ‖sum‖²/n
    let squares = norms(&gradients)?.into_iter().zip(&divisors).map(|(norm, n)| norm * norm / n);
    let norm = squares.sum::<f64>().sqrt();
    if !norm.is_finite() {
        return Ok(norm);
    }
    // The 1e-6 is torch.nn.utils.clip_grad_norm_'s.
    let coefficient = if clip_norm > 0.0 { (clip_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
    let factors: Vec<f64> = divisors.iter().map(|n| coefficient / n).collect();
    if factors.iter().any(|&factor| factor != 1.0) {
        scale(&gradients, &factors)?;
    }
    Ok(norm)
}
