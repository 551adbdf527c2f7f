//! Runs: steps, untying, checkpoints, kills and resumes, memory, metrics.
//!
//! Tests that compute in this process set libtorch to one thread. The number is the whole process's, so a test that needs
//! another one runs in a process of its own.

mod branch;
mod checkpoint;
#[path = "../common/mod.rs"]
mod common;
mod dashboard;
mod device_run;
mod device_step;
mod disk_full;
mod flips;
mod from_model;
mod golden_losses;
#[path = "../common/growing.rs"]
mod growing;
mod growth;
mod guard;
mod kills;
mod memory;
mod metrics;
mod micro_batch;
#[path = "../common/namespaces.rs"]
mod namespaces;
mod reliability;
mod resume;
#[path = "../common/rng.rs"]
mod rng;
mod rules;
#[path = "../common/runs.rs"]
mod runs;
mod transition;
