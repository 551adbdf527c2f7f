//! Hugging Face directories: what is written is read back bit for bit, and every way in which a directory can be wrong
//! has its sentence.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{json, Value};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use untie::error::Result;
use untie::hub::{self, HubModel};
use untie::layer_map::LayerMap;
use untie::model::{BertConfig, Norm, Weights};

use crate::fixtures::{fixture, Tensors};

fn tokenizer() -> PathBuf {
    fixture("post").join("tokenizer.json")
}

fn load(dir: &Path) -> Result<HubModel> {
    hub::load(dir, Kind::Float, Device::Cpu)
}

/// What is said of a directory whose weights or tokenizer cannot be used.
fn refused(dir: &Path) -> String {
    load(dir).and_then(|model| model.open_tokenizer()).unwrap_err().report()
}

fn random(norm: Norm, map: &LayerMap) -> (BertConfig, Weights) {
    let config = BertConfig { norm, ..hub::load_config(&fixture("post")).unwrap() };
    let weights = Weights::initialise(&config, map, 1, Kind::Float, Device::Cpu).unwrap();
    (config, weights)
}

/// A copy of the Post-LN fixture that a test may damage.
struct Copy(TempDir);

impl Copy {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            fs::copy(fixture("post").join(name), dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Without its weights, and with empty files of these names.
    fn with_instead(names: &[&str]) -> Self {
        let copy = Self::new();
        fs::remove_file(copy.path().join("model.safetensors")).unwrap();
        names.iter().for_each(|name| fs::write(copy.path().join(name), "").unwrap());
        copy
    }

    /// The weights in three files with their index, as transformers' `save_pretrained(.., max_shard_size=..)` lays them out.
    fn sharded() -> Self {
        let copy = Self::new();
        let whole = copy.path().join("model.safetensors");
        let mut tensors = Tensor::read_safetensors(&whole).unwrap();
        fs::remove_file(whole).unwrap();
        tensors.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut map = serde_json::Map::new();
        for (number, part) in tensors.chunks(tensors.len().div_ceil(3)).enumerate() {
            let name = format!("model-0000{}-of-00003.safetensors", number + 1);
            let list: Vec<(&String, &Tensor)> = part.iter().map(|(name, tensor)| (name, tensor)).collect();
            Tensor::write_safetensors(&list, copy.path().join(&name)).unwrap();
            map.extend(part.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
        }
        copy.index(&json!({"metadata": {"total_size": 1}, "weight_map": map}));
        copy
    }

    fn index(&self, index: &Value) {
        fs::write(self.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    }

    fn read_index(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path().join("model.safetensors.index.json")).unwrap()).unwrap()
    }

    /// Sets (`null`: removes) one key of config.json.
    fn set(self, key: &str, value: Value) -> Self {
        let path = self.path().join("config.json");
        let mut config: serde_json::Map<String, Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if value.is_null() {
            config.remove(key);
        } else {
            config.insert(key.into(), value);
        }
        fs::write(path, serde_json::to_vec(&config).unwrap()).unwrap();
        self
    }

    fn tensors(self, change: impl FnOnce(&mut Tensors)) -> Self {
        let path = self.path().join("model.safetensors");
        let mut tensors = Tensor::read_safetensors(&path).unwrap().into_iter().collect();
        change(&mut tensors);
        let list: Vec<(&String, &Tensor)> = tensors.iter().collect();
        Tensor::write_safetensors(&list, &path).unwrap();
        self
    }
}

fn zeros(shape: &[i64]) -> Tensor {
    Tensor::zeros(shape, (Kind::Float, Device::Cpu))
}

#[test]
fn an_export_is_read_back_bit_for_bit_with_every_layer_its_own() {
    let maps = [LayerMap::tied(3), LayerMap::from_groups(3, &[vec![0, 2], vec![1]]).unwrap(), LayerMap::untied(3)];
    for norm in [Norm::Post, Norm::Pre] {
        for map in &maps {
            let parent = tempfile::tempdir().unwrap();
            let dir = parent.path().join("a/b");
            let (config, weights) = random(norm, map);
            hub::export(&dir, &config, map, &weights, &tokenizer()).unwrap();
            let read = load(&dir).unwrap();
            assert_eq!(read.config, config);
            assert!(read.has_head);
            let theirs = hub::open_tokenizer(&tokenizer(), config.vocab_size).unwrap();
            let [ours, theirs] = [read.open_tokenizer().unwrap(), theirs].map(|found| found.tokenizer.to_string(false));
            assert_eq!(ours.unwrap(), theirs.unwrap());
            for weight in read.weights.entries() {
                let name = &weight.spec.name;
                let own = weight.spec.group.map_or(name.clone(), |layer| {
                    let lowest = map.lowest(map.group_of(layer));
                    name.replacen(&format!(".layer.{layer}."), &format!(".layer.{lowest}."), 1)
                });
                assert_eq!(weight.tensor, weights.get(&own).unwrap().tensor, "{name}");
            }
            let names: Vec<_> =
                fs::read_dir(dir.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, ["b"], "nothing is left beside the export");
        }
    }
}

#[test]
fn an_export_replaces_an_export_or_an_empty_folder_and_nothing_else() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("model");
    let map = LayerMap::untied(3);
    let (config, weights) = random(Norm::Post, &map);
    let export = || hub::export(&dir, &config, &map, &weights, &tokenizer());
    fs::create_dir(&dir).unwrap();
    export().unwrap();
    fs::remove_file(dir.join("vocab.txt")).unwrap();
    // What an interrupted export left behind is not in the way.
    fs::create_dir(parent.path().join(".model.untie-new")).unwrap();
    fs::create_dir(parent.path().join(".model.untie-old")).unwrap();
    export().unwrap();
    assert!(dir.join("vocab.txt").exists());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);

    fs::write(dir.join("notes.txt"), "mine").unwrap();
    let message = export().unwrap_err().report();
    assert!(message.contains("it holds `notes.txt`") && message.contains("hint:"), "{message}");
    fs::remove_file(dir.join("notes.txt")).unwrap();
    fs::copy(fixture("post").join("config.json"), dir.join("config.json")).unwrap();
    assert!(export().unwrap_err().report().contains("`config.json` is not ours"));
    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, "a file").unwrap();
    assert!(export().unwrap_err().report().contains("model"), "a file is not replaced");
}

