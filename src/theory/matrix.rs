//! Small square matrices in fp64, row by row in plain slices: d² numbers each.
//!
//! A product costs 2d³ operations; d is 16 at most here, so there is nothing to gain from a library.

/// c = a·b.
pub fn product(a: &[f64], b: &[f64], dim: usize, c: &mut [f64]) {
    for i in 0..dim {
        let row = &mut c[i * dim..(i + 1) * dim];
        row.fill(0.0);
        for k in 0..dim {
            add_scaled(row, a[i * dim + k], &b[k * dim..(k + 1) * dim]);
        }
    }
}

/// c = aᵀ·b.
pub fn transposed_product(a: &[f64], b: &[f64], dim: usize, c: &mut [f64]) {
    c.fill(0.0);
    for k in 0..dim {
        for i in 0..dim {
            add_scaled(&mut c[i * dim..(i + 1) * dim], a[k * dim + i], &b[k * dim..(k + 1) * dim]);
        }
    }
}

/// c = a·bᵀ.
pub fn product_transposed(a: &[f64], b: &[f64], dim: usize, c: &mut [f64]) {
    for i in 0..dim {
        for j in 0..dim {
            c[i * dim + j] = dot(&a[i * dim..(i + 1) * dim], &b[j * dim..(j + 1) * dim]);
        }
    }
}

/// y ← y + factor·x.
pub fn add_scaled(y: &mut [f64], factor: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

/// tr(aᵀb), the sum of the products of the entries.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The diagonal matrix of these numbers.
pub fn diagonal(values: &[f64]) -> Vec<f64> {
    let dim = values.len();
    let mut matrix = vec![0.0; dim * dim];
    for (at, value) in values.iter().enumerate() {
        matrix[at * (dim + 1)] = *value;
    }
    matrix
}

/// The identity.
pub fn identity(dim: usize) -> Vec<f64> {
    diagonal(&vec![1.0; dim])
}

/// q·m·qᵀ.
pub fn rotated(q: &[f64], m: &[f64], dim: usize) -> Vec<f64> {
    let (mut left, mut both) = (vec![0.0; dim * dim], vec![0.0; dim * dim]);
    product(q, m, dim, &mut left);
    product_transposed(&left, q, dim, &mut both);
    both
}

/// An orthogonal matrix that depends on `seed` and nothing else: rows of uniform numbers in [−1, 1), each made orthogonal
/// to the earlier ones (Gram–Schmidt, twice for full accuracy) and of length 1. The numbers are SplitMix64's (Steele, Lea
/// and Flood 2014).
pub fn orthogonal(dim: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        (word >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    let mut rows: Vec<f64> = Vec::with_capacity(dim * dim);
    for _ in 0..dim {
        let mut row: Vec<f64> = (0..dim).map(|_| uniform()).collect();
        for _ in 0..2 {
            for earlier in rows.chunks_exact(dim) {
                let overlap = dot(&row, earlier);
                add_scaled(&mut row, -overlap, earlier);
            }
        }
        let length = dot(&row, &row).sqrt();
        rows.extend(row.iter().map(|x| x / length));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [1 2; 3 4] and [5 6; 7 8] by hand.
    #[test]
    fn products_by_hand() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        let mut c = [f64::NAN; 4];
        product(&a, &b, 2, &mut c);
        assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
        transposed_product(&a, &b, 2, &mut c);
        assert_eq!(c, [26.0, 30.0, 38.0, 44.0]);
        product_transposed(&a, &b, 2, &mut c);
        assert_eq!(c, [17.0, 23.0, 39.0, 53.0]);
        assert_eq!(dot(&a, &b), 70.0);
    }

    #[test]
    fn orthogonal_matrices_are_orthogonal_and_differ_by_seed() {
        for dim in [1, 2, 4, 16] {
            let q = orthogonal(dim, 7);
            let gram = rotated(&q, &identity(dim), dim);
            let worst = gram.iter().zip(identity(dim)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-15 * 4.0, "{dim}: {worst}");
        }
        assert_ne!(orthogonal(4, 1), orthogonal(4, 2));
    }
}
