//! Every way in which a preparation can fail, with what the user can do and the exit code.

use crate::corpus::{CorpusError, InputError};
use crate::shard::ShardError;
use crate::wordpiece::TokenizerError;
use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

const FULL: &str =
    "the disk is full: `--dry-run` prints what is needed; make room and run it again, it goes on from where it was";

/// Why there are no shards.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are the words of the sentence above each variant
pub enum PrepareError {
    /// Nothing to read.
    #[error("no input: expected at least one file")]
    NoInput,
    /// The inputs do not lead to corpus files.
    #[error(transparent)]
    Inputs(#[from] InputError),
    /// An input that is not there.
    #[error("cannot open the input `{}`", path.display())]
    Input { path: PathBuf, source: io::Error },
    /// A held-out fraction that makes no sense.
    #[error("the valid fraction is out of range: expected 0 or more and less than 1, got {got}")]
    ValidFraction { got: f64 },
    /// Shards that cannot hold anything.
    #[error("the shard size is out of range: expected at least 1 token, got 0")]
    ShardTokens,
    /// Too little memory to work in.
    #[error("the memory limit is too low: expected at least {} MB, got {} MB", expected / 1_000_000, got / 1_000_000)]
    MemoryLimit { expected: u64, got: u64 },
    /// More different texts than can be remembered.
    #[error(
        "the memory limit of {} MB is reached: {num_hashes} hashes are remembered to find duplicates",
        limit / 1_000_000
    )]
    DedupMemory { limit: u64, num_hashes: u64 },
    /// What cannot be looked at before.
    #[error("standard input can only be read once: expected files for `--dry-run`")]
    PlanOfStdin,
    /// Another process works in the folder.
    #[error("another preparation is working in `{}`", path.display())]
    InUse { path: PathBuf },
    /// The output folder is already complete, with other content.
    #[error("`{}` already holds prepared data that differs: {difference}", path.display())]
    OutputExists { path: PathBuf, difference: String },
    /// The output folder holds shards from elsewhere.
    #[error("`{}` holds shards without a manifest: expected an empty or new folder", path.display())]
    OutputHasShards { path: PathBuf },
    /// A corpus file that cannot be read to its end.
    #[error("cannot read the corpus `{}`", path.display())]
    Corpus { path: PathBuf, source: CorpusError },
    /// Nothing but empty documents.
    #[error("the corpus is empty: expected documents with text, got none (left out: {dropped})")]
    EmptyCorpus { dropped: String },
    /// A corpus that cannot be split in two.
    #[error("the corpus is too small to split: expected at least 2 documents, got {num_documents}")]
    TooFewDocuments { num_documents: u64 },
    /// All documents were held out.
    #[error("no document is left to train on: all {num_documents} were held out")]
    NoTraining { num_documents: u64 },
    /// The tokenizer cannot be trained or used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The shards cannot be written.
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// The output folder cannot be written.
    #[error("cannot write `{}`", path.display())]
    Output { path: PathBuf, source: io::Error },
    /// The threads cannot be started.
    #[error("cannot start {workers} worker threads: {message}")]
    Workers { workers: usize, message: String },
}

