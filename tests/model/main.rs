//! The model: what transformers, torch.optim and a literal reference of the paper's algorithms compute too, and files of the Hub.

mod esm;
mod fixtures;
mod hub;
mod hub_parity;
#[path = "../literal/mod.rs"]
mod literal;
mod literal_reference;
#[path = "../common/own_process.rs"]
mod own_process;
mod pair_parity;
mod pairs;
mod paper_configs;
mod task_heads;
mod training_parity;
