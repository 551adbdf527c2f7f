//! A literal, slow reference of Algorithms 1 and 2 (Yang et al., arXiv 2110.03848): n copies of every layer, always.
//!
//! In: a model's values by name, token ids and targets. Out: every layer's weights, moments and gradients. It shares no
//! code with `untie`: forward passes written down from transformers' BertForMaskedLM and MegatronBertForMaskedLM
//! ([`bert`]), one backward over the whole global batch, the mean over a group put into each of its copies, AdamW by its
//! formula. Layers are tied because equal copies take equal steps; untying changes labels and nothing else.

pub mod bert;
pub mod border;
pub mod growth;
pub mod rng;
pub mod rules;

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

pub use bert::{Batch, Sizes};

/// What the copies of a group receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// The mean of their gradients (Algorithm 1).
    Mean,
    /// The sum, which a script that calls one module n times gets; the norm sees that one module once.
    Sum,
}

/// AdamW and clipping.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
    /// Largest gradient norm.
    pub clip_norm: f64,
}

/// One tensor with its moments; a leaf of its own.
#[derive(Debug)]
pub struct Parameter {
    pub value: Tensor,
    pub first_moment: Tensor,
    pub second_moment: Tensor,
}

impl Parameter {
    /// The value (0), the first (1) or the second moment (2).
    pub fn kind(&self, what: usize) -> &Tensor {
        [&self.value, &self.first_moment, &self.second_moment][what]
    }
}

/// What a step saw.
#[derive(Debug)]
pub struct Step {
    /// Mean over all targets of the global batch, in nats.
    pub loss: f64,
    /// Gradient norm before clipping.
    pub norm: f64,
    /// Each layer's own gradient, flattened, before any mean.
    pub gradients: Vec<Tensor>,
}

/// A model in training. `labels[l]` names the group of layer l: layers of one label share.
#[derive(Debug)]
pub struct Reference {
    pub sizes: Sizes,
    pub labels: Vec<usize>,
    pub parameters: BTreeMap<String, Parameter>,
    pub updates: i32,
    adam: Adam,
    combine: Combine,
}

/// The prefix of the tensors of `layer`.
pub fn prefix(layer: usize) -> String {
    format!("bert.encoder.layer.{layer}.")
}

impl Reference {
    /// Starts from `values`, one tensor a name, with every layer's own.
    pub fn new(
        sizes: Sizes,
        labels: Vec<usize>,
        values: BTreeMap<String, Tensor>,
        adam: Adam,
        combine: Combine,
    ) -> Self {
        let parameter = |value: Tensor| Parameter {
            first_moment: value.zeros_like(),
            second_moment: value.zeros_like(),
            value: value.copy().set_requires_grad(true),
        };
        let parameters = values.into_iter().map(|(name, value)| (name, parameter(value))).collect();
        Self { sizes, labels, parameters, updates: 0, adam, combine }
    }

    /// One step on a global batch.
    pub fn step(&mut self, batch: &Batch, learning_rate: f64) -> Step {
        let (seen, combined) = self.backward(batch);
        self.descend(combined, seen.norm, learning_rate);
        seen
    }

    /// What a step on `batch` sees, and the gradient that each tensor would take.
    pub fn backward(&mut self, batch: &Batch) -> (Step, BTreeMap<String, Tensor>) {
        for parameter in self.parameters.values_mut() {
            parameter.value.zero_grad();
        }
        let loss = bert::loss(&self.sizes, &|name| self.parameters[name].value.shallow_clone(), batch);
        loss.backward();
        let gradients = (0..self.labels.len()).map(|layer| self.layer_gradient(layer)).collect();
        let combined = self.combine();
        (Step { loss: loss.double_value(&[]), norm: self.norm(&combined), gradients }, combined)
    }

