//! Fused operations over the tensors of a model: AdamW, norms, scaling.

use tch::{Kind, Tensor};

use super::ffi::{check, pointers, untie_fused_adamw, untie_norms, untie_scale};
use crate::error::{Error, Result};

/// One parameter with its gradient and both moments; equal in shape, precision and device.
#[derive(Debug)]
pub struct AdamWTensors<'a> {
    /// Updated in place.
    pub parameter: &'a Tensor,
    /// Read.
    pub gradient: &'a Tensor,
    /// First moment, updated in place.
    pub exp_avg: &'a Tensor,
    /// Second moment, updated in place.
    pub exp_avg_sq: &'a Tensor,
}

/// The scalars of one AdamW update.
#[derive(Clone, Copy, Debug)]
pub struct AdamWArguments {
    /// Learning rate of this update.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Number of this update, from 1.
    pub step: u64,
}

/// One AdamW update of all `tensors` in libtorch's fused kernel.
///
/// # Errors
/// When a gradient is missing, shapes, precisions or devices differ, or a tensor is not contiguous.
pub fn fused_adamw(tensors: &[AdamWTensors<'_>], arguments: AdamWArguments) -> Result<()> {
    if arguments.step == 0 {
        // The kernel's bias correction would divide by 1 − β⁰ = 0.
        return Err(Error::failed("an AdamW update is numbered from 1, got 0"));
    }
    for entry in tensors {
        floating([entry.parameter])?;
        for (name, other) in
            [("gradient", entry.gradient), ("first moment", entry.exp_avg), ("second moment", entry.exp_avg_sq)]
        {
            same_layout(name, entry.parameter, other)?;
        }
    }
    let parameters = pointers(tensors.iter().map(|entry| entry.parameter));
    let gradients = pointers(tensors.iter().map(|entry| entry.gradient));
    let exp_avgs = pointers(tensors.iter().map(|entry| entry.exp_avg));
    let exp_avg_sqs = pointers(tensors.iter().map(|entry| entry.exp_avg_sq));
    // SAFETY: four lists of `tensors.len()` live tensors, checked above to be defined, contiguous and alike.
    check(unsafe {
        untie_fused_adamw(
            tensors.len(),
            parameters.as_ptr(),
            gradients.as_ptr(),
            exp_avgs.as_ptr(),
            exp_avg_sqs.as_ptr(),
            arguments.learning_rate,
            arguments.beta1,
            arguments.beta2,
            arguments.weight_decay,
            arguments.epsilon,
            arguments.step,
        )
    })
}

/// The Euclidean norm of each tensor, on the host.
///
/// # Errors
/// When a tensor is undefined or is not of a floating kind.
pub fn norms(tensors: &[Tensor]) -> Result<Vec<f64>> {
    floating(tensors)?;
    let list = pointers(tensors);
    let mut norms = vec![0.0; tensors.len()];
    // SAFETY: `list` and `norms` both have `tensors.len()` entries; the tensors live through the call.
    check(unsafe { untie_norms(tensors.len(), list.as_ptr(), norms.as_mut_ptr()) })?;
    Ok(norms)
}

/// Multiplies each tensor in place by its factor.
///
/// # Errors
/// When the lengths differ, or a tensor is undefined or is not of a floating kind.
pub fn scale(tensors: &[Tensor], factors: &[f64]) -> Result<()> {
    if tensors.len() != factors.len() {
        return Err(Error::failed(format!("expected {} factors, got {}", tensors.len(), factors.len())));
    }
    floating(tensors)?;
    let list = pointers(tensors);
    // SAFETY: both lists have `tensors.len()` entries; the tensors live through the call.
    check(unsafe { untie_scale(tensors.len(), list.as_ptr(), factors.as_ptr()) })
}

pub(super) fn floating<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<()> {
    for tensor in tensors {
        if !tensor.defined() || !matches!(tensor.kind(), Kind::Float | Kind::Double) {
            return Err(Error::failed("expected a defined tensor of kind Float or Double"));
        }
    }
    Ok(())
}

pub(super) fn same_layout(name: &str, parameter: &Tensor, other: &Tensor) -> Result<()> {
    if !other.defined() {
        return Err(Error::failed(format!("a parameter of shape {:?} has no {name}", parameter.size())));
    }
    if other.size() != parameter.size() || other.kind() != parameter.kind() || other.device() != parameter.device() {
        return Err(Error::failed(format!(
            "{name}: expected {:?} {:?} on {:?}, got {:?} {:?} on {:?}",
            parameter.kind(),
            parameter.size(),
            parameter.device(),
            other.kind(),
            other.size(),
            other.device()
        )));
    }
    if !parameter.is_contiguous() || !other.is_contiguous() {
        return Err(Error::failed(format!("{name}: expected contiguous tensors")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn ones(size: i64) -> Tensor {
        Tensor::ones([size], (Kind::Float, Device::Cpu))
    }

    /// By hand, from m = v = 0, g = 1, step 1: m̂ = v̂ = 1, so w ← w·(1 − lr·wd) − lr·1/(1 + ε).
    #[test]
    fn first_update_is_the_formula() {
        let (parameter, gradient) = (ones(3) * 2.0, ones(3));
        let (exp_avg, exp_avg_sq) = (ones(3) * 0.0, ones(3) * 0.0);
        let tensors =
            [AdamWTensors { parameter: &parameter, gradient: &gradient, exp_avg: &exp_avg, exp_avg_sq: &exp_avg_sq }];
        let arguments =
            AdamWArguments { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, weight_decay: 0.01, epsilon: 1e-6, step: 1 };
        fused_adamw(&tensors, arguments).unwrap();
        let expected = 2.0 * (1.0 - 0.1 * 0.01) - 0.1 / (1.0 + 1e-6);
        assert!((parameter.double_value(&[0]) - expected).abs() < 1e-6);
        assert!((exp_avg.double_value(&[0]) - 0.1).abs() < 1e-7);
        assert!((exp_avg_sq.double_value(&[0]) - 0.001).abs() < 1e-8);
        assert!(fused_adamw(&tensors, AdamWArguments { step: 0, ..arguments }).is_err());
    }

    #[test]
    fn mismatched_and_undefined_tensors_are_refused() {
        let (three, four) = (ones(3), ones(4));
        let wrong = [AdamWTensors { parameter: &three, gradient: &four, exp_avg: &three, exp_avg_sq: &three }];
        let arguments =
            AdamWArguments { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, weight_decay: 0.0, epsilon: 1e-6, step: 1 };
        assert!(fused_adamw(&wrong, arguments).unwrap_err().to_string().contains("gradient: expected"));
        let undefined = three.grad();
        let missing = [AdamWTensors { gradient: &undefined, parameter: &three, exp_avg: &three, exp_avg_sq: &three }];
        assert!(fused_adamw(&missing, arguments).unwrap_err().to_string().contains("has no gradient"));
        assert!(norms(&[three.to_kind(Kind::Int64)]).is_err());
        assert!(scale(&[four], &[]).is_err());
    }

    /// n equal values v have the norm v·√n; adding 23 M squares in fp32 would be 1e-3 off.
    #[test]
    fn norms_of_large_tensors_are_exact() {
        let tensor = Tensor::full([30_522, 768], 0.01, (Kind::Float, Device::Cpu));
        let expected = f64::from(0.01_f32) * (30_522.0_f64 * 768.0).sqrt();
        let relative = norms(&[tensor]).unwrap()[0] / expected - 1.0;
        assert!(relative.abs() < 1e-6, "{relative:e}");
    }

    #[test]
    fn norms_and_scale_work_on_lists() {
        let tensors = [ones(4), ones(9) * 2.0];
        assert_eq!(norms(&tensors).unwrap(), [2.0, 6.0]);
        scale(&tensors, &[3.0, 0.5]).unwrap();
        assert_eq!(norms(&tensors).unwrap(), [6.0, 3.0]);
    }
}
