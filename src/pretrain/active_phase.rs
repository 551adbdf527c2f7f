//! The data of the phase that is under way.

use std::sync::Arc;

use untie_data::shard::Split;

use crate::batch::{DataConfig, Loader, Samples, Share};
use crate::config::phases::Phase;
use crate::error::Result;
use crate::model::BertConfig;
use crate::pretrain::calibrate::{self, product_flops};
use crate::pretrain::evaluate::EVALUATION_SEED;
use crate::pretrain::resolved_run::ResolvedRun;
use crate::pretrain::run_stats::PhaseStats;

/// A phase with its samples, opened.
#[derive(Debug)]
pub(super) struct ActivePhase {
    pub(super) phase: Phase,
    pub(super) train: Arc<Samples>,
    pub(super) valid: Samples,
    /// Tokens of a held-out sequence.
    pub(super) eval_length: usize,
    /// Matrix products a second at the shapes of the phase, FLOP/s.
    pub(super) product_rate: f64,
    /// What the products of one token take at that rate, in a layer and in the head.
    pub(super) product_seconds: [f64; 2],
    /// Its sizes.
    pub(super) stats: PhaseStats,
}

impl ActivePhase {
    /// Opens both splits for `phase`.
    ///
    /// # Errors
    /// Missing or damaged shards, and a split shorter than one sample.
    pub(super) fn open(run: &ResolvedRun, phase: Phase) -> Result<Self> {
        let eval_length = run.config.eval.sequence_length.unwrap_or(phase.sequence_length);
        let held_out = DataConfig { sequence_length: eval_length, ..phase.data(&run.config.data) };
        let valid = Samples::open(&held_out, &run.vocabulary, Split::Valid, EVALUATION_SEED)?;
        let train = Arc::new(run.samples(&phase)?);
        let products = run.products(&phase, train.capacity());
        let product_rate = run.product_rate(&products)?;
        let tokens = phase.micro_batch * phase.sequence_length;
        let of = |layers| {
            let bert = BertConfig { num_hidden_layers: layers, ..run.bert.clone() };
            let products = calibrate::products(&bert, tokens, phase.micro_batch * train.capacity());
            product_flops(&products) / product_rate / tokens as f64
        };
        let product_seconds = [of(1) - of(0), of(0)];
        let stats = PhaseStats::new(&run.bert, phase, train.capacity(), train.num_samples());
        Ok(Self { phase, train, valid, eval_length, product_rate, product_seconds, stats })
    }

    /// Held-out sequences in one forward: as many tokens as a micro-batch has.
    pub(super) fn eval_batch(&self) -> usize {
        (self.phase.micro_batch * self.phase.sequence_length / self.eval_length).max(1)
    }

    /// Micro-batches from the one that comes after `step` steps of the run and `skipped` samples.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn loader(&self, run: &ResolvedRun, step: u64, skipped: u64) -> Result<Loader> {
        let position = self.phase.position(step) + skipped;
        let Phase { global_batch, micro_batch, ranks, .. } = self.phase;
        let share = Share { global_batch, micro_batch, rank: run.world.rank(), ranks };
        Loader::start(self.train.clone(), position, share, run.config.data.workers)
    }
}
