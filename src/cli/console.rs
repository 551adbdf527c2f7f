//! Progress on stderr: a bar on a terminal, plain lines elsewhere.

use std::io::{self, Write};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::metrics::human::{human_duration, human_integer};
use crate::parallel::World;
use crate::train::{Event, Line};

/// Shows on stderr what runs tell of themselves. A stderr that is closed or full never stops a run.
#[derive(Debug, Default)]
pub(super) struct Console {
    /// Of the run under way.
    progress: Option<Progress>,
    is_silent: bool,
}

impl Console {
    /// That of one process of `world`: the first one shows something.
    pub(super) fn for_process(world: &World) -> Self {
        Self { progress: None, is_silent: !world.is_first() }
    }

    /// Shows `event`.
    pub(super) fn show(&mut self, event: Event) {
        if self.is_silent {
            return;
        }
        match (event, &mut self.progress) {
            (Event::Steps { done, of }, progress) => *progress = Some(Progress::new(of, done)),
            (Event::Step { step, line }, Some(progress)) => progress.update(step, &line),
            (Event::EndOfSteps, progress) => {
                if let Some(mut progress) = progress.take() {
                    progress.finish();
                }
            }
            (Event::Note(words), Some(progress)) => progress.note(&words),
            (Event::Note(words), None) => print(&words),
            (Event::Step { .. }, None) => {}
        }
    }
}

/// Shows how far a run is.
#[derive(Debug)]
struct Progress {
    total_steps: u64,
    start_step: u64,
    start: Instant,
    /// `None` where stderr is no terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts at `start_step` of `total_steps`; the time left is estimated from now on.
    fn new(total_steps: u64, start_step: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total_steps), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:16} {pos}/{len}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_position(start_step);
        let bar = Some(bar).filter(|bar| !bar.is_hidden());
        Self { total_steps, start_step, start: Instant::now(), bar }
    }

    /// Shows a logged step.
    fn update(&mut self, step: u64, line: &Line) {
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
    fn note(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.println(message),
            None => print(message),
        }
    }

    /// Leaves the bar as it is, for what is printed next.
    fn finish(&mut self) {
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
