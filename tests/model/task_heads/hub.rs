//! What gets a new head and from which files, what comes back with the head it was saved with, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{json, Value};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use untie::error::Result;
use untie::hub::{self, HubModel};
use untie::layer_map::LayerMap;
use untie::model::weights::{initial_values, specs};
use untie::model::{BertConfig, Norm, TaskHead, Weights};

use super::{expected, output_layer, HEADS};
use crate::fixtures::{fixture, read, Tensors, NORMS};

const POOLER: [&str; 2] = ["bert.pooler.dense.weight", "bert.pooler.dense.bias"];
/// Whether the head reads the pooler.
fn pools(head: TaskHead) -> bool {
    matches!(head, TaskHead::Sequence { .. })
}

const PAIR: TaskHead = TaskHead::Sequence { num_labels: 2 };

fn for_task(dir: &Path, head: TaskHead) -> Result<HubModel> {
    hub::load_for_task(dir, head, 3, Kind::Float, Device::Cpu)
}

fn finetuned(dir: &Path) -> Result<HubModel> {
    hub::load_finetuned(dir, Kind::Float, Device::Cpu)
}

/// A Hugging Face directory of these tensors and this config.json, with the fixtures' tokenizer.
fn directory(config: &Value, tensors: &Tensors) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(fixture("post/tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    fs::write(dir.path().join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
    let list: Vec<(&String, &Tensor)> = tensors.iter().collect();
    Tensor::write_safetensors(&list, dir.path().join("model.safetensors")).unwrap();
    dir
}

/// config.json and tensors of a fixture's model.
fn source(name: &str) -> (Value, Tensors) {
    let json = fs::read(fixture(name).join("config.json")).unwrap();
    (serde_json::from_slice(&json).unwrap(), read(&fixture(name).join("model.safetensors")))
}

/// What transformers' `save_pretrained` wrote for each head: config.json and the tensors, with their names.
fn saved(norm: &str, name: &str, head: TaskHead) -> (Value, Tensors) {
    let json = fs::read(fixture(&format!("{norm}-tasks.json"))).unwrap();
    let mut found: BTreeMap<String, Value> = serde_json::from_slice(&json).unwrap();
    let found = found.remove(name).unwrap();
    let (_, mut encoder) = source(&format!("{norm}-pairs"));
    for part in ["weight", "bias"] {
        encoder.insert(format!("{}.{part}", output_layer(head)), expected(norm)[&format!("{name}/{part}")].copy());
    }
    let names: Vec<String> = serde_json::from_value(found["tensors"].clone()).unwrap();
    let tensors = names.into_iter().map(|name| (name.clone(), encoder[&name].copy())).collect();
    (found["config"].clone(), tensors)
}

fn random(norm: Norm, head: TaskHead, map: &LayerMap) -> (BertConfig, Weights) {
    let config = BertConfig { norm, task_head: Some(head), ..hub::load_config(&fixture("post")).unwrap() };
    let weights = Weights::initialise(&config, map, 1, Kind::Float, Device::Cpu).unwrap();
    (config, weights)
}

fn tokenizer() -> PathBuf {
    fixture("post/tokenizer.json")
}

fn new_output(head: TaskHead) -> Vec<String> {
    ["weight", "bias"].iter().map(|part| format!("{}.{part}", output_layer(head))).collect()
}

/// The weights of `model` that came from the file are those that `load` finds there; the new ones are random by `seed`.
fn check(model: &HubModel, file: &HubModel, seed: u64) {
    assert_eq!(model.config, BertConfig { task_head: model.config.task_head, pair_head: false, ..file.config.clone() });
    assert!(!model.has_head && model.labels.is_empty());
    for (spec, weight) in specs(&model.config, &model.layer_map()).iter().zip(model.weights.entries()) {
        assert_eq!(spec.name, weight.spec.name);
        let got = weight.in_file(&weight.tensor);
        if model.new_tensors.contains(&spec.name) {
            let expected = initial_values(spec, 0.02, seed).unwrap().to_kind(Kind::Float);
            assert_eq!(got, expected, "{}", spec.name);
        } else {
            assert_eq!(got, file.weights.get(&spec.name).unwrap().in_file(&file.weights.tensor(&spec.name).unwrap()));
        }
    }
}

#[test]
fn an_encoder_gets_a_new_head_and_keeps_its_pooler() {
    for norm in NORMS {
        for (_, head) in HEADS {
            // A pooler in the file is used, one that is missing is new; spans and tokens need none.
            for (name, has_pooler) in [(format!("{norm}-pairs"), true), (norm.to_owned(), false)] {
                let file = hub::load(&fixture(&name), Kind::Float, Device::Cpu).unwrap();
                assert!(file.new_tensors.is_empty());
                let model = for_task(&fixture(&name), head).unwrap();
                let mut new: Vec<String> = if has_pooler || !pools(head) {
                    Vec::new()
                } else {
                    POOLER.iter().map(|name| (*name).to_owned()).collect()
                };
                new.extend(new_output(head));
                assert_eq!(model.new_tensors, new, "{name} {head:?}");
                check(&model, &file, 3);
            }
        }
    }
}

#[test]
fn the_new_head_depends_on_the_seed_and_nothing_else() {
    let run = |seed| hub::load_for_task(&fixture("post-pairs"), PAIR, seed, Kind::Float, Device::Cpu).unwrap();
    let (one, again, other) = (run(1), run(1), run(2));
    for weight in one.weights.entries() {
        let name = &weight.spec.name;
        assert_eq!(weight.tensor, again.weights.tensor(name).unwrap(), "{name}");
        let is_same = weight.tensor == other.weights.tensor(name).unwrap();
        assert_eq!(is_same, name != "classifier.weight", "{name}");
    }
    let deviation = f64::try_from(run(1).weights.tensor("classifier.weight").unwrap().std(true)).unwrap();
    assert!((0.012..0.024).contains(&deviation), "32 numbers with deviation 0.0176: {deviation}");
}

/// An encoder alone, as sentence encoders are saved: without a prefix, with a buffer, and here with a part of its pooler.
#[test]
fn an_encoder_without_prefix_and_a_masked_lm_of_another_decoder_are_read() {
    let (mut config, tensors) = source("post-pairs");
    let file = hub::load(&fixture("post-pairs"), Kind::Float, Device::Cpu).unwrap();
    config["architectures"] = json!(["BertModel"]);
    config["id2label"] = json!(["not", "words", 3]);
    let mut alone: Tensors = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("bert.")?.to_owned(), tensor.copy())))
        .collect();
    alone.insert("embeddings.position_ids".into(), Tensor::arange(24, (Kind::Int64, Device::Cpu)).view([1, 24]));
    let model = for_task(directory(&config, &alone).path(), PAIR).unwrap();
    assert_eq!(model.new_tensors, new_output(PAIR));
    check(&model, &file, 3);
    alone.remove("pooler.dense.bias");
    let model = for_task(directory(&config, &alone).path(), PAIR).unwrap();
    assert_eq!(model.new_tensors[..1], ["bert.pooler.dense.bias"]);
    check(&model, &file, 3);

    // `load` needs the decoder to be the word embeddings; who replaces the head does not.
    let (mut config, mut tensors) = source("post-pairs");
    config["tie_word_embeddings"] = json!(false);
    tensors.insert("cls.predictions.decoder.weight".into(), Tensor::zeros([61, 16], (Kind::Float, Device::Cpu)));
    tensors.insert("cls.predictions.decoder.bias".into(), Tensor::zeros([61], (Kind::Float, Device::Cpu)));
    let dir = directory(&config, &tensors);
    let report = hub::load(dir.path(), Kind::Float, Device::Cpu).unwrap_err().report();
    assert!(report.contains("`cls.predictions.decoder.weight`: expected the same values"), "{report}");
    check(&for_task(dir.path(), PAIR).unwrap(), &file, 3);
}

