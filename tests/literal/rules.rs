//! When the reference unties: correlations, SWE-A and SWE-M (Algorithm 2), from the paper alone.

use std::collections::HashMap;

use tch::{Kind, Tensor};

/// The cosine of two flattened gradients.
pub fn cosine(one: &Tensor, other: &Tensor) -> f64 {
    let product = |left: &Tensor, right: &Tensor| (left * right).sum(Kind::Double).double_value(&[]);
    product(one, other) / (product(one, one) * product(other, other)).sqrt()
}

/// The correlations of neighbouring units of `unit` layers, each unit's gradients as one vector.
pub fn of_units(gradients: &[Tensor], unit: usize) -> Vec<f64> {
    let units: Vec<Tensor> = gradients.chunks(unit).map(|layers| Tensor::cat(layers, 0)).collect();
    units.windows(2).map(|two| cosine(&two[0], &two[1])).collect()
}

/// (layer, next layer of its group, correlation), by the layer.
pub fn within_groups(gradients: &[Tensor], labels: &[usize]) -> Vec<(usize, usize, f64)> {
    let next = |layer: usize| (layer + 1..labels.len()).find(|&above| labels[above] == labels[layer]);
    let pairs = (0..labels.len()).filter_map(|layer| Some((layer, next(layer)?)));
    pairs.map(|(lower, upper)| (lower, upper, cosine(&gradients[lower], &gradients[upper]))).collect()
}

/// SWE-A: unties when more than half of the correlations were below the threshold at `patience` checks in a row.
#[derive(Debug)]
pub struct Adaptive {
    pub threshold: f64,
    pub patience: u64,
    /// Units of so many layers.
    pub unit: usize,
    pub in_a_row: u64,
}

impl Adaptive {
    pub fn check(&mut self, gradients: &[Tensor], labels: &mut [usize]) {
        if (0..labels.len()).all(|layer| labels[layer] == layer % self.unit) {
            let found = of_units(gradients, self.unit);
            let low = found.iter().filter(|&&value| value < self.threshold).count();
            self.in_a_row = if 2 * low > found.len() { self.in_a_row + 1 } else { 0 };
            if self.in_a_row >= self.patience {
                labels.iter_mut().enumerate().for_each(|(layer, label)| *label = layer);
            }
        }
    }
}

/// SWE-M: each group splits at its lowest boundary that was below the threshold at `patience` checks in a row.
#[derive(Debug)]
pub struct MultiStep {
    pub threshold: f64,
    pub patience: u64,
    /// Checks in a row so far, by the two layers of a boundary.
    pub in_a_row: HashMap<(usize, usize), u64>,
}

impl MultiStep {
    pub fn check(&mut self, gradients: &[Tensor], labels: &mut [usize]) {
        let found = within_groups(gradients, labels);
        for &(lower, upper, value) in &found {
            let count = self.in_a_row.entry((lower, upper)).or_insert(0);
            *count = if value < self.threshold { *count + 1 } else { 0 };
        }
        let old = labels.to_owned();
        for group in 0..=old.iter().copied().max().unwrap() {
            let ripe = found
                .iter()
                .find(|&&(lower, upper, _)| old[lower] == group && self.in_a_row[&(lower, upper)] >= self.patience);
            if let Some(&(cut, ..)) = ripe {
                // {..cut} keeps its label, {cut + 1..} gets a new one.
                let new = labels.iter().copied().max().unwrap() + 1;
                (cut + 1..old.len()).filter(|&layer| old[layer] == group).for_each(|layer| labels[layer] = new);
            }
        }
    }
}
