//! What the autograd engine keeps.

use tch::Tensor;

use super::ffi::{check, pointers, untie_make_gradients, untie_retain_grad};
use crate::error::{Error, Result};

/// Makes the backward keep the gradient of `tensor`, which is not a leaf, for `tensor.grad()` to read.
///
/// # Errors
/// When `tensor` is undefined or takes no part in a graph.
pub fn retain_gradient(tensor: &Tensor) -> Result<()> {
    if !tensor.defined() || !tensor.requires_grad() {
        return Err(Error::failed("expected a tensor that requires a gradient"));
    }
    // SAFETY: the tensor is defined and lives through the call; libtorch registers its own hook.
    check(unsafe { untie_retain_grad(tensor.as_ptr()) })
}

/// Gives each of `leaves` that has no gradient one of zeros.
///
/// # Errors
/// A tensor that takes no gradient, and memory that cannot be had.
pub fn make_gradients<'a>(leaves: impl IntoIterator<Item = &'a Tensor>) -> Result<()> {
    let leaves: Vec<&Tensor> = leaves.into_iter().collect();
    if !leaves.iter().all(|leaf| leaf.defined() && leaf.requires_grad() && leaf.is_leaf()) {
        return Err(Error::failed("expected leaves that require a gradient"));
    }
    let list = pointers(leaves.iter().copied());
    // SAFETY: defined leaves that live through the call.
    check(unsafe { untie_make_gradients(list.len(), list.as_ptr()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    /// d(w·a + w·b)/dw seen through two aliases: a and b apart, a + b in the leaf.
    #[test]
    fn aliases_tell_the_uses_of_a_leaf_apart() {
        let leaf = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let aliases = [leaf.alias(), leaf.alias()];
        aliases.iter().for_each(|alias| retain_gradient(alias).unwrap());
        (&aliases[0] * 3.0 + &aliases[1] * 5.0).sum(Kind::Float).backward();
        let first = |tensor: Tensor| tensor.grad().double_value(&[0]);
        assert_eq!(aliases.map(first), [3.0, 5.0]);
        assert_eq!(first(leaf), 8.0);
        assert!(retain_gradient(&Tensor::ones([2], (Kind::Float, Device::Cpu))).is_err());
    }
}
