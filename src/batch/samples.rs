//! The samples of a split, of one corpus or several, in the order of a run, masked.
//!
//! Position p of a run is a slot of the [`Mixture`], which says the corpus and how many of its samples came before: number i
//! is sample i mod n, in the order of epoch i / n of that corpus, whatever the others do. With one corpus i is p.

use untie_data::shard::{Share, Split};

use crate::batch::config::{DataConfig, Objective, Packing};
use crate::batch::corpus::Corpus;
use crate::batch::masking::{Masking, Scratch, Target};
use crate::batch::mixture::Mixture;
use crate::batch::order::Permutation;
use crate::batch::pairs::Pair;
use crate::batch::random::{stream_seed, SampleRandom};
use crate::batch::Batch;
use crate::error::Result;

pub use crate::batch::vocabulary::{shard_error, shards_hash, Vocabulary};

/// One split as a sequence of samples without end.
#[derive(Debug)]
pub struct Samples {
    corpora: Vec<Corpus>,
    mixture: Mixture,
    masking: Masking,
    /// The id that begins a document, where they are isolated.
    isolates: Option<u32>,
    has_pairs: bool,
    sequence_length: usize,
    num_special_tokens: usize,
    seed: u64,
    phase: u32,
}

/// Which sample: its corpus, the epoch that decides its masks, and its number there.
#[derive(Clone, Copy, Debug)]
struct SampleKey {
    corpus: usize,
    epoch: u32,
    sample: u64,
}

impl Samples {
    /// The samples of `split` under `seed`.
    ///
    /// # Errors
    /// Missing, unfinished or damaged shards, a split shorter than one sample, and pairs without sentences.
    pub fn open(config: &DataConfig, vocabulary: &Vocabulary, split: Split, seed: u64) -> Result<Self> {
        let open = |dir| Corpus::open(dir, config, vocabulary, split);
        Ok(Self {
            corpora: config.dirs().into_iter().map(open).collect::<Result<_>>()?,
            mixture: Mixture::new(&config.weights()),
            masking: Masking::new(config, vocabulary),
            isolates: (config.packing == Packing::Isolated).then_some(vocabulary.special.cls),
            has_pairs: config.objective != Objective::Mlm,
            sequence_length: config.sequence_length,
            num_special_tokens: config.num_special_tokens(),
            seed,
            phase: 0,
        })
    }

    /// The same samples in phase `phase` of a run: with an order and masks of their own. Phase 0 is what
    /// [`Self::open`] gives.
    #[must_use]
    pub fn for_phase(mut self, phase: u32) -> Self {
        self.phase = phase;
        self
    }

    /// Samples in an epoch; with several corpora all of theirs together, though each has epochs of its own.
    pub fn num_samples(&self) -> u64 {
        self.corpora.iter().map(Corpus::num_samples).sum()
    }

