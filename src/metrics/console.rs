//! Progress on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::{self, Write};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::human::{human_duration, human_integer};

/// What a person wants to see of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Mean loss.
    pub loss: f64,
    /// Masked tokens that were predicted right, a fraction; none where nobody counts.
    pub accuracy: Option<f64>,
    /// Learning rate.
    pub learning_rate: f64,
    /// Throughput.
    pub tokens_per_second: f64,
}

/// Shows how far a run is. A stderr that is closed or full never stops the run.
#[derive(Debug)]
pub struct Progress {
    total_steps: u64,
    start_step: u64,
    start: Instant,
    /// `None` where stderr is no terminal.
    bar: Option<ProgressBar>,
    is_silent: bool,
}

impl Progress {
    /// Starts at `start_step` of `total_steps`; the time left is estimated from now on.
    pub fn new(total_steps: u64, start_step: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total_steps), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:16} {pos}/{len}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_position(start_step);
        let bar = Some(bar).filter(|bar| !bar.is_hidden());
        Self { total_steps, start_step, start: Instant::now(), bar, is_silent: false }
    }

    /// Shows nothing: for all processes of a run but one.
    pub fn silent() -> Self {
        Self { total_steps: 0, start_step: 0, start: Instant::now(), bar: None, is_silent: true }
    }

    /// Shows a logged step.
    pub fn update(&mut self, step: u64, line: &Line) {
        if self.is_silent {
            return;
        }
        let done = step.saturating_sub(self.start_step);
        let left = self.total_steps.saturating_sub(step);
        let seconds = self.start.elapsed().as_secs_f64() / done as f64 * left as f64;
        match &self.bar {
            Some(bar) => {
                bar.set_message(short_text(line, seconds));
                bar.set_position(step);
            }
            None => print(&format!("step {step}/{}  {}", self.total_steps, text(line, seconds))),
        }
    }

    /// Shows a message that stays, above the bar: a transition, a checkpoint, a warning.
    pub fn note(&self, message: &str) {
        if self.is_silent {
            return;
        }
        match &self.bar {
            Some(bar) => bar.println(message),
            None => print(message),
        }
    }

    /// Leaves the bar as it is, for what is printed next.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }
}

/// A line without its step. The estimate of the time left is unknown before the first step.
fn text(line: &Line, seconds_left: f64) -> String {
    let accuracy = line.accuracy.map_or_else(String::new, |accuracy| format!("  acc {:.1} %", 100.0 * accuracy));
    format!(
        "loss {:.3}{accuracy}  lr {:.1e}  {} tok/s  eta {}",
        line.loss,
        line.learning_rate,
        human_integer(line.tokens_per_second.round() as u64),
        human_duration(seconds_left)
    )
}

/// What fits beside a bar on a terminal of 80 columns.
fn short_text(line: &Line, seconds_left: f64) -> String {
    let throughput = human_integer(line.tokens_per_second.round() as u64);
    format!("loss {:.3}  {throughput} tok/s  eta {}", line.loss, human_duration(seconds_left))
}

fn print(message: &str) {
    // Nobody is left to tell when stderr is gone.
    let _ = writeln!(io::stderr(), "{message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_documented() {
        let line = Line { loss: 6.1234, accuracy: Some(0.123), learning_rate: 3e-4, tokens_per_second: 12_345.4 };
        assert_eq!(text(&line, 130.0), "loss 6.123  acc 12.3 %  lr 3.0e-4  12,345 tok/s  eta 2m 10s");
        assert_eq!(short_text(&line, 130.0), "loss 6.123  12,345 tok/s  eta 2m 10s");
        let uncounted = Line { accuracy: None, ..line };
        assert_eq!(text(&uncounted, 130.0), "loss 6.123  lr 3.0e-4  12,345 tok/s  eta 2m 10s");
        let broken = Line { loss: f64::NAN, accuracy: Some(f64::NAN), learning_rate: 0.0, tokens_per_second: f64::NAN };
        assert_eq!(text(&broken, f64::NAN), "loss NaN  acc NaN %  lr 0.0e0  0 tok/s  eta ?");
    }
}
