//! A folder of Megatron-LM's own files in, the shards of each split out: which files belong to it, and which documents are
//! held out where no file is.
//!
//! `preprocess_data.py` writes `PREFIX_text_document.bin` and `.idx`, or `PREFIX_text_sentence.*` with `--split-sentences`, where
//! `text` is the field of the JSON. A folder may have several, one a partition or a source; all of them are read, in the order
//! of their names. Names may say the split themselves, as `train_text_document` and `valid_text_document` do. Where none does,
//! the documents whose hash, as a fraction of all hashes, is below a given one are held out: those with equal tokens are in one
//! split, and nothing is written. Cost of holding out: every token is read once on all cores; 16 bytes a held-out document.

use super::{is_old, natural_order, refuse_pointer, with_suffix, Shard, ShardError, Split, MAGIC};
use crate::corpus::kind::KIND_BYTES;
use rayon::prelude::*;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use xxhash_rust::xxh3::Xxh3Default;

/// The documents of these shards that are held out, by shard, each list in order.
pub(super) type HeldOut = Arc<Vec<Vec<u64>>>;

/// The files of one split.
#[derive(Debug)]
pub(super) struct Files {
    /// Paths without `.bin` and `.idx`, in order.
    pub prefixes: Vec<PathBuf>,
    /// Whether their names say the split; else a part of their documents is to be held out.
    pub is_split: bool,
}

/// Whether a document with this hash is held out: as a fraction from 0 up to 1, by its upper 53 bits, it is small.
pub(crate) fn is_held_out(hash: u64, fraction: f64) -> bool {
    ((hash >> 11) as f64 / (1_u64 << 53) as f64) < fraction
}

/// The files of `split` in the folder `path`, or the pair of files with this prefix; none if there are none.
pub(super) fn find(path: &Path, split: Split) -> Result<Files, ShardError> {
    if !path.is_dir() {
        // A pair may be named by either of its files.
        let name = path.to_string_lossy();
        let prefix = name.strip_suffix(".idx").or_else(|| name.strip_suffix(".bin")).unwrap_or(&name);
        let prefix = PathBuf::from(prefix);
        if !with_suffix(&prefix, ".idx").exists() {
            fs::metadata(path).map_err(|source| ShardError::Io { path: path.to_owned(), source })?;
            return Ok(Files { prefixes: Vec::new(), is_split: false });
        }
        return Ok(Files { prefixes: vec![prefix], is_split: false });
    }
    let mut names = indices(path)?;
    natural_order(&mut names);
    refuse_two_levels(path, &names)?;
    let names = without_parts(path, names)?;
    let (of_split, is_split) = of_split(names, split);
    Ok(Files { prefixes: of_split.iter().map(|name| path.join(name)).collect(), is_split })
}

/// The folder in which the shards at `path` lie: that of a prefix is the one it is in.
pub(crate) fn folder(path: &Path) -> &Path {
    if path.is_dir() {
        return path;
    }
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Names of the indices in a folder, without `.idx`. Files of others that end so are passed over.
fn indices(dir: &Path) -> Result<Vec<String>, ShardError> {
    let failed = |source| ShardError::Io { path: dir.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".idx")) else { continue };
        let path = dir.join(&name);
        let mut start = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(KIND_BYTES as u64).read_to_end(&mut start));
        read.map_err(|source| ShardError::Io { path: path.clone(), source })?;
        refuse_pointer(&path, &start)?;
        if start.starts_with(MAGIC) || is_old(&start) {
            names.push(stem.to_owned());
        }
    }
    Ok(names)
}

/// Sentences and documents of one text are the same tokens twice.
fn refuse_two_levels(dir: &Path, names: &[String]) -> Result<(), ShardError> {
    for name in names {
        let Some(base) = name.strip_suffix("_document") else { continue };
        let other = format!("{base}_sentence");
        if names.contains(&other) {
            return Err(ShardError::TwoLevels { path: dir.to_owned(), documents: name.clone(), sentences: other });
        }
    }
    Ok(())
}

/// Leaves out the partitions that `preprocess_data.py --partitions` merged into another file and left beside it:
/// `PREFIX_0_text_document` and its siblings, if they have what `PREFIX_text_document` has.
fn without_parts(dir: &Path, names: Vec<String>) -> Result<Vec<String>, ShardError> {
    let mut left_out: Vec<&String> = Vec::new();
    for whole in &names {
        let parts: Vec<&String> = names.iter().filter(|name| is_part(name, whole)).collect();
        if parts.is_empty() {
            continue;
        }
        let counts = |name: &str| -> Result<[u64; 3], ShardError> {
            let shard = Shard::open(&dir.join(name))?;
            Ok([shard.num_documents(), shard.num_sequences(), shard.num_tokens()])
        };
        let mut sum = [0; 3];
        for part in &parts {
            for (sum, count) in sum.iter_mut().zip(counts(part)?) {
                *sum += count;
            }
        }
        if sum == counts(whole)? {
            left_out.extend(parts);
        }
    }
    Ok(names.iter().filter(|name| !left_out.contains(name)).cloned().collect())
}

/// Whether `part` is `whole` with a number more between its words.
fn is_part(part: &str, whole: &str) -> bool {
    let words: Vec<&str> = part.split('_').collect();
    (0..words.len()).any(|at| {
        let is_number = !words[at].is_empty() && words[at].bytes().all(|byte| byte.is_ascii_digit());
        is_number && [&words[..at], &words[at + 1..]].concat().join("_") == whole
    })
}

