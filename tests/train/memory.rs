//! The predicted peak of a step against the measured one, in processes of their own.

use crate::common::{stderr, TestWorkspace};
use serde_json::Value;

/// 6 layers of 256 and 8,192 tokens: 250 to 600 MiB.
const SMALL: [&str; 20] = [
    "bench",
    "--hidden-size",
    "256",
    "--layers",
    "6",
    "--heads",
    "4",
    "--vocab-size",
    "8192",
    "--threads",
    "1",
    "--device",
    "cpu",
    "--seconds",
    "0",
    "--warmup-steps",
    "0",
    "--precision",
    "fp32",
    "--batch=16",
];

/// Measured and predicted MiB.
fn peaks(workspace: &TestWorkspace, arguments: &[&str]) -> [f64; 2] {
    let output = workspace.untie(&[&SMALL[..], arguments].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    ["/peak_mib", "/predicted/total_mib"].map(|path| report.pointer(path).and_then(Value::as_f64).unwrap())
}

#[test]
fn predictions_are_within_ten_per_cent() {
    let workspace = TestWorkspace::new();
    let mut measured = Vec::new();
    for arguments in [
        &["--start", "tied"][..],
        &["--start", "untied", "--sequence-length", "256"],
        &["--start", "untied", "--sequence-length", "256", "--activation-checkpointing"],
    ] {
        let [found, predicted] = peaks(&workspace, arguments);
        println!("{arguments:?}: measured {found} MiB, predicted {predicted} MiB");
        assert!((predicted / found - 1.0).abs() < 0.1, "{arguments:?}: measured {found}, predicted {predicted}");
        measured.push(found);
    }
    assert!(measured[2] < 0.8 * measured[1], "checkpointing saves memory: {measured:?}");
}

/// One pair of eight layers splits: next to nothing is new, and the run's peak is that of its steps. A copy of everything would take
/// 290 MiB more: eight layers of 3.15 million parameters, weights and moments of four bytes each.
#[test]
fn a_transition_needs_no_more_than_what_is_new() {
    let workspace = TestWorkspace::new();
    let config = std::fs::read_to_string(workspace.path("run.toml")).unwrap();
    let config = config
        .replace("hidden_size = 32", "hidden_size = 512")
        .replace("num_hidden_layers = 3", "num_hidden_layers = 8")
        .replace("num_attention_heads = 2", "num_attention_heads = 8")
        .replace("every = 20", "every = 1000\nbackground = false");
    std::fs::write(workspace.path("large.toml"), config).unwrap();
    let transition = "sharing.transition=[{ at = 2, groups = \"untied\" }]";
    for moments in ["carry", "reset"] {
        let moments_at = format!("sharing.moments={moments}");
        let settings = [
            "sharing.start=[[0], [1], [2], [3], [4], [5], [6, 7]]",
            transition,
            &moments_at,
            "train.steps=4",
            "train.precision=fp32",
            "optim.warmup=0",
        ];
        let settings: Vec<&str> = settings.into_iter().flat_map(|setting| ["--set", setting]).collect();
        let train =
            |more: &[&str]| workspace.command(&[&["train", "--config", "large.toml"], &settings[..], more].concat());
        let dry = train(&["--dry-run"]).output().unwrap();
        let text = String::from_utf8_lossy(&dry.stdout).into_owned();
        let line = text.lines().find(|line| line.starts_with("memory ")).unwrap_or_else(|| panic!("{}", stderr(&dry)));
        let mebibytes = |words: &str| -> f64 {
            let [number, unit] = [0, 1].map(|at| line.split(words).nth(1).unwrap().split_whitespace().nth(at).unwrap());
            number.parse::<f64>().unwrap() * if unit.starts_with("GiB") { 1024.0 } else { 1.0 }
        };
        let predicted = mebibytes("; untied ");
        assert!(mebibytes("; at a transition ") < predicted, "{line}");
        let mut child = train(&["--run-dir", moments]).spawn().unwrap();
        let (status, mut peak) = (format!("/proc/{}/status", child.id()), 0.0);
        while child.try_wait().unwrap().is_none() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let kibibytes = |name: &str| -> f64 {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                line.map_or(0.0, |line| line.trim().trim_end_matches(" kB").parse().unwrap())
            };
            // Mapped files are not counted: how much of them is resident differs from machine to machine.
            peak = f64::max(peak, (kibibytes("VmHWM:") - kibibytes("RssFile:")) / 1024.0);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert!(child.wait().unwrap().success());
        println!("moments {moments}: measured {peak:.0} MiB, predicted {predicted} MiB");
        assert!((predicted / peak - 1.0).abs() < 0.1, "measured {peak}, predicted {predicted}");
    }
}

#[test]
fn a_dry_run_says_what_memory_is_made_of() {
    let workspace = TestWorkspace::new();
    let dry = |arguments: &[&str]| {
        let output = workspace.untie(&[&["train", "--config", "run.toml", "--dry-run"][..], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.starts_with("memory ")).unwrap().to_owned()
    };
    let plain = dry(&[]);
    for words in ["program ", "weights, gradients and moments ", "activations ", "; at a transition ", "; untied "] {
        assert!(plain.contains(words), "{plain}");
    }
    assert!(!plain.contains("gradients of a check"), "{plain}");
    let never = dry(&["--set", "sharing.rule=never"]);
    assert!(!never.contains("untied") && !never.contains("transition"), "{never}");
    let halves = dry(&["--set", "sharing.transition=[{ at = 5, groups = [[0, 1], [2]] }]"]);
    assert!(halves.contains("; after the last one "), "{halves}");
    let checked = dry(&["--set", "sharing.monitor=true"]);
    assert!(checked.contains("gradients of a check "), "{checked}");
}
