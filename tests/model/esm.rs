//! Exports as EsmForMaskedLM: the files are those that transformers computes our logits from. The expected tensors and numbers are
//! those of tests/fixtures/hub/make_esm_fixtures.py; scripts/parity.py does the same with real sizes.

use std::fs;

use serde_json::Value;
use tch::{Device, Kind};
use untie::hub::{self, Export, Family};
use untie::layer_map::LayerMap;
use untie::model::{Bert, BertConfig, Input, Mode, Norm, TaskHead, Weights};

use crate::fixtures::{distance, fixture, read};

#[test]
fn logits_of_transformers_are_ours_and_its_tensors_are_those_of_the_export() {
    let _no_grad = tch::no_grad_guard();
    let expected = read(&fixture("pre-esm.safetensors"));
    let expected_config: Value = serde_json::from_slice(&fs::read(fixture("pre-esm.json")).unwrap()).unwrap();
    let start = hub::load(&fixture("pre"), Kind::Float, Device::Cpu).unwrap();
    for (sharing, map) in [("tied", LayerMap::tied(3)), ("untied", LayerMap::untied(3))] {
        let weights = Weights::from_named(&start.config, &map, Kind::Float, Device::Cpu, |spec| {
            let own = start.weights.get(&spec.name).unwrap();
            Ok(own.in_file(&own.tensor).detach())
        })
        .unwrap();
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("esm");
        let tokenizer = fixture("pre");
        let export = Export { family: Family::Esm, ..Export::new(&start.config, &map, &weights, &tokenizer) };
        export.write(&dir).unwrap();
        // Again, over an export of ours.
        export.write(&dir).unwrap();

        let prefix = format!("{sharing}/");
        let written = read(&dir.join("model.safetensors"));
        let names = expected.keys().filter_map(|name| name.strip_prefix(&prefix)).filter(|name| *name != "logits");
        for name in names.clone() {
            assert!(written[name] == expected[&format!("{prefix}{name}")], "{sharing} {name}");
        }
        assert_eq!(names.count(), written.len());

        let bert = Bert::new(&start.config, &map, &weights, Kind::Float).unwrap();
        let input = Input { attention_mask: Some(&expected["attention_mask"]), ..Input::full(&expected["input_ids"]) };
        let logits = bert.mlm_logits(&bert.encode(input, Mode::Eval).unwrap(), &expected["positions"]).unwrap();
        let error = distance(&logits.narrow(1, 0, start.config.vocab_size), &expected[&format!("{prefix}logits")]);
        println!("{sharing}: logits {error:e} off");
        assert!(error <= 2e-6, "{sharing}: logits are {error:e} off");

        let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap() };
        let config = read("config.json");
        assert_eq!(config["architectures"], serde_json::json!(["EsmForMaskedLM"]));
        for (key, value) in config.as_object().unwrap() {
            if !["architectures", "dtype", "untie_version"].contains(&key.as_str()) {
                assert_eq!(Some(value), expected_config.get(key), "{key}");
            }
        }
        let tokenizer = read("tokenizer_config.json");
        assert_eq!(tokenizer["tokenizer_class"], "PreTrainedTokenizerFast");
        assert_eq!(tokenizer["model_input_names"], serde_json::json!(["input_ids", "attention_mask"]));

        let refused = hub::load(&dir, Kind::Float, Device::Cpu).unwrap_err().report();
        assert!(refused.contains("an export as `esm` is for transformers only\nhint: "), "{refused}");
    }
}

#[test]
fn a_family_that_does_not_compute_the_model_is_refused_before_anything_is_written() {
    let post = hub::load_config(&fixture("post")).unwrap();
    let pre = BertConfig { norm: Norm::Pre, ..post.clone() };
    let pairs = BertConfig { pair_head: true, ..pre.clone() };
    let span = BertConfig { task_head: Some(TaskHead::Span), ..pre.clone() };
    for (config, family, class) in [
        (&post, Family::Auto, "BertForMaskedLM"),
        (&post, Family::Bert, "BertForMaskedLM"),
        (&pre, Family::Auto, "MegatronBertForMaskedLM"),
        (&pairs, Family::MegatronBert, "MegatronBertForPreTraining"),
        (&pre, Family::Esm, "EsmForMaskedLM"),
    ] {
        assert_eq!(family.class(config).unwrap(), class);
    }
    for (config, family, message) in [
        (&post, Family::Esm, "cannot be written as `esm`: it is a Post-LN model"),
        (&post, Family::MegatronBert, "cannot be written as `megatron-bert`: it is a Post-LN model"),
        (&pre, Family::Bert, "cannot be written as `bert`: it is a Pre-LN model"),
        (&pairs, Family::Esm, "cannot be written as `esm`: it has a head for pairs"),
        (&span, Family::Esm, "cannot be written as `esm`: it has the head of a task"),
    ] {
        let (map, parent) = (LayerMap::tied(3), tempfile::tempdir().unwrap());
        let weights = Weights::initialise(config, &map, 1, Kind::Float, Device::Cpu).unwrap();
        let tokenizer = fixture("post");
        let export = Export { family, ..Export::new(config, &map, &weights, &tokenizer) };
        let error = export.write(&parent.path().join("model")).unwrap_err();
        assert!(error.report().contains(message) && error.report().contains("hint: "), "{}", error.report());
        assert_eq!(error.exit_code(), 2);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
