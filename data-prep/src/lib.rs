//! Raw text in, BERT token shards out, without libtorch.
#![deny(unsafe_code)]

pub mod corpus;
