//! What ids mean, and which shards they come from.
//!
//! In: the folders of `[data]`. Out: the tokenizer that made all of them, checked against their manifests, and one hash of
//! their content. Cost: reading the tokenizer and the manifests.

use std::path::Path;
use std::sync::Arc;

use tokenizers::Tokenizer;
use untie_data::manifest::{Manifest, TokenizerEntry, MANIFEST_FILE, TOKENIZER_FILE};
use untie_data::shard::{ShardError, ShardSet, Split};
use untie_data::wordpiece::{self, Casing, Pretrained, SpecialTokens, TokenizerError, CONTINUATION};

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
    /// The tokens in id order, one a line.
    pub tokens: Arc<str>,
    /// For each id, whether the token continues a word, that is, begins with `##`.
    pub continues: Arc<[bool]>,
    /// What may surprise in the tokenizer's files, a sentence each.
    pub notes: Vec<String>,
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
        let (vocabulary, casing) = Self::as_in(path, dirs[0])?;
        for dir in &dirs {
            let Some(entry) = manifest(dir)?.map(|manifest| manifest.tokenizer) else { continue };
            let (size, hash) = (entry.vocab_size, entry.vocab.xxh3.clone());
            if hash == vocabulary.hash {
                let made = casing_of(&entry);
                // A folder's own tokenizer made it, whatever earlier versions noted about it.
                if let (Some(made), Some(reads), true) = (made, casing, path != dir.join(TOKENIZER_FILE)) {
                    check_casing(path, reads, dir, made)?;
                }
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

    /// The vocabulary of a tokenizer.
    ///
    /// # Errors
    /// As [`Pretrained::for_shards`].
    pub fn new(found: Pretrained) -> Result<Self> {
        let notes = found.notes.clone();
        Self::of(&found.for_shards().map_err(tokenizer_error)?, notes)
    }

    /// The tokenizer at `path`, and how it treats case and accents. A vocabulary that says nothing about case is that of the shards in
    /// `dir`, with all that their own tokenizer does to text.
    fn as_in(path: &Path, dir: &Path) -> Result<(Self, Option<Casing>)> {
        let found = wordpiece::open(path, true).map_err(tokenizer_error)?;
        let (says_case, notes) = (found.says_case, found.notes.clone());
        let mut tokenizer = found.for_shards().map_err(tokenizer_error)?;
        if let (false, Some(manifest)) = (says_case, manifest(dir)?) {
            let own = dir.join(TOKENIZER_FILE);
            let own = own.exists().then(|| wordpiece::import(&own, true)).transpose().map_err(tokenizer_error)?;
            tokenizer = match own {
                Some(own) if wordpiece::vocab_txt(&own) == wordpiece::vocab_txt(&tokenizer) => own,
                _ => {
                    let casing = casing_of(&manifest.tokenizer).unwrap_or(Casing::from(true));
                    wordpiece::import(path, casing).map_err(tokenizer_error)?
                }
            };
        }
        Ok((Self::of(&tokenizer, notes)?, wordpiece::casing(&tokenizer)))
    }

    fn of(tokenizer: &Tokenizer, notes: Vec<String>) -> Result<Self> {
        let tokens = wordpiece::vocab_txt(tokenizer);
        Ok(Self {
            json: wordpiece::to_json(tokenizer).map_err(tokenizer_error)?,
            size: wordpiece::vocab_size(tokenizer) as usize,
            hash: wordpiece::hash(tokens.as_bytes()),
            special: SpecialTokens::of(tokenizer).map_err(tokenizer_error)?,
            continues: tokens.lines().map(|token| token.starts_with(CONTINUATION)).collect(),
            tokens: tokens.into(),
            notes,
        })
    }

    /// Checks that a model with `num_rows` word embeddings and the tokenizer `model` means by every id what this one does. One of
    /// the two may have tokens behind the last of the other.
    ///
    /// # Errors
    /// The first id with another token, and more tokens than the model has rows.
    pub fn fits(&self, model: &Self, num_rows: i64) -> Result<()> {
        let differ = self.tokens.lines().zip(model.tokens.lines()).enumerate().find(|(_, (own, other))| own != other);
        if let Some((id, (own, other))) = differ {
            return Err(Error::data(format!(
                "the vocabularies differ: token {id} of {} is `{own}` in the data, of {} it is `{other}` in the model",
                self.size, model.size
            )));
        }
        if self.size as i64 > num_rows {
            return Err(Error::data(format!(
                "the data's vocabulary has {} tokens, the model only {num_rows} rows of word embeddings",
                self.size
            )));
        }
        Ok(())
    }
}

/// How the tokenizer of a folder of shards treats case and accents; nothing if its manifest does not say.
fn casing_of(entry: &TokenizerEntry) -> Option<Casing> {
    entry.lowercase.map(|lowercase| Casing { lowercase, strip_accents: entry.strip_accents })
}

/// Checks that the tokenizer at `path` treats case and accents as the one that made the shards of `dir`: a model would be exported with a
/// tokenizer that makes other tokens of a text than those that it has learnt from.
fn check_casing(path: &Path, reads: Casing, dir: &Path, made: Casing) -> Result<()> {
    let case = |casing: Casing| if casing.lowercase { "lower-cases text" } else { "keeps the case of text" };
    let accents = |casing: Casing| if casing.strips_accents() { "strips accents" } else { "keeps accents" };
    let (expected, got) = if reads.lowercase != made.lowercase {
        (case(made), case(reads))
    } else if reads.strips_accents() != made.strips_accents() {
        (accents(made), accents(reads))
    } else {
        return Ok(());
    };
    Err(Error::data(format!(
        "`{}` is not the tokenizer that made `{}`: expected one that {expected}, got one that {got}",
        path.display(),
        dir.display()
    ))
    .hint("remove `data.tokenizer`, or prepare the data again with that tokenizer"))
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
    Error::data("the data cannot be used").hint_if_any(error.hint()).caused_by(error)
}

fn tokenizer_error(error: TokenizerError) -> Error {
    Error::data("the tokenizer cannot be used").hint_if_any(error.hint()).caused_by(error)
}
