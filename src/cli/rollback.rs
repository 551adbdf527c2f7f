//! `untie rollback`: a run goes back to an earlier checkpoint.

use std::path::PathBuf;

use clap::Args;

use crate::checkpoint::roll_back;
use crate::error::Result;
use crate::files::FolderLock;

/// Arguments of `untie rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The run's folder
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// The checkpoint's step [default: the valid one before the newest]
    #[arg(long, value_name = "N")]
    to: Option<u64>,
}

impl RollbackArgs {
    /// Puts the later checkpoints away and prints what `--resume` will go on from.
    ///
    /// # Errors
    /// A run that is in use, without that checkpoint, or with a damaged one.
    pub fn run(&self) -> Result<()> {
        let _lock = FolderLock::take(&self.run)?;
        let (target, moved) = roll_back(&self.run, self.to)?;
        for path in moved {
            eprintln!("put away: {}", path.display());
        }
        println!("{}", target.path.display());
        Ok(())
    }
}
