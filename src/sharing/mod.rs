//! The method: layers start tied and are untied on the way (Yang et al., arXiv 2110.03848).
//!
//! While layers share weights, their group takes the MEAN of its layers' gradients, so that AdamW's moments have the
//! scale of a single layer's. When the rule says so, a transition gives every layer its own copy of the weights and of
//! both moments; nothing else changes, so the loss on a batch is the same just before and just after.

pub mod config;
pub mod probe;
pub mod rule;
pub mod start;
pub mod transition;

pub use config::{RuleKind, SharingConfig, Splits, Transition, UntieAt};
pub use probe::{drifting_pairs, watched_pairs, Check, Correlation, Pair};
pub use rule::{Decision, Rule};
pub use start::{GroupInit, Start};
pub use transition::{transition, MomentsAt};
