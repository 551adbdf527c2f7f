//! Pre-training: from a configuration to an exported model.
//!
//! The stations: [`mod@resolve`] (what is `auto` is decided), [`start`] (weights: random, another model's, a checkpoint's),
//! [`pretraining`] (the task that the training loop runs), [`summary`], [`card`]. Beside them what a run is predicted to take: [`run_stats`],
//! [`memory`], [`costs`].

mod active_phase;
pub mod auto_micro_batch;
pub mod calibrate;
pub mod card;
pub mod costs;
pub mod decide_steps;
pub mod evaluate;
pub mod init;
mod measure;
pub mod memory;
pub mod pretraining;
pub mod resolve;
pub mod resolved_run;
pub mod resume;
pub mod run_stats;
pub mod start;
pub mod summary;

pub use evaluate::{evaluate, evaluate_documents, DocumentEvaluation, Evaluation, EVALUATION_SEED};
pub use memory::{Memory, Step};
pub use pretraining::Pretraining;
pub use resolve::{earlier_config, resolve};
pub use resolved_run::ResolvedRun;
pub use run_stats::RunStats;
pub use start::{open, BranchPoint, StartOptions};
pub use summary::Summary;
