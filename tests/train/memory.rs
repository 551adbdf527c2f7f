//! The predicted peak of a step against the measured one, in processes of their own.

use crate::common::{stderr, Workshop};
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
fn peaks(workshop: &Workshop, arguments: &[&str]) -> [f64; 2] {
    let output = workshop.untie(&[&SMALL[..], arguments].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    ["/peak_mib", "/predicted/total_mib"].map(|path| report.pointer(path).and_then(Value::as_f64).unwrap())
}

#[test]
fn predictions_are_within_ten_per_cent() {
    let workshop = Workshop::new();
    let mut measured = Vec::new();
    for arguments in [
        &["--start", "tied"][..],
        &["--start", "untied", "--sequence-length", "256"],
        &["--start", "untied", "--sequence-length", "256", "--activation-checkpointing"],
    ] {
        let [found, predicted] = peaks(&workshop, arguments);
        println!("{arguments:?}: measured {found} MiB, predicted {predicted} MiB");
        assert!((predicted / found - 1.0).abs() < 0.1, "{arguments:?}: measured {found}, predicted {predicted}");
        measured.push(found);
    }
    assert!(measured[2] < 0.8 * measured[1], "checkpointing saves memory: {measured:?}");
}

#[test]
fn a_dry_run_says_what_memory_is_made_of() {
    let workshop = Workshop::new();
    let dry = |arguments: &[&str]| {
        let output = workshop.untie(&[&["train", "--config", "run.toml", "--dry-run"][..], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find(|line| line.starts_with("memory ")).unwrap().to_owned()
    };
    let plain = dry(&[]);
    for words in ["program ", "weights, gradients and moments ", "activations ", "; untied "] {
        assert!(plain.contains(words), "{plain}");
    }
    assert!(!plain.contains("gradients of a check"), "{plain}");
    let checked = dry(&["--set", "sharing.monitor=true"]);
    assert!(checked.contains("gradients of a check "), "{checked}");
}
