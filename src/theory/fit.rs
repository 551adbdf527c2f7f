//! Exponents in L: least-squares lines through logarithms.

use super::dynamics::Start;
use super::study::Row;

/// Both methods, in the order of the tables.
pub const METHODS: [Start; 2] = [Start::ZeroAsymmetric, Start::Tied];

/// Least-squares line of ln y over ln x: its slope, and the slope's standard error (NaN for two points).
pub fn exponent(points: &[(f64, f64)]) -> (f64, f64) {
    let count = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean_x = logs.iter().map(|p| p.0).sum::<f64>() / count;
    let mean_y = logs.iter().map(|p| p.1).sum::<f64>() / count;
    let spread: f64 = logs.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    let slope = logs.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum::<f64>() / spread;
    let rest: f64 = logs.iter().map(|p| (p.1 - mean_y - slope * (p.0 - mean_x)).powi(2)).sum();
    (slope, (rest / (count - 2.0) / spread).sqrt())
}

/// The slope of ln y over ln L.
pub struct Fit {
    /// Over all depths.
    pub slope: f64,
    /// Its standard error; NaN for two depths.
    pub error: f64,
    /// Over the upper half of the depths, where there are four or more.
    pub upper: Option<f64>,
}

/// The fits of one target and method: bound, allowed, largest stable, fewest, time.
pub struct Fits {
    /// The target's name.
    pub case: &'static str,
    /// The method.
    pub start: Start,
    /// In that order.
    pub fits: [Fit; 5],
}

/// All exponents; rows of one target and method in the order of their depths.
pub fn fits(rows: &[Row]) -> Vec<Fits> {
    let mut names: Vec<_> = rows.iter().map(|row| row.case).collect();
    names.dedup();
    let groups = names.into_iter().flat_map(|case| METHODS.map(|start| (case, start)));
    let fits = groups.map(|(case, start)| {
        let group: Vec<&Row> = rows.iter().filter(|row| row.case == case && row.start == start).collect();
        let fit = |value: fn(&Row) -> f64| {
            let points: Vec<_> = group.iter().map(|row| (row.layers as f64, value(row))).collect();
            let (slope, error) = exponent(&points);
            let upper = (points.len() >= 4).then(|| exponent(&points[points.len() / 2..]).0);
            Fit { slope, error, upper }
        };
        let fits = [
            fit(|row| row.bound_steps),
            fit(|row| row.allowed_steps),
            fit(|row| row.edge_steps as f64),
            fit(|row| row.best_steps as f64),
            fit(|row| row.flow_time),
        ];
        Fits { case, start, fits }
    });
    fits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y = 3x² exactly; and ln y = (0, 1, 1) over ln x = (0, 1, 2) by hand: slope ½, residuals (−1, 2, −1)/6, so the
    /// standard error is √(6/36 / 1 / 2).
    #[test]
    fn exponents_by_hand() {
        let (slope, error) = exponent(&[(1.0, 3.0), (2.0, 12.0), (4.0, 48.0)]);
        assert!((slope - 2.0).abs() < 1e-12 && error < 1e-12);
        let e = 1f64.exp();
        let (slope, error) = exponent(&[(1.0, 1.0), (e, e), (e * e, e)]);
        assert!((slope - 0.5).abs() < 1e-12 && (error - (6.0f64 / 36.0 / 2.0).sqrt()).abs() < 1e-12);
        assert!(exponent(&[(1.0, 1.0), (2.0, 2.0)]).1.is_nan());
    }
}
