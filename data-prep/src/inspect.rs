//! A folder of shards in, what it holds out: counts, lengths, tokens, duplicates, and whether its files are whole.
//!
//! In: a folder that [`prepare`](crate::pipeline::prepare) made, or Megatron-LM's shards with their tokenizer. Out: a [`Report`].
//! Cost: every token is read once on all cores, with `verify` every byte once more; memory is 8 bytes a document and a few
//! counters a token of the vocabulary and thread.

mod command;
mod lengths;
mod scan;
mod table;

pub use command::InspectArgs;
pub use lengths::{Bin, LengthReport, Lengths};

use crate::manifest::{Manifest, MANIFEST_FILE, TOKENIZER_FILE};
use crate::pipeline::Progress;
use crate::shard::{ShardError, ShardSet, Share, Split};
use crate::wordpiece::{self, SpecialTokens, TokenizerError, CONTINUATION};
use rayon::slice::ParallelSliceMut;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// Why a folder cannot be inspected.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the sentence above each variant
pub enum InspectError {
    /// A shard or the manifest is invalid.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The tokenizer is invalid.
    #[error("the tokenizer cannot be used")]
    Tokenizer(#[from] TokenizerError),
    /// A tokenizer that did not make the tokens.
    #[error("`{}` is not the tokenizer that made the shards: expected vocabulary xxh3 `{expected}`, got `{got}`", path.display())]
    OtherTokenizer { path: PathBuf, expected: String, got: String },
    /// Foreign shards do not say what their ids mean.
    #[error("`{}` has no manifest, so its tokenizer is not known", path.display())]
    NoTokenizer { path: PathBuf },
    /// Nothing to compare with.
    #[error("`{}` has no manifest, so there are no hashes to verify", path.display())]
    NoHashes { path: PathBuf },
    /// The report cannot be written.
    #[error("cannot write to stdout")]
    Output(#[source] std::io::Error),
}

impl InspectError {
    /// The exit code of the process: 1 failed, 2 usage, 3 invalid data.
    pub fn exit_code(&self) -> u8 {
        match self {
            InspectError::Output(_) => 1,
            InspectError::NoTokenizer { .. } | InspectError::NoHashes { .. } => 2,
            InspectError::Shard(_) | InspectError::Tokenizer(_) | InspectError::OtherTokenizer { .. } => 3,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            InspectError::Shard(error) => error.hint(),
            InspectError::OtherTokenizer { .. } => Some("leave out `--tokenizer`, or prepare the data again"),
            InspectError::NoTokenizer { .. } => Some("give the tokenizer.json or vocab.txt with `--tokenizer`"),
            InspectError::NoHashes { .. } => {
                Some("leave out `--verify`: every index and token is checked as it is read")
            }
            InspectError::Tokenizer(_) | InspectError::Output(_) => None,
        }
    }
}

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Tokens of the vocabulary, special ones included.
    pub vocab_size: u32,
    /// Whether every file has the hash that the manifest says; false where that was not asked.
    pub verified: bool,
    /// The splits that there are, `train` first.
    pub splits: Vec<SplitReport>,
}

/// What a split holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitReport {
    /// Which.
    pub split: Split,
    /// Documents.
    pub documents: u64,
    /// Sequences: sentences, or documents where each is one sequence.
    pub sequences: u64,
    /// Tokens, separators not counted.
    pub tokens: u64,
    /// Bytes of text a token, as far as tokens tell: their spelling, and a space before each word.
    pub text_bytes_per_token: f64,
    /// Bytes a token in `.bin`.
    pub stored_bytes_per_token: f64,
    /// Tokens of documents.
    pub document_lengths: LengthReport,
    /// Tokens of sequences; none where every document is one sequence.
    pub sequence_lengths: Option<LengthReport>,
    /// The most frequent tokens, the first the most frequent; by id where equal.
    pub frequent: Vec<TokenShare>,
    /// Tokens of the vocabulary that do not occur, special ones other than `[UNK]` not counted: shards hold none.
    pub unused_tokens: u64,
    /// Share of `[UNK]` in the tokens, 0 to 1.
    pub unknown_rate: f64,
    /// Share of documents whose tokens are those of another one before, 0 to 1, by their 64-bit hash.
    pub duplicate_rate: f64,
}

/// One token and its share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenShare {
    /// As the vocabulary spells it.
    pub token: String,
    /// Times it occurs.
    pub count: u64,
    /// Share of all tokens, 0 to 1.
    pub share: f64,
}

/// A folder opened for inspection.
#[derive(Debug)]
pub struct Folder {
    tokenizer: Tokenizer,
    special: SpecialTokens,
    vocab_size: u32,
    verified: bool,
    splits: Vec<(Split, ShardSet)>,
}

