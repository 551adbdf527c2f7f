//! The time of a step by op, as a table.

use std::time::Instant;

use crate::batch::Batch;
use crate::bench::{BenchOptions, Measured, Stopwatch};
use crate::error::Result;
use crate::shim::{self, OpTime};
use crate::train::Event;

/// Ops below this part of the step are summed in one line.
const SMALLEST: f64 = 0.001;

/// What the names of autograd's own bookkeeping around each node of the backward begin with.
const ENGINE: &str = "autograd::engine::evaluate_function";

/// Takes the warm-up steps, then the measured ones of `options` under the profiler; a table of the mean step.
///
/// # Errors
/// As [`Stopwatch::measure`].
pub fn profile(
    stopwatch: &mut Stopwatch,
    options: BenchOptions,
    next: impl Fn() -> Result<Vec<Batch>>,
    events: &mut dyn FnMut(Event),
) -> Result<String> {
    let warmup = BenchOptions { seconds: 0.0, ..options };
    stopwatch.measure(warmup, &next, events)?;
    let begin = Instant::now();
    let measured = BenchOptions { warmup_steps: 0, ..options };
    let (Measured { step_seconds, .. }, ops) = shim::profile(|| stopwatch.measure(measured, &next, events))?;
    let (steps, seconds) = (step_seconds.len(), begin.elapsed().as_secs_f64());
    events(Event::Note(format!("profiled {steps} steps in {seconds:.1} s")));
    Ok(table(ops, step_seconds.iter().sum(), step_seconds.len()))
}

/// `ops` of `steps` steps that took `seconds` together.
fn table(ops: Vec<OpTime>, seconds: f64, steps: usize) -> String {
    let (engine, mut ops): (Vec<OpTime>, Vec<OpTime>) = ops.into_iter().partition(|op| op.name.starts_with(ENGINE));
    if !engine.is_empty() {
        let (calls, own) = (engine.iter().map(|op| op.calls).sum(), engine.iter().map(|op| op.own).sum());
        ops.push(OpTime { name: ENGINE.into(), calls, own });
    }
    ops.sort_by(|one, other| other.own.cmp(&one.own).then_with(|| one.name.cmp(&other.name)));
    let mut text = format!("{:>10} {:>7} {:>9}  op, its own time in the mean of {steps} steps\n", "ms", "%", "calls");
    let mut line = |name: &str, time: f64, calls: Option<f64>| {
        let calls = calls.map_or(String::new(), |calls| format!("{calls:.1}"));
        let (milliseconds, percent) = (1e3 * time / steps as f64, 100.0 * time / seconds);
        text.push_str(&format!("{milliseconds:>10.3} {percent:>7.2} {calls:>9}  {name}\n"));
    };
    let (mut rest, mut num_rest, mut all) = (0.0, 0, 0.0);
    for op in &ops {
        let own = op.own.as_secs_f64();
        all += own;
        if own < SMALLEST * seconds {
            (rest, num_rest) = (rest + own, num_rest + 1);
        } else {
            line(&op.name, own, Some(op.calls as f64 / steps as f64));
        }
    }
    line(&format!("({num_rest} more ops)"), rest, None);
    line("(outside ops)", (seconds - all).max(0.0), None);
    line("(the step)", seconds, None);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rows_add_up_to_the_step() {
        let op = |name: &str, own| OpTime { name: name.into(), calls: 4, own: Duration::from_micros(own) };
        let node = |name: &str| op(&format!("{ENGINE}: {name}"), 50);
        let ops = vec![op("aten::tiny", 1), node("A"), node("B"), op("aten::add", 1900), op("aten::mm", 6000)];
        let text = table(ops, 0.01, 2);
        let rows: Vec<&str> = text.lines().map(str::trim_start).collect();
        assert!(rows[1].starts_with("3.000   60.00       2.0  aten::mm"), "{text}");
        assert!(rows[2].starts_with("0.950   19.00       2.0  aten::add"), "{text}");
        assert!(rows[3].starts_with("0.050    1.00       4.0  autograd::engine"), "{text}");
        assert!(rows[4].ends_with("(1 more ops)"), "{text}");
        assert!(rows[5].starts_with("1.000   19.99"), "{text}");
        assert!(rows[6].starts_with("5.000  100.00"), "{text}");
    }
}
