//! Gradient mean over tied layers, and clipping by the global norm.
//!
//! Autograd leaves in a group's leaf the SUM over its n layers. AdamW must see the mean ḡ; the global norm is
//! norm² = Σ_g n_g·‖ḡ_g‖², what n equal copies would give, so that it has no √n jump at a transition
//! (docs/architecture.md, "Numerics").

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::Result;
use crate::model::Weights;
use crate::shim::norms;

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
#[derive(Clone, Debug)]
pub struct Scaling {
    /// Global norm before clipping, a group's mean counted once a member.
    pub norm: f64,
    /// One factor a weight: 1/n for the mean over its n layers, and clipping. Meaningless where the norm is not finite.
    pub factors: Vec<f64>,
}

/// What turns the gradients of `weights`, sums over tied layers, into what `gradient` says, with a global norm of at most
/// `clip_norm` (0: no limit). The gradients themselves stay as they are.
///
/// # Errors
/// When a weight has no gradient, and libtorch's own.
pub fn scaling(weights: &Weights, gradient: GroupGradient, clip_norm: f64) -> Result<Scaling> {
    let gradients: Vec<Tensor> = weights.entries().iter().map(|weight| weight.tensor.grad()).collect();
    let divisors: Vec<f64> = weights.entries().iter().map(|weight| gradient.divisor(weight.members)).collect();
    // n·‖sum/n‖² = ‖sum‖²/n
    let squares = norms(&gradients)?.into_iter().zip(&divisors).map(|(norm, n)| norm * norm / n);
    let norm = squares.sum::<f64>().sqrt();
    // The 1e-6 is torch.nn.utils.clip_grad_norm_'s.
    let coefficient = if clip_norm > 0.0 { (clip_norm / (norm + 1e-6)).min(1.0) } else { 1.0 };
    Ok(Scaling { norm, factors: divisors.iter().map(|n| coefficient / n).collect() })
}
