//! The other commands, fine-tuning, and rules that the source keeps.

mod bench;
mod card;
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod finetune;
mod finetune_glue;
mod finetune_squad;
mod fuzz_corpus;
mod imports;
mod new;
mod pages;
mod plot;
mod reference;
#[path = "../common/reviews.rs"]
mod reviews;
mod study;
mod tables;
mod theory;
