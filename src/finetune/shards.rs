//! A set in Hugging Face's layout: one Parquet file, or several.

use std::fs;
use std::path::{Path, PathBuf};

use untie_data::table::{self, Table};

use crate::error::{io, Error, Result};

/// Columns of one of its files; one that is not there is no error.
pub(super) fn columns(path: &Path, names: &[&str]) -> Result<Table> {
    table::read(path, names).map_err(|error| {
        let hint = error.hint();
        Error::data(format!("cannot read `{}`", path.display())).hint_if_any(hint).caused_by(error)
    })
}

/// `SET.parquet`, or all of `SET-00000-of-00002.parquet` and so on.
pub(super) fn shards(folder: &Path, set: &str) -> Result<Option<Vec<PathBuf>>> {
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
