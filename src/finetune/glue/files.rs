//! A folder in, the files of one set of a task out.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{io, Error, Result};
use crate::finetune::task::{GlueSet, GlueTask, TsvFile};

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
    let names: Vec<String> = set.tsv.iter().map(|file| format!("`{}`", file.name)).collect();
    let hub = set.hub;
    Err(Error::data(format!(
        "no `{}` set of `{}` in `{}`: looked for {}, `{hub}.parquet` and `{hub}-00000-of-….parquet`, also in {}",
        set.name,
        task.task,
        dir.display(),
        names.join(", "),
        inner(task).map(|name| format!("`{name}`")).join(", "),
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

/// `SET.parquet`, or all of `SET-00000-of-00002.parquet` and so on.
fn shards(folder: &Path, set: &str) -> Result<Option<Vec<PathBuf>>> {
    let whole = folder.join(format!("{set}.parquet"));
    if whole.exists() {
        return Ok(Some(vec![whole]));
    }
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut found: Vec<(usize, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| io("read", folder, error))? {
        let path = entry.map_err(|error| io("read", folder, error))?.path();
        if let Some(num_shards) = path.file_name().and_then(|name| num_shards(name.to_str()?, set)) {
            found.push((num_shards, path));
        }
    }
    let Some(&(num_shards, _)) = found.first() else { return Ok(None) };
    let paths: Vec<PathBuf> =
        (0..num_shards).map(|shard| folder.join(format!("{set}-{shard:05}-of-{num_shards:05}.parquet"))).collect();
    if let Some(missing) = paths.iter().find(|path| !path.exists()) {
        return Err(Error::data(format!(
            "`{}` is missing, one of {num_shards} shards of the set `{set}`",
            missing.display()
        ))
        .hint("fetch the whole set again"));
    }
    match found.into_iter().find(|(of, _)| *of != num_shards) {
        None => Ok(Some(paths)),
        Some((_, other)) => {
            Err(Error::data(format!("`{}` is of another set of shards than `{}`", other.display(), paths[0].display()))
                .hint("keep one of the two"))
        }
    }
}

/// Of how many shards `name` is one; nothing if it is none of `set`.
fn num_shards(name: &str, set: &str) -> Option<usize> {
    let (shard, of) = name.strip_prefix(set)?.strip_prefix('-')?.strip_suffix(".parquet")?.split_once("-of-")?;
    let number = |digits: &str| -> Option<usize> {
        (digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
    };
    number(shard)?;
    number(of).filter(|&of| of > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_have_five_digits() {
        assert_eq!(num_shards("train-00001-of-00012.parquet", "train"), Some(12));
        for name in [
            "test_matched-00000-of-00001.parquet",
            "train-0-of-1.parquet",
            "train-00000-of-00000.parquet",
            "train-+0000-of-00001.parquet",
            "train-00000-of-00001.parquet.part",
        ] {
            assert_eq!(num_shards(name, "train"), None, "{name}");
            assert_eq!(num_shards(name, "test"), None, "{name}");
        }
    }
}
