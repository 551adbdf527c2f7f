//! One folder of shards as a list of samples, before they are masked.
//!
//! Streams (`mlm`): window k covers tokens k·(T−2) to (k+1)·(T−2) of the documents one after the other, between `[CLS]` and
//! `[SEP]`, so that every token is in exactly one sample an epoch (the tail shorter than a window is left out). Behind each
//! document is a `[SEP]`, with isolated documents `[SEP]` `[CLS]`, so that each begins with `[CLS]` wherever the windows lie.
//! Pairs are the chunks of [`pairs`](crate::batch::pairs).

use std::path::Path;

use untie_data::shard::{ShardError, ShardSet, Share, Split};
use untie_data::wordpiece::SpecialTokens;

use crate::batch::config::{DataConfig, Objective, Packing};
use crate::batch::pairs::{Pair, Pairs};
use crate::batch::random::SampleRandom;
use crate::batch::vocabulary::{shard_error, Vocabulary};
use crate::error::{Error, Result};

/// The samples of one folder's split.
#[derive(Debug)]
pub struct Corpus {
    shards: ShardSet,
    special: SpecialTokens,
    cut: Cut,
    num_samples: u64,
}

/// How shards become samples.
#[derive(Debug)]
enum Cut {
    /// Windows of the stream with this behind each document.
    Stream(Vec<u32>),
    Pairs(Pairs),
}

impl Corpus {
    /// The samples of `split` in `dir`.
    ///
    /// # Errors
    /// Missing, unfinished or damaged shards, a split shorter than one sample, and pairs without sentences.
    pub fn open(dir: &Path, config: &DataConfig, vocabulary: &Vocabulary, split: Split) -> Result<Self> {
        let shards = ShardSet::open_with(dir, split, config.valid_fraction).map_err(shard_error)?;
        let shards = shards.with_vocab_size(vocabulary.size as u32);
        let special = vocabulary.special;
        let (cut, num_samples) = match config.objective {
            Objective::MlmNsp | Objective::MlmSop => {
                let pairs = Pairs::open(dir, config, split, &shards)?;
                let num_samples = pairs.num_pairs();
                (Cut::Pairs(pairs), num_samples)
            }
            Objective::Mlm => {
                let separators = match config.packing {
                    Packing::Concat => vec![special.sep],
                    Packing::Isolated => vec![special.sep, special.cls],
                };
                let window = config.sequence_length as u64 - 2;
                let num_samples = shards.stream_len(separators.len()) / window;
                if num_samples == 0 {
                    return Err(Error::data(format!(
                        "`{}`: the {split} split has {} tokens, a sample needs {window}",
                        dir.display(),
                        shards.num_tokens()
                    ))
                    .hint("prepare more text, hold out a larger fraction, or lower `data.sequence_length`"));
                }
                (Cut::Stream(separators), num_samples)
            }
        };
        Ok(Self { shards, special, cut, num_samples })
    }

    /// Checks that no file has changed its size since it was opened.
    ///
    /// # Errors
    /// The file that has.
    pub fn check_files(&self) -> Result<()> {
        self.shards.check_sizes().map_err(shard_error)
    }

    /// How documents were held out, if the files had no held-out part of their own.
    pub fn held_out(&self) -> Option<Share> {
        self.shards.held_out()
    }

    /// Samples in an epoch.
    pub fn num_samples(&self) -> u64 {
        self.num_samples
    }

    /// Tokens in the split.
    pub fn num_tokens(&self) -> u64 {
        self.shards.num_tokens()
    }

    /// The document of the split in which the tokens of sample `sample` begin; none for pairs.
    ///
    /// # Errors
    /// A shard that is damaged there.
    pub fn document_of(&self, sample: u64, sequence_length: usize) -> std::result::Result<Option<u64>, ShardError> {
        match &self.cut {
            Cut::Pairs(_) => Ok(None),
            Cut::Stream(separators) => {
                self.shards.document_at(sample * (sequence_length as u64 - 2), separators.len()).map(Some)
            }
        }
    }

    /// Fills `ids` with sample `sample`, below [`Self::num_samples`]; for pairs with what `random` makes of it, which is
    /// returned.
    ///
    /// # Errors
    /// A shard that is damaged there.
    pub fn read(
        &self,
        sample: u64,
        random: &mut SampleRandom,
        ids: &mut [u32],
    ) -> std::result::Result<Option<Pair>, ShardError> {
        match &self.cut {
            Cut::Pairs(pairs) => pairs.read(&self.shards, &self.special, sample, random, ids).map(Some),
            Cut::Stream(separators) => {
                let window = ids.len() - 2;
                ids[0] = self.special.cls;
                self.shards.read_stream(sample * window as u64, separators, &mut ids[1..=window])?;
                ids[window + 1] = self.special.sep;
                Ok(None)
            }
        }
    }
}
