//! Fine-tuning: a pre-trained encoder and a task's files in, scores and predictions out.
//!
//! The stations: [`task`] (their names), [`glue`], [`squad`] and [`custom`] (files → examples, and predictions → files of the GLUE
//! site, of the SQuAD scripts, and of JSON), [`features`] (texts → tokens), [`task_data`] (all of a task that a run needs), [`batch`] and [`mod@loss`],
//! [`finetuning`] (one learning rate, one seed), [`mod@sweep`] (all of them), [`scores`]. A finished encoder is just an encoder:
//! nothing here knows how it was pre-trained. Nothing here prints: a sweep tells [`Event`]s. Cost: a run of BERT-base on SST-2 is
//! three epochs of 67,349 sentences of 13 tokens on average.

pub mod batch;
pub mod config;
pub mod custom;
pub mod custom_examples;
mod data_files;
pub mod entities;
mod eval_set;
pub mod event;
pub mod features;
pub mod finetuning;
mod fit;
pub mod glue;
mod labels;
pub mod loss;
pub mod order;
pub mod scores;
mod scoring;
mod shards;
pub mod squad;
pub mod sweep;
mod table;
pub mod task;
pub mod task_data;
pub mod word_features;

pub use config::FinetuneConfig;
pub use data_files::DataFiles;
pub use eval_set::EvalSet;
pub use event::Event;
pub use finetuning::SweepContext;
pub use fit::{check_finetuned, check_model, check_segments};
pub use labels::label_outputs;
pub use scoring::{ask, evaluate};
pub use sweep::{sweep, SweepOutcome};
pub use task::Task;
pub use task_data::{task_head, TaskData};
