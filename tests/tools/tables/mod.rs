//! `untie table` on run folders made here: what is shown, what is refused and why, the three formats, and the paper's own
//! numbers.

mod fixture;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::stderr;
use fixture::{cell, fields, mixed, FakeRun, RunsFixture};
use untie::metrics::results::{file_hash, ResultRow};
use untie::report::tables::paper::TABLES;
use untie::report::tables::PAPER_COLUMNS;
use untie::step::Precision;

#[test]
fn numbers_are_those_of_the_runs() {
    let fixture = mixed();
    let cells = fixture.cells();
    let get = |run: &str, column: &str| cells[&(run.to_owned(), column.to_owned())].clone();
    let numbers = |fields: &[String; 6]| fields.clone().map(|field| field.parse::<f64>().unwrap_or(f64::NAN));
    assert_eq!(get("baseline", "MLM acc"), ["74.42", "25", "", "1", "", ""].map(String::from));
    let [paper, mean, deviation, seeds, lr, _] = numbers(&get("baseline", "SST-2 acc"));
    assert!((mean - 75.0).abs() < 1e-9 && (deviation - 5.0).abs() < 1e-9, "{mean} ± {deviation}");
    assert_eq!((paper, seeds, lr), (94.6, 3.0, 1e-5));
    // One seed has no deviation; the paper has no such column.
    assert_eq!(get("baseline", "RTE acc"), ["", "56.25", "", "1", "1e-4", ""].map(String::from));
    // 20 steps of 4·16 tokens; the paper's 1M of 512·512.
    assert_eq!(get("baseline", "tokens")[..2], ["262144000000", "1280"]);
    assert_eq!(get("baseline", "steps")[..2], ["1000000", "20"]);
    assert_eq!(get("baseline", "hours")[1], "1.5");
    // 3·4·[2·(2·16·(4·8² + 2·8·32) + 4·16²·8) + 2·(2·8² + 2·8·128)] = 838,656 a step: 2 of 14 tokens are predicted, and
    // 100 tokens of vocabulary are padded to 128.
    assert_eq!(numbers(&get("baseline", "FLOPs"))[1], 20.0 * 838_656.0);
    assert_eq!(get("baseline", "untied at step")[1], "from the start");
    assert_eq!((get("swe-m", "untied at step")[1].as_str(), get("swe-m", "MLM acc")[1].as_str()), ("4", "31.25"));
}

#[test]
fn what_may_not_be_shown_is_not_and_says_why() {
    let fixture = mixed();
    for (run, reason) in [
        ("baseline-half", "the run is missing"),
        ("swe-f", "the run is unfinished: step 3 of 10"),
        ("swe-a", "the run's configuration differs in `optim.lr`: expected 0.001, got 0.002; so does 1 more key"),
    ] {
        for column in
            ["steps", "tokens", "hours", "FLOPs", "untied at step", "MLM acc", "SST-2 acc", "RTE acc", "AX corr"]
        {
            assert_eq!(fixture.note(run, column), reason);
        }
    }
    let note = fixture.note("swe-m", "SST-2 acc");
    let expected = file_hash(&fixture.path("runs/swe-m/export/model.safetensors")).unwrap();
    let zeros = "0f".repeat(16);
    assert_eq!(
        note,
        format!("the results for `sst2` are of another model: expected the one with hash {expected}, got {zeros}")
    );
    let note = fixture.note("swe-m", "RTE acc");
    assert!(note.starts_with("line 1 of `runs/swe-m/finetune/rte/results.jsonl` is damaged"), "{note}");
    assert_eq!(fixture.note("baseline", "QNLI acc"), "no fine-tuning result for `qnli`");
}

/// Each of these alone makes a run another one, and its numbers a dash.
#[test]
fn a_run_that_is_another_is_not_shown() {
    type Change = fn(&mut FakeRun);
    let changes: [(&str, Change); 10] = [
        ("parallel.wire", |fake| fake.config.parallel.wire = untie::parallel::Wire::Bf16),
        ("train.steps", |fake| (fake.config.train.steps, fake.step) = (11, 11)),
        ("train.global_batch", |fake| fake.config.train.global_batch = 8),
        ("train.tf32", |fake| fake.config.train.tf32 = true),
        ("model.hidden_size", |fake| fake.config.model.hidden_size = Some(16)),
        ("data.whole_word", |fake| fake.config.data.whole_word = true),
        ("eval.sequences", |fake| fake.config.eval.sequences = 1),
        ("sharing.rule", |fake| fake.config.sharing.rule = Some(untie::growth::RuleKind::Never)),
        ("sharing.untie_at", |fake| fake.config.sharing.untie_at = untie::growth::RunPoint::Step(3)),
        ("model.init", |fake| fake.config.model.init = Some("elsewhere".into())),
    ];
    for (key, change) in changes {
        let fixture = RunsFixture::new();
        fixture.run("swe-f", change);
        let note = fixture.note("swe-f", "MLM acc");
        assert!(note.starts_with(&format!("the run's configuration differs in `{key}`: expected ")), "{key}: {note}");
    }
}

