//! The correlation of the gradients of layers that share weights, measured in a training step.
//!
//! In: the gradient of every layer over the whole global batch ([`LayerGradients`], left by the step's own backward). Out:
//! the cosine between any two layers, or two units: ⟨∇ᵢ, ∇ⱼ⟩ / (‖∇ᵢ‖·‖∇ⱼ‖) of the flattened gradients. The paper's theory
//! uses tr(∇ᵢᵀ∇ⱼ), its numerator (docs/method.md, "Where this repository differs"). Cost: one small product a tensor, n²·P
//! multiplications for n layers of P parameters, next to nothing beside the backward.

use tch::{Kind, Tensor};

use crate::error::Result;
use crate::layer_map::LayerMap;
use crate::model::LayerGradients;

/// Two sets of layers, equal in number: two layers, or two units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The layers of the lower one, from the lowest.
    pub lower: Vec<usize>,
    /// The layers of the upper one.
    pub upper: Vec<usize>,
}

impl Pair {
    /// Two layers.
    pub fn of_layers(lower: usize, upper: usize) -> Self {
        Self { lower: vec![lower], upper: vec![upper] }
    }
}

/// What a check found between two neighbours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// The lowest layer of the lower one; it names the pair.
    pub lower: usize,
    /// In [-1, 1]; NaN where a gradient is zero.
    pub value: f64,
}

/// The pairs whose correlation decides about splitting `map`: adjacent units where the pattern is one of units and
/// `whole_units` asks for it, else the boundaries within each group.
pub fn watched_pairs(map: &LayerMap, whole_units: bool) -> Vec<Pair> {
    match map.repeated_units() {
        Some(units) if whole_units => {
            units.windows(2).map(|two| Pair { lower: two[0].clone(), upper: two[1].clone() }).collect()
        }
        _ => map.boundaries().into_iter().map(|(lower, upper)| Pair::of_layers(lower, upper)).collect(),
    }
}

/// The pairs to show beside `watched`: once layers are untied, those between neighbours that no longer share. Only where
/// the watched ones are neighbours themselves, so that one number never names two pairs.
pub fn drifting_pairs(map: &LayerMap, watched: &[Pair]) -> Vec<Pair> {
    if watched.iter().any(|pair| pair.lower.len() > 1 || pair.lower[0] + 1 != pair.upper[0]) {
        return Vec::new();
    }
    (1..map.num_layers())
        .filter(|&upper| map.group_of(upper) != map.group_of(upper - 1))
        .map(|upper| Pair::of_layers(upper - 1, upper))
        .collect()
}

/// What a probed step showed.
#[derive(Clone, Debug)]
pub struct Check {
    /// The pairs within groups, which rules decide by.
    pub watched: Vec<Correlation>,
    /// Neighbours that do not share weights.
    pub drifting: Vec<Correlation>,
    /// The correlation of every two layers, n·n values, row by row.
    pub matrix: Vec<f64>,
}

impl Check {
    /// The correlations of `watched` and `drifting` in the gradients of a step.
    ///
    /// # Errors
    /// When no backward has run, and libtorch's own.
    pub fn new(gradients: &LayerGradients, watched: &[Pair], drifting: &[Pair]) -> Result<Self> {
        let products = GradientProducts::measure(gradients)?;
        let correlate = |pairs: &[Pair]| {
            pairs.iter().map(|pair| Correlation { lower: pair.lower[0], value: products.correlation(pair) }).collect()
        };
        Ok(Self { watched: correlate(watched), drifting: correlate(drifting), matrix: products.matrix() })
    }

    /// Every value of it, for one process to hand to the others: decisions must not hang on the last digit.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut f64> {
        let correlations = self.watched.iter_mut().chain(&mut self.drifting);
        correlations.map(|found| &mut found.value).chain(&mut self.matrix)
    }

    /// Both kinds.
    pub fn all(&self) -> impl Iterator<Item = &Correlation> {
        self.watched.iter().chain(&self.drifting)
    }

    /// Lowest, middle and highest, for the log.
    pub fn range(&self) -> String {
        let mut values: Vec<f64> = self.all().map(|found| found.value).collect();
        values.sort_by(f64::total_cmp);
        match (values.first(), values.last()) {
            (Some(lowest), Some(highest)) => {
                format!("{lowest:.2} to {highest:.2} (median {:.2})", values[values.len() / 2])
            }
            _ => "of no pair".into(),
        }
    }

    /// How many of the watched pairs (of the drifting ones, where no layers share) are below `threshold`, and of how many.
    pub fn below(&self, threshold: f64) -> (usize, usize) {
        let pairs = if self.watched.is_empty() { &self.drifting } else { &self.watched };
        (pairs.iter().filter(|found| found.value < threshold).count(), pairs.len())
    }
}

/// ⟨∇ᵢ, ∇ⱼ⟩ for every two layers i, j.
#[derive(Debug)]
struct GradientProducts {
    num_layers: usize,
    products: Vec<f64>,
}

