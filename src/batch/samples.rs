//! The samples of a split: windows of T − 2 tokens of the stream, as `[CLS]` … `[SEP]`, masked.
//!
//! The stream is the documents one after the other with a `[SEP]` behind each; window k covers tokens k·(T−2) to
//! (k+1)·(T−2), so that every token is in exactly one sample an epoch (the tail shorter than a window is left out).
//! Position p of a run is sample p mod n of epoch p / n.

use std::path::Path;

use untie_data::manifest::Manifest;
use untie_data::shard::{ShardError, ShardSet, Split};
use untie_data::wordpiece::{self, SpecialTokens, TokenizerError};

use crate::batch::config::DataConfig;
use crate::batch::masking::Masking;
use crate::batch::order::Permutation;
use crate::batch::random::SampleRandom;
use crate::batch::Batch;
use crate::error::{Error, Result};

/// The tokenizer of a data folder, as far as training needs it.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The tokenizer.json's content, for exports.
    pub json: String,
    /// Tokens, special ones included.
    pub size: usize,
    /// Hash of the tokens in id order: what ids mean.
    pub hash: String,
    /// Ids of the special tokens.
    pub special: SpecialTokens,
}

impl Vocabulary {
    /// Reads `config.tokenizer`, or tokenizer.json in `config.dir`, and checks it against the manifest.
    ///
    /// # Errors
    /// A missing or invalid tokenizer, or one that did not make the shards.
    pub fn open(config: &DataConfig) -> Result<Self> {
        let beside = config.dir.join("tokenizer.json");
        let path = config.tokenizer.as_deref().unwrap_or(&beside);
        if !path.exists() {
            let missing = Error::data(format!("there is no tokenizer at `{}`", path.display()));
            return Err(missing.hint(
                "prepare data with `untie prepare` (or `make data`), or set `data.tokenizer` to the one that made the shards",
            ));
        }
        let vocabulary = Self::read(path)?;
        if let Some(manifest) = manifest(&config.dir)? {
            if manifest.tokenizer.vocab.xxh3 != vocabulary.hash {
                return Err(Error::data(format!(
                    "`{}` is not the tokenizer that made `{}`: expected {} tokens with hash {}, got {} with {}",
                    path.display(),
                    config.dir.display(),
                    manifest.tokenizer.vocab_size,
                    manifest.tokenizer.vocab.xxh3,
                    vocabulary.size,
                    vocabulary.hash
                ))
                .hint("remove `data.tokenizer`, or prepare the data again with that tokenizer"));
            }
        }
        Ok(vocabulary)
    }

    /// Reads a tokenizer.json or vocab.txt.
    ///
    /// # Errors
    /// A file that is no WordPiece tokenizer, or lacks a special token.
    pub fn read(path: &Path) -> Result<Self> {
        let tokenizer = wordpiece::import(path, true).map_err(tokenizer_error)?;
        Ok(Self {
            json: wordpiece::to_json(&tokenizer).map_err(tokenizer_error)?,
            size: wordpiece::vocab_size(&tokenizer) as usize,
            hash: wordpiece::hash(wordpiece::vocab_txt(&tokenizer).as_bytes()),
            special: SpecialTokens::of(&tokenizer).map_err(tokenizer_error)?,
        })
    }
}

/// The manifest of `dir`; none for foreign data.
fn manifest(dir: &Path) -> Result<Option<Manifest>> {
    if dir.join(untie_data::manifest::MANIFEST_FILE).exists() {
        return Manifest::load(dir).map(Some).map_err(shard_error);
    }
    Ok(None)
}

/// A hash of the training shards of `dir`: of their content, as the manifest has it, or for foreign data of their sizes.
///
/// # Errors
/// Missing, unfinished or damaged shards.
pub fn shards_hash(dir: &Path) -> Result<String> {
    let facts: Vec<String> = match manifest(dir)? {
        Some(manifest) => {
            let train = manifest.shards.iter().filter(|shard| shard.split == Split::Train);
            train.map(|shard| format!("{} {}", shard.bin.xxh3, shard.idx.xxh3)).collect()
        }
        None => {
            let set = ShardSet::open(dir, Split::Train).map_err(shard_error)?;
            set.shards().iter().map(|shard| format!("{} {}", shard.num_tokens(), shard.num_documents())).collect()
        }
    };
    Ok(wordpiece::hash(facts.join("\n").as_bytes()))
}

