//! Gradient mean over tied layers, and clipping by the global norm.
//!
//! Autograd leaves in a group's leaf the SUM over its n layers. AdamW must see the mean ḡ; the global norm is
//! norm² = Σ_g n_g·‖ḡ_g‖², what n equal copies would give, so that it has no √n jump at a transition (DESIGN §4).

use tch::Tensor;

use crate::error::Result;
use crate::model::Weights;
use crate::shim::{norms, scale};

/// Turns the gradients of `weights` from sums over tied layers into means, scaled so that the global norm is at most
/// `clip_norm` (0: no limit). Returns the norm before clipping; when it is not finite, the gradients are left alone.
///
/// # Errors
/// When a weight has no gradient, and libtorch's own.
pub fn mean_and_clip(weights: &Weights, clip_norm: f64) -> Result<f64> {
    let gradients: Vec<Tensor> = weights.entries().iter().map(|weight| weight.tensor.grad()).collect();
    let members: Vec<f64> = weights.entries().iter().map(|weight| weight.members as f64).collect();
    // n·‖sum/n‖² = ‖sum‖²/n
    let squares = norms(&gradients)?.into_iter().zip(&members).map(|(norm, n)| norm * norm / n);
    let norm = squares.sum::<f64>().sqrt();
    if !norm.is_finite() {
        return Ok(norm);
    }
    // The 1e-6 is torch.nn.utils.clip_grad_norm_'s.
    let coefficient = if clip_norm > 0.0 { (clip_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
    let factors: Vec<f64> = members.iter().map(|n| coefficient / n).collect();
    if factors.iter().any(|&factor| factor != 1.0) {
        scale(&gradients, &factors)?;
    }
    Ok(norm)
}
