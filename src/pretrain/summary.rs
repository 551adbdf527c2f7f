//! What a finished run prints.

use std::fmt;
use std::path::PathBuf;

use crate::checkpoint::{Totals, Untying};
use crate::metrics::human::{human_count, human_duration};
use crate::pretrain::evaluate::Evaluation;

/// The last word of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Steps done.
    pub steps: u64,
    /// Tokens, seconds, skipped steps, over all resumes.
    pub totals: Totals,
    /// Every transition, with the held-out accuracy just before it.
    pub untying: Vec<Untying>,
    /// Held-out loss and accuracy at the end.
    pub evaluation: Evaluation,
    /// The exported model.
    pub export: PathBuf,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |fraction: f64| format!("{:.2} %", 100.0 * fraction);
        let found = &self.evaluation;
        writeln!(
            formatter,
            "trained            {} steps, {} tokens in {} ({} tokens/s){}",
            self.steps,
            human_count(u128::from(self.totals.tokens)),
            human_duration(self.totals.wall_seconds),
            human_count((self.totals.tokens as f64 / self.totals.wall_seconds.max(1e-9)) as u128),
            if self.totals.skipped_steps > 0 {
                format!(", {} steps skipped", self.totals.skipped_steps)
            } else {
                String::new()
            }
        )?;
        writeln!(formatter, "held-out text      {} masked tokens", found.num_targets)?;
        writeln!(formatter, "  baseline: the most frequent token {}", percent(found.unigram_accuracy))?;
        for Untying { step, groups, mlm_accuracy, layers } in &self.untying {
            let change =
                layers.map_or_else(|| format!("untied to {groups:<3}"), |layers| format!("to {layers} layers"));
            writeln!(formatter, "  at step {step:<8} ({change})   {}", percent(*mlm_accuracy))?;
        }
        writeln!(
            formatter,
            "  at the end                        {}, {:.2} times that baseline; loss {:.4}",
            percent(found.accuracy),
            found.accuracy / found.unigram_accuracy.max(1e-9),
            found.loss
        )?;
        if let Some(pair) = found.pair {
            writeln!(
                formatter,
                "  pairs of segments                 {} right, loss {:.4}",
                percent(pair.accuracy),
                pair.loss
            )?;
        }
        write!(formatter, "model              {}", self.export.display())
    }
}