impl PrepareError {
    /// The exit code of the command line: 1 failed, 2 usage or config, 3 data invalid.
    pub fn exit_code(&self) -> u8 {
        use PrepareError as E;
        match self {
            E::NoInput
            | E::Inputs(_)
            | E::Input { .. }
            | E::MemoryLimit { .. }
            | E::PlanOfStdin
            | E::ValidFraction { .. }
            | E::ShardTokens
            | E::OutputExists { .. }
            | E::OutputHasShards { .. }
            | E::NoTraining { .. }
            | E::Tokenizer(TokenizerError::VocabularyTooSmall { .. } | TokenizerError::NotThere { .. }) => 2,
            // The system's own errors have a number; those of a decoder have none.
            E::Corpus { source: CorpusError::Io(error), .. } if error.raw_os_error().is_some() => 1,
            E::Corpus { .. } | E::EmptyCorpus { .. } | E::TooFewDocuments { .. } => 3,
            E::Tokenizer(TokenizerError::Tokenise(_)) => 1,
            E::Tokenizer(TokenizerError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => 2,
            E::Tokenizer(TokenizerError::Io { .. }) => 1,
            E::Tokenizer(_) => 3,
            E::Shard(ShardError::Io { .. } | ShardError::CheckpointLost { .. }) => 1,
            E::Output { .. } | E::Workers { .. } | E::DedupMemory { .. } | E::InUse { .. } => 1,
            E::Shard(_) => 3,
        }
    }

    /// Whether other input or settings, which the error asks for, can do with the text that was read.
    pub(super) fn keeps_text(&self) -> bool {
        use PrepareError as E;
        matches!(
            self,
            E::Corpus { .. } | E::Tokenizer(TokenizerError::VocabularyTooSmall { .. }) | E::NoTraining { .. }
        )
    }

    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        use PrepareError as E;
        if self.io_kind() == Some(ErrorKind::StorageFull) {
            return Some(FULL.into());
        }
        let hint = match self {
            E::Inputs(error) => return Some(error.hint()),
            E::NoInput | E::Input { .. } => "name existing files with `--input`",
            E::MemoryLimit { .. } => "raise `--memory-limit`",
            E::DedupMemory { .. } => "raise `--memory-limit` and run it again, or leave out `--dedup paragraphs` or `near`",
            E::InUse { .. } => "wait for it, or name another folder with `--out`",
            E::OutputExists { .. } => "name another folder with `--out`, or replace this one with `--force`",
            E::OutputHasShards { .. } => "name another folder with `--out`, or delete these with `--force`",
            E::Corpus { source, .. } => return source.hint(),
            E::EmptyCorpus { .. } => "check that `--format` is the format of the input",
            E::TooFewDocuments { .. } => "hold nothing out with `--valid-fraction 0`; a text file is one document, `--format blocks` splits it at blank lines",
            E::NoTraining { .. } => "lower `--valid-fraction`",
            E::Tokenizer(TokenizerError::VocabularyTooSmall { .. }) => "raise `--vocab-size`",
            E::Tokenizer(
                TokenizerError::MissingSpecialToken { .. }
                | TokenizerError::NotWordPiece { .. }
                | TokenizerError::NotThere { .. }
                | TokenizerError::Class { .. },
            ) => "name a BERT tokenizer with `--tokenizer`, or train one with `--vocab-size`",
            E::Tokenizer(error) => return error.hint().map(Cow::Borrowed),
            E::Shard(error) => return error.hint().map(Cow::Borrowed),
            _ => return None,
        };
        Some(hint.into())
    }

    fn io_kind(&self) -> Option<ErrorKind> {
        match self {
            PrepareError::Output { source, .. }
            | PrepareError::Shard(ShardError::Io { source, .. })
            | PrepareError::Tokenizer(TokenizerError::Io { source, .. })
            | PrepareError::Corpus { source: CorpusError::Io(source), .. } => Some(source.kind()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_a_hint_wherever_it_shows() {
        let full = || io::Error::from(ErrorKind::StorageFull);
        let path = PathBuf::from("out");
        for error in [
            PrepareError::Output { path: path.clone(), source: full() },
            PrepareError::Shard(ShardError::Io { path: path.clone(), source: full() }),
            PrepareError::Tokenizer(TokenizerError::Io { path, source: full() }),
        ] {
            assert!(error.hint().unwrap().starts_with("the disk is full"), "{error}");
        }
    }

    #[test]
    fn the_system_fails_and_the_data_is_invalid() {
        let corpus = |source| PrepareError::Corpus { path: PathBuf::from("a"), source: CorpusError::Io(source) };
        assert_eq!(corpus(io::Error::from_raw_os_error(5)).exit_code(), 1);
        assert_eq!(corpus(io::Error::from(ErrorKind::UnexpectedEof)).exit_code(), 3);
        let tokenizer = |kind| TokenizerError::Io { path: PathBuf::from("a"), source: io::Error::from(kind) };
        assert_eq!(PrepareError::Tokenizer(tokenizer(ErrorKind::NotFound)).exit_code(), 2);
        assert_eq!(PrepareError::Tokenizer(tokenizer(ErrorKind::StorageFull)).exit_code(), 1);
    }
}
