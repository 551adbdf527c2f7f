//! How fast this machine multiplies the matrices of a model: the denominator of `train/mfu` and of `untie bench`.
//!
//! Counted are the linear maps: each layer's four projections on M = B·T rows, and the head's two on its targets; of each
//! the product of the forward, x·Wᵀ, and the two of the backward, dy·W and dyᵀ·x. Attention's own products are left out on
//! both sides, as FLOPs of a step and as FLOPs of the rate: kernels fuse them with softmax, so they have no rate of their
//! own. A step that did nothing but these products at their best times would thus have a utilisation of exactly 1. Where
//! there is a head for pairs, its share (one row a sequence) is neglected.

use std::time::{Duration, Instant};

use tch::{Cuda, Device, Kind, Tensor};

use crate::error::Result;
use crate::model::BertConfig;

/// Time for one product at the start of a run; `untie bench` takes more.
pub const BRIEF: Duration = Duration::from_millis(30);

/// One linear map of a model, [rows, fan_in] → [rows, fan_out].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    rows: i64,
    fan_in: i64,
    fan_out: i64,
    /// How many of this shape there are.
    count: usize,
}

/// The linear maps of one forward over `rows` = B·T tokens of which `targets` reach the head.
pub fn products(bert: &BertConfig, rows: usize, targets: usize) -> Vec<Product> {
    let (width, inner) = (bert.hidden_size, bert.intermediate_size);
    let layer = [(width, 3 * width), (width, width), (width, inner), (inner, width)];
    let head = [(width, width), (width, bert.padded_vocab_size())];
    let of = |rows: usize, count: usize| move |(fan_in, fan_out)| Product { rows: rows as i64, fan_in, fan_out, count };
    layer.map(of(rows, bert.num_hidden_layers)).into_iter().chain(head.map(of(targets, 1))).collect()
}

/// FLOPs of all `products`, forward and backward: 3 · 2 · rows · fan_in · fan_out each.
pub fn product_flops(products: &[Product]) -> f64 {
    products.iter().map(|product| product.count as f64 * 3.0 * product.flops()).sum()
}

/// The rate, in FLOP/s, of all `products` one after the other in precision `kind`, each at its best time of at least two and
/// of as many as `budget` allows.
///
/// # Errors
/// libtorch's own.
pub fn product_rate(products: &[Product], kind: Kind, device: Device, budget: Duration) -> Result<f64> {
    let mut seconds = 0.0;
    for product in products {
        seconds += product.count as f64 * product.seconds(kind, device, budget)?;
    }
    Ok(product_flops(products) / seconds)
}

impl Product {
    /// Of one of its three products.
    fn flops(&self) -> f64 {
        2.0 * (self.rows * self.fan_in * self.fan_out) as f64
    }

    /// The best times of forward and backward, with the operands laid out as autograd has them.
    fn seconds(&self, kind: Kind, device: Device, budget: Duration) -> Result<f64> {
        let input = operand(self.rows, self.fan_in, kind, device)?;
        let weight = operand(self.fan_out, self.fan_in, kind, device)?;
        let gradient = operand(self.rows, self.fan_out, kind, device)?;
        let transposed = gradient.f_transpose(0, 1)?;
        Ok(best(device, budget, || Ok(input.f_linear(&weight, None::<Tensor>)?))?
            + best(device, budget, || Ok(gradient.f_mm(&weight)?))?
            + best(device, budget, || Ok(transposed.f_mm(&input)?))?)
    }
}

/// Numbers that are neither constant, which multiplies faster on some devices, nor drawn from libtorch's generator.
fn operand(rows: i64, columns: i64, kind: Kind, device: Device) -> Result<Tensor> {
    Ok(Tensor::f_arange(rows * columns, (Kind::Float, device))?.f_sin()?.f_view([rows, columns])?.f_to_kind(kind)?)
}

fn best(device: Device, budget: Duration, product: impl Fn() -> Result<Tensor>) -> Result<f64> {
    let (start, mut best, mut times) = (Instant::now(), f64::INFINITY, 0);
    while times < 2 || start.elapsed() < budget {
        let begin = Instant::now();
        let _product = tch::no_grad(&product)?;
        synchronise(device);
        best = best.min(begin.elapsed().as_secs_f64());
        times += 1;
    }
    Ok(best)
}

/// Waits until `device` has done all that it was given.
pub fn synchronise(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelConfig, Preset};

    /// BERT-base at 8·128 tokens of which 8·19 are targets, by hand: a layer has 768·(2304 + 768 + 3072 + 3072) = 7,077,888
    /// weights in its products, the head 768·(768 + 30,528) = 24,035,328; each is multiplied and added once a row, three times.
    #[test]
    fn flops_are_those_of_the_hand_sum() {
        let bert = ModelConfig { preset: Some(Preset::BertBase), ..Default::default() }.resolve(30522).unwrap();
        let expected = 3.0 * 2.0 * (12.0 * 1024.0 * 7_077_888.0 + 152.0 * 24_035_328.0);
        assert_eq!(product_flops(&products(&bert, 1024, 152)), expected);
    }

    #[test]
    fn every_product_is_timed() {
        let sizes = ModelConfig {
            hidden_size: Some(8),
            num_hidden_layers: Some(3),
            num_attention_heads: Some(2),
            ..Default::default()
        };
        let products = products(&sizes.resolve(100).unwrap(), 16, 3);
        assert_eq!(products.len(), 6);
        let rate = product_rate(&products, Kind::Float, Device::Cpu, Duration::ZERO).unwrap();
        assert!(rate.is_finite() && rate > 0.0, "{rate}");
    }
}
