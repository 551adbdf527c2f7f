//! Training: the loop, the state of a model in training, and what watches over a run.
//!
//! In: a [`Task`] (pre-training or fine-tuning: its batches, its loss, its evaluation), what it starts from, and a folder. Out:
//! checkpoints and metrics, and what the task makes of the finished model. [`Trainer::train`] is the loop.

pub mod cuda_kernels;
mod dashboard;
pub mod environment;
pub mod event;
pub mod guard;
pub mod metrics;
mod options;
pub mod process;
pub mod progress;
mod run_files;
pub mod run_folder;
pub mod state;
pub mod stop;
pub mod task;
pub mod task_step;
mod trainer;

pub use cuda_kernels::prepare_cuda_kernels;
pub use event::{Event, Line};
pub use metrics::StepMetrics;
pub use options::{Outcome, RunOptions};
pub use process::{prepare_process, resolve_device};
pub use progress::Progress;
pub use run_folder::{shared, RunFolder};
pub use state::{InitialState, TrainSpec, TrainState};
pub use stop::{Stop, StopFlag};
pub use task::{Counts, Evaluated, LoggedStep, Loss, StepBatch, Task};
pub use task_step::TaskStep;
pub use trainer::Trainer;
