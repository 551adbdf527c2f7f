//! Runs that start from a finished model: they keep its layers and its sizes, and tie nothing that nobody asked to tie.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::{stderr, TestWorkspace};
use serde_json::{json, Value};
use tch::{Device, Kind, Tensor};
use untie::hub::{self, load_config};
use untie::layer_map::LayerMap;
use untie::model::weights::initial_values;
use untie::model::{BertConfig, Norm, Weights};

const LAYERS: usize = 4;

/// Sizes that are the defaults nowhere; the vocabulary has more rows than the tokenizer has tokens.
fn sizes(vocab_size: i64) -> BertConfig {
    BertConfig {
        vocab_size,
        hidden_size: 16,
        num_hidden_layers: LAYERS,
        num_attention_heads: 2,
        intermediate_size: 24,
        max_position_embeddings: 32,
        type_vocab_size: 3,
        norm: Norm::Post,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.05,
        layer_norm_eps: 1e-5,
        initializer_range: 0.3,
        pair_head: false,
        task_head: None,
    }
}

/// A model with these sizes and random weights in the folder `name`, with the tokenizer of the workspace's data.
fn model(workspace: &TestWorkspace, name: &str, config: &BertConfig) {
    let map = LayerMap::untied(config.num_hidden_layers);
    // Scales and biases too, so that no two layers have anything in common.
    let weights = Weights::from_named(config, &map, Kind::Float, Device::Cpu, |spec| {
        let mut spec = spec.clone();
        let centre = if spec.name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 };
        spec.init = untie::model::weights::Init::Normal;
        Ok(initial_values(&spec, config.initializer_range, 5)? + centre)
    })
    .unwrap();
    hub::export(&workspace.path(name), config, &map, &weights, &workspace.path("data/tokenizer.json")).unwrap();
}

const CONFIG: &str =
    "[model]\ninit = \"model\"\n[data]\ndir = \"data\"\nsequence_length = 32\n[train]\nsteps = 3\nglobal_batch = 8\n\
     micro_batch = 8\ndevice = \"cpu\"\nprecision = \"fp32\"\nthreads = 1\n[optim]\nlr = 1e-7\nwarmup = 1\n\
     [checkpoint]\nevery = 100\n[eval]\nevery = 100\nsequences = 8\n";

/// A workspace with a model in `model` and a configuration that goes on from it.
fn workspace() -> TestWorkspace {
    let workspace = TestWorkspace::new();
    model(&workspace, "model", &sizes(192));
    fs::write(workspace.path("run.toml"), CONFIG).unwrap();
    workspace
}

/// Trains into `run` and returns what it said.
fn train(workspace: &TestWorkspace, run: &str, settings: &[&str]) -> String {
    let output = workspace.untie(&arguments(run, settings));
    assert!(output.status.success(), "{settings:?}: {}", stderr(&output));
    stderr(&output)
}

fn refused(workspace: &TestWorkspace, settings: &[&str], code: i32, words: &[&str]) {
    let output = workspace.untie(&arguments("refused", settings));
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{settings:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{settings:?}: expected `{word}` in: {text}");
    }
    assert!(!workspace.path("refused").exists(), "{settings:?}: nothing is written before a refusal");
}

fn arguments<'a>(run: &'a str, settings: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--config", "run.toml", "--run-dir", run];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    arguments
}

fn tensors(dir: &Path) -> BTreeMap<String, Tensor> {
    Tensor::read_safetensors(dir.join("model.safetensors")).unwrap().into_iter().collect()
}

fn distance(one: &Tensor, other: &Tensor) -> f64 {
    f64::try_from((one - other).abs().max()).unwrap()
}

fn config_json(dir: &Path) -> Value {
    let mut json: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    json.as_object_mut().unwrap().remove("untie_version");
    json
}

