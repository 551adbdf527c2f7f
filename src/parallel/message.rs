//! What the processes of a run tell each other in a step: one message each, which travels with the last gradients.
//!
//! In: a process's share of the loss, a request to stop, and any numbers that are to be added up. Out, on every process: the loss of
//! all, the largest request, and the sums. Every process gets the rows of all of them, bit for bit, and adds them up itself in the
//! order of ranks, in fp64: all get the same bits, over any network. Cost: 8 elements a number and process in the last bucket of
//! gradients, and a few small operations on the device. Nothing waits for it but [`ReducedMessage::decode`].

use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// A number that is added up over the processes.
#[derive(Debug)]
pub enum Addend {
    /// One that the host knows.
    Host(f64),
    /// One that the device knows, a tensor of one element.
    Device(Tensor),
}

/// What a process says with a step, besides its share of the loss. All processes say as many numbers.
#[derive(Debug, Default)]
pub struct Message {
    /// A request to stop; the largest of all processes wins. 0: none.
    pub stop: u32,
    /// Numbers that are added up; 0 where a process has nothing to add.
    pub sums: Vec<Addend>,
}

/// Numbers of a message before those that are added up: the loss and the request to stop.
const NUM_FIXED: usize = 2;

impl Message {
    /// Numbers in a message with `num_sums` sums.
    pub const fn num_values(num_sums: usize) -> usize {
        NUM_FIXED + num_sums
    }

    /// Its numbers, fp64 `[num_values]`, on the device of `loss`, a scalar: this process's share of the loss.
    ///
    /// # Errors
    /// A tensor with another number of elements than one, and libtorch's own.
    pub fn encode(&self, loss: &Tensor) -> Result<Tensor> {
        // As an argument of a kernel, a number gets to CUDA without a copy that waits for the device.
        let known = |value: f64| Tensor::f_full([1], value, (Kind::Double, loss.device()));
        let mut values = vec![single(loss)?, known(f64::from(self.stop))?];
        for sum in &self.sums {
            values.push(match sum {
                Addend::Host(value) => known(*value)?,
                Addend::Device(tensor) => single(tensor)?,
            });
        }
        Ok(Tensor::f_cat(&values, 0)?)
    }
}

/// `tensor`, of one element, as fp64 `[1]`, without a graph.
fn single(tensor: &Tensor) -> Result<Tensor> {
    if tensor.numel() != 1 {
        return Err(Error::failed(format!("expected a tensor of one element, got {:?}", tensor.size())));
    }
    Ok(tensor.detach().f_to_kind(Kind::Double)?.f_view([1])?)
}

/// What all processes said with a step.
#[derive(Clone, Debug, PartialEq)]
pub struct ReducedMessage {
    /// The loss of the global batch.
    pub loss: f64,
    /// The largest request to stop; 0 where there is none.
    pub stop: u32,
    /// The sums, in the order of [`Message::sums`].
    pub sums: Vec<f64>,
}