/// Where a run was done and how it was watched does not count, and `auto` may have become any precision.
#[test]
fn where_and_how_do_not_count() {
    let fixture = RunsFixture::new();
    fixture.run("swe-f", |fake| {
        let config = &mut fake.config;
        config.data.dir = "elsewhere".into();
        (config.data.workers, config.data.verify) = (3, true);
        config.train.micro_batch = 1.into();
        (config.train.threads, config.train.device, config.train.log_every) = (1, "cpu".into(), 1);
        (config.train.activation_checkpointing, config.train.deterministic) = (true, true);
        (config.sharing.monitor, config.eval.every, config.checkpoint.every) = (true, 2, 3);
        config.metrics.tensorboard = false;
        config.train.precision = Precision::Fp32;
        config.train.kernels = untie::model::Kernels::Plain;
        let parallel = &mut config.parallel;
        (parallel.timeout, parallel.heartbeat, parallel.overlap) = (60, 5, false);
        parallel.backend = untie::parallel::BackendChoice::Gloo;
        let guard = &mut config.guard;
        (guard.max_skipped, guard.spike_window, guard.max_rollbacks) = (7, 50, 1);
        guard.spike = untie::config::SpikeAction::Rollback;
    });
    assert_eq!(fixture.ours("swe-f", "MLM acc"), "25");
}

/// A run that went back at a spike has left data out, which its row did not ask for.
#[test]
fn a_run_that_left_data_out_is_another() {
    let fixture = RunsFixture::new();
    fixture.run("swe-f", |fake| {
        fake.config.guard.spike = untie::config::SpikeAction::Rollback;
        fake.samples_skipped = 8;
    });
    let note = fixture.note("swe-f", "MLM acc");
    assert!(note.ends_with("differs in `guard.spike`: expected \"warn\", got \"rollback\""), "{note}");
}

/// What the runs of a table must have in common: the one that differs from most is left out.
#[test]
fn other_data_or_another_precision_is_not_shown() {
    for (what, change) in [
        ("training data", (|fake| fake.data.shards = "d2".into()) as fn(&mut FakeRun)),
        ("vocabulary", |fake| fake.data.vocabulary = "v2".into()),
        ("precision", |fake| fake.config.train.precision = Precision::Fp32),
    ] {
        let fixture = RunsFixture::new();
        fixture.run("baseline", change);
        fixture.run("swe-f", |_| ());
        fixture.run("swe-a", |_| ());
        let note = fixture.note("baseline", "MLM acc");
        assert!(
            note.starts_with(&format!("the run's {what} is not that of the table's other runs: expected ")),
            "{note}"
        );
        assert_eq!((fixture.ours("swe-f", "MLM acc"), fixture.ours("swe-a", "MLM acc")), ("25".into(), "25".into()));
    }
    // A precision that the row names is the row's.
    let fixture = RunsFixture::new();
    let text = fs::read_to_string(fixture.config("swe-f")).unwrap();
    fs::write(fixture.config("swe-f"), text.replace("steps = 10", "steps = 10\nprecision = \"fp32\"")).unwrap();
    fixture.run("swe-f", |_| ());
    assert!(fixture.note("swe-f", "MLM acc").contains("`train.precision`: expected \"fp32\", got \"bf16\""));
}

