//! A directory of transformers → configuration and weights, and the tokenizer for those that ask.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use tch::{Device, Kind, Tensor};
use untie_data::wordpiece::Pretrained;

use super::config::{describe, Description};
use super::folder::{check_index, model_folder, read, weight_files};
use super::labels::problem_type;
use super::names::{canonical, is_buffer, is_ignored, parts, ALIASES, MLM_HEAD, PAIR_HEAD};
use super::{open_tokenizer, CONFIG_FILE};
use crate::error::{quoted, Error, Result};
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
    /// The directory itself, where the tokenizer is.
    pub dir: PathBuf,
    /// Whether the weights' masked-language-model head is the file's. A file without one (a `BertModel`, such as sentence
    /// encoders) gives BERT's random start, from a fixed seed; a model with a task head has none at all.
    pub has_head: bool,
    /// The tensors that the file does not have or that were to be new: they start at random.
    pub new_tensors: Vec<String>,
    /// The tensors of the file that are no part of this model: a pooler or a head that nothing needs.
    pub unused_tensors: Vec<String>,
    /// The words for the labels of a sequence head that came from the file; otherwise none.
    pub labels: Vec<String>,
}

impl HubModel {
    /// Checks that the masked-language-model head is the file's, where it is used and not trained. `dir` is the model's.
    ///
    /// # Errors
    /// When it is not: its answers would be those of random weights.
    pub fn require_head(&self, dir: &Path) -> Result<()> {
        if self.has_head {
            return Ok(());
        }
        Err(Error::data(format!("`{}` has no masked-language-model head", dir.display())).hint(
            "give a `BertForMaskedLM` or `MegatronBertForMaskedLM`, such as `untie export` writes, or train a head with \
             `model.init` (configs/continue.toml)",
        ))
    }

    /// Its tokenizer.
    ///
    /// # Errors
    /// As [`open_tokenizer`].
    pub fn open_tokenizer(&self) -> Result<Pretrained> {
        open_tokenizer(&self.dir, self.config.vocab_size)
    }

    /// The sharing of `weights`: none.
    pub fn layer_map(&self) -> LayerMap {
        LayerMap::untied(self.config.num_hidden_layers)
    }
}

/// Reads the BERT in `dir` (`BertModel`, `BertForMaskedLM`, `BertForPreTraining` and their `MegatronBert` forms; fp16,
/// bf16, fp32 or fp64 in safetensors, one file or several) as leaves of `kind` on `device`. A pooler or a next-sentence
/// head alone is ignored. So is the head of a fine-tuned model: its encoder gets new heads, as transformers does it.
///
/// # Errors
/// When a file is missing, is damaged or is of another model; when a tensor is missing, unexpected or of another shape
/// (the message names it).
pub fn load(dir: &Path, kind: Kind, device: Device) -> Result<HubModel> {
    let dir = model_folder(dir)?;
    let Description { mut config, is_tied, foreign, .. } = describe(&dir)?;
    let is_finetuned = foreign.is_some() || config.task_head.take().is_some();
    let mut new_tensors = Vec::new();
    let (weights, unused_tensors, has_head) = from_files(
        &dir,
        &config.clone(),
        |name| !(is_finetuned && is_of_task_head(name)),
        |stored| {
            config.pair_head = PAIR_HEAD.iter().all(|name| stored.found.contains_key(*name));
            let has_head = stored.found.keys().any(|name| name.starts_with(MLM_HEAD));
            if has_head && !is_tied {
                return Err(Error::data("`tie_word_embeddings`: expected `true`, got `false`")
                    .hint("`untie` computes BERT as published, whose decoder is the word embeddings"));
            }
            let (weights, unused) = stored.weights(&config, kind, device, |stored, spec| {
                if has_head || !spec.name.starts_with(MLM_HEAD) {
                    return stored.take(spec);
                }
                new_tensors.push(spec.name.clone());
                initial_values(spec, config.initializer_range, HEAD_SEED)
            })?;
            Ok((weights, unused, has_head))
        },
    )?;
    Ok(HubModel { config, weights, dir, has_head, new_tensors, unused_tensors, labels: Vec::new() })
}

/// Reads the encoder of any model that [`load`] or [`load_finetuned`] reads and gives it a new `head`, to be fine-tuned. The
/// file's own heads are ignored, except for its pooler where `head` has one. What is new starts as BERT does, from `seed`:
/// a truncated normal with σ = `initializer_range` (transformers' is not cut off), biases 0.
///
/// # Errors
/// As [`load`], and an impossible head.
pub fn load_for_task(dir: &Path, head: TaskHead, seed: u64, kind: Kind, device: Device) -> Result<HubModel> {
    let dir = model_folder(dir)?;
    let config = BertConfig { task_head: Some(head), ..describe(&dir)?.config };
    config.validate()?;
    let has_pooler = matches!(head, TaskHead::Sequence { .. });
    let is_used =
        |name: &str| !(name.starts_with("cls.") || is_of_task_head(name) || is_of_pooler(name) && !has_pooler);
    let mut new_tensors = Vec::new();
    let (weights, unused_tensors) = from_files(&dir, &config, is_used, |stored| {
        stored.weights(&config, kind, device, |stored, spec| {
            let is_new = is_of_pooler(&spec.name) && !stored.found.contains_key(&spec.name);
            if !(is_new || is_of_task_head(&spec.name)) {
                return stored.take(spec);
            }
            new_tensors.push(spec.name.clone());
            initial_values(spec, config.initializer_range, seed)
        })
    })?;
    let labels = Vec::new();
    Ok(HubModel { config, weights, dir, has_head: false, new_tensors, unused_tensors, labels })
}

