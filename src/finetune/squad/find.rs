//! A folder in, the files of one set of SQuAD out.

use std::path::{Path, PathBuf};

use super::{Split, Version};
use crate::error::{quoted, Error, Result};
use crate::finetune::shards::shards;

/// The files of a set in `dir`: the official one, one named like the set, or the Parquet files of Hugging Face, also in the
/// folders where downloads put these.
///
/// # Errors
/// When there are none, or only some of the shards.
pub fn find(dir: &Path, version: Version, split: Split) -> Result<Vec<PathBuf>> {
    let (number, folders) = match version {
        Version::V1 => ("v1.1", ["", "data", "plain_text", "squad"]),
        Version::V2 => ("v2.0", ["", "data", "squad_v2", "squad2"]),
    };
    let names: &[&str] = match split {
        Split::Train => &["train"],
        Split::Dev => &["dev", "validation"],
    };
    let files: Vec<String> = std::iter::once(format!("{}-{number}.json", names[0]))
        .chain(names.iter().map(|name| format!("{name}.json")))
        .collect();
    if let Some(path) = files.iter().map(|name| dir.join(name)).find(|path| path.exists()) {
        return Ok(vec![path]);
    }
    for folder in folders {
        for name in names {
            if let Some(paths) = shards(&dir.join(folder), name)? {
                return Ok(paths);
            }
        }
    }
    let set = names[names.len() - 1];
    Err(Error::data(format!(
        "no `{}` set in `{}`: looked for {}, `{set}.parquet` and `{set}-00000-of-….parquet`, also in {}",
        names[0],
        dir.display(),
        quoted(files),
        quoted(&folders[1..])
    ))
    .hint(
        "data-prep/recipes/README.md says how to get SQuAD; another file is named with `--train-file` or `--dev-file`",
    ))
}