/// One split as a sequence of samples without end.
#[derive(Debug)]
pub struct Samples {
    shards: ShardSet,
    masking: Masking,
    sequence_length: usize,
    seed: u64,
    num_samples: u64,
}

impl Samples {
    /// The samples of `split` under `seed`.
    ///
    /// # Errors
    /// Missing, unfinished or damaged shards, and a split shorter than one sample.
    pub fn open(config: &DataConfig, vocabulary: &Vocabulary, split: Split, seed: u64) -> Result<Self> {
        let shards = ShardSet::open(&config.dir, split).map_err(shard_error)?;
        let window = config.sequence_length as u64 - 2;
        let num_samples = shards.stream_len() / window;
        if num_samples == 0 {
            return Err(Error::data(format!(
                "`{}`: the {split} split has {} tokens, a sample needs {window}",
                config.dir.display(),
                shards.num_tokens()
            ))
            .hint("prepare more text, hold out a larger fraction, or lower `data.sequence_length`"));
        }
        let masking =
            Masking { special: vocabulary.special, vocab_size: vocabulary.size as u32, rate: config.mask_rate };
        let shards = shards.with_vocab_size(vocabulary.size as u32);
        Ok(Self { shards, masking, sequence_length: config.sequence_length, seed, num_samples })
    }

    /// Samples in an epoch.
    pub fn num_samples(&self) -> u64 {
        self.num_samples
    }

    /// Tokens in the split.
    pub fn num_tokens(&self) -> u64 {
        self.shards.num_tokens()
    }

    /// Target slots of a sequence, P.
    pub fn capacity(&self) -> usize {
        self.masking.count(self.sequence_length - 2)
    }

    /// The batch of `count` samples from `position` of the run on, in the run's order.
    ///
    /// # Errors
    /// A shard that is damaged there.
    pub fn batch(&self, position: u64, count: usize) -> Result<Batch> {
        self.collect(count, |index| {
            let at = position + index as u64;
            let epoch = (at / self.num_samples) as u32;
            let sample = Permutation::new(self.num_samples, self.seed, epoch).at(at % self.num_samples);
            (epoch, sample)
        })
    }

    /// `count` samples for evaluation, from number `first` on of `total` that are spread evenly over the split, with the
    /// masks of epoch 0.
    ///
    /// # Errors
    /// A shard that is damaged there.
    pub fn spread(&self, first: u64, count: usize, total: u64) -> Result<Batch> {
        let at = |number: u64| u128::from(number) * u128::from(self.num_samples) / u128::from(total.max(1));
        // Below `num_samples` for every number below `total`.
        self.collect(count, |index| (0, at(first + index as u64) as u64))
    }

    fn collect(&self, count: usize, which: impl Fn(usize) -> (u32, u64)) -> Result<Batch> {
        let (length, capacity) = (self.sequence_length, self.capacity());
        let mut batch = Batch {
            token_ids: Vec::with_capacity(count * length),
            sequence_length: length,
            positions: vec![0; count * capacity],
            labels: vec![0; count * capacity],
            weights: vec![0.0; count * capacity],
            ..Default::default()
        };
        let (mut ids, mut targets) = (vec![0; length], Vec::with_capacity(capacity));
        for index in 0..count {
            let (epoch, sample) = which(index);
            ids[0] = self.masking.special.cls;
            ids[length - 1] = self.masking.special.sep;
            let start = sample * (length as u64 - 2);
            self.shards.read_stream(start, self.masking.special.sep, &mut ids[1..length - 1]).map_err(shard_error)?;
            self.masking.apply(&mut ids, &mut SampleRandom::new(self.seed, epoch, sample), &mut targets);
            for (slot, target) in targets.iter().enumerate() {
                let at = index * capacity + slot;
                batch.positions[at] = (index * length + target.position) as i64;
                batch.labels[at] = i64::from(target.label);
                batch.weights[at] = 1.0;
            }
            batch.num_targets += targets.len();
            batch.token_ids.extend(ids.iter().map(|&id| i64::from(id)));
        }
        Ok(batch)
    }
}

/// A data error with the hint that the shard reader knows.
pub fn shard_error(error: ShardError) -> Error {
    let outer = Error::data("the data cannot be used");
    let outer = match error.hint() {
        Some(hint) => outer.hint(hint),
        None => outer,
    };
    outer.caused_by(error)
}

fn tokenizer_error(error: TokenizerError) -> Error {
    Error::data("the tokenizer cannot be used").caused_by(error)
}