#[test]
fn sweeps_of_other_settings_or_unfinished_ones_are_not_shown() {
    let fixture = RunsFixture::new();
    let keep = |row| row;
    fixture.run("baseline", |_| ());
    fixture.run("swe-f", |_| ());
    fixture.run("swe-a", |_| ());
    let whole = [(1e-5, 1, 0.5), (2e-5, 1, 0.6)];
    fixture.tune("baseline", "sst2", "dev/accuracy", &whole[..1], keep);
    fixture.tune("swe-f", "sst2", "dev/accuracy", &whole, keep);
    fixture.tune("swe-a", "sst2", "dev/accuracy", &whole, |row| ResultRow { epochs: 2.0, ..row });
    assert_eq!(fixture.ours("swe-f", "SST-2 acc"), "60");
    let note = fixture.note("baseline", "SST-2 acc");
    assert!(note.contains("expected 3 epochs") && note.ends_with("learning rates 1e-5, seeds 1"), "{note}");
    let note = fixture.note("swe-a", "SST-2 acc");
    assert!(
        note.contains("the sweep of `sst2` is not that of the column's other rows") && note.contains("got 2 epochs")
    );
    // A killed sweep: one of four runs is not there yet.
    fixture.tune("swe-f", "rte", "dev/accuracy", &[(1e-5, 1, 0.5), (1e-5, 2, 0.5), (2e-5, 1, 0.6)], keep);
    let note = fixture.note("swe-f", "RTE acc");
    assert_eq!(note, "the sweep of `rte` is unfinished: expected 4 runs (2 learning rates, 2 seeds), got 3");
}

#[test]
fn damaged_or_incomplete_run_folders_are_footnotes() {
    let fixture = RunsFixture::new();
    fixture.run("baseline", |fake| fake.accuracy = None);
    assert_eq!(fixture.note("baseline", "MLM acc"), "metrics.jsonl has no evaluation of the last step, 20");
    fixture.run("swe-f", |_| ());
    fixture.tune("swe-f", "sst2", "dev/accuracy", &[(1e-5, 1, 0.5)], |row| row);
    fs::remove_dir_all(fixture.path("runs/swe-f/export")).unwrap();
    assert_eq!(fixture.ours("swe-f", "MLM acc"), "25");
    assert_eq!(fixture.note("swe-f", "SST-2 acc"), "the run has no export to hold its fine-tuning results against");
    fixture.run("swe-a", |_| ());
    let state = fixture.path("runs/swe-a/checkpoints/step-00000010/state.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace("\"step\": 10", "\"step\": 12")).unwrap();
    assert!(fixture.note("swe-a", "MLM acc").starts_with("the run cannot be read: "));
    fs::create_dir_all(fixture.path("runs/swe-m")).unwrap();
    assert_eq!(fixture.note("swe-m", "MLM acc"), "the run is unfinished: step 0 of 10");
}

/// Layout only: the numbers in these files are held by the tests above.
#[test]
fn the_formats_look_as_they_should() {
    let fixture = mixed();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tables");
    for (format, ending) in [("markdown", "md"), ("csv", "csv"), ("latex", "tex")] {
        let path = folder.join(format!("table1.{ending}"));
        let text = fixture.table(format);
        if std::env::var_os("UNTIE_WRITE_GOLDEN").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap();
        assert_eq!(text, golden, "{}", path.display());
        // A dash wherever there is no number, and a note for each.
        let notes = match format {
            "markdown" => text.matches("\n[^").count(),
            "latex" => text.matches("\n\\textsuperscript{").count(),
            _ => continue,
        };
        assert_eq!(notes, 11, "{text}");
    }
    let braces = |text: &str| text.replace("\\{", "").replace("\\}", "");
    let tex = braces(&fixture.table("latex"));
    assert_eq!(tex.matches('{').count(), tex.matches('}').count());
    let lines: Vec<String> =
        fixture.table("markdown").lines().filter(|line| line.starts_with('|')).map(Into::into).collect();
    assert_eq!(lines.len(), 2 + 2 * 5);
    assert!(lines.iter().all(|line| line.matches('|').count() == lines[0].matches('|').count()));
}