/// Reads the fine-tuned model in `dir` (`BertForSequenceClassification`, `BertForTokenClassification`, `BertForQuestionAnswering` and
/// their `MegatronBert` forms) as it is, its head included. [`load_config`](super::load_config) tells which head that is.
///
/// # Errors
/// As [`load`], and when the model has no task's head, or one for several labels at once.
pub fn load_finetuned(dir: &Path, kind: Kind, device: Device) -> Result<HubModel> {
    let dir = model_folder(dir)?;
    let Description { config, labels, problem_type: found, foreign, .. } = describe(&dir)?;
    if let Some(class) = foreign {
        return Err(Error::data(format!("`{}` has a head of another kind: `{class}`", dir.display())).hint(
            "give a `BertForSequenceClassification`, `BertForTokenClassification` or `BertForQuestionAnswering`, or fine-tune this one's encoder",
        ));
    }
    let expected = match config.task_head {
        None => {
            return Err(Error::data(format!("`{}` is not fine-tuned: it has no head of a task", dir.display()))
                .hint("fine-tune it first with `untie finetune`"))
        }
        Some(TaskHead::Sequence { num_labels }) => Some(problem_type(num_labels)),
        Some(TaskHead::Span | TaskHead::Token { .. }) => None,
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
    let (weights, unused_tensors) = from_files(
        &dir,
        &config,
        |_| true,
        |stored| stored.weights(&config, kind, device, |stored, spec| stored.take(spec)),
    )?;
    let new_tensors = Vec::new();
    Ok(HubModel { config, weights, dir, has_head: false, new_tensors, unused_tensors, labels })
}

/// Lets `take` take tensors out of the files, those whose [`canonical`] name `is_used`.
fn from_files<T>(
    dir: &Path,
    config: &BertConfig,
    is_used: impl Fn(&str) -> bool,
    take: impl FnOnce(Stored<'_>) -> Result<T>,
) -> Result<T> {
    let paths = weight_files(dir)?;
    let contents = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let files = paths.iter().zip(&contents).map(|(path, bytes)| parse(path, bytes)).collect::<Result<Vec<_>>>()?;
    let found = || {
        check_index(dir, &paths, |tensor| files.iter().any(|file| file.tensor(tensor).is_ok()))?;
        let stored = Stored::new(&files, is_used)?;
        if config.num_hidden_layers > stored.found.len() {
            return Err(Error::data(format!(
                "expected {} layers, got {} tensors in all",
                config.num_hidden_layers,
                stored.found.len()
            )));
        }
        take(stored)
    };
    let shown = quoted(paths.iter().map(|path| path.display()));
    let verb = if paths.len() == 1 { "is" } else { "are" };
    found().map_err(|error: Error| Error::data(format!("{shown} {verb} invalid")).caused_by(error))
}

/// The tensors of one file.
fn parse<'data>(path: &Path, bytes: &'data [u8]) -> Result<SafeTensors<'data>> {
    SafeTensors::deserialize(bytes).map_err(|error| {
        let invalid = Error::data(format!("`{}` is invalid", path.display()));
        let is_short = matches!(
            error,
            SafeTensorError::HeaderTooSmall
                | SafeTensorError::InvalidHeaderLength
                | SafeTensorError::MetadataIncompleteBuffer
        );
        let invalid = if is_short { invalid.hint("the file is not whole: download or copy it again") } else { invalid };
        invalid.caused_by(error)
    })
}

/// The tensors of a model's files that nothing has asked for yet.
struct Stored<'data> {
    /// Today's name → name in the file, and the tensor.
    found: HashMap<String, (String, TensorView<'data>)>,
}

impl<'data> Stored<'data> {
    fn new(files: &[SafeTensors<'data>], is_used: impl Fn(&str) -> bool) -> Result<Self> {
        let mut found: HashMap<String, (String, TensorView<'data>)> = HashMap::new();
        for (stored, view) in files.iter().flat_map(SafeTensors::tensors) {
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

    /// The weights of a model of these files, as `find` takes each out of them, and what is left of other heads.
    fn weights(
        mut self,
        config: &BertConfig,
        kind: Kind,
        device: Device,
        mut find: impl FnMut(&mut Self, &Spec) -> Result<Tensor>,
    ) -> Result<(Weights, Vec<String>)> {
        let map = LayerMap::untied(config.num_hidden_layers);
        let weights = Weights::from_named(config, &map, kind, device, |spec| find(&mut self, spec))?;
        Ok((weights, self.finish()?))
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

    /// The names of what is left of BERT's other heads; anything else is refused.
    fn finish(self) -> Result<Vec<String>> {
        let left = || self.found.iter().map(|(name, (stored, _))| (name, stored));
        if let Some((_, stored)) = left().filter(|(name, _)| !is_ignored(name)).min() {
            return Err(Error::data(format!("tensor `{stored}` is unexpected"))
                .hint("save the model as `BertModel` or `BertForMaskedLM`"));
        }
        let mut heads: Vec<String> =
            left().filter(|(name, _)| !is_buffer(name)).map(|(_, stored)| stored.clone()).collect();
        heads.sort();
        Ok(heads)
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