/// From one task to another: the encoder goes on, the output layer is new, even one of the same size.
#[test]
fn a_fine_tuned_model_gets_a_new_head() {
    for norm in [Norm::Post, Norm::Pre] {
        for (_, from) in HEADS {
            let (config, weights) = random(norm, from, &LayerMap::tied(3));
            let parent = tempfile::tempdir().unwrap();
            let dir = parent.path().join("model");
            hub::export(&dir, &config, &LayerMap::tied(3), &weights, &tokenizer()).unwrap();
            for (_, to) in HEADS {
                let model = for_task(&dir, to).unwrap();
                let mut new: Vec<&str> = if !pools(from) && pools(to) { POOLER.to_vec() } else { Vec::new() };
                let output = new_output(to);
                new.extend(output.iter().map(String::as_str));
                assert_eq!(model.new_tensors, new, "{from:?} {to:?}");
                check(&model, &finetuned(&dir).unwrap(), 3);
            }
        }
    }
}

#[test]
fn what_transformers_saves_comes_back_with_its_head() {
    for norm in NORMS {
        for (name, head) in HEADS {
            let (config, tensors) = saved(norm, name, head);
            let dir = directory(&config, &tensors);
            let model = finetuned(dir.path()).unwrap();
            assert_eq!(model.config.task_head, Some(head), "{norm} {name}");
            assert_eq!(hub::load_config(dir.path()).unwrap(), model.config);
            let words: &[&str] = match name {
                "sequence-2" => &["LABEL_0", "LABEL_1"],
                "sequence-3" => &["entailment", "neutral", "contradiction"],
                "sequence-1" => &["similarity"],
                "token-3" => &["B-X", "I-X", "O"],
                _ => &[],
            };
            assert_eq!(model.labels, words);
            assert!(model.new_tensors.is_empty() && !model.has_head);

            // And is saved again with the same names and values, and a config.json that says the same.
            let parent = tempfile::tempdir().unwrap();
            let out = parent.path().join("export");
            let (map, labels) = (model.layer_map(), &model.labels);
            hub::export_labelled(&out, &model.config, &map, &model.weights, &tokenizer(), labels).unwrap();
            let got = read(&out.join("model.safetensors"));
            let names = |tensors: &Tensors| tensors.keys().cloned().collect::<BTreeSet<String>>();
            assert_eq!(names(&got), names(&tensors), "{norm} {name}");
            for (tensor, values) in &tensors {
                assert_eq!(&got[tensor], values, "{norm} {name}: `{tensor}`");
            }
            let json: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
            for (key, value) in json.as_object().unwrap() {
                // transformers leaves out what is its default, and the problem until a loss has been computed.
                if let Some(theirs) = config.get(key) {
                    assert_eq!(value, theirs, "{norm} {name}: `{key}`");
                }
            }
            let problem = match head {
                TaskHead::Sequence { num_labels: 1 } => json!("regression"),
                TaskHead::Sequence { .. } => json!("single_label_classification"),
                TaskHead::Span | TaskHead::Token { .. } => Value::Null,
            };
            assert_eq!(json["problem_type"], problem);
            assert_eq!(json["id2label"].as_object().map_or(0, serde_json::Map::len), labels.len());
        }
    }
}

