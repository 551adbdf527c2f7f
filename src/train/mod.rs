//! Pre-training: the loop, evaluation, and what is printed around them.

pub mod calibrate;
pub mod config;
pub mod environment;
pub mod evaluate;
pub mod guard;
pub mod init;
pub mod memory;
pub mod micro_batch;
pub mod numbers;
mod open;
pub mod phases;
pub mod plan;
pub mod process;
pub mod resume;
pub mod run;
pub mod stop;
mod stretch;
pub mod summary;
pub mod trainee;
mod values;
mod watch;

pub use config::{resolve_device, EvalConfig, TrainConfig};
pub use evaluate::{evaluate, Evaluation, EVALUATION_SEED};
pub use guard::{GuardConfig, SpikeAction};
pub use memory::{Memory, Step};
pub use micro_batch::MicroBatch;
pub use numbers::Numbers;
pub use phases::{Phase, Phases};
pub use plan::Plan;
pub use process::prepare_process;
pub use run::{Outcome, Run};
pub use stop::{wall_time, Stop, StopFlag};
pub use summary::Summary;
pub use trainee::{Recipe, Trainee};
