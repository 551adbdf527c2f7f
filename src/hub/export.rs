//! Configuration, weights and tokenizer → a directory of transformers.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::tensor::View;
use safetensors::Dtype;
use tch::{Device, Kind, Tensor};

use super::config::{is_our_export, to_json};
use super::family::Family;
use super::labels::default_labels;
use super::names::parts;
use super::{
    card, esm, tokenizer, Card, CARD_FILE, CONFIG_FILE, MODEL_FILE, PICTURE_FILE, TOKENIZER_CONFIG_FILE,
    TOKENIZER_FILE, VOCAB_FILE,
};
use crate::error::{io, Error, Result};
use crate::layer_map::LayerMap;
use crate::model::weights::{layer_prefix, Weight};
use crate::model::{BertConfig, Weights};

const FILES: [&str; 7] =
    [CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE, TOKENIZER_CONFIG_FILE, VOCAB_FILE, CARD_FILE, PICTURE_FILE];

/// Writes `weights`, shared as `map` says, as the directory `dir`, with the tokenizer that is read from `tokenizer`: fp32, every
/// layer with its own tensors, the vocabulary without padding. The directory appears whole or not at all, and may replace an earlier
/// export. The labels of a sequence head have transformers' words, `LABEL_0` and so on.
///
/// # Errors
/// As [`Export::write`].
pub fn export(dir: &Path, config: &BertConfig, map: &LayerMap, weights: &Weights, tokenizer: &Path) -> Result<()> {
    Export::new(config, map, weights, tokenizer).write(dir)
}

/// The same, with a word for each label of a sequence head; for other models there are none.
///
/// # Errors
/// As [`Export::write`].
pub fn export_labelled(
    dir: &Path,
    config: &BertConfig,
    map: &LayerMap,
    weights: &Weights,
    tokenizer: &Path,
    labels: &[String],
) -> Result<()> {
    Export { labels: labels.to_vec(), ..Export::new(config, map, weights, tokenizer) }.write(dir)
}

/// A model to write as a directory of transformers, and what goes with it.
#[derive(Clone, Debug)]
pub struct Export<'a> {
    /// Sizes and head.
    pub config: &'a BertConfig,
    /// Which layers share weights.
    pub map: &'a LayerMap,
    /// The weights.
    pub weights: &'a Weights,
    /// A tokenizer, or a folder that has one.
    pub tokenizer: &'a Path,
    /// A word for each label of a sequence head; for other models there are none.
    pub labels: Vec<String>,
    /// The model card.
    pub card: Option<Card>,
    /// The classes that it is for.
    pub family: Family,
}

impl<'a> Export<'a> {
    /// Without a card, for the classes of the model's norm; the labels of a sequence head have transformers' words.
    pub fn new(config: &'a BertConfig, map: &'a LayerMap, weights: &'a Weights, tokenizer: &'a Path) -> Self {
        let labels = default_labels(config.task_head);
        Self { config, map, weights, tokenizer, labels, card: None, family: Family::Auto }
    }

    /// Writes the directory `dir`, as [`export`] does. A README.md that a person wrote stays.
    ///
    /// # Errors
    /// When the classes of `family` do not compute this model, when `dir` exists and is neither empty nor an export of ours, when the
    /// tokenizer does not fit the model, when there are not as many different words as labels, and when a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let family = self.family.of(self.config)?;
        let tokenizer = tokenizer::open_tokenizer(self.tokenizer, self.config.vocab_size)?.tokenizer;
        // A run that grows may end before it has all its layers.
        let config = &BertConfig { num_hidden_layers: self.map.num_layers(), ..self.config.clone() };
        let pad = if family == Family::Esm { Some(esm::pad_id(&tokenizer)?) } else { None };
        let config_json = to_json(config, family, &tokenizer, &self.labels)?;
        let tokenizer_config = tokenizer::config_json(&tokenizer, config.max_position_embeddings, family);
        let vocab = tokenizer::vocab_txt(&tokenizer)?;
        let json = tokenizer::json(&tokenizer)?;

        let target = Target::new(dir)?;
        let beside = card::files(&target.dir, self.card.as_ref())?;
        target.create_aside()?;
        write(&target.aside.join(CONFIG_FILE), config_json.as_bytes())?;
        write(&target.aside.join(TOKENIZER_FILE), json.as_bytes())?;
        write(&target.aside.join(TOKENIZER_CONFIG_FILE), tokenizer_config.as_bytes())?;
        write(&target.aside.join(VOCAB_FILE), vocab.as_bytes())?;
        beside.iter().try_for_each(|(name, bytes)| write(&target.aside.join(name), bytes))?;
        let mut parts = self.parts()?;
        if let Some(pad) = pad {
            let heads = config.num_hidden_layers as i64 * config.num_attention_heads;
            parts = esm::adapt_tensors(parts, pad, heads)?;
        }
        write_model(&target.aside, parts)?;
        target.put_in_place()
    }

    /// The tensors of the file: contiguous fp32 on the CPU.
    fn parts(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut parts = BTreeMap::new();
        for weight in self.weights.entries() {
            parts.extend(parts_of(weight, self.map)?);
        }
        Ok(parts)
    }
}

/// A tensor of the file. Its bytes are copied when they are written, one tensor at a time.
struct Part {
    shape: Vec<usize>,
    values: Tensor,
}