#[test]
fn an_export_is_read_back_bit_for_bit_with_its_words() {
    for norm in [Norm::Post, Norm::Pre] {
        for map in [LayerMap::tied(3), LayerMap::from_groups(3, &[vec![0, 2], vec![1]]).unwrap(), LayerMap::untied(3)] {
            for (_, head) in HEADS {
                let (config, weights) = random(norm, head, &map);
                let words: Vec<String> = match head {
                    TaskHead::Sequence { num_labels } | TaskHead::Token { num_labels } => {
                        (0..num_labels).map(|label| format!("word {label}")).collect()
                    }
                    TaskHead::Span => Vec::new(),
                };
                let parent = tempfile::tempdir().unwrap();
                let dir = parent.path().join("model");
                hub::export_labelled(&dir, &config, &map, &weights, &tokenizer(), &words).unwrap();
                let found = finetuned(&dir).unwrap();
                assert_eq!((&found.config, &found.labels), (&config, &words));
                for weight in found.weights.entries() {
                    let name = &weight.spec.name;
                    let own = weight.spec.group.map_or(name.clone(), |layer| {
                        let lowest = map.lowest(map.group_of(layer));
                        name.replacen(&format!(".layer.{layer}."), &format!(".layer.{lowest}."), 1)
                    });
                    assert_eq!(weight.tensor, weights.get(&own).unwrap().tensor, "{name}");
                }
                // Without words it has those of transformers, and may replace itself.
                hub::export(&dir, &config, &map, &weights, &tokenizer()).unwrap();
                let labels = finetuned(&dir).unwrap().labels;
                assert!(labels.iter().enumerate().all(|(label, word)| *word == format!("LABEL_{label}")));
                assert_eq!(labels.len(), words.len());
            }
        }
    }
}

