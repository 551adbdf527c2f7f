//! How fast this machine multiplies matrices of the model's shapes: the denominator of `train/mfu`.

use std::time::{Duration, Instant};

use tch::{Cuda, Device, Kind, Tensor};

use crate::error::Result;
use crate::model::BertConfig;

/// Time for one shape.
const BUDGET: Duration = Duration::from_millis(150);

/// The best rate, in FLOP/s, over a layer's forward products with `rows` = B·T rows in precision `kind`.
///
/// # Errors
/// libtorch's own.
pub fn product_rate(bert: &BertConfig, rows: usize, kind: Kind, device: Device) -> Result<f64> {
    let (rows, width, inner) = (rows as i64, bert.hidden_size, bert.intermediate_size);
    let (mut flops, mut seconds) = (0.0, 0.0);
    for (fan_in, fan_out) in [(width, 3 * width), (width, width), (width, inner), (inner, width)] {
        let input = Tensor::f_ones([rows, fan_in], (kind, device))?;
        let weight = Tensor::f_ones([fan_out, fan_in], (kind, device))?;
        let (start, mut best) = (Instant::now(), f64::INFINITY);
        while start.elapsed() < BUDGET {
            let begin = Instant::now();
            let _product = tch::no_grad(|| input.f_linear(&weight, None::<Tensor>))?;
            if let Device::Cuda(index) = device {
                Cuda::synchronize(index as i64);
            }
            best = best.min(begin.elapsed().as_secs_f64());
        }
        flops += 2.0 * (rows * fan_in * fan_out) as f64;
        seconds += best;
    }
    Ok(flops / seconds)
}
