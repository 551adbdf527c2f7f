//! Pre-training as a [`Task`]: samples of the phase under way, the losses of masked tokens and pairs, held-out text.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::batch::{Batch, Loader};
use crate::checkpoint::DataFingerprint;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::files::write_aside;
use crate::hub;
use crate::keys::{class_of, flatten, Keys};
use crate::loss::{pretraining, Share, Totals};
use crate::metrics::{Category, Chart, Dashboard};
use crate::model::{Bert, Mode};
use crate::pretrain::active_phase::ActivePhase;
use crate::pretrain::auto_micro_batch::make_room;
use crate::pretrain::card::CardFacts;
use crate::pretrain::evaluate::{evaluate, Evaluation};
use crate::pretrain::resolved_run::ResolvedRun;
use crate::pretrain::summary::Summary;
use crate::train::environment::environment;
use crate::train::{Counts, Evaluated, LoggedStep, Loss, Progress, StepBatch, StepMetrics, Task, TrainState};

/// A pre-training run's data, and what is measured on it.
#[derive(Debug)]
pub struct Pretraining {
    run: ResolvedRun,
    folder: PathBuf,
    active: ActivePhase,
    loader: Loader,
    /// The newest evaluation, and the step that it followed.
    evaluated: Option<(u64, Evaluation)>,
}

impl Pretraining {
    /// Opens the data of `run` that follow step `step`, with `skipped` samples left out. Exports go to `folder`.
    ///
    /// # Errors
    /// Missing or damaged shards, and a split shorter than one sample.
    pub fn open(run: ResolvedRun, folder: &Path, (step, skipped): (u64, u64)) -> Result<Self> {
        let active = ActivePhase::open(&run, run.phases.after(step))?;
        let loader = active.loader(&run, step, skipped)?;
        Ok(Self { run, folder: folder.into(), active, loader, evaluated: None })
    }

    /// What a step and the whole run amount to, and how fast the machine's matrix products are.
    ///
    /// # Errors
    /// As [`ResolvedRun::stats`].
    pub fn describe(&self) -> Result<String> {
        let rate = self.active.product_rate * self.run.world.size() as f64;
        let mut text = self.run.describe(&self.run.stats()?, rate);
        for share in self.active.valid.held_out() {
            text.push_str(&format!("\nheld out           {share}; `data.valid_fraction` = {}", share.fraction));
        }
        Ok(text)
    }

    /// Writes the resolved tables to the run's folder.
    pub(super) fn write_config(&self) -> Result<()> {
        match self.run.world.is_first() {
            true => write_aside(&self.folder.join("config.toml"), self.run.to_toml()?.as_bytes()),
            false => Ok(()),
        }
    }

    /// The next `num_micro_batches` micro-batches of this process.
    pub(super) fn batch_of(&mut self, num_micro_batches: usize) -> Result<StepBatch<Batch>> {
        let micro_batches = (0..num_micro_batches).map(|_| self.loader.next_batch()).collect::<Result<Vec<_>>>()?;
        let mut counts = Counts::default();
        for batch in &micro_batches {
            counts.targets += batch.num_targets as f64;
            counts.sequences += batch.num_sequences() as f64;
            if let Some(mask) = &batch.attention_mask {
                counts.positions += mask.len() as f64;
                counts.padding += mask.iter().filter(|&&mask| mask == 0).count() as f64;
            }
        }
        let first = self.run.world.rank() * num_micro_batches;
        Ok(StepBatch { micro_batches, first, tokens: self.active.phase.tokens(), counts })
    }

    /// Held-out loss and accuracy of the model.
    pub(super) fn held_out(&self, state: &TrainState) -> Result<Evaluation> {
        // The same tensors in the precision of the weights, as `untie eval` computes.
        let model = state.model_in(self.run.compute.weight_kind())?;
        let (sequences, batch) = (self.run.config.eval.sequences, self.active.eval_batch());
        evaluate(&model, &self.active.valid, sequences, batch, self.run.device, &self.run.world)
    }

    /// The phase under way.
    pub(super) fn active(&self) -> &ActivePhase {
        &self.active
    }
}

impl Task for Pretraining {
    type MicroBatch = Batch;
    type Summary = Summary;

    fn num_steps(&self) -> u64 {
        self.run.config.train.steps
    }

