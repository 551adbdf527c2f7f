//! Killed again and again, a third of the times during a save, and taken up each time: in the end the run is the one that nobody
//! killed, bit for bit, with dropout, before, at and after transitions.
//!
//! `UNTIE_KILLS=N` sets the number of kills, over all kinds of run (`make kills`: 100).

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{stderr, TestWorkspace};
use crate::rng::Rng;
use crate::runs::{is_being_saved, lines, metrics};

/// What the kills met.
#[derive(Debug, Default)]
struct Met {
    kills: usize,
    during_a_save: usize,
    /// Runs that were over before they could be killed.
    finished: usize,
}

/// A run with `settings`, killed `kills` times, against one that is left alone.
fn killed_run_is_the_other(name: &str, settings: &[&str], kills: usize) -> Met {
    let (workspace, mut rng, mut met) = (TestWorkspace::new(), Rng(0x5eed + settings.len() as u64), Met::default());
    // Long enough: each life gets behind the kill before it.
    let steps = 100 + 12 * kills as u64;
    let length = format!("train.steps={steps}");
    let train = |run: &'static str| {
        let mut arguments = vec!["train", "--config", "run.toml", "--run-dir", run, "--resume"];
        arguments.extend(["--set", &length, "--set", "checkpoint.every=5"]);
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        workspace.command(&arguments)
    };
    let whole = train("whole").output().unwrap();
    assert!(whole.status.success(), "{name}: {}", stderr(&whole));

    let run = workspace.path("killed");
    while met.kills < kills {
        let mut child = train("killed").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // A third during a save; the others so many lines, and then up to a few milliseconds, after it began to train.
        let wants_a_save = met.kills % 3 == 0;
        let (before, ahead, rest) = (lines(&run), rng.below(12), rng.below(4000));
        let start = Instant::now();
        let over = loop {
            if child.try_wait().unwrap().is_some() {
                break true;
            }
            let is_time = match wants_a_save {
                true => is_being_saved(&run) && lines(&run) > before,
                false => lines(&run) as u64 > before as u64 + ahead,
            };
            if is_time {
                break false;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "{name}: the run does not go on");
            std::thread::sleep(Duration::from_micros(200));
        };
        if over {
            met.finished += 1;
            break;
        }
        if !wants_a_save {
            std::thread::sleep(Duration::from_micros(rest));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        met.kills += 1;
        met.during_a_save += usize::from(is_being_saved(&run));
    }
    let last = train("killed").output().unwrap();
    assert!(last.status.success(), "{name}: {}", stderr(&last));
    assert!(!stderr(&last).contains("damaged"), "{name}: {}", stderr(&last));

    let (expected, got) = (metrics(&workspace.path("whole")), metrics(&run));
    assert_eq!(expected.len() as u64, steps + 1, "{name}");
    assert_eq!(expected.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>(), "{name}");
    for (step, values) in &expected {
        assert_eq!(values, &got[step], "{name}: step {step}");
    }
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let read = |run| fs::read(workspace.path(run).join(format!("checkpoints/step-{steps:08}/{file}"))).unwrap();
        assert!(read("whole") == read("killed"), "{name}: {file} differs");
    }
    met
}

#[test]
fn a_run_that_is_killed_again_and_again_is_the_run_that_nobody_killed() {
    let kills: usize = std::env::var("UNTIE_KILLS").map_or(8, |number| number.parse().unwrap());
    let fixed = ["sharing.untie_at=0.5"];
    let multi_step =
        ["sharing.rule=multi_step", "sharing.threshold=1.0", "sharing.check_every=30", "sharing.patience=2"];
    let kinds: [(&str, &[&str], &str); 4] = [
        ("fixed, fp32", &fixed, "train.precision=fp32"),
        ("fixed, bf16", &fixed, "train.precision=bf16"),
        ("multi-step, fp32", &multi_step, "train.precision=fp32"),
        ("multi-step, bf16", &multi_step, "train.precision=bf16"),
    ];
    let mut total = Met::default();
    for (at, (name, settings, precision)) in kinds.into_iter().enumerate() {
        let share = kills / kinds.len() + usize::from(at < kills % kinds.len());
        let settings = [settings, &[precision, "sharing.monitor=true"]].concat();
        let met = killed_run_is_the_other(name, &settings, share);
        println!("{name}: {met:?}");
        total.kills += met.kills;
        total.during_a_save += met.during_a_save;
    }
    println!("{total:?}");
    assert!(total.kills + 4 >= kills && total.during_a_save > 0, "{total:?}");
}
