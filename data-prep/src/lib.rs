//! Raw text in, BERT token shards out, without libtorch.
//!
//! [`pipeline::prepare`] reads corpora ([`corpus`]), trains or imports a tokenizer ([`wordpiece`]) and writes Megatron-LM's
//! indexed datasets ([`shard`]) with a [`manifest`]. [`shard::ShardSet`] reads them back: it is all that a trainer needs.
//! Labelled tables, for fine-tuning, are read by `table`.
#![deny(unsafe_code)]

pub mod cli;
pub mod corpus;
pub mod files;
mod hash;
pub mod inspect;
pub mod manifest;
pub mod pair_index;
pub mod pipeline;
pub mod placeholder;
pub mod sentences;
pub mod shard;
pub mod stages;
#[cfg(feature = "parquet")]
pub mod table;
pub mod wordpiece;
mod words;

/// The examples of the README, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