/// As transformers reads a fine-tuned model into `BertForMaskedLM`: the encoder is the file's, the head is new.
#[test]
fn a_model_with_another_head_gives_its_encoder_to_pre_training() {
    let (config, tensors) = saved("post", "sequence-3", TaskHead::Sequence { num_labels: 3 });
    for class in ["BertForSequenceClassification", "BertForTokenClassification", "BertForMultipleChoice"] {
        let mut config = config.clone();
        config["architectures"] = json!([class]);
        let read = hub::load(directory(&config, &tensors).path(), Kind::Float, Device::Cpu).unwrap();
        assert!(!read.has_head && read.config.task_head.is_none());
        let words = &read.weights.get("bert.embeddings.word_embeddings.weight").unwrap();
        assert_eq!(words.in_file(&words.tensor), tensors["bert.embeddings.word_embeddings.weight"]);
        let report = read.require_head(Path::new("model")).unwrap_err().report();
        assert!(report.contains("`model` has no masked-language-model head"), "{report}");
    }
}

#[test]
fn what_is_no_model_of_a_task_is_refused_by_name() {
    let refused = |result: Result<HubModel>| {
        let error = result.unwrap_err();
        assert_eq!(error.exit_code(), 3, "{}", error.report());
        error.report()
    };
    let message = refused(finetuned(&fixture("post")));
    assert!(message.contains("is not fine-tuned") && message.contains("hint:"), "{message}");
    let head = TaskHead::Sequence { num_labels: 3 };

    type Change = fn(&mut Value, &mut Tensors);
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let cases: [(Change, &str); 8] = [
        (|config, _| config["problem_type"] = json!("multi_label_classification"), "`problem_type`: expected `single_"),
        (|config, _| config["id2label"] = json!({"0": "a", "1": "b"}), "`classifier.weight`: expected shape [2, 16]"),
        (|config, _| config["id2label"] = json!({}), "`num_labels` must be between 1 and 65536, got 0"),
        (|config, _| config["id2label"] = json!({"a": "b"}), "`id2label`: expected words for the labels"),
        (
            |config, _| config["architectures"] = json!(["BertForMultipleChoice"]),
            "a head of another kind: `BertForMultipleChoice`",
        ),
        (|config, _| config["architectures"] = json!(["BertForQuestionAnswering"]), "`qa_outputs.weight` is missing"),
        (|_, tensors| drop(tensors.remove("classifier.bias")), "`classifier.bias` is missing"),
        (|_, tensors| drop(tensors.remove("bert.pooler.dense.bias")), "`bert.pooler.dense.bias` is missing"),
    ];
    for (change, words) in cases {
        let (mut config, mut tensors) = saved("post", "sequence-3", head);
        change(&mut config, &mut tensors);
        let message = refused(finetuned(directory(&config, &tensors).path()));
        assert!(message.contains(words), "{message}");
    }
    let (config, mut tensors) = saved("post", "sequence-3", head);
    tensors.insert("dense.weight".into(), zeros(&[2, 2]));
    let dir = directory(&config, &tensors);
    for message in [refused(finetuned(dir.path())), refused(for_task(dir.path(), PAIR))] {
        assert!(message.contains("tensor `dense.weight` is unexpected"), "{message}");
    }
    tensors.remove("dense.weight");
    tensors.insert("bert.pooler.dense.weight".into(), zeros(&[4, 4]));
    let message = refused(for_task(directory(&config, &tensors).path(), PAIR));
    assert!(message.contains("`bert.pooler.dense.weight`: expected shape [16, 16], got [4, 4]"), "{message}");
    let error = for_task(&fixture("post"), TaskHead::Sequence { num_labels: 0 }).unwrap_err();
    assert!(error.report().contains("`num_labels` must be") && error.exit_code() == 2, "{}", error.report());
}

#[test]
fn words_that_do_not_fit_are_refused_before_anything_is_written() {
    let parent = tempfile::tempdir().unwrap();
    let map = LayerMap::tied(3);
    let (config, weights) = random(Norm::Post, PAIR, &map);
    for (words, message) in [(vec!["yes"], "words for 2 labels, got 1"), (vec!["yes", "yes"], "different words")] {
        let words: Vec<String> = words.into_iter().map(String::from).collect();
        let dir = parent.path().join("model");
        let error = hub::export_labelled(&dir, &config, &map, &weights, &tokenizer(), &words).unwrap_err();
        assert!(error.report().contains(message), "{}", error.report());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