/// Three updates of AdamW at a learning rate of at most 1e-7 move an element by 3e-7 at most, and decay by as little.
#[test]
fn a_run_from_a_model_stays_close_to_it_layer_by_layer() {
    let workspace = workspace();
    let said = train(&workspace, "run", &[]);
    assert!(said.contains("model.init: starts from `model`, untied: each of the 4 layers keeps its weights"), "{said}");
    assert!(said.contains("sharing            untied from the start"), "{said}");
    let (before, after) = (tensors(&workspace.path("model")), tensors(&workspace.path("run/export")));
    assert!(before.keys().eq(after.keys()));
    let mut moved = 0;
    for (name, tensor) in &before {
        let far = distance(tensor, &after[name]);
        assert!(far <= 1e-6, "`{name}` is {far:e} from where it started");
        moved += usize::from(far > 0.0);
    }
    assert!(moved > before.len() / 2, "a run that trains moves its weights: {moved} of {}", before.len());
    for layer in 1..LAYERS {
        let name = |layer: usize| format!("bert.encoder.layer.{layer}.intermediate.dense.weight");
        let apart = distance(&after[&name(0)], &after[&name(layer)]);
        assert!(apart > 0.1, "layers 0 and {layer} are only {apart:e} apart");
    }
    // Its sizes go on too, the rows that no token has and all.
    assert_eq!(config_json(&workspace.path("model")), config_json(&workspace.path("run/export")));
    assert_eq!(load_config(&workspace.path("run")).unwrap(), sizes(192), "the folder of a run is one of a model");

    // A run that goes on does not need the model any more: its own tables have all sizes.
    fs::rename(workspace.path("model"), workspace.path("gone")).unwrap();
    let resumed = workspace.untie(&["train", "--config", "run/config.toml", "--run-dir", "run", "--resume"]);
    assert!(resumed.status.success(), "{}", stderr(&resumed));
}

#[test]
fn layers_are_tied_only_where_a_key_says_how() {
    let workspace = workspace();
    let before = tensors(&workspace.path("model"));
    for start in ["\"tied\"", "\"2x2\"", "\"contiguous:2\"", "[[0, 1, 2], [3]]"] {
        let start = format!("sharing.start={start}");
        let words = ["`sharing.start` ties the 4 layers of `model.init`", "sharing.init"];
        refused(&workspace, &[&start, "sharing.rule=never"], 2, &words);
        let mut dry = arguments("refused", &[&start]);
        dry.push("--dry-run");
        assert_eq!(workspace.untie(&dry).status.code(), Some(2), "{start}: a dry run refuses what the run refuses");
    }
    refused(&workspace, &["sharing.rule=fixed"], 2, &["`sharing.rule` has nothing to untie"]);
    for (start, init, groups) in [
        ("\"tied\"", "mean", vec![0, 0, 0, 0]),
        ("\"auto\"", "lowest", vec![0, 0, 0, 0]),
        ("\"2x2\"", "mean", vec![0, 1, 0, 1]),
        ("\"contiguous:2\"", "lowest", vec![0, 0, 2, 2]),
        ("[[0, 1, 2], [3]]", "mean", vec![0, 0, 0, 3]),
    ] {
        let run = format!("{init}-{}", groups.iter().map(usize::to_string).collect::<String>());
        let [start, key] = [format!("sharing.start={start}"), format!("sharing.init={init}")];
        let said = train(&workspace, &run, &[&start, &key, "sharing.rule=never"]);
        assert!(said.contains("warning: model.init: `sharing.start` ties the 4 layers of `model`"), "{said}");
        let after = tensors(&workspace.path(&run).join("export"));
        for (layer, group) in groups.iter().enumerate() {
            let members: Vec<usize> = (0..LAYERS).filter(|&other| groups[other] == *group).collect();
            let name = |layer: usize| format!("bert.encoder.layer.{layer}.attention.self.key.weight");
            let of = |layer: usize| before[&name(layer)].to_kind(Kind::Double);
            let expected = match init {
                "mean" => members.iter().map(|&layer| of(layer)).sum::<Tensor>() / members.len() as f64,
                _ => of(*group),
            };
            let far = distance(&after[&name(layer)].to_kind(Kind::Double), &expected);
            assert!(far <= 1e-6, "{run}: layer {layer} is {far:e} from where it starts");
        }
    }
}

