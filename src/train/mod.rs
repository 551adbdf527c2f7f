//! Training: the state of a model in training, one step and one transition of it, and what watches over a run.

pub mod environment;
pub mod guard;
pub mod process;
pub mod state;
pub mod stop;

pub use process::{prepare_process, resolve_device};
pub use state::{InitialState, TrainSpec, TrainState};
pub use stop::{Stop, StopFlag};
