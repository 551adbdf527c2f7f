//! What a configuration says of the whole process.

use crate::error::{Error, Result};

/// Device, threads and switches of the process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessOptions<'a> {
    /// `train.device`.
    pub device: &'a str,
    /// `train.threads`.
    pub threads: usize,
    /// `train.deterministic`.
    pub deterministic: bool,
    /// `train.tf32`.
    pub tf32: bool,
}

impl ProcessOptions<'_> {
    /// Checks ranges.
    ///
    /// # Errors
    /// More threads than make sense here.
    pub fn validate(&self) -> Result<()> {
        let most_threads = 4 * std::thread::available_parallelism().map_or(1, usize::from);
        if self.threads > most_threads {
            return Err(Error::config(format!(
                "`train.threads` must be at most {most_threads}, four times the cores of this machine, got {}",
                self.threads
            )));
        }
        Ok(())
    }
}