#[test]
fn keys_beside_a_model_must_agree_with_it() {
    let workspace = workspace();
    for (setting, words) in [
        ("model.hidden_size=32", "`model.hidden_size` = 32, but the model in `model` has 16"),
        ("model.num_hidden_layers=3", "`model.num_hidden_layers` = 3, but"),
        ("model.num_attention_heads=4", "`model.num_attention_heads` = 4, but"),
        ("model.intermediate_size=64", "`model.intermediate_size` = 64, but"),
        ("model.max_position_embeddings=512", "`model.max_position_embeddings` = 512, but"),
        ("model.norm=pre", "`model.norm` = pre, but the model in `model` has post"),
        ("model.initializer_range=0.02", "`model.initializer_range` = 0.02, but the model in `model` has 0.3"),
        ("model.vocab_size=150", "`model.vocab_size` = 150, but the model in `model` has 192"),
        ("model.type_vocab_size=2", "`model.type_vocab_size` = 2, but"),
        ("model.layer_norm_eps=1e-12", "`model.layer_norm_eps` = 1e-12, but the model in `model` has 1e-5"),
        ("model.preset=bert-base", "`model.hidden_size` = 768, but the model in `model` has 16"),
        ("data.sequence_length=64", "the model of `model.init` has no more positions"),
    ] {
        refused(&workspace, &[setting], 2, &[words, "hint:"]);
    }
    let agreeing =
        ["model.layer_norm_eps=1e-05", "model.hidden_size=16", "model.hidden_dropout_prob=0.2", "train.steps=1"];
    train(&workspace, "agreeing", &agreeing);
    let exported = load_config(&workspace.path("agreeing")).unwrap();
    assert_eq!((exported.hidden_dropout_prob, exported.attention_probs_dropout_prob), (0.2, 0.05));
}

#[test]
fn a_vocabulary_that_means_something_else_is_refused_with_the_token() {
    let workspace = workspace();
    let vocab = fs::read_to_string(workspace.path("data/vocab.txt")).unwrap();
    let tokens: Vec<&str> = vocab.lines().collect();
    let retokenise = |name: &str, tokens: &[&str]| {
        fs::write(workspace.path("other.txt"), tokens.join("\n") + "\n").unwrap();
        let output =
            workspace.untie(&["prepare", "--input", "corpus.jsonl", "--out", name, "--tokenizer", "other.txt"]);
        assert!(output.status.success(), "{}", stderr(&output));
    };
    let mut swapped = tokens.clone();
    swapped.swap(7, 8);
    retokenise("swapped", &swapped);
    let words = format!("token 7 of {} is `{}` in the data", tokens.len(), tokens[8]);
    refused(&workspace, &["data.dir=swapped"], 3, &[&words, "--tokenizer"]);
    // More tokens than rows; and as many as there are rows, which the model's tokenizer does not use.
    let new: Vec<String> = (0..192).map(|number| format!("new{number}")).collect();
    let longer = |rows: usize| -> Vec<&str> {
        tokens.iter().copied().chain(new.iter().map(String::as_str)).take(rows).collect()
    };
    retokenise("longer", &longer(193));
    refused(&workspace, &["data.dir=longer"], 2, &["`model.vocab_size` = 192 is smaller", "193 tokens", "--tokenizer"]);
    retokenise("padded", &longer(192));
    let said = train(&workspace, "padded-run", &["data.dir=padded", "train.steps=1"]);
    assert!(said.contains(&format!("{} tokens more than the model's tokenizer", 192 - tokens.len())), "{said}");
}

