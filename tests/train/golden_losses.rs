//! A hundred losses that guard against a change nobody meant: of a tiny run with dropout, untied at its tenth step.
//!
//! What a CPU computes depends on its vector instructions: they decide in which order products are added up. The elementwise
//! kernels, libtorch's and ours, go by `ATEN_CPU_CAPABILITY`, and the matrix products of MKL by `MKL_CBWR`; with AVX2 and
//! `COMPATIBLE` these are the same on every x86-64 processor. With AVX2 the products of our kernels are ours too
//! (csrc/kernels/product.h). The losses must be equal on the kind of CPU that made the file, and near on others.
//!
//! `UNTIE_WRITE_GOLDEN=1` writes the file anew: only after a change that was meant to change losses, which says so.

use std::fs;
use std::path::Path;

use crate::common::{stderr, TestWorkspace};
use crate::runs::metrics;

/// How far losses may be from each other, relative, on processors that add up in another order.
const NEAR: f64 = 1e-4;

fn losses(pins: &[(&str, &str)]) -> Vec<f64> {
    let workspace = TestWorkspace::new();
    let arguments = ["train", "--config", "run.toml", "--run-dir", "run", "--set", "train.precision=fp32"];
    let output = workspace.command(&arguments).envs(pins.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = metrics(&workspace.path("run"));
    (1..=100).map(|step| rows[&step]["train/loss"].as_f64().unwrap()).collect()
}

/// The processor's name, family and model.
fn cpu() -> String {
    let facts = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let fact = |name: &str| {
        let of_name = |line: &str| {
            line.split_once(':').filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
        };
        facts.lines().find_map(of_name).unwrap_or_default()
    };
    format!("{}, family {}, model {}", fact("model name"), fact("cpu family"), fact("model"))
}

#[test]
fn a_hundred_losses_are_what_they_were() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/losses.json");
    let pinned = losses(&[("ATEN_CPU_CAPABILITY", "avx2"), ("MKL_CBWR", "COMPATIBLE")]);
    if std::env::var_os("UNTIE_WRITE_GOLDEN").is_some() {
        let golden = serde_json::json!({ "cpu": cpu(), "losses": pinned });
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, serde_json::to_string_pretty(&golden).unwrap() + "\n").unwrap();
    }
    let file: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let golden: Vec<f64> = serde_json::from_value(file["losses"].clone()).unwrap();
    assert_eq!(golden.len(), 100);
    let own = losses(&[]);
    let farthest =
        |found: &[f64]| golden.iter().zip(found).map(|(one, other)| (one / other - 1.0).abs()).fold(0.0, f64::max);
    let is_same_kind = file["cpu"] == cpu();
    println!(
        "largest relative differences: pinned {:.1e}, as this machine computes {:.1e}; the CPU of the file: {is_same_kind}",
        farthest(&pinned),
        farthest(&own)
    );
    assert!(farthest(&own) <= NEAR && farthest(&pinned) <= NEAR, "{own:?} {pinned:?}");
    if is_same_kind {
        assert_eq!(pinned, golden);
    }
}
