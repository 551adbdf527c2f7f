//! `untie` pre-trains BERT with its encoder layers tied, unties them, and trains on (arXiv 2110.03848).
//!
//! One line of flow: shards → batches → model → loss → gradients (mean over tied layers) → AdamW → untying rule →
//! transition (weights and moments copied per layer) → checkpoint, metrics → export. Each station is a module; the
//! binary `untie` puts them together.
#![deny(unsafe_code)]

pub mod batch;
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod error;
mod files;
pub mod finetune;
pub mod growth;
pub mod hub;
pub mod keys;
pub mod layer_map;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod optim;
pub mod parallel;
pub mod pretrain;
pub mod report;
pub mod shim;
pub mod starter;
pub mod step;
pub mod theory;
pub mod train;
