//! Functions of tensors that are run again in the backward instead of being kept.

use std::ffi::{c_char, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::null_mut;
use std::slice;

use tch::Tensor;
use torch_sys::C_tensor;

use super::ffi::{check, pointers, untie_recompute};
use crate::error::{Error, Result};

type Function = dyn Fn(&[Tensor]) -> Result<Tensor> + Send;

/// `function` of `inputs`. Only these are kept; the backward runs `function` on them again, with libtorch's random numbers
/// of the first time. The same bits as without, for a second forward of work.
///
/// `function` must be pure, and must read no tensor that needs a gradient beside its inputs.
///
/// # Errors
/// No inputs, the function's own, and libtorch's.
pub fn recompute(inputs: &[Tensor], function: impl Fn(&[Tensor]) -> Result<Tensor> + Send + 'static) -> Result<Tensor> {
    if inputs.is_empty() || !inputs.iter().all(Tensor::defined) {
        return Err(Error::failed("expected defined inputs, at least one"));
    }
    let boxed: Box<Function> = Box::new(function);
    let context = Box::into_raw(Box::new(boxed)).cast::<c_void>();
    let list = pointers(inputs);
    let mut out = null_mut();
    // SAFETY: live tensors; `context` is what `call` and `release` expect, and C++ releases it exactly once, also when it
    // fails. The function is Send, as the backward of a device runs in a thread of its own, and is never called twice at
    // once: a node of autograd runs once.
    check(unsafe { untie_recompute(call, context, release, list.len(), list.as_ptr(), &raw mut out) })?;
    // SAFETY: on success `out` is a tensor that is ours.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Runs the function behind `context`; false with a message where it fails.
unsafe extern "C" fn call(
    context: *mut c_void,
    count: usize,
    inputs: *const *const C_tensor,
    out: *mut *mut C_tensor,
    message: *mut c_char,
    capacity: usize,
) -> bool {
    // SAFETY: `context` is the box of `recompute`, not released yet; `inputs` are `count` live tensors, which are cloned.
    let (function, inputs) = unsafe {
        let inputs = slice::from_raw_parts(inputs, count).iter();
        (&*context.cast::<Box<Function>>(), inputs.map(|&input| Tensor::clone_from_ptr(input.cast_mut())).collect())
    };
    let inputs: Vec<Tensor> = inputs;
    // No panic may cross C++; nothing is used again after one.
    let result = catch_unwind(AssertUnwindSafe(|| function(&inputs)));
    match result.unwrap_or_else(|_| Err(Error::failed("a recomputed function panicked"))) {
        Ok(value) => {
            // SAFETY: `out` is a place for one pointer, whose tensor C++ then owns: a clone of ours.
            unsafe { *out = torch_sys::at_shallow_clone(value.as_ptr().cast_mut()) };
            true
        }
        Err(error) => {
            let text = error.to_string();
            let length = text.len().min(capacity - 1);
            // SAFETY: `message` has room for `capacity` bytes, and `length` is less.
            unsafe {
                text.as_ptr().copy_to_nonoverlapping(message.cast(), length);
                *message.add(length) = 0;
            }
            false
        }
    }
}

unsafe extern "C" fn release(context: *mut c_void) {
    // SAFETY: the box of `recompute`, released once.
    drop(unsafe { Box::from_raw(context.cast::<Box<Function>>()) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    /// Dropout, a product and a weight that is used twice: the same values and gradients, and the generator goes on alike.
    #[test]
    fn values_and_gradients_are_those_of_the_function_itself() {
        let run = |again: bool| {
            tch::manual_seed(3);
            let weight = (Tensor::arange(16, (Kind::Float, Device::Cpu)) * 0.1).view([4, 4]).set_requires_grad(true);
            let x = (Tensor::arange(8, (Kind::Float, Device::Cpu)) - 3.0).view([2, 4]).set_requires_grad(true);
            let function = |inputs: &[Tensor]| -> Result<Tensor> {
                Ok(inputs[0].f_matmul(&inputs[1])?.f_tanh()?.f_dropout(0.5, true)?.f_add(&inputs[0])?)
            };
            let apply = |x: &Tensor| {
                let inputs = [x.shallow_clone(), weight.shallow_clone()];
                if again { recompute(&inputs, function) } else { function(&inputs) }.unwrap()
            };
            let y = apply(&apply(&x));
            y.square().sum(Kind::Float).backward();
            let next = Tensor::rand([4], (Kind::Float, Device::Cpu));
            [y.detach(), x.grad(), weight.grad(), next]
        };
        assert_eq!(run(true), run(false));
    }

    #[test]
    fn errors_and_panics_of_the_function_are_errors() {
        let x = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let error = recompute(&[x.shallow_clone()], |_| Err(Error::failed("no value"))).unwrap_err();
        assert!(error.to_string().contains("no value"), "{error}");
        let panics = recompute(&[x], |inputs| Ok(inputs[1].shallow_clone())).unwrap_err();
        assert!(panics.to_string().contains("panicked"), "{panics}");
        assert!(recompute(&[], |inputs| Ok(inputs[0].shallow_clone())).is_err());
    }
}