impl GradientProducts {
    /// Reads the gradients of a step.
    fn measure(gradients: &LayerGradients) -> Result<Self> {
        let layers = gradients.read()?;
        let num_layers = layers.len();
        let mut products = vec![0.0; num_layers * num_layers];
        for at in 0..layers.first().map_or(0, Vec::len) {
            let same: Vec<&Tensor> = layers.iter().map(|layer| &layer[at]).collect();
            let found = Vec::<f64>::try_from(row_products(&same)?)?;
            products.iter_mut().zip(found).for_each(|(sum, product)| *sum += product);
        }
        Ok(Self { num_layers, products })
    }

    /// The correlation between the two of `pair`.
    fn correlation(&self, pair: &Pair) -> f64 {
        let product = |one: &[usize], other: &[usize]| -> f64 {
            one.iter().zip(other).map(|(&one, &other)| self.products[one * self.num_layers + other]).sum()
        };
        let squares = product(&pair.lower, &pair.lower) * product(&pair.upper, &pair.upper);
        if squares > 0.0 {
            (product(&pair.lower, &pair.upper) / squares.sqrt()).clamp(-1.0, 1.0)
        } else {
            f64::NAN
        }
    }

    /// The correlation of every two layers, n·n values, row by row.
    fn matrix(&self) -> Vec<f64> {
        let layers = 0..self.num_layers;
        layers.clone().flat_map(|i| layers.clone().map(move |j| self.correlation(&Pair::of_layers(i, j)))).collect()
    }
}

/// The products ⟨gᵢ, gⱼ⟩ of n tensors of one shape, fp64 `[n·n]`. Each row's are summed in the tensors' own precision, the
/// rows' sums in fp64: one fp32 sum over millions of elements would be up to 1e-3 off.
fn row_products(tensors: &[&Tensor]) -> Result<Tensor> {
    let stacked = if tensors[0].dim() < 2 {
        Tensor::f_stack(tensors, 0)?.f_unsqueeze(0)? // [1, n, C]
    } else {
        Tensor::f_stack(tensors, 1)? // [rows, n, C]
    };
    let products = stacked.f_bmm(&stacked.f_transpose(1, 2)?)?; // [rows, n, n]
    Ok(products.f_sum_dim_intlist(0, false, Kind::Double)?.f_reshape([-1])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn layers(pairs: &[Pair]) -> Vec<(usize, usize)> {
        pairs.iter().map(|pair| (pair.lower[0], pair.upper[0])).collect()
    }

    #[test]
    fn units_are_compared_whole_or_member_by_member() {
        let units = LayerMap::units(6, 2, 3).unwrap();
        let whole = watched_pairs(&units, true);
        assert_eq!(whole[1], Pair { lower: vec![2, 3], upper: vec![4, 5] });
        assert_eq!(layers(&whole), [(0, 2), (2, 4)]);
        assert_eq!(layers(&watched_pairs(&units, false)), [(0, 2), (1, 3), (2, 4), (3, 5)]);
        let halves = LayerMap::contiguous(6, 2).unwrap();
        assert_eq!(layers(&watched_pairs(&halves, true)), [(0, 1), (1, 2), (3, 4), (4, 5)]);
    }

    #[test]
    fn untied_neighbours_are_shown_where_names_are_free() {
        let halves = LayerMap::contiguous(4, 2).unwrap();
        assert_eq!(layers(&drifting_pairs(&halves, &watched_pairs(&halves, true))), [(1, 2)]);
        assert_eq!(layers(&drifting_pairs(&LayerMap::untied(3), &[])), [(0, 1), (1, 2)]);
        let units = LayerMap::units(4, 2, 2).unwrap();
        assert!(drifting_pairs(&units, &watched_pairs(&units, true)).is_empty());
    }

    /// By hand: g₀ = (3, 4), g₁ = (4, 3), g₂ = 0: cos(g₀, g₁) = 24/25; with g₂ there is none.
    #[test]
    fn correlations_are_cosines() {
        let vectors = [[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]].map(|values: [f64; 2]| Tensor::from_slice(&values));
        let products = Vec::<f64>::try_from(row_products(&vectors.iter().collect::<Vec<_>>()).unwrap()).unwrap();
        assert_eq!(products, [25.0, 24.0, 0.0, 24.0, 25.0, 0.0, 0.0, 0.0, 0.0]);
        let products = GradientProducts { num_layers: 3, products };
        assert_eq!(products.correlation(&Pair::of_layers(0, 1)), 24.0 / 25.0);
        assert!(products.correlation(&Pair::of_layers(0, 2)).is_nan());
        assert_eq!(products.matrix()[..2], [1.0, 24.0 / 25.0]);
        // The unit of layers 0 and 1 with itself swapped: (3·4 + 4·3 + 4·3 + 3·4) / 50.
        let swapped = Pair { lower: vec![0, 1], upper: vec![1, 0] };
        assert_eq!(products.correlation(&swapped), 48.0 / 50.0);
    }

    #[test]
    fn millions_of_elements_do_not_lose_precision() {
        let tensor = Tensor::full([4096, 1024], 0.01, (Kind::Float, Device::Cpu));
        let found = f64::try_from(row_products(&[&tensor]).unwrap()).unwrap();
        let expected = f64::from(0.01_f32).powi(2) * 4096.0 * 1024.0;
        assert!((found / expected - 1.0).abs() < 1e-6, "{found} is not {expected}");
    }
}
