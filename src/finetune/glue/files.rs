//! A folder in, the files of one set of a task out.

use std::path::{Path, PathBuf};

use super::glue_task::{GlueSet, GlueTask, TsvFile};
use crate::error::{quoted, Error, Result};
use crate::finetune::shards::shards;

/// The files of a set.
pub(super) enum Found {
    /// In the official layout.
    Tsv(&'static TsvFile, PathBuf),
    /// In Hugging Face's layout: all shards, in order.
    Parquet(Vec<PathBuf>),
}

/// The files of a set in `dir`, or in the folders in it where downloads put them.
pub(super) fn find(task: &GlueTask, set: &GlueSet, dir: &Path) -> Result<Found> {
    if !dir.is_dir() {
        return Err(Error::data(format!("`{}` is not a folder", dir.display()))
            .hint("name the folder with the task's files with `--data`"));
    }
    if let Some(found) = look(task, set, dir)? {
        return Ok(found);
    }
    let hub = set.hub;
    Err(Error::data(format!(
        "no `{}` set of `{}` in `{}`: looked for {}, `{hub}.parquet` and `{hub}-00000-of-….parquet`, also in {}",
        set.name,
        task.task,
        dir.display(),
        quoted(set.tsv.iter().map(|file| file.name)),
        quoted(inner(task)),
    ))
    .hint("data-prep/recipes/README.md says how to get GLUE"))
}

/// Where downloads put files in a folder.
fn inner(task: &GlueTask) -> [&'static str; 3] {
    ["data", task.task.name(), task.folder]
}

/// Looks for a set in `dir` and in the folders in it; nothing if it is in none of them.
pub(super) fn look(task: &GlueTask, set: &GlueSet, dir: &Path) -> Result<Option<Found>> {
    for folder in std::iter::once(dir.to_owned()).chain(inner(task).map(|name| dir.join(name))) {
        for file in set.tsv {
            let path = folder.join(file.name);
            if path.exists() {
                return Ok(Some(Found::Tsv(file, path)));
            }
        }
        if let Some(paths) = shards(&folder, set.hub)? {
            return Ok(Some(Found::Parquet(paths)));
        }
    }
    Ok(None)
}
