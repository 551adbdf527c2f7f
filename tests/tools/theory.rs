//! `untie theory` as a user runs it, on few and small depths.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::stderr;

fn theory(out: &Path, threads: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_untie"))
        .arg("theory")
        .arg("--out")
        .arg(out)
        .args(arguments)
        .env("RAYON_NUM_THREADS", threads)
        .output()
        .unwrap()
}

const QUICK: [&str; 8] =
    ["--layers", "2,4,6,8", "--perturbed-layers", "4", "--epsilon", "1e-4", "--literal-steps", "50000"];

/// Exit 0 means that every bound held. The tables and files are there, and do not depend on the number of threads.
#[test]
fn a_quick_run_holds_and_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("a/b"), folder.path().join("c"));
    let output = theory(&first, "1", &QUICK);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(text.matches("| yes |").count(), 4, "{text}");
    // R'(0)/R(0) = −2L at L = 6, and 3 for the exponent of ZAS's bound where 1/(4L³ξ⁶) is the smaller part.
    assert!(text.contains("| 6 | −2 | −2.00000 | −2L = −12 | −12.00000 |"), "{text}");
    assert!(text.contains("| 2·I, d=2 | ZAS | 3.00 ± 0.00 (3.00) |"), "{text}");
    assert_eq!(theory(&second, "2", &QUICK).stdout, output.stdout);
    for name in ["theory.md", "steps.csv", "exponents.csv", "unsharing.csv", "unsharing-trace.csv", "theory.svg"] {
        assert_eq!(fs::read(first.join(name)).unwrap(), fs::read(second.join(name)).unwrap(), "{name}");
    }
    // 5 targets, 4 depths, 2 methods; every line has as many cells as the first (no name contains a comma unquoted).
    let csv = fs::read_to_string(first.join("steps.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 5 * 4 * 2);
    for name in ["unsharing.csv", "unsharing-trace.csv"] {
        let csv = fs::read_to_string(first.join(name)).unwrap();
        let cells = csv.lines().next().unwrap().split(',').count();
        assert!(csv.lines().all(|line| line.split(',').count() == cells), "{name}");
    }
    assert!(fs::read(first.join("theory.png")).unwrap().starts_with(b"\x89PNG"));
}

/// Usage errors are 2 and name the setting; nothing is measured or written.
#[test]
fn arguments_out_of_range_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    for (arguments, setting) in [
        (["--layers", "4"], "--layers"),
        (["--layers", "4,2"], "--layers"),
        (["--layers", "1,2"], "--layers"),
        (["--layers", "2,257"], "--layers"),
        (["--perturbed-layers", "5"], "--perturbed-layers"),
        (["--perturbed-layers", "2"], "--perturbed-layers"),
        (["--epsilon", "0"], "--epsilon"),
        (["--epsilon", "nan"], "--epsilon"),
        (["--literal-steps", "0"], "--literal-steps"),
    ] {
        let output = theory(&out, "1", &arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.starts_with(&format!("error: `{setting}` must be")), "{arguments:?}: {error}");
        assert!(!out.exists());
    }
}