    /// How documents were held out of each corpus whose files had no held-out part of their own.
    pub fn held_out(&self) -> impl Iterator<Item = Share> + '_ {
        self.corpora.iter().filter_map(Corpus::held_out)
    }

    /// Tokens in the split.
    pub fn num_tokens(&self) -> u64 {
        self.corpora.iter().map(Corpus::num_tokens).sum()
    }

    /// Target slots of a sequence, P.
    pub fn capacity(&self) -> usize {
        self.masking.count(self.sequence_length - self.num_special_tokens)
    }

    /// The batch of `count` samples from `position` of the run on, in the run's order. Where an epoch of a corpus begins, the
    /// sizes of its files are checked again.
    ///
    /// # Errors
    /// A shard that is damaged there, or that was changed since it was opened.
    pub fn batch(&self, position: u64, count: usize) -> Result<Batch> {
        for index in position..position + count as u64 {
            let (corpus, number) = self.mixture.at(index);
            let corpus = &self.corpora[corpus];
            if number.is_multiple_of(corpus.num_samples()) {
                corpus.check_files()?;
            }
        }
        self.collect(count, |index| {
            let (corpus, number) = self.mixture.at(position + index as u64);
            let size = self.corpora[corpus].num_samples();
            let epoch = (number / size) as u32;
            let order = Permutation::new(size, stream_seed(self.seed, self.phase, corpus as u32), epoch);
            SampleKey { corpus, epoch, sample: order.at(number % size) }
        })
    }

    /// `count` samples for evaluation, from number `first` on of `total`: mixed as [`Self::batch`] mixes them, those of each
    /// corpus spread evenly over its split, with the masks of epoch 0.
    ///
    /// # Errors
    /// A shard that is damaged there.
    pub fn spread(&self, first: u64, count: usize, total: u64) -> Result<Batch> {
        self.collect(count, |index| self.spread_key(first + index as u64, total))
    }

    /// The document in which number `number` of [`Self::spread`] begins, by its number in its corpus's split; none for pairs.
    ///
    /// # Errors
    /// A shard that is damaged there.
    pub fn document_of_spread(&self, number: u64, total: u64) -> Result<Option<u64>> {
        let SampleKey { corpus, sample, .. } = self.spread_key(number, total);
        self.corpora[corpus].document_of(sample, self.sequence_length).map_err(shard_error)
    }

    fn spread_key(&self, number: u64, total: u64) -> SampleKey {
        let (corpus, number) = self.mixture.at(number);
        let (size, total) = (self.corpora[corpus].num_samples(), self.mixture.count(corpus, total));
        // Below `size` for every number below the corpus's total.
        let sample = u128::from(number) * u128::from(size) / u128::from(total.max(1));
        SampleKey { corpus, epoch: 0, sample: sample as u64 }
    }

    fn collect(&self, count: usize, which: impl Fn(usize) -> SampleKey) -> Result<Batch> {
        let (length, capacity) = (self.sequence_length, self.capacity());
        let tokens = |wanted: bool| wanted.then(|| Vec::with_capacity(count * length));
        let mut batch = Batch {
            token_ids: Vec::with_capacity(count * length),
            token_types: tokens(self.has_pairs),
            position_ids: tokens(self.isolates.is_some()),
            documents: tokens(self.isolates.is_some()),
            attention_mask: tokens(self.has_pairs),
            pair_labels: self.has_pairs.then(|| Vec::with_capacity(count)),
            sequence_length: length,
            positions: vec![0; count * capacity],
            labels: vec![0; count * capacity],
            weights: vec![0.0; count * capacity],
            num_targets: 0,
            dropout_keys: Vec::with_capacity(count),
        };
        let (mut ids, mut scratch, mut targets) = (vec![0; length], Scratch::default(), Vec::with_capacity(capacity));
        for index in 0..count {
            let SampleKey { corpus, epoch, sample } = which(index);
            let seed = stream_seed(self.seed, self.phase, corpus as u32);
            let mut random = SampleRandom::new(seed, epoch, sample);
            batch.dropout_keys.push(SampleRandom::dropout_key(seed, epoch, sample));
            let pair = self.corpora[corpus].read(sample, &mut random, &mut ids).map_err(shard_error)?;
            if let Some(pair) = pair {
                batch.push_pair(pair);
            }
            if let Some(cls) = self.isolates {
                batch.push_documents(&ids, cls);
            }
            self.masking.apply(&mut ids, &mut random, &mut scratch, &mut targets);
            batch.push_targets(index, capacity, &targets);
            batch.token_ids.extend(ids.iter().map(|&id| i64::from(id)));
        }
        Ok(batch)
    }
}

impl Batch {
    /// Segments, padding and label of the next sequence.
    fn push_pair(&mut self, pair: Pair) {
        let length = self.sequence_length;
        let places = 0..length;
        if let Some(types) = &mut self.token_types {
            types.extend(places.clone().map(|at| i64::from((pair.first..pair.length).contains(&at))));
        }
        if let Some(mask) = &mut self.attention_mask {
            mask.extend(places.map(|at| i64::from(at < pair.length)));
        }
        if let Some(labels) = &mut self.pair_labels {
            labels.push(pair.label);
        }
    }

    /// Documents of the next sequence, which begin with `cls`, and the places in them.
    fn push_documents(&mut self, ids: &[u32], cls: u32) {
        let (mut document, mut start) = (0, 0);
        for (at, &id) in ids.iter().enumerate() {
            if id == cls && at > 0 {
                (document, start) = (document + 1, at);
            }
            if let Some(documents) = &mut self.documents {
                documents.push(document);
            }
            if let Some(places) = &mut self.position_ids {
                places.push((at - start) as i64);
            }
        }
    }

    /// Targets of sequence `index`, which has `capacity` slots.
    fn push_targets(&mut self, index: usize, capacity: usize, targets: &[Target]) {
        for (slot, target) in targets.iter().enumerate() {
            let at = index * capacity + slot;
            self.positions[at] = (index * self.sequence_length + target.position) as i64;
            self.labels[at] = i64::from(target.label);
            self.weights[at] = 1.0;
        }
        self.num_targets += targets.len();
    }
}
