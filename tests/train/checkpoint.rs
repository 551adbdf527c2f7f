//! Checkpoints come back bit for bit, and nothing damaged or half written is taken for one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};
use untie::checkpoint::{
    list, load, load_weights, newest_valid, save, verify, CheckpointConfig, DataFingerprint, Loaded, RunState, Saver,
    Totals, Untying, FORMAT,
};
use untie::layer_map::LayerMap;
use untie::model::{BertConfig, ModelConfig, Norm, TaskHead, Weights};
use untie::optim::{Moments, ScalerState};

const FILES: [&str; 4] = ["model.safetensors", "optimizer.safetensors", "state.json", "checksums.json"];

fn bert(norm: Norm) -> BertConfig {
    let sizes = ModelConfig {
        hidden_size: Some(8),
        num_hidden_layers: Some(4),
        num_attention_heads: Some(2),
        max_position_embeddings: Some(16),
        norm: Some(norm),
        ..Default::default()
    };
    let bert = sizes.resolve(100).unwrap();
    assert_eq!(bert.padded_vocab_size(), 128);
    bert
}

/// A run at `step` whose moments are random where they exist in files, and zero in the padding.
fn run(step: u64, map: &LayerMap, norm: Norm, kind: Kind) -> (RunState, Weights, Moments) {
    run_of(bert(norm), step, map, kind)
}

fn run_of(bert: BertConfig, step: u64, map: &LayerMap, kind: Kind) -> (RunState, Weights, Moments) {
    let weights = Weights::initialise(&bert, map, step, kind, Device::Cpu).unwrap();
    let mut moments = Moments::zeros(&weights).unwrap();
    for all in [&moments.exp_avg, &moments.exp_avg_sq] {
        for (weight, moment) in weights.entries().iter().zip(all) {
            let _ = weight.in_file(moment).normal_(0.0, 1.0);
        }
    }
    moments.num_updates = step / 2;
    let state = RunState {
        format: FORMAT,
        step,
        layer_map: map.clone(),
        num_updates: step / 2,
        scaler: Some(ScalerState { scale: 1024.0, growth_tracker: 7 }),
        samples_consumed: 8 * step,
        samples_skipped: 0,
        guard: serde_json::Value::Null,
        // Without serde_json's feature `float_roundtrip` the second number would come back as another.
        rule: serde_json::json!({"waited": 3, "correlations": [0.5, 0.907_303_832_202_868_9]}),
        config: serde_json::json!({"train": {"steps": 100}}),
        totals: Totals { wall_seconds: 1.5, tokens: 1 << 40, skipped_steps: step - step / 2, ..Default::default() },
        environment: BTreeMap::from([("threads".to_owned(), "2".to_owned())]),
        untying: vec![Untying { step: 1, groups: map.num_groups(), mlm_accuracy: 0.25, layers: None }],
        data: DataFingerprint { vocabulary: "0123456789abcdef".into(), shards: "fedcba9876543210".into() },
        bert,
        schedule_start: 0,
        frozen: Vec::new(),
        remembered: None,
    };
    (state, weights, moments)
}

fn save_run(dir: &Path, step: u64, keep: &CheckpointConfig) -> PathBuf {
    let (state, weights, moments) = run(step, &LayerMap::tied(4), Norm::Post, Kind::Float);
    save(dir, &state, &weights, &moments, None, keep).unwrap()
}

