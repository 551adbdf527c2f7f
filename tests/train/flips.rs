//! Single bits that flip: in a checkpoint each is found when it is loaded; in shards each is found by `untie data inspect --verify`,
//! and one in an index already when a run opens it.
//!
//! `UNTIE_FLIPS=N` sets the number of flips of each kind (`make flips`: 1,000).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{stderr, TestWorkspace};
use crate::rng::Rng;
use tch::{Device, Kind};
use untie::checkpoint;
use untie_data::manifest::Manifest;
use untie_data::shard::Split;

fn number() -> usize {
    std::env::var("UNTIE_FLIPS").map_or(100, |number| number.parse().unwrap())
}

/// Calls `look` with each of N flips in the files of `folder`: a file first, then one of its bits, from a fixed seed.
fn flip(folder: &Path, mut look: impl FnMut(&str, String)) {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    let mut rng = Rng(0x2545_f491_4f6c_dd1d);
    let mut below = |bound: usize| rng.below(bound as u64) as usize;
    for _ in 0..number() {
        let path = &files[below(files.len())];
        let whole = fs::read(path).unwrap();
        let bit = below(8 * whole.len());
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(path, flipped).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        look(&name, format!("{name}, bit {bit}"));
        fs::write(path, whole).unwrap();
    }
}

fn told(counts: &BTreeMap<String, usize>) {
    counts.iter().for_each(|(what, count)| println!("{what}: {count}"));
}

#[test]
fn every_bit_of_a_checkpoint_is_watched() {
    let workspace = TestWorkspace::new();
    let output = workspace.untie(&["train", "--config", "run.toml", "--run-dir", "run", "--set", "train.steps=20"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let folder = workspace.path("run/checkpoints/step-00000020");
    checkpoint::load(&folder, Kind::Float, Device::Cpu).unwrap();
    let mut found = BTreeMap::new();
    flip(&folder, |name, place| {
        assert!(checkpoint::load(&folder, Kind::Float, Device::Cpu).is_err(), "{place} is not found");
        assert!(checkpoint::verify(&folder).is_err(), "{place} is not found");
        *found.entry(format!("{name}: found when it is loaded")).or_insert(0) += 1;
    });
    checkpoint::load(&folder, Kind::Float, Device::Cpu).unwrap();
    told(&found);
    assert_eq!(found.values().sum::<usize>(), number());
}

/// What a run takes from a manifest: which shards, how large, and what makes their ids.
fn used(manifest: &Manifest) -> serde_json::Value {
    let whole = serde_json::to_value(manifest).unwrap();
    let mut shards = whole["shards"].clone();
    // Only `--verify` looks at it.
    shards
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .for_each(|shard| drop(shard["bin"].as_object_mut().unwrap().remove("xxh3")));
    serde_json::json!({ "shards": shards, "train": whole["train"], "valid": whole["valid"] })
}

#[test]
fn every_bit_of_shards_is_watched() {
    let workspace = TestWorkspace::new();
    let folder = workspace.path("data");
    let expected = used(&Manifest::verify(&folder).unwrap());
    let opened = || -> Option<Manifest> {
        let manifest = Manifest::check(&folder).ok()?;
        [Split::Train, Split::Valid]
            .iter()
            .try_for_each(|&split| manifest.open_shards(&folder, split).map(drop))
            .ok()?;
        Some(manifest)
    };
    let mut found = BTreeMap::new();
    flip(&folder, |name, place| {
        let at_open = opened();
        let verified = Manifest::verify(&folder);
        let how = match (&at_open, &verified) {
            (None, Err(_)) => "found when it is opened",
            (Some(_), Err(_)) => "found by --verify",
            // Words for people: where the text came from, when, by which version.
            (Some(manifest), Ok(_)) if name == "manifest.json" && used(manifest) == expected => {
                "changes nothing that is used"
            }
            _ => panic!("{place} is not found"),
        };
        assert!(!name.ends_with(".idx") || at_open.is_none(), "{place} is not found when it is opened");
        if let Some(manifest) = at_open.filter(|_| name == "manifest.json") {
            assert_eq!(used(&manifest), expected, "{place}");
        }
        *found.entry(format!("{name}: {how}")).or_insert(0) += 1;
    });
    Manifest::verify(&folder).unwrap();
    told(&found);
    assert_eq!(found.values().sum::<usize>(), number());
}
