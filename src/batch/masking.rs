//! Dynamic masking of one sequence (Devlin et al. 2018, §3.1), of tokens, whole words or spans.
//!
//! In: token ids, and the random stream of the sample. Out: ids with positions chosen, of which some become `[MASK]`, some a
//! random token of the whole vocabulary, and the rest stay; and the chosen positions with the original tokens. Special tokens
//! are never chosen. Cost: O(T), no memory beside the [`Scratch`].
//!
//! The budget is max(1, round(rate·maskable)) positions. Units (tokens, or words: a token and the `##` tokens right behind
//! it) are visited in random order until it is spent:
//!
//! - tokens: each is taken, so that the budget is met exactly;
//! - whole words: a word that does not fit what is left is passed over, so that words are never split and the sequence may
//!   fall short, even to nothing (Google's `create_pretraining_data.py`);
//! - spans: a length is drawn for each unit that is not taken yet, and the units from there on are taken up to that length, a
//!   special token, a unit that is taken, or the end of the budget (SpanBERT); exact for tokens.
//!
//! `[MASK]`, random or unchanged is drawn for each token, with spans for each span (SpanBERT).

use std::sync::Arc;

use untie_data::wordpiece::SpecialTokens;

use crate::batch::config::DataConfig;
use crate::batch::random::SampleRandom;
use crate::batch::spans::SpanLengths;
use crate::batch::vocabulary::Vocabulary;

/// What masking needs to know about the vocabulary and the settings.
#[derive(Clone, Debug)]
pub struct Masking {
    special: SpecialTokens,
    vocab_size: u32,
    rate: f64,
    mask_token_rate: f64,
    random_token_rate: f64,
    /// For whole words: whether each token continues one.
    continues: Option<Arc<[bool]>>,
    spans: Option<SpanLengths>,
}

/// One chosen position and the token that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index into the sequence.
    pub position: usize,
    /// The original token.
    pub label: u32,
}

/// Memory that masking uses again for every sequence.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Units from left to right.
    units: Vec<Unit>,
    /// Numbers of units, shuffled as far as they are visited.
    order: Vec<u32>,
    /// Number of the span that took each position, from 1; 0 for none.
    spans: Vec<u32>,
}

/// Positions that are taken together.
#[derive(Clone, Copy, Debug)]
struct Unit {
    start: usize,
    end: usize,
}

/// What becomes of a chosen token.
#[derive(Clone, Copy, Debug)]
enum Change {
    Mask,
    Random,
    Keep,
}

/// How many of `maskable` tokens are predicted at `rate`: at least one.
pub fn budget(rate: f64, maskable: usize) -> usize {
    ((rate * maskable as f64).round() as usize).max(1).min(maskable)
}

impl Masking {
    /// Masking as `config` wants it.
    pub fn new(config: &DataConfig, vocabulary: &Vocabulary) -> Self {
        Self {
            special: vocabulary.special,
            vocab_size: vocabulary.size as u32,
            rate: config.mask_rate,
            mask_token_rate: config.mask_token_rate,
            random_token_rate: config.random_token_rate,
            continues: config.whole_word.then(|| vocabulary.continues.clone()),
            spans: (config.span_length > 1.0).then(|| SpanLengths::with_mean(config.span_length)),
        }
    }

    /// The budget of `maskable` tokens.
    pub fn count(&self, maskable: usize) -> usize {
        budget(self.rate, maskable)
    }

    /// Masks `ids` in place and fills `targets`, in the order of their positions.
    pub fn apply(&self, ids: &mut [u32], random: &mut SampleRandom, scratch: &mut Scratch, targets: &mut Vec<Target>) {
        self.find_units(ids, scratch);
        self.choose(ids.len(), random, scratch);
        targets.clear();
        let (mut last_span, mut change) = (0, Change::Keep);
        for (position, &span) in scratch.spans.iter().enumerate().filter(|(_, &span)| span != 0) {
            targets.push(Target { position, label: ids[position] });
            if self.spans.is_none() || span != last_span {
                change = self.draw_change(random);
            }
            last_span = span;
            match change {
                Change::Mask => ids[position] = self.special.mask,
                Change::Random => ids[position] = random.below(self.vocab_size),
                Change::Keep => {}
            }
        }
    }

    fn find_units(&self, ids: &[u32], Scratch { units, .. }: &mut Scratch) {
        let special = [self.special.pad, self.special.cls, self.special.sep, self.special.mask];
        let continues =
            |id: u32| self.continues.as_ref().is_some_and(|table| table.get(id as usize).copied().unwrap_or_default());
        units.clear();
        for (position, &id) in ids.iter().enumerate().filter(|(_, id)| !special.contains(id)) {
            match units.last_mut() {
                Some(word) if word.end == position && continues(id) => word.end += 1,
                _ => units.push(Unit { start: position, end: position + 1 }),
            }
        }
    }

    fn choose(&self, length: usize, random: &mut SampleRandom, scratch: &mut Scratch) {
        let Scratch { units, order, spans } = scratch;
        let mut budget = self.count(units.iter().map(|unit| unit.end - unit.start).sum());
        order.clear();
        order.extend(0..units.len() as u32);
        spans.clear();
        spans.resize(length, 0);
        // A Fisher-Yates shuffle that goes only as far as the budget lasts.
        for at in 0..units.len() {
            if budget == 0 {
                break;
            }
            let other = at + random.below((units.len() - at) as u32) as usize;
            order.swap(at, other);
            let first = order[at] as usize;
            if spans[units[first].start] != 0 {
                continue;
            }
            let longest = self.spans.as_ref().map_or(1, |lengths| lengths.draw(random));
            let mut end = units[first].start;
            for unit in units[first..].iter().take(longest) {
                let size = unit.end - unit.start;
                if unit.start != end || spans[end] != 0 || size > budget {
                    break;
                }
                spans[unit.start..unit.end].fill(at as u32 + 1);
                budget -= size;
                end = unit.end;
            }
        }
    }

    fn draw_change(&self, random: &mut SampleRandom) -> Change {
        let fraction = random.fraction();
        if fraction < self.mask_token_rate {
            Change::Mask
        } else if fraction < self.mask_token_rate + self.random_token_rate {
            Change::Random
        } else {
            Change::Keep
        }
    }
}
