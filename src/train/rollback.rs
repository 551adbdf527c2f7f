//! A run under guard: what ends it, what is told, and how it goes back from a spike of its loss to a checkpoint before it, and on
//! with the data after it.

use crate::checkpoint;
use crate::error::{Error, Result};
use crate::metrics::console::Progress;
use crate::metrics::Recorder;
use crate::step::StepReport;
use crate::train::active_phase::ActivePhase;
use crate::train::guard::{Guard, Spike};
use crate::train::open::{shared, train_state};
use crate::train::run::Run;

impl Run {
    /// Goes back to the checkpoint that `guard.rollback_checkpoints` names, counted from the last one before `spike`; from
    /// there on the run reads the samples behind those that it has read so far. Metrics after it are cut off, later
    /// checkpoints put away. Returns whether there was a checkpoint to go back to.
    ///
    /// # Errors
    /// Too many spikes, a checkpoint that cannot be read or written, and libtorch's own.
    pub(super) fn go_back(&mut self, spike: Spike, progress: &Progress) -> Result<bool> {
        let guard = &self.plan.guard;
        if self.totals.rollbacks >= guard.max_rollbacks {
            return Err(Error::failed(format!(
                "the loss spikes again at step {}, after `guard.max_rollbacks` = {}",
                self.step, guard.max_rollbacks
            ))
            .hint("lower `optim.lr` or `optim.clip_norm`, or look at the data; checkpoints are as they were"));
        }
        let world = self.plan.world.clone();
        let found = world.from_first(|| {
            self.saver.wait()?;
            let before = checkpoint::list(&self.folder)?.into_iter().filter(|entry| entry.step < spike.first_step);
            let mut sound = before.filter(|entry| checkpoint::verify(&entry.path).is_ok());
            let found = sound.nth(self.plan.guard.rollback_checkpoints - 1);
            Ok(found.map_or(Vec::new(), |entry| entry.step.to_le_bytes().to_vec()))
        })?;
        let Ok(target) = <[u8; 8]>::try_from(found).map(u64::from_le_bytes) else {
            progress.note(&format!("step {}: there is no checkpoint to go back to", self.step));
            return Ok(false);
        };
        let read = self.plan.phases.samples_consumed(self.step) + self.samples_skipped;
        let loaded = shared(&self.plan, || {
            let (entry, _) = checkpoint::roll_back(&self.folder, Some(target))?;
            checkpoint::load(&entry.path, self.plan.train.precision.weight_kind(), self.plan.device)
        })?;
        let saved;
        (saved, self.state) = train_state(&self.plan, loaded, false)?;
        let step_before = std::mem::replace(&mut self.step, saved.step);
        // Time and skips stay on the account of the run, the tokens of the steps that are done again do not count twice.
        self.totals.tokens = saved.totals.tokens;
        self.totals.rollbacks += 1;
        self.untying = saved.untying;
        self.guard = Guard::default();
        self.samples_skipped = read - self.plan.phases.samples_consumed(self.step);
        if world.is_first() {
            self.recorder = Recorder::resume(&self.folder, &self.plan.metrics, self.step)?;
        }
        self.active = ActivePhase::open(&self.plan, self.plan.phases.after(self.step))?;
        progress.note(&format!(
            "step {step_before}: back to the checkpoint of step {}, and on with the samples from {read} on",
            self.step
        ));
        Ok(true)
    }

    /// Why a run ends whose updates are skipped one after the other.
    pub(super) fn diverged(&mut self, in_a_row: u64) -> Error {
        // What is being written may be the last good one; if it cannot be, the one before is.
        let _ = self.saver.wait();
        let newest = checkpoint::newest_valid(&self.folder).ok().flatten();
        let good = newest.map_or("there is no checkpoint".into(), |(path, _)| {
            format!("the last good checkpoint is `{}`", path.display())
        });
        Error::not_finite(format!(
            "step {}: {in_a_row} updates in a row were skipped because loss or gradient was not finite; {good}",
            self.step
        ))
        .hint("lower `optim.lr`, or take bf16 or fp32 instead of fp16; `guard.max_skipped` is the limit")
    }

    /// Holds the loss of a step against those before it, and tells a spike.
    pub(super) fn check_loss(&mut self, report: &StepReport, progress: &Progress) -> Option<Spike> {
        let config = &self.plan.guard;
        let spike = self.guard.check_loss(config, self.step, report.loss)?;
        let Spike { loss, median, score, in_a_row, .. } = spike;
        progress.note(&format!(
            "step {}: the loss spikes: {loss:.4} after a median of {median:.4}, {score:.1} robust standard deviations above it, \
             {in_a_row} times in a row",
            self.step
        ));
        Some(spike)
    }
}
