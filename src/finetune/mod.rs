//! Fine-tuning a finished encoder on a task with labels, and scoring it.

pub mod squad;
