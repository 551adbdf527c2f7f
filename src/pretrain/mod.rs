//! Pre-training: from a configuration to an exported model.

mod active_phase;
pub mod auto_micro_batch;
pub mod calibrate;
pub mod costs;
pub mod decide_steps;
pub mod evaluate;
pub mod init;
mod measure;
pub mod memory;
mod metrics;
mod open;
pub mod plan;
pub mod resume;
mod rollback;
pub mod run;
pub mod run_stats;
pub mod summary;
mod update;

pub use evaluate::{evaluate, Evaluation, EVALUATION_SEED};
pub use memory::{Memory, Step};
pub use open::first_state;
pub use plan::Plan;
pub use run::{Outcome, Run};
pub use run_stats::RunStats;
pub use summary::Summary;
