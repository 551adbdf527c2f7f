//! The models and the numbers of tests/fixtures/hub, and how far a tensor is from what is expected.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tch::{Kind, Tensor};
use untie::model::Input;

pub const NORMS: [&str; 2] = ["post", "pre"];

pub type Tensors = HashMap<String, Tensor>;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hub").join(name)
}

pub fn read(path: &Path) -> Tensors {
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

pub fn input(batch: &Tensors) -> Input<'_> {
    Input {
        token_types: Some(&batch["token_type_ids"]),
        attention_mask: Some(&batch["attention_mask"]),
        ..Input::full(&batch["input_ids"])
    }
}

/// Largest absolute difference, in fp64.
pub fn distance(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.size(), expected.size());
    let error = f64::try_from((got.to_kind(Kind::Double) - expected).abs().max()).unwrap();
    assert!(!error.is_nan());
    error
}
