//! How a model grows: layers start tied and are untied on the way (Yang et al., arXiv 2110.03848), or a model changes its depth.
//!
//! While layers share weights, their group takes the MEAN of its layers' gradients, so that AdamW's moments have the
//! scale of a single layer's. When the rule says so, a transition makes the groups of the next walk from those of this one. Untying
//! gives every layer its own copy of the weights and of both moments; nothing else changes, so the loss on a batch is the same just
//! before and just after.

pub mod config;
pub mod point;
pub mod probe;
pub mod rule;
pub mod rules;
pub mod sharing;
pub mod start;
pub mod transition;

pub use config::{GrowthConfig, GrowthKind};
pub use point::RunPoint;
pub use probe::{drifting_pairs, watched_pairs, Check, Correlation, Pair};
pub use rule::Rule;
pub use rules::by_hand::TransitionConfig;
pub use rules::{describe, growing, rule, rule_of};
pub use sharing::{RuleKind, SharingConfig, Splits};
pub use start::{GroupInit, Start};
pub use transition::{apply, ModelState, MomentsAt, Remembered, Source, Transition};