    /// Clips `combined`, whose norm is `norm`, and updates the tensors that it names.
    pub fn descend(&mut self, mut combined: BTreeMap<String, Tensor>, norm: f64, learning_rate: f64) {
        if norm > self.adam.clip_norm {
            // torch.nn.utils.clip_grad_norm_ adds 1e-6 to the norm.
            combined.values_mut().for_each(|gradient| *gradient *= self.adam.clip_norm / (norm + 1e-6));
        }
        self.updates += 1;
        for (name, gradient) in &combined {
            self.update(name, gradient, learning_rate);
        }
    }

    /// An optimizer made anew.
    pub fn reset_moments(&mut self) {
        for parameter in self.parameters.values_mut() {
            parameter.first_moment = parameter.value.detach().zeros_like();
            parameter.second_moment = parameter.value.detach().zeros_like();
        }
        self.updates = 0;
    }

    /// Names of the tensors of `layer`, without their prefix.
    pub fn suffixes(&self, layer: usize) -> Vec<String> {
        let prefix = prefix(layer);
        self.parameters.keys().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    fn layer_gradient(&self, layer: usize) -> Tensor {
        let of_tensor = |suffix: String| self.parameters[&(prefix(layer) + &suffix)].value.grad().flatten(0, -1);
        Tensor::cat(&self.suffixes(layer).into_iter().map(of_tensor).collect::<Vec<_>>(), 0)
    }

    /// Every copy's gradient after the mean (or sum) over its group's copies.
    fn combine(&self) -> BTreeMap<String, Tensor> {
        let mut combined: BTreeMap<String, Tensor> =
            self.parameters.iter().map(|(name, parameter)| (name.clone(), parameter.value.grad().copy())).collect();
        for layer in 0..self.labels.len() {
            let members: Vec<usize> =
                (0..self.labels.len()).filter(|&other| self.labels[other] == self.labels[layer]).collect();
            for suffix in self.suffixes(layer) {
                let copies: Vec<Tensor> =
                    members.iter().map(|&member| self.parameters[&(prefix(member) + &suffix)].value.grad()).collect();
                let sum = Tensor::stack(&copies, 0).sum_dim_intlist(0, false, Kind::Double);
                let gradient = match self.combine {
                    Combine::Mean => sum / members.len() as f64,
                    Combine::Sum => sum,
                };
                combined.insert(prefix(layer) + &suffix, gradient);
            }
        }
        combined
    }

    /// The norm over all n copies; for [`Combine::Sum`] over the lowest copy of each group only.
    pub fn norm(&self, combined: &BTreeMap<String, Tensor>) -> f64 {
        let repeats: Vec<String> = (0..self.labels.len())
            .filter(|&layer| self.labels[..layer].contains(&self.labels[layer]))
            .map(prefix)
            .collect();
        let counts = |name: &str| self.combine == Combine::Mean || !repeats.iter().any(|part| name.starts_with(part));
        let square = |gradient: &Tensor| gradient.square().sum(Kind::Double).double_value(&[]);
        combined.iter().filter(|(name, _)| counts(name)).map(|(_, gradient)| square(gradient)).sum::<f64>().sqrt()
    }

    /// AdamW with decoupled decay (Loshchilov & Hutter 2019, algorithm 2); no decay on biases and LayerNorm.
    fn update(&mut self, name: &str, gradient: &Tensor, learning_rate: f64) {
        let Adam { beta1, beta2, epsilon, weight_decay, .. } = self.adam;
        let updates = self.updates;
        let parameter = self.parameters.get_mut(name).unwrap();
        parameter.first_moment = &parameter.first_moment * beta1 + gradient * (1.0 - beta1);
        parameter.second_moment = &parameter.second_moment * beta2 + gradient.square() * (1.0 - beta2);
        let first = &parameter.first_moment / (1.0 - beta1.powi(updates));
        let second = &parameter.second_moment / (1.0 - beta2.powi(updates));
        let is_norm = name.contains("LayerNorm") || name.contains("ln.");
        let decay = if name.ends_with("bias") || is_norm { 0.0 } else { weight_decay };
        let value = parameter.value.detach();
        let step = first / (second.sqrt() + epsilon) + &value * decay;
        parameter.value = (value - step * learning_rate).set_requires_grad(true);
    }
}