fn bits(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

fn steps(dir: &Path) -> Vec<u64> {
    list(dir).unwrap().into_iter().map(|entry| entry.step).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_round_trip_is_bit_equal() {
    for kind in [Kind::Float, Kind::Double] {
        for map in [LayerMap::tied(4), LayerMap::units(4, 2, 2).unwrap(), LayerMap::untied(4)] {
            for norm in [Norm::Post, Norm::Pre] {
                round_trip(run(7, &map, norm, kind), kind);
            }
        }
    }
}

/// A fine-tuned model's checkpoint holds its head and the head's moments, and none of those of pre-training.
#[test]
fn a_round_trip_with_a_task_head_is_bit_equal() {
    for (head, names) in [
        (
            TaskHead::Sequence { num_labels: 3 },
            vec!["bert.pooler.dense.weight", "classifier.weight", "classifier.bias"],
        ),
        (TaskHead::Span, vec!["qa_outputs.weight", "qa_outputs.bias"]),
    ] {
        for norm in [Norm::Post, Norm::Pre] {
            let bert = BertConfig { task_head: Some(head), ..bert(norm) };
            let found = run_of(bert, 7, &LayerMap::untied(4), Kind::Float);
            assert!(names.iter().all(|name| found.1.get(name).is_some()));
            assert!(found.1.entries().iter().all(|weight| !weight.spec.name.starts_with("cls.")));
            round_trip(found, Kind::Float);
        }
    }
}

fn round_trip((state, weights, moments): (RunState, Weights, Moments), kind: Kind) {
    let dir = tempfile::tempdir().unwrap();
    let path = save(dir.path(), &state, &weights, &moments, None, &CheckpointConfig::default()).unwrap();
    verify(&path).unwrap();
    let Loaded { state: read, weights: read_weights, moments: read_moments, .. } =
        load(&path, kind, Device::Cpu).unwrap();
    assert_eq!(read, state);
    assert_eq!(read_moments.num_updates, 3);
    let model_only = load_weights(&path, kind, Device::Cpu).unwrap().1;
    assert_eq!(read_weights.entries().len(), weights.entries().len());
    for (at, weight) in weights.entries().iter().enumerate() {
        let name = &weight.spec.name;
        for loaded in [&read_weights, &model_only] {
            let loaded = &loaded.entries()[at];
            assert_eq!((&loaded.spec.name, loaded.members), (name, weight.members));
            assert_eq!(loaded.tensor.size(), weight.tensor.size(), "{name}");
            assert!(loaded.tensor.requires_grad() && loaded.tensor.kind() == kind);
            assert!(bits(&loaded.tensor) == bits(&weight.tensor), "{name}");
        }
        for (loaded, saved) in
            [(&read_moments.exp_avg, &moments.exp_avg), (&read_moments.exp_avg_sq, &moments.exp_avg_sq)]
        {
            assert!(bits(&loaded[at]) == bits(&saved[at]), "moment of {name}");
            assert!(!loaded[at].requires_grad());
        }
    }
}

/// States from before there were heads for pairs and for tasks say nothing about them.
#[test]
fn a_state_that_names_no_heads_is_of_a_model_without() {
    let dir = tempfile::tempdir().unwrap();
    let path = save_run(dir.path(), 4, &CheckpointConfig::default());
    let json = fs::read_to_string(path.join("state.json")).unwrap();
    assert!(!json.contains("task_head"), "{json}");
    let mut state: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(state["bert"].as_object_mut().unwrap().remove("pair_head").is_some());
    forge(&path, "state.json", &serde_json::to_vec(&state).unwrap());
    let read = load(&path, Kind::Float, Device::Cpu).unwrap().state;
    assert_eq!(read, run(4, &LayerMap::tied(4), Norm::Post, Kind::Float).0);
}

#[test]
fn files_are_those_of_the_safetensors_crate_without_padding() {
    let dir = tempfile::tempdir().unwrap();
    let path = save_run(dir.path(), 4, &CheckpointConfig::default());
    let bytes = fs::read(path.join("optimizer.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let rows = tensors.tensor("exp_avg_sq.bert.embeddings.word_embeddings.weight").unwrap();
    assert_eq!((rows.shape(), rows.dtype()), (&[100, 8][..], safetensors::Dtype::F32));
    let bytes = fs::read(path.join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("cls.predictions.bias").unwrap().shape(), [100]);
    // One group of four layers: the tensors of layer 0 only.
    assert!(tensors.names().iter().all(|name| !name.contains("layer.1.")));
}

#[test]
fn loading_converts_to_the_kind_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = save_run(dir.path(), 4, &CheckpointConfig::default());
    let (_, single) = load_weights(&path, Kind::Float, Device::Cpu).unwrap();
    let double = load(&path, Kind::Double, Device::Cpu).unwrap();
    for (single, double) in single.entries().iter().zip(double.weights.entries()) {
        assert!(bits(&single.tensor.to_kind(Kind::Double)) == bits(&double.tensor), "{}", single.spec.name);
    }
}

#[test]
fn a_flipped_bit_is_found_in_every_file_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = save_run(dir.path(), 4, &CheckpointConfig::default());
    for name in FILES {
        let file = path.join(name);
        let length = fs::metadata(&file).unwrap().len() as usize;
        let every = if name == "checksums.json" { 1 } else { length / 20 };
        for at in (0..length).step_by(every) {
            flip(&file, at);
            let error = load(&path, Kind::Float, Device::Cpu).unwrap_err();
            assert!(error.to_string().contains(&format!("{name}`")), "byte {at}: {error}");
            assert_eq!(error.exit_code(), 3);
            assert!(error.report().contains("\nhint: "), "{}", error.report());
            flip(&file, at);
        }
    }
    verify(&path).unwrap();
    // What export and evaluation do not read may be damaged.
    flip(&path.join("optimizer.safetensors"), 100);
    load_weights(&path, Kind::Float, Device::Cpu).unwrap();
    flip(&path.join("model.safetensors"), 100);
    let error = load_weights(&path, Kind::Float, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("model.safetensors`: expected checksum"), "{error}");
}

#[test]
fn truncated_and_missing_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for name in FILES {
        let path = save_run(dir.path(), 4, &CheckpointConfig::default());
        let file = fs::OpenOptions::new().write(true).open(path.join(name)).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        let error = verify(&path).unwrap_err();
        assert!(error.to_string().contains(name) && error.exit_code() == 3, "{error}");
        fs::remove_file(path.join(name)).unwrap();
        let error = verify(&path).unwrap_err();
        assert!(error.to_string().contains(name) && error.exit_code() == 3, "{error}");
    }
    let error = verify(&dir.path().join("nowhere")).unwrap_err().to_string();
    assert!(error.contains("is not a complete checkpoint: expected `checksums.json` in it"), "{error}");
}

/// Rewrites files of a checkpoint and makes their checksums right again: what a hostile or foreign one may hold.
fn forge(path: &Path, name: &str, content: &[u8]) {
    fs::write(path.join(name), content).unwrap();
    let mut files = BTreeMap::new();
    for name in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        let bytes = fs::read(path.join(name)).unwrap();
        let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&bytes));
        files.insert(name, format!(r#"{{"bytes":{},"xxh3":"{hash}"}}"#, bytes.len()));
    }
    let files: Vec<String> = files.iter().map(|(name, checksum)| format!(r#""{name}":{checksum}"#)).collect();
    let files = format!("{{{}}}", files.join(","));
    let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(files.as_bytes()));
    fs::write(path.join("checksums.json"), format!(r#"{{"files":{files},"xxh3":"{hash}"}}"#)).unwrap();
}

fn header(json: &str, data: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn a_wrong_state_with_right_checksums_is_one_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = save_run(dir.path(), 4, &CheckpointConfig::default());
    let json = fs::read_to_string(path.join("state.json")).unwrap();
    let edit = |from: &str, to: &str| {
        assert!(json.contains(from), "{from}");
        json.replacen(from, to, 1).into_bytes()
    };
    for (content, words) in [
        (b"\xff\xfe".to_vec(), "is not the state of a run"),
        (b"{".to_vec(), "is not the state of a run"),
        (b"[]".to_vec(), "is not the state of a run"),
        (edit(r#""format": 1"#, r#""format": 2"#), "expected format 1, got 2"),
        (edit(r#""step": 4"#, r#""stop": 4"#), "unknown field `stop`"),
        (edit(r#""step": 4"#, r#""step": -4"#), "is not the state of a run"),
        (edit(r#""hidden_size": 8"#, r#""hidden_size": 9"#), "not divisible"),
        (edit(r#""hidden_size": 8"#, r#""hidden_size": 4611686018427387904"#), "`model.hidden_size` must be between"),
        (
            edit(r#""num_hidden_layers": 4"#, r#""num_hidden_layers": 3"#),
            "expected a layer map of at most 3 layers, got 4",
        ),
        (edit(r#""step": 4"#, r#""step": 4, "frozen": [1]"#), "expected frozen groups below 1, got 1"),
        (
            edit(r#""step": 4"#, r#""step": 4, "remembered": [0, 0, 0, 0, 0]"#),
            "expected a layer map of at most 4 layers, got 5",
        ),
        (edit(r#""vocab_size": 100"#, r#""vocab_size": 9223372036854775807"#), "`model.vocab_size` must be between"),
        (edit(r#""hidden_size": 8"#, r#""hidden_size": 16"#), "expected shape [100, 16], got [100, 8]"),
        (edit(r#""norm": "post""#, r#""norm": "pre""#), "unexpected tensor"),
        (edit(r#""pair_head": false"#, r#""pair_head": false, "task_head": {"kind": "span"}"#), "unexpected tensor"),
        (edit(r#""pair_head": false"#, r#""pair_head": true, "task_head": {"kind": "span"}"#), "no head for pairs"),
        (
            edit(r#""pair_head": false"#, r#""pair_head": false, "task_head": {"kind": "sequence", "num_labels": 0}"#),
            "`num_labels` must be between",
        ),
        (
            edit(r#""pair_head": false"#, r#""pair_head": false, "task_head": {"kind": "poem"}"#),
            "unknown variant `poem`",
        ),
    ] {
        forge(&path, "state.json", &content);
        verify(&path).unwrap();
        let error = load(&path, Kind::Float, Device::Cpu).unwrap_err();
        assert!(error.report().contains(words), "{}", error.report());
        assert_eq!(error.exit_code(), 3, "{}", error.report());
    }
}

#[test]
fn wrong_tensors_with_right_checksums_are_one_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = save_run(dir.path(), 4, &CheckpointConfig::default());
    let word = |dtype: &str, shape: &str, end: u64| {
        format!(
            r#"{{"bert.embeddings.word_embeddings.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#
        )
    };
    for (content, words) in [
        (vec![], "ends too early"),
        (vec![1, 2, 3], "ends too early"),
        (u64::MAX.to_le_bytes().to_vec(), "expected a header within its 8 bytes"),
        (header("{", 0), "its header is wrong"),
        (header("\u{fffd}", 0), "its header is wrong"),
        (header(&word("F32", "[100,8]", 3200), 3199), "expected 3200 bytes of tensors, got 3199"),
        (header(&word("F32", "[100,8]", 3204), 3204), "its header is wrong"),
        (header(&word("F32", "[4611686018427387904,8]", 3200), 3200), "its header is wrong"),
        (header(&word("F32", "[8,100]", 3200), 3200), "expected shape [100, 8], got [8, 100]"),
        (header(&word("BF16", "[100,8]", 1600), 1600), "expected F32 or F64, got BF16"),
        (header(&word("F32", "[100,8]", 3200), 3200), "holds no tensor `bert.embeddings.position_embeddings.weight`"),
        (header(&word("F32", "[100,8]", 3200).replace("word_", "name_"), 3200), "unexpected tensor"),
    ] {
        forge(&path, "model.safetensors", &content);
        let error = load(&path, Kind::Float, Device::Cpu).unwrap_err();
        assert!(error.report().contains(words), "{}", error.report());
        assert!(error.report().contains("model.safetensors"), "{}", error.report());
        assert_eq!(error.exit_code(), 3, "{}", error.report());
    }
}

#[test]
fn latest_names_the_newest_and_retention_keeps_what_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let keep = CheckpointConfig { every: 10, keep_last: 2, keep_every: Some(30), ..Default::default() };
    for step in (10..=80).step_by(10) {
        let path = save_run(dir.path(), step, &keep);
        let latest = fs::read_to_string(dir.path().join("checkpoints/latest")).unwrap();
        assert_eq!(latest, format!("step-{step:08}\n"));
        assert_eq!(path, dir.path().join("checkpoints").join(latest.trim_end()));
    }
    assert_eq!(steps(dir.path()), [80, 70, 60, 30]);
    assert_eq!(fs::read_dir(dir.path().join("checkpoints")).unwrap().count(), 5, "four folders and `latest`");
    // Going back and saving keeps what was just saved, and the later ones.
    let keep = CheckpointConfig { every: 5, keep_last: 1, ..Default::default() };
    save_run(dir.path(), 65, &keep);
    assert_eq!(steps(dir.path()), [80, 70, 65]);
}

#[test]
fn saving_a_step_again_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let keep = CheckpointConfig::default();
    save_run(dir.path(), 4, &keep);
    let (mut state, weights, moments) = run(4, &LayerMap::untied(4), Norm::Post, Kind::Float);
    state.samples_consumed = 99;
    let path = save(dir.path(), &state, &weights, &moments, None, &keep).unwrap();
    assert_eq!(steps(dir.path()), [4]);
    assert_eq!(load(&path, Kind::Float, Device::Cpu).unwrap().state, state);
    assert_eq!(fs::read_dir(dir.path().join("checkpoints")).unwrap().count(), 2);
}

#[test]
fn what_a_crash_leaves_is_no_checkpoint_and_is_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let keep = CheckpointConfig::default();
    let saved = save_run(dir.path(), 4, &keep);
    let folder = dir.path().join("checkpoints");
    for leftover in [".step-00000006.partial", ".step-00000002.removed"] {
        fs::create_dir(folder.join(leftover)).unwrap();
        fs::copy(saved.join("state.json"), folder.join(leftover).join("state.json")).unwrap();
    }
    // Died between the two renames of a replacement: the old one counts, whatever else is there.
    fs::rename(&saved, folder.join(".step-00000004.replaced")).unwrap();
    fs::create_dir(folder.join(".step-00000004.partial")).unwrap();
    let (found, warnings) = newest_valid(dir.path()).unwrap().unwrap();
    assert_eq!((found, warnings.len()), (folder.join(".step-00000004.replaced"), 0));
    assert_eq!(steps(dir.path()), [4]);
    save_run(dir.path(), 8, &keep);
    let mut names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["latest", "step-00000004", "step-00000008"]);
    verify(&saved).unwrap();
}

#[test]
fn the_newest_valid_skips_damaged_ones_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    assert!(newest_valid(dir.path()).unwrap().is_none());
    let keep = CheckpointConfig { every: 1, keep_last: 9, ..Default::default() };
    let paths = [1, 2, 3, 4].map(|step| save_run(dir.path(), step, &keep));
    assert_eq!(newest_valid(dir.path()).unwrap().unwrap().0, paths[3]);
    flip(&paths[3].join("model.safetensors"), 1000);
    fs::remove_file(paths[2].join("checksums.json")).unwrap();
    let (found, warnings) = newest_valid(dir.path()).unwrap().unwrap();
    assert_eq!(found, paths[1]);
    let reports: Vec<String> = warnings.iter().map(untie::error::Error::report).collect();
    assert_eq!(reports.len(), 2);
    assert!(reports[0].contains("step 4") && reports[0].contains("model.safetensors"), "{}", reports[0]);
    assert!(reports[1].contains("step 3") && reports[1].contains("checksums.json"), "{}", reports[1]);
    for path in &paths {
        let _ = fs::remove_file(path.join("state.json"));
    }
    let error = newest_valid(dir.path()).unwrap_err();
    assert!(error.report().contains("got 4 damaged") && error.exit_code() == 3, "{}", error.report());
}

#[test]
fn a_save_that_fails_leaves_everything_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let keep = CheckpointConfig { every: 1, keep_last: 1, ..Default::default() };
    let saved = save_run(dir.path(), 4, &keep);
    let (state, weights, mut moments) = run(6, &LayerMap::tied(4), Norm::Post, Kind::Float);
    // The model's file is written before the optimizer's turns out to be impossible.
    let last = moments.exp_avg_sq.len() - 1;
    moments.exp_avg_sq[last] = moments.exp_avg_sq[last].to_kind(Kind::Half);
    let error = save(dir.path(), &state, &weights, &moments, None, &keep).unwrap_err().to_string();
    assert!(error.contains("expected fp32 or fp64, got Half"), "{error}");
    assert_eq!(newest_valid(dir.path()).unwrap().unwrap().0, saved);
    assert_eq!(fs::read_to_string(dir.path().join("checkpoints/latest")).unwrap(), "step-00000004\n");
    assert_eq!(fs::read_dir(dir.path().join("checkpoints")).unwrap().count(), 2);
}

#[test]
fn what_could_not_be_loaded_again_is_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let keep = CheckpointConfig::default();
    let (state, weights, moments) = run(6, &LayerMap::tied(4), Norm::Post, Kind::Float);
    let untied = RunState { layer_map: LayerMap::untied(4), ..state.clone() };
    let miscounted = RunState { num_updates: 6, ..state.clone() };
    let totals = Totals { wall_seconds: f64::NAN, ..state.totals };
    let not_json = RunState { totals, ..state };
    for (state, words) in [
        (untied, "the weights are not those of its layer map"),
        (miscounted, "expected 6 updates of the moments, got 3"),
        (not_json, "does not fit into `state.json`"),
    ] {
        let error = save(dir.path(), &state, &weights, &moments, None, &keep).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(list(dir.path()).unwrap().is_empty());
}

/// Training changes the tensors while the files are written: they hold what was there when it was asked.
#[test]
fn what_is_saved_in_the_background_is_what_there_was() {
    let folder = tempfile::tempdir().unwrap();
    let (state, weights, mut moments) = run(3, &LayerMap::tied(4), Norm::Post, Kind::Float);
    let expected: Vec<Vec<u8>> = weights.entries().iter().map(|weight| bits(&weight.in_file(&weight.tensor))).collect();
    let mut saver = Saver::new(folder.path(), &CheckpointConfig::default());
    saver.save(&state, &weights, &moments, None).unwrap();
    tch::no_grad(|| weights.entries().iter().for_each(|weight| drop(weight.tensor.shallow_clone().zero_())));
    moments.exp_avg.iter_mut().for_each(|moment| drop(moment.zero_()));
    saver.wait().unwrap();
    let loaded = load(&newest_valid(folder.path()).unwrap().unwrap().0, Kind::Float, Device::Cpu).unwrap();
    let found: Vec<Vec<u8>> =
        loaded.weights.entries().iter().map(|weight| bits(&weight.in_file(&weight.tensor))).collect();
    assert!(found == expected);
    assert!(loaded.moments.exp_avg.iter().any(|moment| f64::try_from(moment.abs().max()).unwrap() > 0.0));
    assert!(saver.longest() > std::time::Duration::ZERO);
}

#[test]
fn a_save_that_fails_in_the_background_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("checkpoints"), "").unwrap();
    let (state, weights, moments) = run(3, &LayerMap::tied(4), Norm::Post, Kind::Float);
    let mut saver = Saver::new(folder.path(), &CheckpointConfig::default());
    saver.save(&state, &weights, &moments, None).unwrap();
    let message = saver.wait().unwrap_err().to_string();
    assert!(message.starts_with("cannot create `"), "{message}");
    saver.wait().unwrap();
}
