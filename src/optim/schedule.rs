//! The learning rate of every step, a pure function of the step.

use std::f64::consts::PI;

use crate::optim::config::{DecayShape, OptimConfig, ScheduleKind};

/// Linear warm-up to the peak, then `linear`, `cosine`, `constant` or `wsd`.
#[derive(Clone, Debug)]
pub struct Schedule {
    peak: f64,
    start: u64,
    warmup: u64,
    steps: u64,
    kind: ScheduleKind,
    decay_start: u64,
    decay_shape: DecayShape,
}

impl Schedule {
    /// The schedule that begins at step `start` of a run and ends with it, at `steps`: 0 for a whole run, or where a transition starts
    /// it anew. Fractions are of the steps between.
    pub fn new(config: &OptimConfig, steps: u64, start: u64) -> Self {
        let steps = steps.saturating_sub(start);
        Self {
            peak: config.lr,
            start,
            warmup: config.warmup_steps(steps),
            steps,
            kind: config.schedule,
            decay_start: config.decay_start(start, steps),
            decay_shape: config.decay_shape.unwrap_or(DecayShape::Linear),
        }
    }

    /// The rate of update `step` of the run, from 0. With s the steps since the start and W warm-up steps of N: peak·(s+1)/W before W,
    /// so that the first update is not lost to a rate of 0; then peak·f(r) with r = (N−s)/(N−W), f(r) = r, (1 − cos πr)/2, or 1.
    ///
    /// `wsd` (Hu et al. 2024, arXiv 2404.06395) stays at the peak until its decay begins at step F, then takes peak·(1 − p) or
    /// peak·(1 − √p) (Hägele et al. 2024, arXiv 2405.18392) with p = (s−F)/(N−F).
    pub fn learning_rate(&self, step: u64) -> f64 {
        let step = step.saturating_sub(self.start);
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let left = self.steps.saturating_sub(step) as f64 / self.steps.saturating_sub(self.warmup).max(1) as f64;
        match self.kind {
            ScheduleKind::Linear => self.peak * left,
            ScheduleKind::Cosine => self.peak * 0.5 * (1.0 - (PI * left).cos()),
            ScheduleKind::Constant => self.peak,
            ScheduleKind::Wsd => self.peak * self.decayed(step),
        }
    }

    /// What the decay leaves of the peak after `step` steps since the start.
    fn decayed(&self, step: u64) -> f64 {
        let length = self.steps.saturating_sub(self.decay_start).max(1);
        let part = (step.saturating_sub(self.decay_start) as f64 / length as f64).min(1.0);
        match self.decay_shape {
            DecayShape::Linear => 1.0 - part,
            DecayShape::Sqrt => 1.0 - part.sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::config::Span;

    fn config(kind: ScheduleKind) -> OptimConfig {
        OptimConfig { lr: 2.0, warmup: Span::Steps(4), schedule: kind, ..Default::default() }
    }

    fn rates(schedule: &Schedule, steps: std::ops::RangeInclusive<u64>) -> Vec<f64> {
        steps.map(|step| schedule.learning_rate(step)).collect()
    }

    #[test]
    fn rates_follow_the_formula() {
        let linear = Schedule::new(&config(ScheduleKind::Linear), 12, 0);
        let expected = [0.5, 1.0, 1.5, 2.0, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0];
        assert_eq!(rates(&linear, 0..=12), expected);
        let cosine = Schedule::new(&config(ScheduleKind::Cosine), 12, 0);
        assert!((cosine.learning_rate(8) - 1.0).abs() < 1e-12 && cosine.learning_rate(12) == 0.0);
        assert_eq!(Schedule::new(&config(ScheduleKind::Constant), 12, 0).learning_rate(11), 2.0);
    }

    /// By hand: 4 steps up, 4 at the peak, 4 down; p = 0, 1/4, 1/2, 3/4, 1, and its root 0, 1/2, .., 1.
    #[test]
    fn wsd_stays_at_the_peak_and_decays() {
        let wsd = OptimConfig { decay: Some(Span::Steps(4)), ..config(ScheduleKind::Wsd) };
        let linear = Schedule::new(&wsd, 12, 0);
        let expected = [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5, 0.0];
        assert_eq!(rates(&linear, 0..=12), expected);
        let sqrt = Schedule::new(&OptimConfig { decay_shape: Some(DecayShape::Sqrt), ..wsd.clone() }, 12, 0);
        let expected = [2.0, 1.0, 2.0 * (1.0 - 0.5_f64.sqrt()), 2.0 * (1.0 - 0.75_f64.sqrt()), 0.0];
        assert_eq!(rates(&sqrt, 8..=12), expected);
        // The same by where it begins.
        let from = OptimConfig { decay: None, decay_from: Some(Span::Steps(8)), ..wsd.clone() };
        assert_eq!(rates(&Schedule::new(&from, 12, 0), 0..=12), rates(&linear, 0..=12));
        // Two lengths share their trunk: that is what a decay from a checkpoint counts on.
        let longer = Schedule::new(&wsd, 40, 0);
        assert_eq!(rates(&longer, 0..=8), rates(&linear, 0..=8));
        let never = OptimConfig { decay: Some(Span::Steps(0)), ..wsd };
        assert_eq!(rates(&Schedule::new(&never, 12, 0), 4..=12), [2.0; 9]);
    }

    #[test]
    fn a_restart_is_a_schedule_of_what_is_left() {
        for kind in [ScheduleKind::Linear, ScheduleKind::Cosine, ScheduleKind::Constant, ScheduleKind::Wsd] {
            let config = OptimConfig { warmup: Span::Fraction(0.25), ..config(kind) };
            let (anew, first) = (Schedule::new(&config, 30, 10), Schedule::new(&config, 20, 0));
            assert_eq!(rates(&anew, 10..=30), rates(&first, 0..=20), "{kind:?}");
            assert_eq!(anew.learning_rate(10), 0.4);
        }
        // A stage that is shorter than its warm-up does not reach the peak.
        assert_eq!(rates(&Schedule::new(&config(ScheduleKind::Linear), 12, 10), 10..=11), [0.5, 1.0]);
    }

    #[test]
    fn warmup_of_the_whole_run_never_divides_by_zero() {
        let config = OptimConfig { lr: 1.0, warmup: Span::Steps(3), ..Default::default() };
        assert_eq!(Schedule::new(&config, 3, 0).learning_rate(3), 0.0);
    }
}
