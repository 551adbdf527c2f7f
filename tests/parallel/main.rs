//! Runs of several processes, on one host and on two.

#[path = "../common/mod.rs"]
mod common;
mod finetune;
#[path = "../common/growing.rs"]
mod growing;
mod growth;
mod message;
#[path = "../common/namespaces.rs"]
mod namespaces;
mod ranks;
#[path = "../common/reviews.rs"]
mod reviews;
#[path = "../common/runs.rs"]
mod runs;
mod two_hosts;