impl From<Tensor> for Part {
    fn from(values: Tensor) -> Self {
        Self { shape: values.size().iter().map(|&size| size as usize).collect(), values }
    }
}

impl View for Part {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.data_len()];
        self.values.copy_data_u8(&mut bytes, self.values.numel());
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.values.numel() * size_of::<f32>()
    }
}

/// The tensors of the file that `weight` becomes: its equal parts by row, once for each layer that uses it.
fn parts_of(weight: &Weight, map: &LayerMap) -> Result<Vec<(String, Tensor)>> {
    let values = tch::no_grad(|| {
        weight.in_file(&weight.tensor).f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()
    })?;
    let own = parts(&weight.spec.name);
    let rows = values.size()[0] / own.len() as i64;
    let names = match weight.spec.group {
        None => own.clone(),
        Some(group) => expanded(&own, map, group),
    };
    let starts = (0..own.len() as i64).map(|part| part * rows).cycle();
    names.into_iter().zip(starts).map(|(name, start)| Ok((name, values.f_narrow(0, start, rows)?))).collect()
}

/// The names of a group's tensors, once for each layer that uses it.
fn expanded(names: &[String], map: &LayerMap, group: usize) -> Vec<String> {
    let own = layer_prefix(map.lowest(group));
    map.members(group)
        .into_iter()
        .flat_map(|layer| {
            let prefix = layer_prefix(layer);
            names.iter().map(|name| name.replacen(&own, &prefix, 1)).collect::<Vec<_>>()
        })
        .collect()
}

fn write_model(dir: &Path, parts: BTreeMap<String, Tensor>) -> Result<()> {
    let path = dir.join(MODEL_FILE);
    let views = parts.into_iter().map(|(name, values)| (name, Part::from(values)));
    // transformers refuses a file that does not say which framework's layout it has.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), &path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => io("write", &path, error),
        other => Error::failed(format!("cannot write `{}`", path.display())).caused_by(other),
    })?;
    // The crate writes through a temporary file that only its owner may read.
    let readable = fs::metadata(dir.join(CONFIG_FILE)).map_err(|error| io("read", dir, error))?.permissions();
    fs::set_permissions(&path, readable).map_err(|error| io("write", &path, error))?;
    sync(&path)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    File::create(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|error| io("write", path, error))
}

/// Waits until a file or a folder's list of names is on the disk.
fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| io("write", path, error))
}

/// Where an export goes, and the folders beside it that are used on the way.
struct Target {
    dir: PathBuf,
    parent: PathBuf,
    /// The new export, until it is whole.
    aside: PathBuf,
    /// The earlier export, until the new one is in place.
    old: PathBuf,
    exists: bool,
}

impl Target {
    fn new(dir: &Path) -> Result<Self> {
        let exists = dir.exists();
        let dir = if exists {
            refuse_foreign(dir)?;
            dir.canonicalize().map_err(|error| io("open", dir, error))?
        } else {
            let parent = match dir.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            fs::create_dir_all(parent).map_err(|error| io("create", parent, error))?;
            let parent = parent.canonicalize().map_err(|error| io("open", parent, error))?;
            match dir.file_name() {
                Some(name) => parent.join(name),
                None => return Err(Error::config(format!("`{}` does not name a folder", dir.display()))),
            }
        };
        let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else {
            return Err(Error::config(format!("`{}` cannot be replaced", dir.display())).hint("name a folder below it"));
        };
        let beside = |end: &str| {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(end);
            parent.join(hidden)
        };
        Ok(Self { parent: parent.to_owned(), aside: beside(".untie-new"), old: beside(".untie-old"), exists, dir })
    }

    /// An empty folder for the new export; what an interrupted export left there goes.
    fn create_aside(&self) -> Result<()> {
        remove(&self.aside)?;
        fs::create_dir(&self.aside).map_err(|error| io("create", &self.aside, error))
    }

    fn put_in_place(&self) -> Result<()> {
        sync(&self.aside)?;
        let rename = |from: &Path, to: &Path| {
            fs::rename(from, to).map_err(|error| {
                io("replace", &self.dir, error).hint("a mounted folder cannot be replaced: name a folder below it")
            })
        };
        if self.exists {
            remove(&self.old)?;
            rename(&self.dir, &self.old)?;
        }
        rename(&self.aside, &self.dir)?;
        sync(&self.parent)?;
        remove(&self.old)
    }
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", dir, error)),
        _ => Ok(()),
    }
}

/// Refuses a folder that holds anything but an earlier export of ours.
fn refuse_foreign(dir: &Path) -> Result<()> {
    let mut foreign = None;
    let mut empty = true;
    for entry in fs::read_dir(dir).map_err(|error| io("open", dir, error))? {
        let name = entry.map_err(|error| io("open", dir, error))?.file_name();
        empty = false;
        if !FILES.iter().any(|file| name == *file) {
            foreign = Some(name.to_string_lossy().into_owned());
        }
    }
    let found = match foreign {
        Some(name) => format!("it holds `{name}`"),
        None if !empty && !is_our_export(dir) => format!("its `{CONFIG_FILE}` is not ours"),
        None => return Ok(()),
    };
    Err(Error::config(format!("`{}` exists and is not an earlier export: {found}", dir.display()))
        .hint("choose another folder with `--out`, or remove this one"))
}
