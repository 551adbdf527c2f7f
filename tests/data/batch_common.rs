//! What the tests of batches share: made-up shards with known tokens, and a vocabulary in which every third word token
//! continues the word before it.

#![allow(dead_code)] // each test file uses its part

use std::fs;
use std::path::Path;

use untie::batch::samples::Vocabulary;
use untie::batch::{Batch, DataConfig};
use untie_data::shard::{ShardWriter, TokenType};

pub const PAD: u32 = 0;
pub const CLS: u32 = 2;
pub const SEP: u32 = 3;
pub const MASK: u32 = 4;
/// Ids below are special.
pub const FIRST_WORD: u32 = 5;
pub const VOCAB_SIZE: u32 = 30_000;

/// Whether a token is written with `##`.
pub fn continues(id: u32) -> bool {
    id >= FIRST_WORD && id.is_multiple_of(3)
}

/// Documents of sentences of tokens.
pub type Documents = Vec<Vec<Vec<u32>>>;

/// Writes `documents` as the shard `PREFIX`.
pub fn write_shard(prefix: &Path, documents: &[Vec<Vec<u32>>]) {
    let mut writer = ShardWriter::create(prefix, TokenType::U16).unwrap();
    for document in documents {
        let sentences: Vec<&[u32]> = document.iter().map(Vec::as_slice).collect();
        writer.push_document(&sentences).unwrap();
    }
    writer.finish().unwrap();
}

/// A vocabulary of [`VOCAB_SIZE`] tokens as vocab.txt in `dir`.
pub fn write_vocabulary(dir: &Path) {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let token = |id: u32| match special.get(id as usize) {
        Some(token) => (*token).to_owned(),
        None if continues(id) => format!("##w{id}"),
        None => format!("w{id}"),
    };
    let lines: Vec<String> = (0..VOCAB_SIZE).map(token).collect();
    fs::write(dir.join("vocab.txt"), lines.join("\n") + "\n").unwrap();
}

/// The default configuration on `dir`, whose vocabulary is vocab.txt there.
pub fn config(dir: &Path, sequence_length: usize) -> DataConfig {
    DataConfig { dir: dir.to_owned(), tokenizer: Some(dir.join("vocab.txt")), sequence_length, ..DataConfig::default() }
}

pub fn vocabulary(config: &DataConfig) -> Vocabulary {
    Vocabulary::open(config).unwrap()
}

/// Numbers from a linear congruential generator (Knuth's MMIX constants): the same on every machine.
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub fn token(&mut self) -> u32 {
        FIRST_WORD + self.below(u64::from(VOCAB_SIZE - FIRST_WORD)) as u32
    }

    /// `count` documents of up to `sentences` sentences of up to `tokens` tokens, at least one of each.
    pub fn documents(&mut self, count: usize, sentences: u64, tokens: u64) -> Documents {
        let sentence = |rng: &mut Rng| (0..1 + rng.below(tokens)).map(|_| rng.token()).collect();
        (0..count).map(|_| (0..1 + self.below(sentences)).map(|_| sentence(self)).collect()).collect()
    }
}

/// The sequences of a batch with their targets put back.
pub fn unmasked(batch: &Batch) -> Vec<Vec<u32>> {
    let mut ids = batch.token_ids.clone();
    for slot in (0..batch.positions.len()).filter(|&slot| batch.weights[slot] != 0.0) {
        ids[batch.positions[slot] as usize] = batch.labels[slot];
    }
    ids.chunks(batch.sequence_length).map(|row| row.iter().map(|&id| id as u32).collect()).collect()
}
