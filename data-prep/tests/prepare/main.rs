//! From files to token shards: reading, cleaning, tokenizers, shards, and what goes wrong on the way.

mod cli;
mod corpus;
mod inspect;
mod pair_index;
mod pipeline;
mod recipes;
mod resume;
mod shards;
mod stages;
mod table;
mod tokenizer;
