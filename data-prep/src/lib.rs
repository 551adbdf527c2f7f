//! Raw text in, BERT token shards out, without libtorch.
#![deny(unsafe_code)]

pub mod corpus;
mod files;
mod hash;
pub mod manifest;
pub mod shard;
pub mod wordpiece;
