//! The configuration of a run: every room's table, read from TOML, changed by `--set`, and checked as a whole; and what follows
//! from the tables alone, such as the phases.

pub mod duration;
pub mod guard;
pub mod length;
pub mod micro_batch;
pub mod phases;
pub mod process;
mod read;
mod run;
pub mod train;

pub use duration::wall_time;
pub use guard::{GuardConfig, SpikeAction};
pub use length::{Asked, TimeBudget};
pub use micro_batch::MicroBatch;
pub use phases::{Phase, Phases};
pub use process::ProcessOptions;
pub use read::tables;
pub use run::RunConfig;
pub use train::{EvalConfig, TrainConfig};
