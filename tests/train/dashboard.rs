//! What TensorBoard is told besides curves: its own writers give the same bytes, and a run has it once, however often it is resumed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use protobuf::Message;
use serde_json::{json, Value};
use tensorboard_proto::event::Event;
use untie::metrics::{Category, Chart, Dashboard, MetricsConfig, Recorder, RunEnd};

use crate::common::{stderr, TestWorkspace};
use crate::metrics::{event_files, events};

const START: &str = "_hparams_/session_start_info";
const END: &str = "_hparams_/session_end_info";

/// What make.py beside it has written.
fn reference(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tensorboard/summaries.json");
    let all: BTreeMap<String, String> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let digits = &all[name];
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// The charts and settings of make.py, the charts out of order.
fn dashboard() -> Dashboard {
    let correlations = Chart::of(Category::Untying, "Correlations", &["sharing/correlation/[0-9]+"]);
    let loss = Chart::of(Category::Loss, "Training, held-out text", &["train/loss", "eval/loss"]);
    let perplexity = Chart::of(Category::Loss, "Perplexity", &["eval/perplexity"]);
    let settings = json!({
        "train.seed": 3, "optim.lr": 1e-4, "sharing.rule": "fixed", "train.tf32": false, "train.deterministic": true,
        "optim.betas": [0.9, 0.999], "optim.decay": null,
    });
    let settings = settings.as_object().unwrap().clone().into_iter().collect();
    Dashboard { charts: vec![correlations, loss, perplexity], settings }
}

/// The time in `summary` instead of that of make.py.
fn at(time: f64, mut summary: Vec<u8>) -> Vec<u8> {
    let old = 1_234_567_890_f64.to_le_bytes();
    let place = summary.windows(8).position(|bytes| bytes == old).unwrap();
    summary[place..place + 8].copy_from_slice(&time.to_le_bytes());
    summary
}

/// All events of a run, in the order in which TensorBoard reads them.
fn all_events(run: &Path) -> Vec<Event> {
    let payloads = event_files(run).into_iter().flat_map(|file| events(&file));
    payloads.map(|payload| Event::parse_from_bytes(&payload).unwrap()).collect()
}

/// The step and the plugin's data of each event with `tag`.
fn told(run: &Path, tag: &str) -> Vec<(i64, Vec<u8>)> {
    let found = all_events(run).into_iter().filter(|event| event.get_summary().value.iter().any(|of| of.tag == tag));
    let data = |event: &Event| event.get_summary().value[0].get_metadata().get_plugin_data().content.clone();
    found.map(|event| (event.step, data(&event))).collect()
}

/// Where a run with `tag` says how it ended: the step of the event, and 1 (success) or 2 (failure).
fn ends(run: &Path) -> Vec<(i64, u8)> {
    // Field 4 of the plugin's data; in it the status is field 1.
    let status = |data: &[u8]| {
        assert_eq!((data[0], data[2]), (4 << 3 | 2, 1 << 3), "{data:?}");
        data[3]
    };
    told(run, END).into_iter().map(|(step, data)| (step, status(&data))).collect()
}

#[test]
fn the_bytes_are_those_of_tensorboards_own_writers() {
    let folder = tempfile::tempdir().unwrap();
    for (how, name) in [(RunEnd::Finished, "session_finished"), (RunEnd::Failed, "session_failed")] {
        let mut recorder = Recorder::create(folder.path(), &MetricsConfig::default()).unwrap();
        recorder.describe(&dashboard()).unwrap();
        recorder.end(7, how).unwrap();
        let files = event_files(folder.path());
        let [described, recorded] = &files[..] else { panic!("{files:?}") };
        // The time of the start is in the name of the file of the curves.
        let begin = recorded.file_name().unwrap().to_str().unwrap().split('.').nth(3).unwrap().parse().unwrap();
        let of_start = events(described);
        assert_eq!(of_start.len(), 3, "the version, the charts, the settings");
        assert!(of_start[1].ends_with(&reference("layout")));
        assert!(of_start[2].ends_with(&at(begin, reference("session_start"))));
        let last = events(recorded).pop().unwrap();
        let event = Event::parse_from_bytes(&last).unwrap();
        assert_eq!(event.step, 8, "one step later, so that a resume cuts it off");
        // Nothing follows the time of the end.
        let end = f64::from_le_bytes(last[last.len() - 8..].try_into().unwrap());
        assert!(end > 1.7e9 && end <= event.wall_time, "{end}");
        assert!(last.ends_with(&at(end, reference(name))));
    }
}

#[test]
fn a_resume_replaces_settings_and_takes_back_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let config = MetricsConfig::default();
    let mut recorder = Recorder::create(folder.path(), &config).unwrap();
    recorder.describe(&dashboard()).unwrap();
    recorder.record(20, &[("train/loss", 1.0)]).unwrap();
    recorder.end(20, RunEnd::Failed).unwrap();
    drop(recorder);
    assert_eq!(ends(folder.path()), [(21, 2)]);

    let mut other = dashboard();
    other.settings.insert("optim.lr".into(), json!(0.25));
    let mut recorder = Recorder::resume(folder.path(), &config, 20).unwrap();
    recorder.describe(&other).unwrap();
    assert_eq!(ends(folder.path()), []);
    recorder.record(30, &[("train/loss", 0.5)]).unwrap();
    recorder.end(30, RunEnd::Finished).unwrap();
    assert_eq!(ends(folder.path()), [(31, 1)]);
    let [(0, data)] = &told(folder.path(), START)[..] else { panic!("expected one start") };
    assert!(data.windows(8).any(|bytes| bytes == 0.25_f64.to_le_bytes()));
    assert!(!data.windows(8).any(|bytes| bytes == 1e-4_f64.to_le_bytes()));
    assert_eq!(told(folder.path(), "custom_scalars__config__").len(), 1);
    let scalars = all_events(folder.path())
        .into_iter()
        .filter(|event| event.get_summary().value.iter().any(|of| of.tag == "train/loss"));
    assert_eq!(scalars.map(|event| event.step).collect::<Vec<_>>(), [20, 30]);

    // A fresh run in the same folder forgets all of it.
    drop(Recorder::create(folder.path(), &config).unwrap());
    assert!(told(folder.path(), START).is_empty() && ends(folder.path()).is_empty());
}

