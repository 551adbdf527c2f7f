//! A directory of transformers → configuration, weights and tokenizer.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

use super::config::{describe, Decoder, Description};
use super::labels::problem_type;
use super::names::{canonical, is_ignored, parts, ALIASES, PAIR_HEAD};
use super::{load_config, tokenizer, unreadable, CONFIG_FILE, MODEL_FILE};
use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::model::weights::{initial_values, is_of_pooler, is_of_task_head, Spec};
use crate::model::{BertConfig, TaskHead, Weights};

/// The head of an encoder that was saved without one starts from this seed.
const HEAD_SEED: u64 = 0;

/// A model from a Hugging Face directory.
#[derive(Debug)]
pub struct HubModel {
    /// Its sizes and heads; `vocab_size` is the file's, which may exceed the tokenizer's.
    pub config: BertConfig,
    /// Its weights, every layer its own: they go with [`HubModel::layer_map`].
    pub weights: Weights,
    /// Where its tokenizer is, for [`super::open_tokenizer`]: the directory.
    pub tokenizer: PathBuf,
    /// Whether the weights' masked-language-model head is the file's. A file without one (a `BertModel`, such as sentence
    /// encoders) gives BERT's random start, from a fixed seed; a model with a task head has none at all.
    pub has_head: bool,
    /// The tensors that the file does not have or that were to be new: they start at random.
    pub new_tensors: Vec<String>,
    /// The words for the labels of a sequence head that came from the file; otherwise none.
    pub labels: Vec<String>,
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
/// (the message names it); when the tokenizer has more tokens than the model; and when the model is fine-tuned.
pub fn load(dir: &Path, kind: Kind, device: Device) -> Result<HubModel> {
    let mut config = load_config(dir)?;
    if config.task_head.is_some() {
        return Err(Error::data(format!("`{}` is fine-tuned: it has a task's head only", dir.display()))
            .hint("give the model that it was fine-tuned from"));
    }
    let mut new_tensors = Vec::new();
    let (weights, has_head) = from_file(
        dir,
        &config.clone(),
        |_| true,
        |stored| {
            config.pair_head = PAIR_HEAD.iter().all(|name| stored.found.contains_key(*name));
            let has_head = stored.found.keys().any(|name| name.starts_with("cls.predictions."));
            let weights = stored.weights(&config, kind, device, |stored, spec| {
                if has_head || !spec.name.starts_with("cls.predictions.") {
                    return stored.take(spec);
                }
                new_tensors.push(spec.name.clone());
                initial_values(spec, config.initializer_range, HEAD_SEED)
            })?;
            Ok((weights, has_head))
        },
    )?;
    Ok(HubModel { config, weights, tokenizer: dir.into(), has_head, new_tensors, labels: Vec::new() })
}

/// Reads the encoder of any model that [`load`] or [`load_finetuned`] reads and gives it a new `head`, to be fine-tuned. The
/// file's own heads are passed over, except for its pooler where `head` has one. What is new starts as BERT does, from `seed`:
/// a truncated normal with σ = `initializer_range` (transformers' is not cut off), biases 0.
///
/// # Errors
/// As [`load`], and an impossible head.
pub fn load_for_task(dir: &Path, head: TaskHead, seed: u64, kind: Kind, device: Device) -> Result<HubModel> {
    let config = BertConfig { task_head: Some(head), ..describe(dir, Decoder::PassedOver)?.config };
    config.validate()?;
    let has_pooler = head != TaskHead::Span;
    let is_used =
        |name: &str| !(name.starts_with("cls.") || is_of_task_head(name) || is_of_pooler(name) && !has_pooler);
    let mut new_tensors = Vec::new();
    let weights = from_file(dir, &config, is_used, |stored| {
        stored.weights(&config, kind, device, |stored, spec| {
            let is_new = is_of_pooler(&spec.name) && !stored.found.contains_key(&spec.name);
            if !(is_new || is_of_task_head(&spec.name)) {
                return stored.take(spec);
            }
            new_tensors.push(spec.name.clone());
            initial_values(spec, config.initializer_range, seed)
        })
    })?;
    Ok(HubModel { config, weights, tokenizer: dir.into(), has_head: false, new_tensors, labels: Vec::new() })
}

/// Reads the fine-tuned model in `dir` (`BertForSequenceClassification`, `BertForQuestionAnswering` and their `MegatronBert`
/// forms) as it is, its head included. [`load_config`] tells which head that is.
///
/// # Errors
/// As [`load`], and when the model has no task's head, or one for several labels at once.
pub fn load_finetuned(dir: &Path, kind: Kind, device: Device) -> Result<HubModel> {
    let Description { config, labels, problem_type: found } = describe(dir, Decoder::PassedOver)?;
    let expected = match config.task_head {
        None => {
            return Err(Error::data(format!("`{}` is not fine-tuned: it has no head of a task", dir.display()))
                .hint("fine-tune it first with `untie finetune`"))
        }
        Some(TaskHead::Sequence { num_labels }) => Some(problem_type(num_labels)),
        Some(TaskHead::Span) => None,
    };
    if let (Some(expected), Some(found)) = (expected, found.as_deref()) {
        if found != expected {
            return Err(Error::data(format!(
                "`{}`: `problem_type`: expected `{expected}` for {} labels, got `{found}`",
                dir.join(CONFIG_FILE).display(),
                labels.len()
            )));
        }
    }
    let weights = from_file(
        dir,
        &config,
        |_| true,
        |stored| stored.weights(&config, kind, device, |stored, spec| stored.take(spec)),
    )?;
    Ok(HubModel { config, weights, tokenizer: dir.into(), has_head: false, new_tensors: Vec::new(), labels })
}

/// Checks the tokenizer and lets `read` take tensors out of the file, those whose [`canonical`] name `is_used`.
fn from_file<T>(
    dir: &Path,
    config: &BertConfig,
    is_used: impl Fn(&str) -> bool,
    read: impl FnOnce(Stored<'_>) -> Result<T>,
) -> Result<T> {
    tokenizer::read(dir, config.vocab_size)?;
    let path = dir.join(MODEL_FILE);
    let bytes = read_model(dir, &path)?;
    let invalid = || Error::data(format!("`{}` is invalid", path.display()));
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| invalid().caused_by(error))?;
    let found = || {
        let stored = Stored::new(&tensors, is_used)?;
        if config.num_hidden_layers > stored.found.len() {
            return Err(Error::data(format!(
                "expected {} layers, got {} tensors in all",
                config.num_hidden_layers,
                stored.found.len()
            )));
        }
        read(stored)
    };
    found().map_err(|error: Error| invalid().caused_by(error))
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
    fn new(tensors: &SafeTensors<'data>, is_used: impl Fn(&str) -> bool) -> Result<Self> {
        let mut found: HashMap<String, (String, TensorView<'data>)> = HashMap::new();
        for (stored, view) in tensors.tensors() {
            let name = canonical(&stored);
            if !is_used(&name) {
                continue;
            }
            if let Some((twin, _)) = found.insert(name, (stored.clone(), view)) {
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

    /// The weights of a model of this file, as `find` takes each out of it; nothing may be left.
    fn weights(
        mut self,
        config: &BertConfig,
        kind: Kind,
        device: Device,
        mut find: impl FnMut(&mut Self, &Spec) -> Result<Tensor>,
    ) -> Result<Weights> {
        let map = LayerMap::untied(config.num_hidden_layers);
        let weights = Weights::from_named(config, &map, kind, device, |spec| find(&mut self, spec))?;
        self.finish().map(|()| weights)
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