#[test]
fn files_are_written_whole_and_mistakes_are_named() {
    let fixture = mixed();
    let output =
        fixture.untie(&["1", "--runs", "runs/baseline", "runs", "--configs", "configs", "--out", "new/table1.md"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "new/table1.md\n");
    assert_eq!(fs::read_to_string(fixture.path("new/table1.md")).unwrap(), fixture.table("markdown"));
    assert_eq!(fs::read_dir(fixture.path("new")).unwrap().count(), 1);

    let list = fixture.untie(&["4", "--list"]);
    let names = String::from_utf8_lossy(&list.stdout).into_owned();
    let unit = |unit: &str| format!("swe-f-unit-{unit}\n");
    assert_eq!(names, format!("baseline-half\n{}{}{}{}swe-f\n", unit("12x2"), unit("6x4"), unit("4x6"), unit("2x12")));

    fs::create_dir_all(fixture.path("others/baseline")).unwrap();
    fs::create_dir_all(fixture.path("empty")).unwrap();
    let with = ["--configs", "configs"];
    for (arguments, code, words) in [
        (&["5", "--runs", "runs"][..], 2, &["5 is not in 1..=4"][..]),
        (&["1"], 2, &["--runs"]),
        (&["1", "--runs", "absent"], 3, &["`absent` is not a folder", "hint: "]),
        (
            &["1", "--runs", "runs", "others"],
            2,
            &["two runs are called `baseline`: `runs/baseline` and `others/baseline`"],
        ),
        (&["1", "--runs", "runs", "--format", "pdf"], 2, &["unknown variant `pdf`"]),
        (&["1", "--runs", "runs", "--configs", "absent"], 2, &["there is no configuration at `absent/baseline.toml`"]),
    ] {
        let arguments = if arguments.contains(&"--configs") || arguments.len() == 1 {
            arguments.to_vec()
        } else {
            [arguments, &with].concat()
        };
        let output = fixture.untie(&arguments);
        let report = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {report}");
        assert!(words.iter().all(|word| report.contains(word)), "{arguments:?}: {report}");
        assert!(output.stdout.is_empty());
    }
    let output = fixture.untie(&["1", "--runs", "empty", "--configs", "configs"]);
    assert!(output.status.success());
    assert!(stderr(&output).starts_with("warning: `empty` has no run of table 1: baseline, baseline-half, swe-f"));
}

/// A run of `untie train` itself: what it was started with is what its row expects, and the accuracy is the one it printed.
#[test]
fn a_trained_run_is_shown() {
    let workspace = crate::common::TestWorkspace::new();
    let base = fs::read_to_string(workspace.path("run.toml")).unwrap().replace("steps = 100", "steps = 12");
    fs::create_dir(workspace.path("configs")).unwrap();
    for row in TABLES[0].rows {
        let text = base.clone() + "\n[sharing]\nuntie_at = 0.5\n";
        fs::write(workspace.path("configs").join(format!("{}.toml", row.run)), text).unwrap();
    }
    let train = ["train", "--config", "configs/swe-f.toml", "--run-dir", "runs/swe-f"];
    let output = workspace.untie(&train);
    assert!(output.status.success(), "{}", stderr(&output));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let end = printed.lines().find(|line| line.contains("at the end")).unwrap();
    let accuracy = end.split_whitespace().find_map(|word| word.parse::<f64>().ok()).unwrap();
    let output = workspace.untie(&["table", "1", "--runs", "runs", "--configs", "configs", "--format", "csv"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let cells: BTreeMap<_, _> = text.lines().skip(1).map(|line| cell(&fields(line))).collect();
    let get = |column: &str| cells[&("swe-f".to_owned(), column.to_owned())][1].clone();
    assert_eq!(format!("{:.2}", get("MLM acc").parse::<f64>().unwrap()), format!("{accuracy:.2}"));
    // 12 steps of 8 sequences of 32 tokens.
    assert_eq!((get("steps"), get("tokens"), get("untied at step")), ("12".into(), "3072".into(), "6".into()));
}

/// Every number of the tables in docs/method.md, cell by cell.
#[test]
fn the_papers_numbers_are_those_of_its_tables() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/method.md")).unwrap();
    let mut checked = 0;
    for table in &TABLES {
        let part = text.split(&format!("\n### Table {}, ", table.number)).nth(1).unwrap();
        let lines = part.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        let rows: Vec<Vec<&str>> =
            lines.skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
        assert_eq!(rows.len(), table.rows.len(), "table {}", table.number);
        for (row, fields) in table.rows.iter().zip(rows) {
            assert_eq!(row.label, fields[0]);
            assert_eq!(fields.len(), 1 + PAPER_COLUMNS.len());
            for ((score, column), field) in row.scores.iter().zip(&PAPER_COLUMNS).zip(&fields[1..]) {
                assert_eq!(
                    format!("{score:.*}", column.decimals),
                    *field,
                    "table {}, {}, {}",
                    table.number,
                    row.label,
                    column.name
                );
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 9 * (5 + 4 + 7 + 6));
}
