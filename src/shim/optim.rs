//! Operations over all tensors of a model at once: AdamW on the CPU, and norms.

use std::ptr::null_mut;

use tch::{Kind, Tensor};

use super::ffi::{check, pointers, untie_adamw, untie_device_norms, untie_norms, CAdamW};
use crate::error::{Error, Result};

/// One parameter with its gradient and both moments; equal in shape, precision and device.
#[derive(Clone, Copy, Debug)]
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

/// One parameter and how it is updated.
#[derive(Clone, Copy, Debug)]
pub struct ScaledTensors<'a> {
    /// The parameter and what belongs to it.
    pub tensors: AdamWTensors<'a>,
    /// What the gradient is multiplied with first: clipping, and the mean over tied layers.
    pub gradient_scale: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
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
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

/// AdamW's update number `step`, from 1, of all `parameters` in one pass over them (csrc/fused/optimizer.cpp). Copies of the
/// parameters that layers keep packed are brought up to date in the same pass.
///
/// # Errors
/// When a gradient is missing, shapes, precisions or devices differ, or a tensor is not contiguous or not on the CPU.
pub fn adamw(parameters: &[ScaledTensors<'_>], arguments: AdamWArguments, step: u64) -> Result<()> {
    if step == 0 {
        // The bias correction would divide by 1 − β⁰ = 0.
        return Err(Error::failed("an AdamW update is numbered from 1, got 0"));
    }
    for ScaledTensors { tensors, .. } in parameters {
        floating([tensors.parameter])?;
        for (name, other) in
            [("gradient", tensors.gradient), ("first moment", tensors.exp_avg), ("second moment", tensors.exp_avg_sq)]
        {
            same_layout(name, tensors.parameter, other)?;
        }
    }
    let entries: Vec<CAdamW> = parameters
        .iter()
        .map(|&ScaledTensors { tensors, gradient_scale, weight_decay }| CAdamW {
            parameter: tensors.parameter.as_ptr(),
            gradient: tensors.gradient.as_ptr(),
            exp_avg: tensors.exp_avg.as_ptr(),
            exp_avg_sq: tensors.exp_avg_sq.as_ptr(),
            gradient_scale,
            weight_decay,
        })
        .collect();
    let AdamWArguments { learning_rate, beta1, beta2, epsilon } = arguments;
    // SAFETY: live tensors, checked above to be defined, contiguous and alike; C++ checks that they are on the CPU.
    check(unsafe { untie_adamw(entries.len(), entries.as_ptr(), learning_rate, beta1, beta2, epsilon, step) })
}

/// The Euclidean norm of each tensor, fp64 `[N]` on their device. Squares are added in fp64.
///
/// # Errors
/// When there is no tensor, or one is undefined, not of a floating kind, or on another device than the first.
pub fn norms(tensors: &[Tensor]) -> Result<Tensor> {
    floating(tensors)?;
    match tensors.first().map(Tensor::device) {
        Some(device) if tensors.iter().all(|tensor| tensor.device() == device) => match device.is_cuda() {
            true => device_norms(tensors),
            false => host_norms(tensors),
        },
        _ => Err(Error::failed("expected tensors on one device, at least one")),
    }
}

fn host_norms(tensors: &[Tensor]) -> Result<Tensor> {
    let list = pointers(tensors);
    let mut norms = vec![0.0; tensors.len()];
    // SAFETY: `list` and `norms` both have `tensors.len()` entries; the tensors live through the call.
    check(unsafe { untie_norms(tensors.len(), list.as_ptr(), norms.as_mut_ptr()) })?;
    Ok(Tensor::f_from_slice(&norms)?)
}

/// The Euclidean norm of each of `tensors`, which are defined and of a floating kind, fp64 `[N]` on their device.
fn device_norms(tensors: &[Tensor]) -> Result<Tensor> {
    let list = pointers(tensors);
    let mut norms = null_mut();
    // SAFETY: `list` has `tensors.len()` entries, defined above; they live through the call.
    check(unsafe { untie_device_norms(tensors.len(), list.as_ptr(), &raw mut norms) })?;
    // SAFETY: on success `norms` is a tensor that is ours.
    Ok(unsafe { Tensor::from_ptr(norms) })
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

    const ARGUMENTS: AdamWArguments = AdamWArguments { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-6 };

    fn entry<'a>(parameter: &'a Tensor, gradient: &'a Tensor, moments: [&'a Tensor; 2]) -> ScaledTensors<'a> {
        let [exp_avg, exp_avg_sq] = moments;
        let tensors = AdamWTensors { parameter, gradient, exp_avg, exp_avg_sq };
        ScaledTensors { tensors, gradient_scale: 1.0, weight_decay: 0.01 }
    }

    /// By hand, from m = v = 0, g = 1, step 1: m̂ = v̂ = 1, so w ← w·(1 − lr·wd) − lr·1/(1 + ε).
    #[test]
    fn first_update_is_the_formula() {
        let (parameter, gradient) = (ones(3) * 2.0, ones(3));
        let (exp_avg, exp_avg_sq) = (ones(3) * 0.0, ones(3) * 0.0);
        let tensors = [entry(&parameter, &gradient, [&exp_avg, &exp_avg_sq])];
        adamw(&tensors, ARGUMENTS, 1).unwrap();
        let expected = 2.0 * (1.0 - 0.1 * 0.01) - 0.1 / (1.0 + 1e-6);
        assert!((parameter.double_value(&[0]) - expected).abs() < 1e-6);
        assert!((exp_avg.double_value(&[0]) - 0.1).abs() < 1e-7);
        assert!((exp_avg_sq.double_value(&[0]) - 0.001).abs() < 1e-8);
        assert!(adamw(&tensors, ARGUMENTS, 0).is_err());
    }

    /// Ten updates of odd sizes and scaled gradients against libtorch's operations in fp64, which follow the formula:
    /// Loshchilov & Hutter 2019, algorithm 2.
    #[test]
    fn updates_are_those_of_the_formula_in_fp64() {
        for (kind, tolerance) in [(Kind::Double, 1e-14), (Kind::Float, 2e-6)] {
            let random = || Tensor::randn([7, 37], (Kind::Double, Device::Cpu));
            let (mut weight, scale, decay) = (random(), 0.37, 0.02);
            let (mut first, mut second) = (weight.zeros_like(), weight.zeros_like());
            let parts = [&weight, &first, &second].map(|tensor| tensor.to_kind(kind).copy());
            for step in 1..=10_i32 {
                let gradient = random().to_kind(kind);
                let scaled = gradient.to_kind(Kind::Double) * scale;
                first = first * 0.9 + &scaled * 0.1;
                second = second * 0.999 + scaled.square() * 0.001;
                let (mean, square) = (&first / (1.0 - 0.9_f64.powi(step)), &second / (1.0 - 0.999_f64.powi(step)));
                weight = weight * (1.0 - 0.1 * decay) - mean / (square.sqrt() + 1e-6) * 0.1;
                let mut tensors = [entry(&parts[0], &gradient, [&parts[1], &parts[2]])];
                (tensors[0].gradient_scale, tensors[0].weight_decay) = (scale, decay);
                adamw(&tensors, ARGUMENTS, step as u64).unwrap();
            }
            for (found, expected) in parts.iter().zip([&weight, &first, &second]) {
                let error = (found.to_kind(Kind::Double) - expected).abs().max().double_value(&[]);
                assert!(error <= tolerance, "{kind:?}: {error:e}");
            }
        }
    }

    #[test]
    fn mismatched_and_undefined_tensors_are_refused() {
        let (three, four) = (ones(3), ones(4));
        let wrong = [entry(&three, &four, [&three, &three])];
        assert!(adamw(&wrong, ARGUMENTS, 1).unwrap_err().to_string().contains("gradient: expected"));
        let undefined = three.grad();
        let missing = [entry(&three, &undefined, [&three, &three])];
        assert!(adamw(&missing, ARGUMENTS, 1).unwrap_err().to_string().contains("has no gradient"));
        assert!(norms(&[three.to_kind(Kind::Int64)]).is_err() && norms(&[]).is_err());
    }

    /// n equal values v have the norm v·√n; adding 23 M squares in fp32 would be 1e-3 off.
    #[test]
    fn norms_of_large_tensors_are_exact() {
        let values = |tensors: &[Tensor]| Vec::<f64>::try_from(norms(tensors).unwrap()).unwrap();
        let tensor = Tensor::full([30_522, 768], 0.01, (Kind::Float, Device::Cpu));
        let expected = f64::from(0.01_f32) * (30_522.0_f64 * 768.0).sqrt();
        let relative = values(&[tensor])[0] / expected - 1.0;
        assert!(relative.abs() < 1e-12, "{relative:e}");
        assert_eq!(values(&[ones(4), ones(9) * 2.0]), [2.0, 6.0]);
    }

    #[test]
    fn norms_are_exact_and_stay_a_tensor() {
        let tensors = [
            Tensor::from_slice(&[3.0_f32, 0.0, 4.0, 0.0]),
            Tensor::full([30_522, 76], 0.01, (Kind::Float, Device::Cpu)),
        ];
        let norms = Vec::<f64>::try_from(device_norms(&tensors).unwrap()).unwrap();
        let expected = [5.0, f64::from(0.01_f32) * (30_522.0_f64 * 76.0).sqrt()];
        // 2.3 M additions in fp64, one after the other, are at most 2.6e-10 off.
        assert!(
            norms.iter().zip(expected).all(|(norm, expected)| (norm / expected - 1.0).abs() < 2.6e-10),
            "{norms:?}"
        );
    }
}