#[test]
fn an_export_with_a_larger_tokenizer_is_refused_before_anything_is_written() {
    let parent = tempfile::tempdir().unwrap();
    let map = LayerMap::tied(3);
    let config = BertConfig { vocab_size: 60, ..hub::load_config(&fixture("post")).unwrap() };
    let weights = Weights::initialise(&config, &map, 1, Kind::Float, Device::Cpu).unwrap();
    let error = hub::export(&parent.path().join("model"), &config, &map, &weights, &tokenizer()).unwrap_err();
    assert!(error.report().contains("expected ids below 60, got 60 for `##k`"), "{}", error.report());
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[test]
fn weights_need_no_tokenizer_and_a_tokenizer_no_more_than_its_rows() {
    let rows = |count: i64| {
        Copy::new().set("vocab_size", json!(count)).tensors(|tensors| {
            for name in ["bert.embeddings.word_embeddings.weight", "cls.predictions.bias"] {
                let shorter = tensors[name].narrow(0, 0, count).contiguous();
                tensors.insert(name.into(), shorter);
            }
        })
    };
    let (whole, short) = (rows(61), rows(60));
    assert!(refused(short.path()).contains("expected ids below 60, got 60 for `##k`\nhint:"));
    fs::remove_file(whole.path().join("tokenizer.json")).unwrap();
    load(whole.path()).unwrap();
    assert!(refused(whole.path()).contains("has no tokenizer that can be used"));
}

#[test]
fn an_encoder_alone_gets_the_random_head_of_bert() {
    let copy = Copy::new().set("architectures", json!(["BertModel"])).tensors(|tensors| {
        let encoder =
            tensors.drain().filter_map(|(name, tensor)| Some((name.strip_prefix("bert.")?.to_owned(), tensor)));
        *tensors = encoder.collect();
        tensors.insert("pooler.dense.weight".into(), zeros(&[16, 16]));
        tensors.insert("embeddings.position_ids".into(), zeros(&[1, 24]));
    });
    let (alone, again, whole) =
        (load(copy.path()).unwrap(), load(copy.path()).unwrap(), load(&fixture("post")).unwrap());
    assert!(!alone.has_head);
    for weight in alone.weights.entries() {
        let name = &weight.spec.name;
        assert_eq!(weight.tensor, again.weights.get(name).unwrap().tensor, "{name}");
        let same = weight.tensor == whole.weights.get(name).unwrap().tensor;
        assert_eq!(same, name.starts_with("bert."), "{name}");
    }
    let scale = &alone.weights.get("cls.predictions.transform.LayerNorm.weight").unwrap().tensor;
    assert_eq!(*scale, Tensor::ones([16], (Kind::Float, Device::Cpu)));
}

#[test]
fn files_of_older_versions_and_other_precisions_are_read() {
    let whole = load(&fixture("post")).unwrap();
    for kind in [Kind::Half, Kind::BFloat16, Kind::Double] {
        let copy = Copy::new().set("architectures", Value::Null).tensors(|tensors| {
            let old = tensors.drain().map(|(name, tensor)| {
                let name =
                    name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
                (name, tensor.to_kind(kind))
            });
            *tensors = old.collect();
            let words = tensors["bert.embeddings.word_embeddings.weight"].copy();
            let bias = tensors.remove("cls.predictions.bias").unwrap();
            tensors.insert("cls.predictions.decoder.weight".into(), words);
            tensors.insert("cls.predictions.decoder.bias".into(), bias);
            tensors.insert("cls.seq_relationship.bias".into(), zeros(&[2]));
        });
        let read = load(copy.path()).unwrap();
        for weight in read.weights.entries() {
            assert_eq!(weight.tensor.kind(), Kind::Float);
            let expected = weight.in_file(&whole.weights.get(&weight.spec.name).unwrap().tensor);
            assert_eq!(weight.in_file(&weight.tensor), expected.to_kind(kind).to_kind(Kind::Float));
        }
    }
}

#[test]
fn a_config_of_another_model_is_refused_by_name() {
    for (key, value, words) in [
        ("hidden_act", json!("relu"), "`hidden_act`: expected `gelu`, got `relu`"),
        ("position_embedding_type", json!("relative_key"), "`position_embedding_type`: expected `absolute`"),
        ("tie_word_embeddings", json!(false), "`tie_word_embeddings`: expected `true`"),
        ("is_decoder", json!(true), "`is_decoder`: expected `false`"),
        ("architectures", json!(["RobertaForMaskedLM"]), "got `RobertaForMaskedLM`"),
        ("model_type", json!("roberta"), "got `roberta`"),
        ("model_type", json!("megatron-bert"), "disagree"),
        ("hidden_size", Value::Null, "missing field `hidden_size`"),
        ("hidden_size", json!("16"), "invalid type"),
        ("hidden_size", json!(17), "not divisible"),
        ("num_attention_heads", json!(0), "num_attention_heads"),
        ("num_hidden_layers", json!(-1), "invalid value"),
        ("num_hidden_layers", json!(1_000_000), "must be between 1 and 1024, got 1000000"),
        ("num_hidden_layers", json!(1000), "expected 1000 layers"),
        ("vocab_size", json!(i64::MAX), "`vocab_size` must be"),
        ("type_vocab_size", json!(0), "`type_vocab_size` must be"),
        ("layer_norm_eps", json!(0.0), "`layer_norm_eps` must be"),
        ("initializer_range", json!(-1.0), "`initializer_range` must be"),
        ("hidden_dropout_prob", json!(2.0), "hidden_dropout_prob"),
        ("vocab_size", json!(62), "word_embeddings.weight`: expected shape [62, 16], got [61, 16]"),
        ("intermediate_size", json!(33), "intermediate.dense.weight`: expected shape [33, 16], got [32, 16]"),
        ("num_hidden_layers", json!(4), "tensor `bert.encoder.layer.3.attention.self.query.weight` is missing"),
        ("num_hidden_layers", json!(2), "tensor `bert.encoder.layer.2.attention.output.LayerNorm.bias` is unexpected"),
    ] {
        let message = refused(Copy::new().set(key, value).path());
        assert!(message.contains(words), "{message}");
    }
    let neither = Copy::new().set("architectures", Value::Null).set("model_type", Value::Null);
    assert!(refused(neither.path()).contains("neither `architectures` nor `model_type`"));
}

#[test]
fn a_missing_foreign_or_misshapen_tensor_is_named() {
    type Change = fn(&mut Tensors);
    let cases: [(Change, &str); 7] = [
        (|all| drop(all.remove("cls.predictions.bias")), "`cls.predictions.bias` is missing"),
        (
            |all| drop(all.remove("bert.encoder.layer.1.attention.self.key.bias")),
            "`bert.encoder.layer.1.attention.self.key.bias` is missing",
        ),
        (|all| drop(all.insert("classifier.weight".into(), zeros(&[2, 16]))), "`classifier.weight` is unexpected"),
        (
            |all| drop(all.insert("bert.encoder.layer.1.attention.self.key.bias".into(), zeros(&[4, 4]))),
            "`bert.encoder.layer.1.attention.self.key.bias`: expected shape [16], got [4, 4]",
        ),
        (
            |all| drop(all.insert("cls.predictions.bias".into(), zeros(&[61]).to_kind(Kind::Int64))),
            "`cls.predictions.bias`: expected F64, F32, F16 or BF16, got I64",
        ),
        (
            |all| drop(all.insert("cls.predictions.decoder.weight".into(), zeros(&[61, 16]))),
            "expected the same values as `bert.embeddings.word_embeddings.weight`",
        ),
        (|all| drop(all.insert("embeddings.LayerNorm.bias".into(), zeros(&[16]))), "are the same tensor"),
    ];
    for (change, words) in cases {
        let message = refused(Copy::new().tensors(change).path());
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_missing_or_damaged_file_is_named() {
    let nowhere = load(Path::new("nowhere")).unwrap_err();
    assert!(nowhere.report().contains("`nowhere` holds no model: there is no such folder"));
    assert_eq!(nowhere.exit_code(), 3);
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let copy = Copy::new();
        let path = copy.path().join(name);
        let bytes = fs::read(&path).unwrap();
        for length in [0, 1, 7, 8, 20, bytes.len() / 2, bytes.len() - 3] {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(refused(copy.path()).contains(name), "{name} cut to {length} bytes");
        }
        fs::remove_file(&path).unwrap();
        assert!(refused(copy.path()).contains(&format!("{name}`")));
    }
}

fn same_weights(one: &HubModel, other: &HubModel) {
    for weight in one.weights.entries() {
        assert_eq!(weight.tensor, other.weights.get(&weight.spec.name).unwrap().tensor, "{}", weight.spec.name);
    }
}

#[test]
fn weights_in_several_files_and_in_a_variant_are_the_weights_in_one() {
    let whole = load(&fixture("post")).unwrap();
    let sharded = Copy::sharded();
    same_weights(&load(sharded.path()).unwrap(), &whole);
    let files = [1, 2, 3].map(|number| sharded.path().join(format!("model-0000{number}-of-00003.safetensors")));
    assert_eq!(hub::weight_files(sharded.path()).unwrap(), files);

    let variant = Copy::new();
    let rename = |from: &str, to: &str| fs::rename(variant.path().join(from), variant.path().join(to)).unwrap();
    rename("model.safetensors", "model.fp16.safetensors");
    same_weights(&load(variant.path()).unwrap(), &whole);
    fs::copy(variant.path().join("model.fp16.safetensors"), variant.path().join("model.bf16.safetensors")).unwrap();
    let message = refused(variant.path());
    assert!(
        message.contains("several variants of it: `model.bf16.safetensors`, `model.fp16.safetensors`"),
        "{message}"
    );
    let sharded = Copy::sharded();
    let [from, to] = ["", ".fp16"].map(|variant| format!("model.safetensors.index{variant}.json"));
    fs::rename(sharded.path().join(from), sharded.path().join(to)).unwrap();
    same_weights(&load(sharded.path()).unwrap(), &whole);
    // A whole file goes before an index that was left behind.
    fs::copy(fixture("post").join("model.safetensors"), sharded.path().join("model.safetensors")).unwrap();
    sharded.index(&json!({"weight_map": {"a": "gone.safetensors"}}));
    same_weights(&load(sharded.path()).unwrap(), &whole);
}

#[test]
fn what_is_wrong_with_files_of_several_is_named() {
    let gone = Copy::sharded();
    fs::remove_file(gone.path().join("model-00002-of-00003.safetensors")).unwrap();
    let message = refused(gone.path());
    assert!(message.contains("1 of the 3 files with the weights is missing"), "{message}");
    assert!(message.contains("names `model-00002-of-00003.safetensors`\nhint: download"), "{message}");

    type Change = fn(&mut Value);
    let cases: [(Change, &str); 5] = [
        (|index| index["weight_map"]["extra"] = json!("model-00001-of-00003.safetensors"), "tensor `extra` is not in"),
        (|index| index["weight_map"]["extra"] = json!("../model.safetensors"), "expected names of files beside it"),
        (|index| index["weight_map"] = json!({}), "`weight_map` is empty"),
        (|index| index["weight_map"] = json!([1]), "is not an index of weights"),
        (|index| *index = json!("text"), "is not an index of weights"),
    ];
    for (change, words) in cases {
        let copy = Copy::sharded();
        let mut index = copy.read_index();
        change(&mut index);
        copy.index(&index);
        let message = refused(copy.path());
        assert!(message.contains(words), "{message}");
    }
    let twice = Copy::sharded();
    fs::copy(
        twice.path().join("model-00001-of-00003.safetensors"),
        twice.path().join("model-00003-of-00003.safetensors"),
    )
    .unwrap();
    let message = refused(twice.path());
    assert!(message.contains("is not in `model-00003-of-00003.safetensors`"), "{message}");
    let short = Copy::sharded();
    let path = short.path().join("model-00003-of-00003.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let message = refused(short.path());
    assert!(
        message.contains("model-00003-of-00003.safetensors` is invalid") && message.contains("not whole"),
        "{message}"
    );
}

#[test]
fn a_pointer_in_the_place_of_any_file_is_called_one() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 440449768\n";
    let is_named = |copy: &Copy, name: &str| {
        fs::write(copy.path().join(name), pointer).unwrap();
        let message = refused(copy.path());
        for words in [name, "a Git LFS pointer", "`git lfs pull`"] {
            assert!(message.contains(words), "{message}");
        }
    };
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        is_named(&Copy::new(), name);
    }
    for name in ["model.safetensors.index.json", "model-00002-of-00003.safetensors"] {
        is_named(&Copy::sharded(), name);
    }
}

#[test]
fn weights_that_are_not_safetensors_come_with_the_way_to_convert_them() {
    for (names, words) in [
        (
            &["pytorch_model.bin", "tf_model.h5"][..],
            &["only `pytorch_model.bin`", "torch.load", "'/pytorch_model.bin'"][..],
        ),
        (
            &["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json"],
            &["`pytorch_model-00002-of-00002.bin`", "'/pytorch_model*-of-*.bin'"],
        ),
        (&["pytorch_model.fp16.bin"], &["only `pytorch_model.fp16.bin`", "'/pytorch_model.fp16.bin'"]),
        (&["flax_model.msgpack", "tf_model.h5"], &["weights of Flax: `flax_model.msgpack`", "from_flax=True"]),
        (&["tf_model.h5"], &["weights of TensorFlow: `tf_model.h5`", "from_tf=True"]),
        (&["bert_model.ckpt.index"], &["a checkpoint of TensorFlow", "convert_bert_original_tf_checkpoint_to_pytorch"]),
        (&["adapter_model.safetensors"], &["only an adapter", "merge_and_unload"]),
        (&["model.onnx"], &["it has `model.onnx`", "hint:"]),
        (&[], &["has no `model.safetensors`", "hint:"]),
    ] {
        let copy = Copy::with_instead(names);
        let message = refused(copy.path());
        for word in words {
            assert!(message.contains(word), "expected {word} in {message}");
        }
        assert!(
            names.is_empty()
                || !message.contains("torch.load")
                || message.contains(&format!("'{}'", copy.path().display()))
        );
    }
}

#[test]
fn a_folder_that_is_not_the_model_says_where_the_model_is() {
    let found = |dir: &Path| hub::model_folder(dir);
    let parent = tempfile::tempdir().unwrap();
    let below = |path: &str| {
        let dir = parent.path().join(path);
        fs::create_dir_all(&dir).unwrap();
        dir
    };
    let model = |path: &str| {
        let dir = below(path);
        fs::write(dir.join("config.json"), "{}").unwrap();
        dir
    };
    let export = model("run/export");
    assert_eq!(found(&below("run")).unwrap(), export);
    assert_eq!(found(&export).unwrap(), export);
    model("cache/snapshots/0123abcd");
    model("sentences/0_Transformer");
    fs::write(below("google").join("bert_config.json"), "{}").unwrap();
    fs::write(parent.path().join("file"), "").unwrap();
    below("unfinished/checkpoints");
    for (name, words) in [
        ("cache", "there is a model in"),
        ("cache", "snapshots/0123abcd"),
        ("sentences", "0_Transformer"),
        ("google", "a checkpoint of Google's BERT"),
        ("unfinished", "the run is not finished"),
        ("empty", "hf download"),
        ("file", "expected a folder, it is a file"),
    ] {
        let error = found(&parent.path().join(name)).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let report = error.report();
        assert!(report.contains("holds no model") && report.contains(words), "{report}");
    }
    // The cache of the Hub is links; a copy of it may lack their targets.
    let copy = Copy::with_instead(&[]);
    std::os::unix::fs::symlink("../blobs/77", copy.path().join("model.safetensors")).unwrap();
    let message = refused(copy.path());
    assert!(
        message.contains("it is a link to `../blobs/77`, which is not there") && message.contains("cp -rL"),
        "{message}"
    );
}
