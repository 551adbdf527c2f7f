//! The learning rate of every step, a pure function of the step.

use crate::optim::config::{OptimConfig, ScheduleKind};

/// Linear warm-up to the peak, then `linear`, `cosine` or `constant`.
#[derive(Clone, Debug)]
pub struct Schedule {
    peak: f64,
    warmup: u64,
    steps: u64,
    kind: ScheduleKind,
}

impl Schedule {
    /// The schedule of a run of `steps`.
    pub fn new(config: &OptimConfig, steps: u64) -> Self {
        Self { peak: config.lr, warmup: config.warmup_steps(steps), steps, kind: config.schedule }
    }

    /// The rate of update `step`, from 0. With W warm-up steps of N: peak·(s+1)/W before W, so that the first update
    /// is not lost to a rate of 0; then peak·f(r) with r = (N−s)/(N−W), f(r) = r, (1 − cos πr)/2, or 1.
    pub fn learning_rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let left = self.steps.saturating_sub(step) as f64 / (self.steps - self.warmup).max(1) as f64;
        match self.kind {
            ScheduleKind::Linear => self.peak * left,
            ScheduleKind::Cosine => self.peak * 0.5 * (1.0 - (std::f64::consts::PI * left).cos()),
            ScheduleKind::Constant => self.peak,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::config::Warmup;

    fn schedule(kind: ScheduleKind) -> Schedule {
        Schedule::new(&OptimConfig { lr: 2.0, warmup: Warmup::Steps(4), schedule: kind, ..Default::default() }, 12)
    }

    #[test]
    fn rates_follow_the_formula() {
        let linear = schedule(ScheduleKind::Linear);
        let expected = [0.5, 1.0, 1.5, 2.0, 2.0, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0];
        let rates: Vec<f64> = (0..=12).map(|step| linear.learning_rate(step)).collect();
        assert_eq!(rates, expected);
        let cosine = schedule(ScheduleKind::Cosine);
        assert!((cosine.learning_rate(8) - 1.0).abs() < 1e-12 && cosine.learning_rate(12) == 0.0);
        assert_eq!(schedule(ScheduleKind::Constant).learning_rate(11), 2.0);
    }

    #[test]
    fn warmup_of_the_whole_run_never_divides_by_zero() {
        let config = OptimConfig { lr: 1.0, warmup: Warmup::Steps(3), ..Default::default() };
        assert_eq!(Schedule::new(&config, 3).learning_rate(3), 0.0);
    }
}