impl Folder {
    /// Opens the splits of `dir` and checks the sizes, counts and the tokenizer, with `verify` every hash. `tokenizer` stands
    /// for the one in `dir`; data without a manifest needs it, and `valid_fraction` as [`ShardSet::open_with`] does.
    ///
    /// # Errors
    /// Whatever is missing, damaged or does not fit.
    pub fn open(
        dir: &Path,
        tokenizer: Option<&Path>,
        verify: bool,
        valid_fraction: f64,
    ) -> Result<Folder, InspectError> {
        let manifest = match (dir.join(MANIFEST_FILE).exists(), verify) {
            (true, true) => Some(Manifest::verify(dir)?),
            (true, false) => Some(Manifest::check(dir)?),
            (false, _) => None,
        };
        let mut splits = Vec::new();
        for split in Split::ALL {
            match ShardSet::open_with(dir, split, valid_fraction) {
                Ok(set) => splits.push((split, set)),
                // All text may be in one split.
                Err(ShardError::NoShards { .. }) if split == Split::Valid && !splits.is_empty() => {}
                Err(error) => return Err(error.into()),
            }
        }
        if manifest.is_none() && verify {
            return Err(InspectError::NoHashes { path: dir.to_owned() });
        }
        let path = match (tokenizer, &manifest) {
            (Some(path), _) => path.to_owned(),
            (None, Some(_)) => dir.join(TOKENIZER_FILE),
            (None, None) => return Err(InspectError::NoTokenizer { path: dir.to_owned() }),
        };
        let tokenizer = wordpiece::import(&path, true)?;
        if let Some(manifest) = &manifest {
            let got = wordpiece::hash(wordpiece::vocab_txt(&tokenizer).as_bytes());
            let expected = manifest.tokenizer.vocab.xxh3.clone();
            if got != expected {
                return Err(InspectError::OtherTokenizer { path, expected, got });
            }
        }
        let special = SpecialTokens::of(&tokenizer)?;
        let vocab_size = wordpiece::vocab_size(&tokenizer);
        Ok(Folder { tokenizer, special, vocab_size, verified: verify, splits })
    }

    /// How documents were held out, if the files had no held-out part of their own.
    pub fn held_out(&self) -> Option<Share> {
        self.splits.first()?.1.held_out()
    }

    /// Reads every token. `top` is how many of the most frequent tokens to name.
    ///
    /// # Errors
    /// A damaged index, or a token outside the vocabulary.
    pub fn report(&self, top: usize, progress: &dyn Progress) -> Result<Report, InspectError> {
        let mut splits = Vec::new();
        for (split, set) in &self.splits {
            progress.stage(&format!("reading {split}"), stored_bytes(set));
            splits.push(self.split_report(*split, set, top, progress)?);
        }
        progress.finish();
        Ok(Report { vocab_size: self.vocab_size, verified: self.verified, splits })
    }

    fn split_report(
        &self,
        split: Split,
        set: &ShardSet,
        top: usize,
        progress: &dyn Progress,
    ) -> Result<SplitReport, InspectError> {
        let mut scan = scan::scan(set, self.vocab_size, progress)?;
        let (documents, sequences, tokens) = (scan.documents.count(), scan.sequences.count(), set.num_tokens());
        let share = |count: u64, all: u64| if all == 0 { 0.0 } else { count as f64 / all as f64 };
        let spelling = |id: u32| self.tokenizer.id_to_token(id).unwrap_or_default();

        let mut used: Vec<(u32, u64)> =
            (0..).zip(scan.tokens.iter().copied()).filter(|&(_, count)| count > 0).collect();
        used.sort_unstable_by_key(|&(id, count)| (std::cmp::Reverse(count), id));
        let text_bytes: u64 = used.iter().map(|&(id, count)| count * text_bytes(&spelling(id))).sum();
        let frequent = used
            .iter()
            .take(top)
            .map(|&(id, count)| TokenShare { token: spelling(id), count, share: share(count, tokens) })
            .collect();
        let SpecialTokens { pad, unk, cls, sep, mask } = self.special;
        let unused = (0..).zip(&scan.tokens).filter(|&(id, &count)| count == 0 && ![pad, cls, sep, mask].contains(&id));

        scan.hashes.par_sort_unstable();
        let repeated = scan.hashes.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        Ok(SplitReport {
            split,
            documents,
            sequences,
            tokens,
            text_bytes_per_token: share(text_bytes, tokens),
            stored_bytes_per_token: share(stored_bytes(set), tokens),
            document_lengths: scan.documents.report(),
            sequence_lengths: (sequences != documents).then(|| scan.sequences.report()),
            frequent,
            unused_tokens: unused.count() as u64,
            unknown_rate: share(scan.tokens[unk as usize], tokens),
            duplicate_rate: share(repeated, documents),
        })
    }

    /// The first `length` tokens of up to `count` documents, spread evenly over the first split, as text.
    ///
    /// # Errors
    /// A damaged index, or a token outside the vocabulary.
    pub fn beginnings(&self, count: u64, length: u64) -> Result<Vec<String>, InspectError> {
        let Some((_, set)) = self.splits.first() else {
            return Ok(Vec::new());
        };
        let count = count.min(set.num_documents());
        (0..count)
            .map(|number| {
                let document = u128::from(number) * u128::from(set.num_documents()) / u128::from(count);
                let (shard, document) = set.find_document(document as u64)?;
                let shard = &set.shards()[shard];
                let (start, end) = (shard.document_start(document)?, shard.document_start(document + 1)?);
                let mut ids = vec![0; length.min(end.saturating_sub(start)) as usize];
                shard.read_tokens(start, &mut ids)?;
                self.tokenizer.decode(&ids, false).map_err(|error| TokenizerError::Tokenise(error.to_string()).into())
            })
            .collect()
    }
}

fn stored_bytes(set: &ShardSet) -> u64 {
    // Those of Megatron-LM in one folder may be of different types: each token as its shard has it, on average.
    let (bytes, tokens) = set.shards().iter().fold((0, 0), |(bytes, tokens), shard| {
        (bytes + shard.num_tokens() * shard.token_type().size() as u64, tokens + shard.num_tokens())
    });
    (u128::from(bytes) * u128::from(set.num_tokens()) / u128::from(tokens.max(1))) as u64
}

fn text_bytes(token: &str) -> u64 {
    match token.strip_prefix(CONTINUATION) {
        Some(rest) if !rest.is_empty() => rest.len() as u64,
        _ => token.len() as u64 + 1,
    }
}
