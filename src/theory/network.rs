//! The deep linear network f(x) = W_L···W_1 x as it stands: L real d×d matrices, explicit products.
//!
//! In: weights and the target Φ. Out: the loss R = ½‖W_L···W_1 − Φ‖²_F and every layer's gradient
//!
//! ```text
//! ∇_l R = (W_L···W_{l+1})ᵀ (W_L···W_1 − Φ) (W_{l−1}···W_1)ᵀ
//! ```
//!
//! by one pass forward for the products on the right and one back for those on the left: 3L products of d×d matrices.

use super::dynamics::{Dynamics, Start};
use super::matrix;

/// A deep linear network in fp64. Its state is one matrix while the layers are tied, else L of them, layer 1 first.
#[derive(Clone, Debug)]
pub struct Network {
    layers: usize,
    dim: usize,
    target: Vec<f64>,
    start: Start,
    tied: bool,
    /// P_0 = I, P_l = W_l···W_1.
    products: Vec<f64>,
    back: Vec<f64>,
    gradients: Vec<f64>,
}

impl Network {
    /// `layers` matrices of `dim`×`dim`, for the d² numbers of `target`; sharing starts tied, everything else untied.
    pub fn new(layers: usize, dim: usize, target: &[f64], start: Start) -> Self {
        assert!(layers >= 2 && target.len() == dim * dim, "{layers} layers, {} of {dim}² numbers", target.len());
        let size = dim * dim;
        let mut products = vec![0.0; (layers + 1) * size];
        products[..size].copy_from_slice(&matrix::identity(dim));
        Self {
            layers,
            dim,
            target: target.to_vec(),
            start,
            tied: start == Start::Tied,
            products,
            back: vec![0.0; 2 * size],
            gradients: vec![0.0; layers * size],
        }
    }

    /// Whether all layers use one matrix.
    pub fn is_tied(&self) -> bool {
        self.tied
    }

    /// From here on every layer has its own copy of the weights: `state` becomes L matrices.
    pub fn untie(&mut self, state: &mut Vec<f64>) {
        assert!(self.tied && state.len() == self.dim * self.dim, "untied already");
        self.tied = false;
        *state = state.repeat(self.layers);
    }

    /// Every layer's gradient at `state`, kept for [`Self::correlations`]; returns the loss.
    fn layer_gradients(&mut self, state: &[f64]) -> f64 {
        let (dim, size, tied) = (self.dim, self.dim * self.dim, self.tied);
        let layer = |l: usize| if tied { state } else { &state[l * size..(l + 1) * size] };
        for l in 0..self.layers {
            let (done, next) = self.products.split_at_mut((l + 1) * size);
            matrix::product(layer(l), &done[l * size..], dim, &mut next[..size]);
        }
        let (back, spare) = self.back.split_at_mut(size);
        back.copy_from_slice(&self.products[self.layers * size..]);
        matrix::add_scaled(back, -1.0, &self.target);
        let loss = 0.5 * matrix::dot(back, back);
        for l in (0..self.layers).rev() {
            let right = &self.products[l * size..(l + 1) * size];
            matrix::product_transposed(back, right, dim, &mut self.gradients[l * size..(l + 1) * size]);
            matrix::transposed_product(layer(l), back, dim, spare);
            back.copy_from_slice(spare);
        }
        loss
    }

    /// Cosines of the flattened gradients of layers 1 and 2, 2 and 3, … at the state of the last
    /// [`Dynamics::direction`]; 0 where a gradient is 0.
    pub fn correlations(&self) -> Vec<f64> {
        (1..self.layers).map(|l| self.cosine(l - 1, l)).collect()
    }

    /// The same of the first and the last layer.
    pub fn end_correlation(&self) -> f64 {
        self.cosine(0, self.layers - 1)
    }

    fn cosine(&self, first: usize, second: usize) -> f64 {
        let size = self.dim * self.dim;
        let [a, b] = [first, second].map(|l| &self.gradients[l * size..(l + 1) * size]);
        let lengths = (matrix::dot(a, a) * matrix::dot(b, b)).sqrt();
        if lengths > 0.0 {
            matrix::dot(a, b) / lengths
        } else {
            0.0
        }
    }
}

