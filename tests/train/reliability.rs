//! Nothing is lost: one process a folder, limits of time, going back, checkpoints that cannot be written.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Instant;

use crate::common::{stderr, TestWorkspace};
use crate::runs::wait_for;

fn train(workspace: &TestWorkspace, run: &str, arguments: &[&str]) -> Output {
    workspace.untie(&[&["train", "--config", "run.toml", "--run-dir", run], arguments].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn model(run: &Path, step: u64) -> Vec<u8> {
    fs::read(run.join(format!("checkpoints/step-{step:08}/model.safetensors"))).unwrap()
}

#[test]
fn one_process_a_run_folder_and_none_once_it_is_gone() {
    let workspace = TestWorkspace::new();
    let run = workspace.path("run");
    let arguments = ["train", "--config", "run.toml", "--run-dir", "run", "--set", "train.steps=1000000"];
    let mut first = workspace.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the first checkpoint", || run.join("checkpoints/step-00000020").exists());
    let held = format!("error: `run` is in use by process {}\nhint: wait until it ends", first.id());
    for resume in [&["--resume"][..], &[]] {
        let second = train(&workspace, "run", resume);
        assert_eq!(second.status.code(), Some(2));
        assert!(stderr(&second).contains(&held), "{}", stderr(&second));
    }
    let back = workspace.untie(&["rollback", "--run", "run"]);
    assert!(back.status.code() == Some(2) && stderr(&back).contains(&held), "{}", stderr(&back));
    assert!(stdout(&workspace.untie(&["runs", "run"])).starts_with("run: running, step "));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(stdout(&workspace.untie(&["runs", "run"])).starts_with("run: unfinished, step "));
    // From a checkpoint behind it, hence no step is left.
    let steps = "train.steps=1000000";
    let third = train(&workspace, "run", &["--resume", "--set", steps, "--max-wall-time", "1s"]);
    assert_eq!(third.status.code(), Some(75), "{}", stderr(&third));
}

/// A limit that is over before the first step, and one that is not: saved either way, and gone on from to the end.
#[test]
fn a_run_saves_itself_before_its_time_is_over() {
    let workspace = TestWorkspace::new();
    let steps = "train.steps=1000000";
    for limit in ["1s", "00:00:04"] {
        let stopped = train(&workspace, "run", &["--set", steps, "--max-wall-time", limit, "--resume"]);
        assert_eq!(stopped.status.code(), Some(75), "{}", stderr(&stopped));
        assert!(stderr(&stopped).contains("stopped by `--max-wall-time` after step "), "{}", stderr(&stopped));
    }
    let runs = stdout(&workspace.untie(&["runs", "."]));
    assert!(runs.starts_with("./run: unfinished, step ") && runs.contains(" valid\n"), "{runs}");
    let wrong = train(&workspace, "run", &["--max-wall-time", "4:00"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("expected `HH:MM:SS`"), "{}", stderr(&wrong));
}

/// Back to step 20 of 100 and on again: the same bits; what came after step 20 is put away and listed no more.
#[test]
fn a_run_that_goes_back_goes_on_as_it_did() {
    let workspace = TestWorkspace::new();
    let run = workspace.path("run");
    let keep = ["--set", "checkpoint.keep_last=9", "--set", "train.seed=7"];
    let whole = train(&workspace, "run", &keep);
    assert!(whole.status.success(), "{}", stderr(&whole));
    let expected = model(&run, 100);
    let runs = stdout(&workspace.untie(&["runs", "run"]));
    assert!(runs.starts_with("run: finished, step 100 of 100, 25.6 k tokens, "), "{runs}");
    assert_eq!(runs.matches(" valid\n").count(), 5, "{runs}");

    let back = workspace.untie(&["rollback", "--run", "run"]);
    assert_eq!(stdout(&back), "run/checkpoints/step-00000080\n", "{}", stderr(&back));
    let back = workspace.untie(&["rollback", "--run", "run", "--to", "20"]);
    assert_eq!(stdout(&back), "run/checkpoints/step-00000020\n", "{}", stderr(&back));
    assert_eq!(fs::read_to_string(run.join("checkpoints/latest")).unwrap(), "step-00000020\n");
    let away: Vec<bool> = [40, 60, 80, 100]
        .iter()
        .map(|step| run.join(format!("checkpoints/rolled-back/step-{step:08}")).exists())
        .collect();
    assert_eq!(away, [true; 4]);
    let runs = stdout(&workspace.untie(&["runs", "run"]));
    assert!(runs.starts_with("run: unfinished, step 20 of 100, "), "{runs}");

    let again = train(&workspace, "run", &[&keep[..], &["--resume"]].concat());
    assert!(again.status.success(), "{}", stderr(&again));
    assert!(model(&run, 100) == expected, "the weights differ");

    // A step that is not there; a second time over the same steps; and a damaged one, which is passed over.
    let none = workspace.untie(&["rollback", "--run", "run", "--to", "30"]);
    assert_eq!(none.status.code(), Some(3));
    assert!(stderr(&none).contains("no checkpoint of step 30: found those of steps [100, 80, 60, 40, 20]"));
    fs::write(run.join("checkpoints/step-00000080/state.json"), "{}").unwrap();
    assert!(stdout(&workspace.untie(&["runs", "run"])).contains("  step 80           damaged: "));
    let damaged = workspace.untie(&["rollback", "--run", "run", "--to", "80"]);
    assert_eq!(damaged.status.code(), Some(3));
    let back = workspace.untie(&["rollback", "--run", "run"]);
    assert_eq!(stdout(&back), "run/checkpoints/step-00000060\n", "{}", stderr(&back));
    assert!(run.join("checkpoints/rolled-back/step-00000100.2").exists());
}

/// The name that the checkpoint of step 40 is written under is taken: nothing can be written there.
#[test]
fn a_checkpoint_that_cannot_be_written_stops_the_run_or_is_told() {
    for background in ["checkpoint.background=true", "checkpoint.background=false"] {
        let workspace = TestWorkspace::new();
        for run in ["stop", "on"] {
            fs::create_dir_all(workspace.path(run).join("checkpoints")).unwrap();
            fs::write(workspace.path(run).join("checkpoints/.step-00000040.partial"), "").unwrap();
        }
        let stopped = train(&workspace, "stop", &["--set", background]);
        assert_eq!(stopped.status.code(), Some(1));
        assert!(stderr(&stopped).contains("error: cannot create `stop/checkpoints/.step-00000040.partial`"));
        assert_eq!(fs::read_to_string(workspace.path("stop/checkpoints/latest")).unwrap(), "step-00000020\n");

        let on = train(&workspace, "on", &["--set", background, "--set", "checkpoint.on_error=continue"]);
        assert!(on.status.success(), "{}", stderr(&on));
        assert!(stderr(&on).contains("training goes on without a checkpoint: cannot create"), "{}", stderr(&on));
        assert_eq!(fs::read_to_string(workspace.path("on/checkpoints/latest")).unwrap(), "step-00000100\n");

        // What stood in the way is gone: the run that stopped ends as the other did.
        fs::remove_file(workspace.path("stop/checkpoints/.step-00000040.partial")).unwrap();
        let resumed = train(&workspace, "stop", &["--set", background, "--resume"]);
        assert!(resumed.status.success(), "{}", stderr(&resumed));
        assert!(model(&workspace.path("stop"), 100) == model(&workspace.path("on"), 100), "the weights differ");
    }
}

/// Where a run stands is one number: at the thousandth million of samples nothing is skipped by reading it.
#[test]
fn a_run_goes_on_at_once_wherever_it_stands() {
    const LATE: u64 = 125_000_000;
    let workspace = TestWorkspace::new();
    let sizes = ["model.hidden_size=256", "model.num_hidden_layers=12", "model.num_attention_heads=4"];
    let run = |steps: u64| {
        let steps = format!("train.steps={steps}");
        let settings =
            [&sizes[..], &[&steps, "checkpoint.every=10", "eval.every=0", "optim.schedule=constant"]].concat();
        let settings: Vec<String> = settings.iter().map(|one| (*one).to_owned()).collect();
        let arguments = ["train", "--config", "run.toml", "--run-dir", "run", "--resume"].map(str::to_owned);
        let mut command = workspace.command(&[]);
        command.args(arguments).args(settings.iter().flat_map(|one| ["--set", one]));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    };
    assert!(run(10).output().unwrap().status.success());
    // From the start of the process to the first line that a step has written.
    let time_of = |mut command: std::process::Command, step: u64| {
        let start = Instant::now();
        let mut child = command.spawn().unwrap();
        let start_of_line = format!("{{\"step\":{step},");
        let metrics = workspace.path("run/metrics.jsonl");
        wait_for("the first step", || {
            let text = fs::read_to_string(&metrics).unwrap_or_default().replace(' ', "");
            text.lines().any(|line| line.starts_with(&start_of_line) && line.contains("\"train/loss\""))
                || child.try_wait().unwrap().is_some_and(|status| !status.success())
        });
        let seconds = start.elapsed().as_secs_f64();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        seconds
    };
    let early = time_of(run(11), 11);

    let newest = untie::checkpoint::newest_valid(&workspace.path("run")).unwrap().unwrap().0;
    let mut loaded = untie::checkpoint::load(&newest, tch::Kind::Float, tch::Device::Cpu).unwrap();
    loaded.state.step = LATE;
    (loaded.state.num_updates, loaded.moments.num_updates) = (LATE, LATE);
    loaded.state.samples_consumed = 8 * LATE;
    let keep = untie::checkpoint::CheckpointConfig::default();
    untie::checkpoint::save(&workspace.path("run"), &loaded.state, &loaded.weights, &loaded.moments, None, &keep)
        .unwrap();
    let late = time_of(run(LATE + 1), LATE + 1);
    println!(
        "from the start of the process to its first step: {early:.2} s at step 10, {late:.2} s at {} samples",
        8 * LATE
    );
    let state = fs::read_to_string(workspace.path(&format!("run/checkpoints/step-{}/state.json", LATE + 1))).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["samples_consumed"], 8 * (LATE + 1));
}

/// What makes it another run is refused, or told; what would read other data is refused always.
#[test]
fn a_run_takes_changes_where_it_is_told_to() {
    let workspace = TestWorkspace::new();
    let short = train(&workspace, "run", &["--set", "train.steps=40"]);
    assert!(short.status.success(), "{}", stderr(&short));
    let changes = ["--resume", "--set", "train.seed=9", "--set", "model.hidden_dropout_prob=0.2"];
    let refused = train(&workspace, "run", &changes);
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&refused);
    assert!(said.contains("error: cannot resume with another `") && said.contains("`train.seed`: "), "{said}");
    assert!(said.contains("; allowed is `train.steps`: 40 → 100") && said.contains("`--allow-changes`"), "{said}");
    let batch = train(&workspace, "run", &["--resume", "--allow-changes", "--set", "train.global_batch=16"]);
    assert_eq!(batch.status.code(), Some(2));
    assert!(stderr(&batch).contains("`train.global_batch`: 8 → 16: the position in the data"), "{}", stderr(&batch));
    let taken = train(&workspace, "run", &[&changes[..], &["--allow-changes"]].concat());
    assert!(taken.status.success(), "{}", stderr(&taken));
    assert_eq!(
        stderr(&taken).matches(": accepted by `--allow-changes`, this is another run from now on").count(),
        2,
        "{}",
        stderr(&taken)
    );
    assert!(workspace.path("run/checkpoints/step-00000100").exists());
}