/// Those of `names` that belong to `split`, and whether the names say so: if some are held out by name and others are not.
fn of_split(names: Vec<String>, split: Split) -> (Vec<String>, bool) {
    let has_word = |name: &str, words: &[&str]| {
        name.split(|letter: char| !letter.is_alphanumeric())
            .any(|word| words.contains(&word.to_ascii_lowercase().as_str()))
    };
    let is_valid = |name: &String| has_word(name, &["valid", "validation", "val", "dev", "eval"]);
    let is_train = |name: &String| has_word(name, &["train", "training"]);
    let is_test = |name: &String| has_word(name, &["test"]);
    // Test files are for neither split, but a name alone may have the word by chance.
    let says_train = names.iter().any(is_train);
    let (valid, rest): (Vec<String>, Vec<String>) = names.into_iter().partition(is_valid);
    let train: Vec<String> = rest.iter().filter(|name| !(says_train && is_test(name))).cloned().collect();
    match (valid.is_empty(), train.is_empty(), split) {
        (true, _, _) => (train, false),
        (false, true, _) => (valid, false),
        (false, false, Split::Train) => (train, true),
        (false, false, Split::Valid) => (valid, true),
    }
}

/// The documents of `shards` that `fraction` holds out; with a fraction above 0 at least one, that with the smallest hash.
/// Asked for again, it is not computed again.
pub(super) fn held_out(shards: &[Shard], fraction: f64) -> Result<HeldOut, ShardError> {
    type Known = Vec<(Vec<[(u64, u64); 2]>, u64, HeldOut)>;
    static KNOWN: Mutex<Known> = Mutex::new(Vec::new());
    let files: Vec<_> = shards.iter().map(|shard| shard.identities).collect();
    let find = |known: &Known| {
        known.iter().find(|entry| entry.0 == files && entry.1 == fraction.to_bits()).map(|entry| Arc::clone(&entry.2))
    };
    let lock = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = find(&lock()) {
        return Ok(found);
    }
    let chosen = Arc::new(choose(shards, fraction)?);
    lock().push((files, fraction.to_bits(), Arc::clone(&chosen)));
    Ok(chosen)
}

fn choose(shards: &[Shard], fraction: f64) -> Result<Vec<Vec<u64>>, ShardError> {
    let mut chosen = vec![Vec::new(); shards.len()];
    if fraction <= 0.0 {
        return Ok(chosen);
    }
    let mut smallest: Option<(u64, usize, u64)> = None;
    for (number, shard) in shards.iter().enumerate() {
        shard.will_be_read(true);
        let hashes: Result<Vec<(u64, u64)>, ShardError> = (0..shard.num_documents())
            .into_par_iter()
            .filter_map(|document| match hash(shard, document) {
                Ok(hash) if is_held_out(hash, fraction) => Some(Ok((document, hash))),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
            .collect();
        chosen[number] = hashes?.into_iter().map(|entry| entry.0).collect();
        shard.will_be_read(false);
    }
    if chosen.iter().all(Vec::is_empty) {
        for (number, shard) in shards.iter().enumerate() {
            for document in 0..shard.num_documents() {
                let candidate = (hash(shard, document)?, number, document);
                smallest = Some(smallest.map_or(candidate, |smallest| smallest.min(candidate)));
            }
        }
    }
    if let Some((_, number, document)) = smallest {
        chosen[number].push(document);
    }
    Ok(chosen)
}

/// The hash of a document's tokens, each as 4 bytes.
fn hash(shard: &Shard, document: u64) -> Result<u64, ShardError> {
    const PIECE: u64 = 1024;
    let Range { mut start, end } = shard.token_range(shard.document_sequences(document)?)?;
    let (mut tokens, mut bytes, mut hasher) = (Vec::new(), Vec::new(), Xxh3Default::new());
    while start < end {
        tokens.resize((end - start).min(PIECE) as usize, 0);
        shard.read_tokens(start, &mut tokens)?;
        bytes.clear();
        bytes.extend(tokens.iter().flat_map(|token: &u32| token.to_le_bytes()));
        hasher.update(&bytes);
        start += tokens.len() as u64;
    }
    Ok(hasher.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_split_where_some_are_held_out() {
        let split = |names: &[&str], split| of_split(names.iter().map(|name| (*name).to_owned()).collect(), split);
        let both = ["my_train_text_document", "my_valid_text_document", "my_test_text_document"];
        assert_eq!(split(&both, Split::Train), (vec![both[0].to_owned()], true));
        assert_eq!(split(&both, Split::Valid), (vec![both[1].to_owned()], true));
        let one = ["jean-val_text_sentence"];
        for which in Split::ALL {
            assert_eq!(split(&one, which), (vec![one[0].to_owned()], false));
        }
        let two = ["wiki_text_sentence", "books_text_sentence"];
        assert_eq!(split(&two, Split::Valid).0.len(), 2);
        assert_eq!(split(&["train_text_document", "test_text_document"], Split::Train).0, ["train_text_document"]);
    }

    #[test]
    fn partitions_have_a_number_more() {
        assert!(is_part("wiki_0_text_document", "wiki_text_document"));
        assert!(is_part("my_wiki_12_text_sentence", "my_wiki_text_sentence"));
        for name in ["wiki_text_document", "wiki_a_text_document", "wiki_0_1_text_document", "wiki__text_document"] {
            assert!(!is_part(name, "wiki_text_document"), "{name}");
        }
    }
}
