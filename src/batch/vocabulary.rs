//! What ids mean, and which shards they come from.
//!
//! In: the folders of `[data]`. Out: the tokenizer that made all of them, checked against their manifests, and one hash of
//! their content. Cost: reading the tokenizer and the manifests.

use std::path::Path;
use std::sync::Arc;

use untie_data::manifest::{Manifest, MANIFEST_FILE, TOKENIZER_FILE};
use untie_data::shard::{ShardError, ShardSet, Split};
use untie_data::wordpiece::{self, SpecialTokens, TokenizerError, CONTINUATION};

use crate::batch::config::DataConfig;
use crate::error::{Error, Result};

/// The tokenizer of a data folder, as far as training needs it.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The tokenizer.json's content, for exports.
    pub json: String,
    /// Tokens, special ones included.
    pub size: usize,
    /// Hash of the tokens in id order: what ids mean.
    pub hash: String,
    /// Ids of the special tokens.
    pub special: SpecialTokens,
    /// For each id, whether the token continues a word, that is, begins with `##`.
    pub continues: Arc<[bool]>,
}

impl Vocabulary {
    /// Reads `config.tokenizer`, or tokenizer.json in the first folder, and checks that it made the shards of every folder.
    ///
    /// # Errors
    /// A missing or invalid tokenizer, or one that did not make the shards.
    pub fn open(config: &DataConfig) -> Result<Self> {
        let dirs = config.dirs();
        let beside = dirs[0].join(TOKENIZER_FILE);
        let path = config.tokenizer.as_deref().unwrap_or(&beside);
        if !path.exists() {
            let missing = Error::data(format!("there is no tokenizer at `{}`", path.display()));
            return Err(missing.hint(
                "prepare data with `untie prepare` (or `make data`), or set `data.tokenizer` to the one that made the shards",
            ));
        }
        let vocabulary = Self::read(path)?;
        for dir in &dirs {
            let Some((size, hash)) = maker(dir)? else { continue };
            if hash == vocabulary.hash {
                continue;
            }
            let facts =
                format!("expected {size} tokens with hash {hash}, got {} with {}", vocabulary.size, vocabulary.hash);
            // The first folder's own tokenizer: it is the other folder that differs.
            if path == beside && *dir != dirs[0] {
                return Err(Error::data(format!(
                    "`{}` and `{}` have different vocabularies: {facts}",
                    dirs[0].display(),
                    dir.display()
                ))
                .hint("prepare all corpora with the `--tokenizer` of the first"));
            }
            return Err(Error::data(format!(
                "`{}` is not the tokenizer that made `{}`: {facts}",
                path.display(),
                dir.display()
            ))
            .hint("remove `data.tokenizer`, or prepare the data again with that tokenizer"));
        }
        Ok(vocabulary)
    }

    /// Reads a tokenizer.json or vocab.txt.
    ///
    /// # Errors
    /// A file that is no WordPiece tokenizer, or lacks a special token.
    pub fn read(path: &Path) -> Result<Self> {
        let tokenizer = wordpiece::import(path, true).map_err(tokenizer_error)?;
        let tokens = wordpiece::vocab_txt(&tokenizer);
        Ok(Self {
            json: wordpiece::to_json(&tokenizer).map_err(tokenizer_error)?,
            size: wordpiece::vocab_size(&tokenizer) as usize,
            hash: wordpiece::hash(tokens.as_bytes()),
            special: SpecialTokens::of(&tokenizer).map_err(tokenizer_error)?,
            continues: tokens.lines().map(|token| token.starts_with(CONTINUATION)).collect(),
        })
    }
}

/// Size and hash of the vocabulary that made the shards of `dir`, as its manifest says; none for foreign data.
fn maker(dir: &Path) -> Result<Option<(u32, String)>> {
    Ok(manifest(dir)?.map(|manifest| (manifest.tokenizer.vocab_size, manifest.tokenizer.vocab.xxh3)))
}

/// The manifest of `dir`; none for foreign data.
fn manifest(dir: &Path) -> Result<Option<Manifest>> {
    if dir.join(MANIFEST_FILE).exists() {
        return Manifest::load(dir).map(Some).map_err(shard_error);
    }
    Ok(None)
}

/// A hash of the training shards of all corpora: of their content, as the manifests have it, or for foreign data of their
/// sizes and of what is held out.
///
/// # Errors
/// Missing, unfinished or damaged shards.
pub fn shards_hash(config: &DataConfig) -> Result<String> {
    let hashes: Vec<String> = config.dirs().into_iter().map(|dir| corpus_hash(dir, config)).collect::<Result<_>>()?;
    match &hashes[..] {
        [hash] => Ok(hash.clone()),
        _ => Ok(wordpiece::hash(hashes.join("\n").as_bytes())),
    }
}

fn corpus_hash(dir: &Path, config: &DataConfig) -> Result<String> {
    let facts: Vec<String> = match manifest(dir)? {
        Some(manifest) => {
            let train = manifest.shards.iter().filter(|shard| shard.split == Split::Train);
            train.map(|shard| format!("{} {}", shard.bin.xxh3, shard.idx.xxh3)).collect()
        }
        None => {
            let set = ShardSet::open_with(dir, Split::Train, config.valid_fraction).map_err(shard_error)?;
            let sizes = set.shards().iter().map(|shard| format!("{} {}", shard.num_tokens(), shard.num_documents()));
            sizes.chain(set.held_out().map(|share| share.to_string())).collect()
        }
    };
    Ok(wordpiece::hash(facts.join("\n").as_bytes()))
}

/// A data error with the hint that the shard reader knows.
pub fn shard_error(error: ShardError) -> Error {
    let outer = Error::data("the data cannot be used");
    let outer = match error.hint() {
        Some(hint) => outer.hint(hint),
        None => outer,
    };
    outer.caused_by(error)
}

fn tokenizer_error(error: TokenizerError) -> Error {
    Error::data("the tokenizer cannot be used").caused_by(error)
}