impl Dynamics for Network {
    fn start(&self) -> Vec<f64> {
        let identity = matrix::identity(self.dim);
        match self.start {
            Start::Tied => identity,
            Start::Identity => identity.repeat(self.layers),
            Start::ZeroAsymmetric => {
                let mut state = identity.repeat(self.layers);
                state[(self.layers - 1) * identity.len()..].fill(0.0);
                state
            }
        }
    }

    fn direction(&mut self, state: &[f64], direction: &mut [f64]) -> f64 {
        let loss = self.layer_gradients(state);
        if self.tied {
            direction.fill(0.0);
            for gradient in self.gradients.chunks_exact(direction.len()) {
                matrix::add_scaled(direction, 1.0 / self.layers as f64, gradient);
            }
        } else {
            direction.copy_from_slice(&self.gradients);
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(start: Start, layers: usize) -> (Network, Vec<f64>) {
        let dim = 3;
        let target = vec![0.9, -0.4, 0.2, 0.3, 1.4, -0.1, 0.5, 0.0, 0.7];
        let network = Network::new(layers, dim, &target, start);
        let noise = matrix::orthogonal(dim, 3);
        let mut state = network.start();
        for (at, x) in state.iter_mut().enumerate() {
            *x += 0.2 * noise[at % 9] * (1.0 + at as f64 / 9.0);
        }
        (network, state)
    }

    /// The direction is the slope of the loss, and 1/L of it under sharing: central differences of the loss alone.
    #[test]
    fn directions_are_differences_of_the_loss() {
        for (start, share) in [(Start::Identity, 1.0), (Start::Tied, 4.0)] {
            let (mut network, state) = example(start, 4);
            let mut found = vec![0.0; state.len()];
            network.direction(&state, &mut found);
            let mut unused = found.clone();
            for at in 0..state.len() {
                let mut loss = |step: f64| {
                    let mut moved = state.clone();
                    moved[at] += step;
                    network.direction(&moved, &mut unused)
                };
                let slope = (loss(1e-5) - loss(-1e-5)) / 2e-5;
                assert!((found[at] * share - slope).abs() < 1e-8 * (1.0 + slope.abs()), "{at}: {} {slope}", found[at]);
            }
        }
    }

    /// Two layers: ∇_1 = W_2ᵀE and ∇_2 = E W_1ᵀ; with W_1 = W_2 = I both are E, so the cosine is 1, and for
    /// W_1 = I, W_2 = 0 the first is 0.
    #[test]
    fn correlations_of_two_layers_by_hand() {
        let target = [2.0, 1.0, 0.0, 3.0];
        let mut unused = vec![0.0; 8];
        let mut network = Network::new(2, 2, &target, Start::Identity);
        let loss = network.direction(&network.start(), &mut unused);
        assert_eq!(loss, 0.5 * (1.0 + 1.0 + 4.0));
        assert!((network.correlations()[0] - 1.0).abs() < 1e-15);
        let mut network = Network::new(2, 2, &target, Start::ZeroAsymmetric);
        assert_eq!(network.direction(&network.start(), &mut unused), 0.5 * (4.0 + 1.0 + 9.0));
        assert_eq!(network.correlations(), [0.0]);
        // W_1 = I, W_2 = the swap: ∇_1 = W_2ᵀE, ∇_2 = E with E = [-2 0; 1 -3]; ∇_1 = [1 -3; -2 0], tr(∇_1ᵀ∇_2) = −4,
        // both of squared length 14.
        let swapped = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0];
        network.direction(&swapped, &mut unused);
        assert!((network.end_correlation() + 4.0 / 14.0).abs() < 1e-15);
    }

    /// Untying changes neither the loss nor, summed over the layers, the direction.
    #[test]
    fn untying_keeps_loss_and_mean() {
        let (mut network, mut state) = example(Start::Tied, 5);
        let mut mean = vec![0.0; 9];
        let tied = network.direction(&state, &mut mean);
        network.untie(&mut state);
        let mut each = vec![0.0; 45];
        assert_eq!(network.direction(&state, &mut each), tied);
        for (at, mean) in mean.iter().enumerate() {
            let sum: f64 = each.iter().skip(at).step_by(9).sum();
            assert!((sum / 5.0 - mean).abs() < 1e-14);
        }
        assert!(!network.is_tied());
    }
}
