//! Every folder of data-prep/tests/fixtures/tokenizers.json with a model beside it: fill-mask, fine-tuning and the export have the
//! ids and segments of AutoTokenizer (data-prep/tests/fixtures/make_tokenizers.py).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tch::{Device, Kind, Tensor};
use tokenizers::Tokenizer;
use untie::cli::fill_mask::fill_mask;
use untie::finetune::features::features;
use untie::finetune::glue::RawExample;
use untie::hub::{self, HubModel};
use untie::layer_map::LayerMap;
use untie::model::{Bert, BertConfig, Input, Mode, Norm, Weights};

#[derive(serde::Deserialize)]
struct Folders {
    pair: (String, String),
    folders: Vec<Folder>,
}

#[derive(serde::Deserialize)]
struct Folder {
    name: String,
    files: BTreeMap<String, String>,
    masked: Encoded,
    pair: Encoded,
    cut: Encoded,
}

#[derive(serde::Deserialize)]
struct Encoded {
    #[serde(default)]
    text: String,
    ids: Vec<u32>,
    types: Vec<u32>,
}

fn folders() -> Folders {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data-prep/tests/fixtures/tokenizers.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn tokenizer(dir: &Path) -> Tokenizer {
    untie_data::wordpiece::open(dir, true).unwrap().tokenizer
}

/// The folder's files in `dir`, with config.json and weights of a small random model.
fn write(folder: &Folder, dir: &Path) {
    folder.files.iter().for_each(|(name, content)| fs::write(dir.join(name), content).unwrap());
    let tokenizer = tokenizer(dir);
    let said: Value = serde_json::from_str(&folder.files["config.json"]).unwrap();
    let config = BertConfig {
        vocab_size: tokenizer.get_vocab_size(true) as i64,
        initializer_range: 0.5,
        norm: if said["model_type"] == "megatron-bert" { Norm::Pre } else { Norm::Post },
        ..hub::load_config(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hub/post")).unwrap()
    };
    let map = LayerMap::untied(config.num_hidden_layers);
    let weights = Weights::initialise(&config, &map, 1, Kind::Float, Device::Cpu).unwrap();
    let written = tempfile::tempdir().unwrap();
    let out = written.path().join("model");
    hub::export(&out, &config, &map, &weights, dir).unwrap();
    let mut whole: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    said.as_object().unwrap().iter().for_each(|(key, value)| whole[key] = value.clone());
    fs::write(dir.join("config.json"), whole.to_string()).unwrap();
    fs::copy(out.join("model.safetensors"), dir.join("model.safetensors")).unwrap();
}

fn row(values: &[u32]) -> Tensor {
    Tensor::from_slice(&values.iter().map(|&value| i64::from(value)).collect::<Vec<_>>()).unsqueeze(0)
}

/// The likeliest token for the mask at `place` of these ids.
fn likeliest(model: &HubModel, encoded: &Encoded, mask: u32) -> (i64, f64) {
    let bert = Bert::new(&model.config, &model.layer_map(), &model.weights, Kind::Float).unwrap();
    let place = encoded.ids.iter().position(|&id| id == mask).unwrap() as i64;
    let (ids, types) = (row(&encoded.ids), row(&encoded.types));
    let input = Input { token_types: Some(&types), ..Input::full(&ids) };
    let logits = tch::no_grad(|| {
        let hidden = bert.encode(input, Mode::Eval).unwrap();
        bert.mlm_logits(&hidden, &Tensor::from_slice(&[place])).unwrap()
    });
    let known = logits.softmax(-1, Kind::Double);
    let best = known.argmax(1, false).int64_value(&[0]);
    (best, known.double_value(&[0, best]))
}

#[test]
fn ids_are_autotokenizers_in_fill_mask_finetuning_and_the_export() {
    let Folders { pair, folders } = folders();
    for folder in &folders {
        let (dir, name) = (tempfile::tempdir().unwrap(), &folder.name);
        write(folder, dir.path());
        let model = hub::load(dir.path(), Kind::Float, Device::Cpu)
            .unwrap_or_else(|error| panic!("{name}: {}", error.report()));

        // The text of this folder spells no mask: its special tokens are text.
        if !name.starts_with("special tokens are text") {
            let found = fill_mask(dir.path(), &folder.masked.text, 1, Device::Cpu);
            let found = found.unwrap_or_else(|error| panic!("{name}: {}", error.report()));
            let (token, probability) = likeliest(&model, &folder.masked, 4);
            let tokenizer = tokenizer(dir.path());
            assert_eq!(found[0][0].token, tokenizer.id_to_token(token as u32).unwrap(), "{name}");
            assert!((found[0][0].probability - probability).abs() < 1e-9, "{name}");
        }

        let example = |first: &str, second: Option<&str>| RawExample {
            id: "0".into(),
            first: first.into(),
            second: second.map(str::to_owned),
            label: None,
        };
        let check = |dir: &Path, what: &str, has_side: bool| {
            let tokenizer = tokenizer(dir);
            let of =
                |example: RawExample, longest| features(&tokenizer, &[example], longest).unwrap().examples.remove(0);
            for (example, longest, expected) in [
                (example(&folder.masked.text, None), 64, &folder.masked),
                (example(&pair.0, Some(&pair.1)), 64, &folder.pair),
                (example(&pair.0, Some(&pair.1)), 9, &folder.cut),
            ] {
                if has_side || longest > 9 {
                    let item = of(example, longest);
                    assert_eq!(
                        (&item.token_ids, &item.token_types),
                        (&expected.ids, &expected.types),
                        "{name}, {what}, {longest}"
                    );
                }
            }
        };
        check(dir.path(), "finetune", true);
        // What fine-tuning exports knows the folder whole; a run has tokenizer.json alone, as `prepare` made it.
        let out = dir.path().join("export");
        hub::export(&out, &model.config, &model.layer_map(), &model.weights, dir.path()).unwrap();
        check(&out, "export", true);
        let run = tempfile::tempdir().unwrap();
        let for_shards = untie_data::wordpiece::import(dir.path(), true).unwrap();
        fs::write(run.path().join("tokenizer.json"), untie_data::wordpiece::to_json(&for_shards).unwrap()).unwrap();
        let out = run.path().join("export");
        hub::export(&out, &model.config, &model.layer_map(), &model.weights, &run.path().join("tokenizer.json"))
            .unwrap();
        let says = |name: &str| folder.files.get("tokenizer_config.json").is_some_and(|config| config.contains(name));
        if name == "as it is, no post-processor" {
            // Pre-training puts both around texts, whatever the folder does.
            let around = tokenizer(&out).encode("", true).unwrap();
            assert_eq!(around.get_ids(), [2, 3]);
        } else if !says("split_special_tokens") {
            // Neither that nor the side is in tokenizer.json.
            check(&out, "run", !says("truncation_side"));
        }
    }
}
