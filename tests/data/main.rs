//! Batches: order, masks, pairs, and what a run reads.

mod batch_common;
mod batch_golden;
mod batch_masking;
mod batch_pairs;
mod batch_samples;
#[path = "../common/mod.rs"]
mod common;
mod data_inspect;
