//! What lies in the folder of a model: where its weights are, and what to do where there are none that can be read.
//!
//! In: a folder as transformers, the Hub or a run leaves it. Out: its weight files, and for every other layout an error with the
//! way out of it. Every command asks here, so all say the same. Cost: reading names, an index, and the first bytes of the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use untie_data::placeholder::{Placeholder, HEAD_BYTES};

use super::convert;
use super::{CONFIG_FILE, MODEL_FILE};
use crate::error::{quoted, Error, Result};

/// What a folder of weights in several files has beside them.
const INDEX_FILE: &str = "model.safetensors.index.json";

/// The folder of the model that a user means by `dir`: `dir` itself, or `export` in it where it is the folder of a run.
///
/// # Errors
/// When there is no config.json in either; the hint depends on what is there instead.
pub fn model_folder(dir: &Path) -> Result<PathBuf> {
    for folder in [dir.to_owned(), dir.join("export")] {
        // A link whose target is missing counts: reading it says so.
        if folder.join(CONFIG_FILE).symlink_metadata().is_ok() {
            return Ok(folder);
        }
    }
    let shown = dir.display();
    if dir.is_file() {
        return Err(Error::data(format!("`{shown}` holds no model: expected a folder, it is a file"))
            .hint("give the folder that holds `config.json` and the weights"));
    }
    if !dir.exists() {
        return Err(Error::data(format!("`{shown}` holds no model: there is no such folder")).hint(format!(
            "give a folder on this machine; for a model of the Hub, download it first: `hf download NAME --local-dir {shown}`"
        )));
    }
    let missing = Error::data(format!("`{shown}` holds no model: expected `{CONFIG_FILE}` in it or in `export`"));
    Err(missing.hint(match instead_of_model(dir) {
        Some(hint) => hint,
        None => "give a folder that `untie export` or transformers' `save_pretrained` wrote, or that of a finished run"
            .into(),
    }))
}

/// What to do with a folder that is not a model's, by what it holds.
fn instead_of_model(dir: &Path) -> Option<String> {
    let shown = dir.display();
    if dir.join("checkpoints").is_dir() {
        return Some(format!(
            "the run is not finished: continue with `untie train --resume`, or `untie export --run {shown}`"
        ));
    }
    if dir.join("bert_config.json").exists() {
        return Some(convert::google(dir));
    }
    // Folders of sentence-transformers have the model in `0_Transformer`, the cache of the Hub in `snapshots/HASH`.
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut found: Vec<PathBuf> = entries.filter(|path| path.join(CONFIG_FILE).exists()).collect();
        found.sort();
        found
    };
    let nearest = [below(dir), below(&dir.join("snapshots"))].into_iter().flatten().next()?;
    Some(format!("there is a model in `{}`: give that folder", nearest.display()))
}

/// The files that hold the weights of the model in `dir`, in the order of their names: model.safetensors, or those that its
/// index names, or the only variant (`model.fp16.safetensors`).
///
/// # Errors
/// When there are none that can be read: the message names what is there, the hint how to convert it. When a file of several
/// is missing, and when one is no weights at all, such as a Git LFS pointer.
pub fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let whole = dir.join(MODEL_FILE);
    let index = dir.join(INDEX_FILE);
    let files = if is_there(&whole) {
        vec![whole]
    } else if is_there(&index) {
        shards(&index)?
    } else {
        variant(dir)?
    };
    for file in &files {
        refuse_placeholder(file)?;
    }
    Ok(files)
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The files of the only variant in `dir`.
fn variant(dir: &Path) -> Result<Vec<PathBuf>> {
    let names = names(dir)?;
    let is_variant = |name: &str| {
        let between = |start: &str, end: &str| {
            name.strip_prefix(start)?.strip_suffix(end).filter(|middle| !middle.is_empty() && !middle.contains('.'))
        };
        between("model.", ".safetensors").is_some_and(|middle| !middle.contains("-of-"))
            || between("model.safetensors.index.", ".json").is_some()
    };
    let found: Vec<&String> = names.iter().filter(|name| is_variant(name)).collect();
    match found[..] {
        [] => Err(convert::unreadable(dir, &names)),
        [name] if name.ends_with(".json") => shards(&dir.join(name)),
        [name] => Ok(vec![dir.join(name)]),
        _ => Err(Error::data(format!(
            "`{}` has no `{MODEL_FILE}` but several variants of it: {}",
            dir.display(),
            quoted(&found)
        ))
        .hint(format!("rename the one that you want to `{MODEL_FILE}`"))),
    }
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(dir).map_err(|error| crate::error::io("open", dir, error))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// The part of an index that matters.
#[derive(Deserialize)]
struct Index {
    /// Tensor → file.
    weight_map: BTreeMap<String, String>,
}

fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    let invalid = || Error::data(format!("`{}` is not an index of weights", path.display()));
    let index: Index = serde_json::from_slice(&read(path)?).map_err(|error| invalid().caused_by(error))?;
    if index.weight_map.is_empty() {
        return Err(invalid().caused_by(Error::data("`weight_map` is empty")));
    }
    match index.weight_map.values().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
        Some(name) => Err(invalid().caused_by(Error::data(format!("expected names of files beside it, got `{name}`")))),
        None => Ok(index.weight_map),
    }
}

