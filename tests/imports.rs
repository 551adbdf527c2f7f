//! Who may import whom: the table of DESIGN §2, held against the `use` lines and paths of the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Room → rooms that it may use. Every room may use `error` and `files`.
const TABLE: [(&str, &[&str]); 22] = [
    ("error", &[]),
    ("files", &[]),
    ("shim", &[]),
    ("layer_map", &[]),
    ("metrics", &[]),
    ("model", &["layer_map", "shim"]),
    ("batch", &[]),
    ("loss", &["batch", "model", "shim"]),
    ("optim", &["model", "shim"]),
    ("parallel", &["shim"]),
    ("step", &["model", "optim", "parallel", "shim"]),
    ("sharing", &["layer_map", "model", "optim"]),
    ("checkpoint", &["layer_map", "model", "optim"]),
    ("hub", &["layer_map", "model"]),
    (
        "train",
        &[
            "layer_map",
            "model",
            "shim",
            "batch",
            "loss",
            "optim",
            "step",
            "sharing",
            "checkpoint",
            "hub",
            "metrics",
            "parallel",
        ],
    ),
    (
        "bench",
        &[
            "layer_map",
            "model",
            "shim",
            "batch",
            "loss",
            "optim",
            "step",
            "sharing",
            "checkpoint",
            "hub",
            "metrics",
            "train",
        ],
    ),
    ("finetune", &["batch", "model", "loss", "optim", "step", "checkpoint", "metrics", "hub"]),
    ("report", &["metrics"]),
    ("theory", &["report"]),
    ("config", &["model", "batch", "train", "optim", "parallel", "sharing", "checkpoint", "hub", "metrics"]),
    (
        "cli",
        &[
            "layer_map",
            "model",
            "batch",
            "loss",
            "optim",
            "step",
            "sharing",
            "checkpoint",
            "hub",
            "metrics",
            "train",
            "bench",
            "config",
            "shim",
            "report",
            "theory",
            "finetune",
            "parallel",
        ],
    ),
    ("main", &["cli"]),
];

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The first path segment behind `crate::` or `untie::`, wherever it stands in code.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "untie::"] {
        for (at, _) in code.match_indices(prefix) {
            if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
                continue;
            }
            let rest = &code[at + prefix.len()..];
            assert!(!rest.starts_with('{'), "write one `use` a room");
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn rooms_import_only_what_the_design_allows() {
    let table: BTreeMap<&str, &[&str]> = TABLE.into_iter().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 40, "found {} files", files.len());
    for path in files {
        let inside = path.strip_prefix(&root).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        let allowed = table.get(room).unwrap_or_else(|| panic!("`{room}` is not a room of the design"));
        for used in imports(&fs::read_to_string(&path).unwrap()) {
            let fine = used == room || ["error", "files"].contains(&used.as_str()) || allowed.contains(&used.as_str());
            assert!(fine, "{} imports `{used}`, `{room}` may import {allowed:?}", inside.display());
        }
    }
}

#[test]
fn the_table_has_no_cycles() {
    let table: BTreeMap<&str, &[&str]> = TABLE.into_iter().collect();
    fn reaches(table: &BTreeMap<&str, &[&str]>, from: &str, to: &str) -> bool {
        table[from].iter().any(|&next| next == to || reaches(table, next, to))
    }
    for (room, _) in TABLE {
        assert!(!reaches(&table, room, room), "`{room}` imports itself");
    }
}

#[test]
fn unsafe_code_stays_in_the_shim() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for path in files {
        let inside = path.strip_prefix(&root).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        if !inside.starts_with("shim") {
            assert!(!text.contains("unsafe {") && !text.contains("allow(unsafe"), "{}", inside.display());
        }
    }
    assert!(fs::read_to_string(root.join("lib.rs")).unwrap().contains("#![deny(unsafe_code)]"));
}