    fn seed(&self) -> u64 {
        self.run.config.train.seed
    }

    fn phase_end(&self) -> u64 {
        self.active.phase.end
    }

    fn seek(&mut self, step: u64, skipped: u64) -> Result<Option<String>> {
        let phase = self.run.phases.after(step);
        let begins = phase.number != self.active.phase.number;
        if begins {
            self.active = ActivePhase::open(&self.run, phase)?;
        }
        self.loader = self.active.loader(&self.run, step, skipped)?;
        let held_out = if self.run.config.eval.sequence_length.is_none() { ", also held-out ones" } else { "" };
        let (sequences, length) = (phase.global_batch, phase.sequence_length);
        Ok(begins.then(|| format!("now {sequences} sequences of {length} tokens{held_out}")))
    }

    fn next_batch(&mut self) -> Result<StepBatch<Batch>> {
        self.batch_of(self.active.phase.num_micro_batches())
    }

    fn loss(&self, model: &Bert, micro_batch: &Batch, counts: Counts) -> Result<Loss> {
        let totals = Totals { targets: (counts.targets as usize).max(1), sequences: counts.sequences as usize };
        let losses = pretraining(model, &micro_batch.to_device(self.run.device)?, totals, Mode::Train)?;
        let of = |share: &Share| [share.loss.detach(), share.num_correct.shallow_clone()];
        let parts = of(&losses.mlm).into_iter().chain(losses.pair.iter().flat_map(of)).collect();
        Ok(Loss { total: losses.total()?, parts })
    }

    fn make_room(&mut self, error: Error) -> Result<String> {
        let words = make_room(&mut self.run, &mut self.active.phase, error)?;
        self.write_config()?;
        Ok(words)
    }

    fn samples_consumed(&self, step: u64) -> u64 {
        self.run.phases.samples_consumed(step)
    }

    fn evaluates_after(&self, step: u64) -> bool {
        let every = self.run.config.eval.every;
        step == self.num_steps() || every > 0 && step.is_multiple_of(every)
    }

    fn steps_of_an_evaluation(&self) -> f64 {
        let (phase, eval) = (&self.active.phase, &self.run.config.eval);
        match eval.every {
            0 => 0.0,
            // By its tokens: rather too many, as a forward alone takes a third of a step.
            _ => eval.sequences as f64 * self.active.eval_length as f64 / (phase.part() * phase.sequence_length) as f64,
        }
    }

    fn evaluate(&mut self, step: u64, state: &TrainState) -> Result<Evaluated> {
        let found = self.held_out(state)?;
        self.evaluated = Some((step, found));
        let mut metrics = vec![
            ("eval/loss".into(), found.total_loss()),
            ("eval/mlm_accuracy".into(), found.accuracy),
            ("eval/perplexity".into(), found.loss.exp()),
        ];
        if let Some(pair) = found.pair {
            metrics.push(("eval/mlm_loss".into(), found.loss));
            metrics.push(("eval/pair_loss".into(), pair.loss));
            metrics.push(("eval/pair_accuracy".into(), pair.accuracy));
        }
        Ok(Evaluated { metrics, accuracy: found.accuracy, words: format!("held-out {found}") })
    }

    fn log_model(&self, state: &TrainState, metrics: &mut StepMetrics) {
        metrics.insert("sharing/groups", state.map().num_groups() as f64);
        if self.run.config.growth.rule.is_some() {
            metrics.insert("growth/layers", state.map().num_layers() as f64);
        }
    }

    fn log(&self, step: &LoggedStep<'_>, metrics: &mut StepMetrics) -> Option<f64> {
        let ActivePhase { phase, train, product_seconds, .. } = &self.active;
        let LoggedStep { progress, counts, sums: [mlm_loss, correct, pair_loss, pairs_correct], .. } = *step;
        let accuracy = correct / counts.targets.max(1.0);
        metrics.insert("train/mlm_accuracy", accuracy);
        if self.run.bert.pair_head {
            metrics.insert("train/mlm_loss", mlm_loss);
            metrics.insert("train/pair_loss", pair_loss);
            metrics.insert("train/pair_accuracy", pairs_correct / counts.sequences);
        }
        if counts.positions > 0.0 {
            metrics.insert("data/padding", counts.padding / counts.positions);
        }
        // What the products of one process's part take at its rate.
        let seconds = step.mean_layers * product_seconds[0] + product_seconds[1];
        metrics.insert("train/mfu", step.tokens_per_second * seconds / self.run.world.size() as f64);
        metrics.insert("train/tokens", progress.totals.tokens as f64);
        metrics.insert("train/flops", progress.totals.flops);
        metrics.insert("train/hours", progress.totals.step_seconds / 3600.0);
        let position = phase.position(progress.step) + progress.samples_skipped;
        metrics.insert("data/epoch", position as f64 / train.num_samples() as f64);
        Some(accuracy)
    }

