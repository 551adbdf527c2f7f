//! The parts of a step whose numbers stay on the device: no call here waits for it.

use tch::{Device, Kind, Tensor};

use super::ffi::{check, pointers, untie_device_adamw};
use super::optim::{floating, same_layout, AdamWArguments, AdamWTensors};
use crate::error::{Error, Result};

/// What an update on the device reads there; float32 scalars.
#[derive(Clone, Copy, Debug)]
pub struct DeviceScalars<'a> {
    /// Number of this update, from 1; whatever it is where the update is skipped.
    pub step: &'a Tensor,
    /// What gradients are divided by first.
    pub divisor: &'a Tensor,
    /// 1 to leave everything as it is, else 0.
    pub found_inf: &'a Tensor,
}

/// One AdamW update of all `tensors`, in libtorch's fused kernel, with the numbers in `scalars`. The
/// gradients are left divided.
///
/// # Errors
/// When a gradient is missing, shapes, precisions or devices differ, or a tensor is not contiguous.
pub fn device_adamw(
    tensors: &[AdamWTensors<'_>],
    weight_decay: f64,
    arguments: AdamWArguments,
    scalars: DeviceScalars<'_>,
) -> Result<()> {
    let Some(device) = tensors.first().map(|first| first.parameter.device()) else { return Ok(()) };
    for entry in tensors {
        floating([entry.parameter])?;
        if entry.parameter.device() != device {
            return Err(Error::failed(format!(
                "expected parameters on {device:?}, got {:?}",
                entry.parameter.device()
            )));
        }
        for (name, other) in
            [("gradient", entry.gradient), ("first moment", entry.exp_avg), ("second moment", entry.exp_avg_sq)]
        {
            same_layout(name, entry.parameter, other)?;
        }
    }
    for (name, scalar) in [("step", scalars.step), ("divisor", scalars.divisor), ("found_inf", scalars.found_inf)] {
        is_scalar(name, scalar, device)?;
    }
    let parameters = pointers(tensors.iter().map(|entry| entry.parameter));
    let gradients = pointers(tensors.iter().map(|entry| entry.gradient));
    let exp_avgs = pointers(tensors.iter().map(|entry| entry.exp_avg));
    let exp_avg_sqs = pointers(tensors.iter().map(|entry| entry.exp_avg_sq));
    // SAFETY: four lists of `tensors.len()` live tensors and three scalars, checked above to be defined and alike.
    check(unsafe {
        untie_device_adamw(
            tensors.len(),
            parameters.as_ptr(),
            gradients.as_ptr(),
            exp_avgs.as_ptr(),
            exp_avg_sqs.as_ptr(),
            arguments.learning_rate,
            arguments.beta1,
            arguments.beta2,
            weight_decay,
            arguments.epsilon,
            scalars.step.as_ptr(),
            scalars.divisor.as_ptr(),
            scalars.found_inf.as_ptr(),
        )
    })
}

pub(super) fn is_scalar(name: &str, tensor: &Tensor, device: Device) -> Result<()> {
    if !tensor.defined() || tensor.kind() != Kind::Float || tensor.numel() != 1 || tensor.device() != device {
        return Err(Error::failed(format!("{name}: expected one number of kind Float on {device:?}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(values: [f32; 4]) -> Tensor {
        Tensor::from_slice(&values)
    }

    fn scalar(value: f32) -> Tensor {
        Tensor::from(value)
    }

    const DECAY: f64 = 0.01;
    const ARGUMENTS: AdamWArguments = AdamWArguments { learning_rate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-6 };

    /// parameter, gradient, first and second moment
    fn four() -> [Tensor; 4] {
        [
            values([1.0, -2.0, 0.5, 3.0]),
            values([4.0, 8.0, -2.0, 0.25]),
            values([0.1, 0.2, 0.3, 0.4]),
            values([0.4, 0.3, 0.2, 0.1]),
        ]
    }

    fn of(tensors: &[Tensor; 4]) -> [AdamWTensors<'_>; 1] {
        let [parameter, gradient, exp_avg, exp_avg_sq] = tensors;
        [AdamWTensors { parameter, gradient, exp_avg, exp_avg_sq }]
    }

    /// The formula in fp64: ḡ = g/d, m ← β₁m + (1−β₁)ḡ, v ← β₂v + (1−β₂)ḡ²,
    /// w ← w·(1 − lr·λ) − lr/(1−β₁³) · m/(√v/√(1−β₂³) + ε).
    #[test]
    fn an_update_is_the_formula_on_divided_gradients_and_a_skipped_one_nothing() {
        let tensors = four();
        let (step, divisor) = (scalar(3.0), scalar(4.0));
        let skip = DeviceScalars { step: &step, divisor: &divisor, found_inf: &scalar(1.0) };
        device_adamw(&of(&tensors), DECAY, ARGUMENTS, skip).unwrap();
        assert!(tensors.iter().zip(four()).all(|(left, as_it_was)| *left == as_it_was));

        device_adamw(&of(&tensors), DECAY, ARGUMENTS, DeviceScalars { found_inf: &scalar(0.0), ..skip }).unwrap();
        let [first, second] = [ARGUMENTS.beta1, ARGUMENTS.beta2];
        for at in 0..4 {
            let [w, g, m, v] = four().map(|tensor| tensor.double_value(&[at]));
            let g = g / 4.0;
            let (m, v) = (first * m + (1.0 - first) * g, second * v + (1.0 - second) * g * g);
            let rate = ARGUMENTS.learning_rate / (1.0 - first.powi(3));
            let root = v.sqrt() / (1.0 - second.powi(3)).sqrt() + ARGUMENTS.epsilon;
            let w = w * (1.0 - ARGUMENTS.learning_rate * DECAY) - rate * m / root;
            for (tensor, expected) in tensors.iter().zip([w, g, m, v]) {
                assert!((tensor.double_value(&[at]) / expected - 1.0).abs() < 1e-6, "{at}: {tensor:?} {expected}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (device, one, wide) = (four(), scalar(1.0), scalar(1.0).to_kind(Kind::Double));
        let scalars = DeviceScalars { step: &one, divisor: &wide, found_inf: &one };
        let message = device_adamw(&of(&device), DECAY, ARGUMENTS, scalars).unwrap_err().to_string();
        assert!(message.contains("divisor: expected one number of kind Float"), "{message}");
    }
}
