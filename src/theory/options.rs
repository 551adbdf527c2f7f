//! What is measured: depths, ε, and how long a run may be.

use crate::error::{Error, Result};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The depths L of sharing and ZAS on positive definite targets, ascending.
    pub layers: Vec<usize>,
    /// The depths L on perturbed targets, ascending and even.
    pub perturbed_layers: Vec<usize>,
    /// The loss that counts as reached.
    pub epsilon: f64,
    /// A run that would take more steps is not taken to its end: integrated time to ε divided by η stands for it.
    pub literal_steps: u64,
}

impl Options {
    /// # Errors
    /// Depths that are fewer than two, not ascending or not in 2..=256; an ε at which rounding would be measured, or that
    /// a start is below already; no steps.
    pub fn validate(&self) -> Result<()> {
        let ascending = |depths: &[usize], largest| {
            let last = depths.last().copied().unwrap_or_default();
            depths.windows(2).all(|pair| pair[0] < pair[1]) && depths.iter().all(|depth| *depth >= 2) && last <= largest
        };
        let list = |depths: &[usize]| depths.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        if self.layers.len() < 2 || !ascending(&self.layers, 256) {
            let got = list(&self.layers);
            let what = "`--layers` must be two or more depths from 2 to 256, ascending";
            return Err(Error::config(format!("{what}, got `{got}`")));
        }
        let depths = &self.perturbed_layers;
        if depths.is_empty() || !ascending(depths, 64) || depths.iter().any(|depth| depth % 2 == 1 || *depth < 4) {
            let what = "`--perturbed-layers` must be even depths from 4 to 64, ascending";
            return Err(Error::config(format!("{what}, got `{}`", list(depths))));
        }
        if !(1e-12..=1e-2).contains(&self.epsilon) {
            return Err(Error::config(format!("`--epsilon` must be from 1e-12 to 1e-2, got {:e}", self.epsilon)));
        }
        if self.literal_steps == 0 {
            return Err(Error::config("`--literal-steps` must be at least 1"));
        }
        Ok(())
    }
}
