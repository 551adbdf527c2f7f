//! Fine-tuning: a finished encoder, a task and its files in; scores and predictions out.
//!
//! A finished encoder is just an encoder: nothing here knows how it was trained. [`task`] is the list of tasks and the
//! table of GLUE, [`glue`] reads GLUE's files and writes its predictions, [`scores`] measures.

pub mod glue;
pub mod scores;
pub mod task;