/// An encoder that was saved without a head, as sentence encoders are, and one without a second segment type.
#[test]
fn missing_heads_are_new_and_missing_segment_types_refuse_pairs() {
    let workspace = workspace();
    let encoder = workspace.path("encoder");
    fs::create_dir(&encoder).unwrap();
    let mut config = config_json(&workspace.path("model"));
    config["architectures"] = json!(["BertModel"]);
    config["type_vocab_size"] = json!(1);
    fs::write(encoder.join("config.json"), config.to_string()).unwrap();
    fs::copy(workspace.path("model/tokenizer.json"), encoder.join("tokenizer.json")).unwrap();
    let mut kept: BTreeMap<String, Tensor> = tensors(&workspace.path("model"))
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("bert.")?.to_owned(), tensor)))
        .collect();
    let types = kept.get_mut("embeddings.token_type_embeddings.weight").unwrap();
    *types = types.narrow(0, 0, 1);
    let pooler = Tensor::zeros([16, 16], (Kind::Float, Device::Cpu));
    let name = "pooler.dense.weight".to_owned();
    let list: Vec<(&String, &Tensor)> = kept.iter().chain([(&name, &pooler)]).collect();
    Tensor::write_safetensors(&list, encoder.join("model.safetensors")).unwrap();

    let said = train(&workspace, "run", &["model.init=encoder"]);
    assert!(said.contains("`encoder` has no masked-language-model head: it starts at random"), "{said}");
    assert!(said.contains("not trained, and not in the export: pooler.dense.weight"), "{said}");
    let after = tensors(&workspace.path("run/export"));
    for (name, tensor) in &kept {
        assert!(distance(tensor, &after[&format!("bert.{name}")]) <= 1e-6, "{name}");
    }
    // BERT's random head, σ = `initializer_range`, cut off at twice that.
    let head = f64::try_from(after["cls.predictions.transform.dense.weight"].abs().max()).unwrap();
    assert!((0.3..0.61).contains(&head), "{head}");
    refused(&workspace, &["model.init=encoder", "data.objective=mlm+nsp"], 2, &["`model.type_vocab_size` = 1"]);
    for (arguments, words) in [
        (&["eval", "--model", "encoder", "--data", "data"][..], "has no masked-language-model head"),
        (&["fill-mask", "--model", "encoder", "a [MASK]"], "has no masked-language-model head"),
    ] {
        let output = workspace.untie(arguments);
        assert_eq!(output.status.code(), Some(3));
        assert!(stderr(&output).contains(words) && stderr(&output).contains("hint:"), "{}", stderr(&output));
    }
}

/// One function finds models and says what is wrong with them: every command says the same.
#[test]
fn every_command_says_the_same_of_a_folder_without_readable_weights() {
    let workspace = workspace();
    let folder = workspace.path("model");
    fs::write(workspace.path("data/train.tsv"), "sentence\tlabel\na fox\t1\n").unwrap();
    fs::copy(workspace.path("data/train.tsv"), workspace.path("data/dev.tsv")).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    let weights = fs::read(folder.join("model.safetensors")).unwrap();
    let commands: [&[&str]; 5] = [
        &["fill-mask", "--model", "model", "a [MASK]"],
        &["eval", "--model", "model", "--data", "data", "--sequence-length", "32"],
        &["finetune", "--task=sst2", "--model=model", "--data=data", "--max-length=32", "--run-dir=tuned"],
        &["train", "--config", "run.toml", "--run-dir", "run"],
        &["bench", "--init", "model", "--batch", "1", "--sequence-length", "8", "--dropout", "0"],
    ];
    let check = |commands: &[&[&str]], words: &[&str]| {
        for arguments in commands {
            let output = workspace.untie(arguments);
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(3), "{arguments:?}: {text}");
            for word in words {
                assert!(text.contains(word), "{arguments:?}: expected `{word}` in: {text}");
            }
        }
    };
    fs::write(folder.join("model.safetensors"), pointer).unwrap();
    check(&commands, &["`model/model.safetensors` is a Git LFS pointer", "hint: install Git LFS"]);
    fs::rename(folder.join("model.safetensors"), folder.join("pytorch_model.bin")).unwrap();
    check(
        &commands,
        &["`model` has no `model.safetensors`, only `pytorch_model.bin`", "hint: convert it once", "torch.load"],
    );
    fs::remove_file(folder.join("pytorch_model.bin")).unwrap();
    fs::write(folder.join("model.safetensors.index.json"), "{\"weight_map\": {\"a\": \"b.safetensors\"}}").unwrap();
    check(&commands, &["1 of the 1 files with the weights is missing", "`b.safetensors`", "hint: download"]);
    fs::write(folder.join("model.safetensors"), weights).unwrap();
    fs::write(folder.join("tokenizer.json"), pointer).unwrap();
    // All but the last, which needs none.
    check(&commands[..4], &["tokenizer.json`", "a Git LFS pointer", "`git lfs pull`"]);
    fs::rename(folder.join("config.json"), folder.join("bert_config.json")).unwrap();
    check(&commands, &["`model` holds no model", "a checkpoint of Google's BERT"]);
}
