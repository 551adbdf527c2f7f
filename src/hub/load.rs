//! A directory of transformers → configuration, weights and tokenizer.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

use super::names::{canonical, is_ignored, parts, ALIASES, PAIR_HEAD};
use super::{load_config, tokenizer, unreadable, MODEL_FILE, TOKENIZER_FILE};
use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::model::weights::{initial_values, Spec};
use crate::model::{BertConfig, Weights};

/// The head of an encoder that was saved without one starts from this seed.
const HEAD_SEED: u64 = 0;

/// A model from a Hugging Face directory.
#[derive(Debug)]
pub struct HubModel {
    /// Its sizes and heads; `vocab_size` is the file's, which may exceed the tokenizer's.
    pub config: BertConfig,
    /// Its weights, every layer its own: they go with [`HubModel::layer_map`].
    pub weights: Weights,
    /// The directory's tokenizer.json.
    pub tokenizer: PathBuf,
    /// Whether the file had a masked-language-model head. Without one (a `BertModel`, such as sentence encoders), the
    /// weights' head is BERT's random start, from a fixed seed.
    pub has_head: bool,
}

impl HubModel {
    /// The sharing of `weights`: none.
    pub fn layer_map(&self) -> LayerMap {
        LayerMap::untied(self.config.num_hidden_layers)
    }
}

/// Reads the BERT in `dir` (`BertModel`, `BertForMaskedLM`, `BertForPreTraining` and their `MegatronBert` forms; fp16,
/// bf16, fp32 or fp64 in one model.safetensors) as leaves of `kind` on `device`. A pooler or a next-sentence
/// head alone is passed over.
///
/// # Errors
/// When a file is missing, is damaged or is of another model; when a tensor is missing, unexpected or of another shape
/// (the message names it); and when the tokenizer has more tokens than the model.
pub fn load(dir: &Path, kind: Kind, device: Device) -> Result<HubModel> {
    let mut config = load_config(dir)?;
    let tokenizer = dir.join(TOKENIZER_FILE);
    tokenizer::read(&tokenizer, config.vocab_size)?;
    let path = dir.join(MODEL_FILE);
    let bytes = read_model(dir, &path)?;
    let invalid = || Error::data(format!("`{}` is invalid", path.display()));
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| invalid().caused_by(error))?;
    let mut stored = Stored::new(&tensors).map_err(|error| invalid().caused_by(error))?;
    if config.num_hidden_layers > stored.found.len() {
        return Err(invalid().caused_by(Error::data(format!(
            "expected {} layers, got {} tensors in all",
            config.num_hidden_layers,
            stored.found.len()
        ))));
    }
    config.pair_head = PAIR_HEAD.iter().all(|name| stored.found.contains_key(*name));
    let map = LayerMap::untied(config.num_hidden_layers);
    let has_head = stored.found.keys().any(|name| name.starts_with("cls.predictions."));
    let weights = Weights::from_named(&config, &map, kind, device, |spec| {
        if !has_head && spec.name.starts_with("cls.predictions.") {
            initial_values(spec, config.initializer_range, HEAD_SEED)
        } else {
            stored.take(spec)
        }
    })
    .and_then(|weights| stored.finish().map(|()| weights))
    .map_err(|error| invalid().caused_by(error))?;
    Ok(HubModel { config, weights, tokenizer, has_head })
}

fn read_model(dir: &Path, path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| {
        let failure = unreadable(path, error);
        if dir.join("model.safetensors.index.json").exists() {
            failure
                .hint("the model is in several files; save it as one: `save_pretrained(.., max_shard_size=\"100GB\")`")
        } else if dir.join("pytorch_model.bin").exists() {
            failure.hint("`pytorch_model.bin` is not read; load it with transformers and `save_pretrained` it again")
        } else {
            failure
        }
    })
}

/// The tensors of one file that nothing has asked for yet.
struct Stored<'data> {
    /// Today's name → name in the file, and the tensor.
    found: HashMap<String, (String, TensorView<'data>)>,
}

impl<'data> Stored<'data> {
    fn new(tensors: &SafeTensors<'data>) -> Result<Self> {
        let mut found: HashMap<String, (String, TensorView<'data>)> = HashMap::new();
        for (stored, view) in tensors.tensors() {
            if let Some((twin, _)) = found.insert(canonical(&stored), (stored.clone(), view)) {
                return Err(Error::data(format!("`{stored}` and `{twin}` are the same tensor")));
            }
        }
        for (alias, name) in ALIASES {
            let Some((stored, view)) = found.remove(alias) else { continue };
            match found.get(name) {
                Some((_, original)) if original.data() == view.data() && original.dtype() == view.dtype() => {}
                Some((other, _)) => {
                    return Err(Error::data(format!("tensor `{stored}`: expected the same values as `{other}`"))
                        .hint("`untie` computes BERT as published, whose decoder is the word embeddings"))
                }
                None => {
                    found.insert(name.into(), (stored, view));
                }
            }
        }
        Ok(Self { found })
    }

    /// The values of the tensor `spec`, put together from the file's.
    fn take(&mut self, spec: &Spec) -> Result<Tensor> {
        let names = parts(&spec.name);
        let mut shape = spec.shape.clone();
        shape[0] /= names.len() as i64;
        let tensors = names
            .into_iter()
            .map(|name| match self.found.remove(&name) {
                Some((stored, view)) => to_tensor(&stored, &view, &shape),
                None => Err(Error::data(format!("tensor `{name}` is missing"))),
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&tensors, 0)?)
    }

    /// Refuses what is left, except what BERT's other heads need.
    fn finish(&self) -> Result<()> {
        let left = self.found.iter().filter(|(name, _)| !is_ignored(name)).map(|(_, (stored, _))| stored);
        match left.min() {
            Some(stored) => Err(Error::data(format!("tensor `{stored}` is unexpected"))
                .hint("save the model as `BertModel` or `BertForMaskedLM`")),
            None => Ok(()),
        }
    }
}

fn to_tensor(name: &str, view: &TensorView<'_>, expected: &[i64]) -> Result<Tensor> {
    let same_shape = view.shape().len() == expected.len()
        && view.shape().iter().zip(expected).all(|(&got, &size)| i64::try_from(got) == Ok(size));
    if !same_shape {
        return Err(Error::data(format!("tensor `{name}`: expected shape {expected:?}, got {:?}", view.shape())));
    }
    let kind = match view.dtype() {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        other => {
            return Err(Error::data(format!("tensor `{name}`: expected F64, F32, F16 or BF16, got {other:?}")));
        }
    };
    Ok(Tensor::f_from_data_size(view.data(), expected, kind)?)
}