/// A run that stops, one that fails and goes on, and one that finishes.
#[test]
fn a_run_says_how_it_ended() {
    let workspace = TestWorkspace::new();
    let train = |more: &[&str]| {
        let common = ["train", "--config", "run.toml", "--run-dir", "run", "--resume", "--set", "train.steps=30"];
        workspace.untie(&[&common, more].concat())
    };
    let run = workspace.path("run");
    let stopped = train(&["--max-wall-time", "1s", "--set", "train.steps=1000000"]);
    assert_eq!(stopped.status.code(), Some(75), "{}", stderr(&stopped));
    assert_eq!((told(&run, START).len(), ends(&run).len()), (1, 0), "it can go on");
    fs::remove_dir_all(&run).unwrap();

    let failed = train(&["--set", "optim.lr=1e30", "--set", "optim.clip_norm=0", "--set", "guard.max_skipped=5"]);
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    let [(step, 2)] = ends(&run)[..] else { panic!("{:?}", ends(&run)) };
    assert!((6..=30).contains(&step), "{step}");
    let resumed = train(&["--set", "optim.lr=2e-3", "--allow-changes"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(ends(&run), [(31, 1)]);
    let [(0, data)] = &told(&run, START)[..] else { panic!("expected one start") };
    assert!(data.windows(8).any(|bytes| bytes == 2e-3_f64.to_le_bytes()), "the settings of the last start");

    // Where nobody asked for TensorBoard there is nothing.
    fs::remove_dir_all(&run).unwrap();
    let quiet = train(&["--set", "metrics.tensorboard=false"]);
    assert!(quiet.status.success() && !run.join("tb").exists(), "{}", stderr(&quiet));
}

/// Perplexity is what transformers' run_mlm.py reports: exp of the loss of the masked tokens.
#[test]
fn perplexity_goes_with_the_loss() {
    let workspace = TestWorkspace::new();
    let output = workspace.untie(&["train", "--config", "run.toml", "--run-dir", "run", "--set", "train.steps=25"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = fs::read_to_string(workspace.path("run/metrics.jsonl")).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found: Vec<[f64; 2]> = rows
        .filter(|row| row.get("eval/loss").is_some())
        .map(|row| ["eval/loss", "eval/perplexity"].map(|tag| row[tag].as_f64().unwrap()))
        .collect();
    assert!(!found.is_empty());
    assert!(found.iter().all(|[loss, perplexity]| (perplexity.ln() - loss).abs() < 1e-12), "{found:?}");
}
