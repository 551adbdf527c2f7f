//! `untie theory`: the deep linear network of the paper, measured against its bounds.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::error::{Error, Result};
use crate::theory::{Options, Report};

/// Arguments of `untie theory`.
#[derive(Debug, Args)]
pub struct TheoryArgs {
    /// Folder for the tables, CSV files and picture
    #[arg(long, value_name = "DIR", default_value = "runs/theory")]
    out: PathBuf,
    /// Depths L of sharing and ZAS on positive definite targets
    #[arg(long, value_name = "L,L,..", value_delimiter = ',', default_value = "2,4,8,16,32,64")]
    layers: Vec<usize>,
    /// Depths L on perturbed targets; even numbers
    #[arg(long, value_name = "L,L,..", value_delimiter = ',', default_value = "4,8,16")]
    perturbed_layers: Vec<usize>,
    /// The loss ε to reach
    #[arg(long, default_value_t = 1e-6)]
    epsilon: f64,
    /// Largest number of steps to run; above it, the number is computed as the integrated time divided by the step size
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    literal_steps: u64,
}

impl TheoryArgs {
    /// Measures, prints the tables and writes them; a check as well, since a bound that is violated is an error.
    ///
    /// # Errors
    /// Arguments out of range, a folder that cannot be written, a bound that does not hold.
    pub fn run(&self) -> Result<()> {
        let options = Options {
            layers: self.layers.clone(),
            perturbed_layers: self.perturbed_layers.clone(),
            epsilon: self.epsilon,
            literal_steps: self.literal_steps,
        };
        let started = Instant::now();
        let report = Report::measure(&options, |what| eprintln!("measuring {what}"))?;
        println!("{}", report.markdown());
        report.write(&self.out)?;
        eprintln!("written to {} after {:.1} s", self.out.display(), started.elapsed().as_secs_f64());
        let violations = report.violations();
        if violations.is_empty() {
            return Ok(());
        }
        Err(Error::failed(format!(
            "{} of the paper's claims do not hold:\n  {}",
            violations.len(),
            violations.join("\n  ")
        )))
    }
}