impl ReducedMessage {
    /// From the encoded messages of all processes, fp64 `[processes, num_values]`. Waits for the device.
    ///
    /// # Errors
    /// No processes or too few numbers, and libtorch's own.
    pub fn decode(rows: &Tensor) -> Result<Self> {
        let num_values = match rows.size2()? {
            (ranks, values) if ranks > 0 && values >= NUM_FIXED as i64 => values as usize,
            size => return Err(Error::failed(format!("expected the messages of all processes, got {size:?}"))),
        };
        let values = Vec::<f64>::try_from(rows.f_contiguous()?.f_view([-1])?)?;
        let mut sums = values[..num_values].to_vec();
        let mut stop = 0;
        for (rank, row) in values.chunks_exact(num_values).enumerate() {
            stop = stop.max(row[1] as u32);
            if rank > 0 {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(Self { loss: sums[0], stop, sums: sums.split_off(NUM_FIXED) })
    }

    /// The loss of the same, still on the device: a scalar with the bits of [`ReducedMessage::loss`].
    ///
    /// # Errors
    /// libtorch's own.
    pub fn loss_on_device(rows: &Tensor) -> Result<Tensor> {
        let shares = rows.f_select(1, 0)?.f_unbind(0)?;
        // A copy, which may be written to.
        let mut loss = shares[0].f_to_device_(rows.device(), Kind::Double, false, true)?;
        for share in &shares[1..] {
            let _ = loss.f_add_(share)?;
        }
        Ok(loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(value: f64) -> Tensor {
        Tensor::from(value)
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    fn encoded(loss: f64, stop: u32, sums: &[f64]) -> Tensor {
        let sums = sums.iter().map(|&value| Addend::Host(value)).collect();
        Message { stop, sums }.encode(&scalar(loss)).unwrap()
    }

    #[test]
    fn numbers_of_the_host_and_of_the_device_keep_their_bits() {
        let odd = [f64::NAN, f64::INFINITY, -f64::INFINITY, -0.0, 1e308, 5e-324, 0.1];
        for value in odd {
            let sums =
                vec![Addend::Host(value), Addend::Device(scalar(value)), Addend::Device(scalar(value).view([1, 1]))];
            let values = Message { stop: u32::MAX, sums }.encode(&scalar(value)).unwrap();
            assert_eq!(values.size(), [Message::num_values(3) as i64]);
            let expected = [value, f64::from(u32::MAX), value, value, value];
            assert_eq!(bits(&Vec::<f64>::try_from(&values).unwrap()), bits(&expected));
            // A single process hears itself: also -0.0, which a sum that begins at 0.0 would lose.
            let rows = values.unsqueeze(0);
            let reduced = ReducedMessage::decode(&rows).unwrap();
            assert_eq!((reduced.loss.to_bits(), reduced.stop), (value.to_bits(), u32::MAX));
            assert_eq!(bits(&reduced.sums), bits(&[value; 3]));
            assert_eq!(ReducedMessage::loss_on_device(&rows).unwrap().double_value(&[]).to_bits(), value.to_bits());
        }
    }

    /// What a micro-batch's loss and count are: fp32 with a graph, and int64. 0.1 in fp32 is 13421773·2⁻²⁷.
    #[test]
    fn other_kinds_become_fp64_without_a_graph() {
        let loss = Tensor::from(0.1_f32).set_requires_grad(true);
        let sums = vec![Addend::Device(&loss * 1.0), Addend::Device(Tensor::from(7_i64))];
        let values = Message { stop: 0, sums }.encode(&loss).unwrap();
        let tenth = 13_421_773.0 / f64::from(1 << 27);
        assert_eq!(Vec::<f64>::try_from(&values).unwrap(), [tenth, 0.0, tenth, 7.0]);
        assert!(!values.requires_grad());
        let two = Message { stop: 0, sums: vec![Addend::Device(Tensor::from_slice(&[1.0, 2.0]))] };
        assert!(two.encode(&loss).unwrap_err().to_string().contains("expected a tensor of one element, got [2]"));
    }

    /// In the order of ranks (1 + 2⁻⁵³) + 2⁻⁵³ = 1, as each half unit in the last place is rounded to even; from the other end
    /// (2⁻⁵³ + 2⁻⁵³) + 1 = 1 + 2⁻⁵². 1e308 + 1e308 − 1e308 is infinite in the order of ranks alone.
    #[test]
    fn sums_are_taken_in_the_order_of_ranks_and_the_largest_request_wins() {
        let half = f64::EPSILON / 2.0;
        let rows = [
            encoded(1.0, 2, &[half, 1e308, 3.0]),
            encoded(half, 7, &[half, 1e308, 0.0]),
            encoded(half, 0, &[1.0, -1e308, 4.0]),
        ];
        let rows = Tensor::stack(&rows, 0);
        let reduced = ReducedMessage::decode(&rows).unwrap();
        assert_eq!(reduced, ReducedMessage { loss: 1.0, stop: 7, sums: vec![1.0 + f64::EPSILON, f64::INFINITY, 7.0] });
        assert_eq!(ReducedMessage::loss_on_device(&rows).unwrap().double_value(&[]), 1.0);
        let backwards = ReducedMessage::decode(&rows.flip([0])).unwrap();
        assert_eq!((backwards.loss, backwards.sums[0], backwards.sums[1]), (1.0 + f64::EPSILON, 1.0, 1e308));
    }

    #[test]
    fn what_is_no_list_of_messages_is_refused() {
        for size in [[0, 2], [1, 1]] {
            let rows = Tensor::zeros(size, (Kind::Double, tch::Device::Cpu));
            assert!(ReducedMessage::decode(&rows)
                .unwrap_err()
                .to_string()
                .contains("expected the messages of all processes"));
        }
    }
}