    fn flops(&self, layers: f64) -> f64 {
        self.active.stats.flops(layers)
    }

    fn dashboard(&self) -> Result<Dashboard> {
        let mut charts = vec![
            Chart::of(Category::Loss, "Perplexity of masked tokens, held-out text", &["eval/perplexity"]),
            Chart::of(
                Category::Accuracy,
                "Masked tokens: training, held-out text",
                &["train/mlm_accuracy", "eval/mlm_accuracy"],
            ),
            Chart::of(Category::Untying, "Sets of layer weights", &["sharing/groups"]),
            Chart::of(Category::Speed, "Model FLOPs utilisation (MFU)", &["train/mfu"]),
        ];
        if self.run.bert.pair_head {
            charts.extend([
                Chart::of(
                    Category::Loss,
                    "Masked tokens: training, held-out text",
                    &["train/mlm_loss", "eval/mlm_loss"],
                ),
                Chart::of(Category::Loss, "Pairs: training, held-out text", &["train/pair_loss", "eval/pair_loss"]),
                Chart::of(
                    Category::Accuracy,
                    "Pairs: training, held-out text",
                    &["train/pair_accuracy", "eval/pair_accuracy"],
                ),
            ]);
        }
        if self.run.config.growth.rule.is_some() {
            charts.push(Chart::of(Category::Untying, "Layers", &["growth/layers"]));
        }
        if self.run.config.sharing.has_checks() {
            charts.extend([
                Chart::of(
                    Category::Untying,
                    "Correlation of gradients, by the lower layer",
                    &["sharing/correlation/[0-9]+"],
                ),
                Chart::of(Category::Untying, "Share of correlations below the threshold", &["sharing/below_threshold"]),
            ]);
        }
        // Folders do not decide what is trained, but who compares runs wants to see them.
        let is_folder = |key: &str| key == "data.dir" || key.starts_with("data.corpus.") && key.ends_with(".dir");
        let is_shown = |key: &str| class_of(RunConfig::CLASSES, key).decides_result() || is_folder(key);
        let settings = flatten(&self.run.tables()?).into_iter().filter(|(key, _)| is_shown(key)).collect();
        Ok(Dashboard { charts, settings })
    }

    fn identity(&self) -> Result<(Value, DataFingerprint)> {
        Ok((self.run.tables()?, self.run.data_fingerprint.clone()))
    }

    fn finish(&mut self, state: &TrainState, progress: &Progress, _metrics: &mut StepMetrics) -> Result<Summary> {
        // A finished run that is resumed trains no step: it is evaluated again for the summary, and exported again.
        let evaluation = match self.evaluated.filter(|(step, _)| *step == progress.step) {
            Some((_, found)) => found,
            None => self.held_out(state)?,
        };
        let export = self.folder.join("export");
        if self.run.world.is_first() {
            let tokenizer = self.folder.join("tokenizer.json");
            let (map, weights) = (state.map(), state.weights());
            let facts = CardFacts {
                run_dir: &self.folder,
                step: progress.step,
                bert: &self.run.bert,
                map,
                weights,
                config: &self.run.config,
                family: hub::Family::Auto,
                totals: progress.totals,
                untying: &progress.untying,
                environment: &environment(self.run.device)?,
            };
            let card = Some(facts.card()?);
            hub::Export { card, ..hub::Export::new(&self.run.bert, map, weights, &tokenizer) }.write(&export)?;
        }
        self.run.world.barrier()?;
        let Progress { totals, untying, .. } = progress.clone();
        Ok(Summary { steps: self.num_steps(), totals, untying, evaluation, export })
    }
}