/// The files that the index at `path` names, all there.
fn shards(path: &Path) -> Result<Vec<PathBuf>> {
    let map = read_index(path)?;
    let files: BTreeSet<&String> = map.values().collect();
    let missing: Vec<&&String> = files.iter().filter(|name| !is_there(&path.with_file_name(name))).collect();
    if !missing.is_empty() {
        return Err(Error::data(format!(
            "{} of the {} files with the weights {} missing: `{}` names {}",
            missing.len(),
            files.len(),
            if missing.len() == 1 { "is" } else { "are" },
            path.display(),
            quoted(&missing)
        ))
        .hint("download the files that are missing into the same folder"));
    }
    Ok(files.into_iter().map(|name| path.with_file_name(name)).collect())
}

/// Checks that `files`, where an index names them, have the tensors that it promises; `has` says whether one was found.
pub(super) fn check_index(dir: &Path, files: &[PathBuf], has: impl Fn(&str) -> bool) -> Result<()> {
    let index = dir.join(INDEX_FILE);
    if files.iter().any(|file| *file == dir.join(MODEL_FILE)) || !is_there(&index) {
        return Ok(());
    }
    match read_index(&index)?.into_iter().find(|(tensor, _)| !has(tensor)) {
        Some((tensor, file)) => {
            Err(Error::data(format!("tensor `{tensor}` is not in `{file}`, where `{INDEX_FILE}` has it"))
                .hint("the files are of different models, or not whole: download all of them again"))
        }
        None => Ok(()),
    }
}

/// The bytes of a file of a model's folder.
///
/// # Errors
/// A file that is missing, cannot be read, or only stands for the real one.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
    match Placeholder::of(&bytes) {
        Some(found) => Err(stands_for(path, found)),
        None => Ok(bytes),
    }
}

fn refuse_placeholder(path: &Path) -> Result<()> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    File::open(path)
        .and_then(|file| file.take(HEAD_BYTES as u64).read_to_end(&mut head))
        .map_err(|error| unreadable(path, error))?;
    match Placeholder::of(&head) {
        Some(found) => Err(stands_for(path, found)),
        None => Ok(()),
    }
}

fn stands_for(path: &Path, found: Placeholder) -> Error {
    Error::data(format!("`{}` is {found}", path.display())).hint(found.hint())
}

/// A file of the folder that cannot be read; one that is not there makes the folder invalid.
pub(super) fn unreadable(path: &Path, error: io::Error) -> Error {
    if error.kind() != io::ErrorKind::NotFound {
        return crate::error::io("read", path, error);
    }
    let failure = Error::data(format!("cannot read `{}`", path.display())).caused_by(error);
    match fs::read_link(path) {
        Ok(target) => failure.hint(format!(
            "it is a link to `{}`, which is not there: copy the folder with `cp -rL`, so that links become files",
            target.display()
        )),
        Err(_) => failure,
    }
}
