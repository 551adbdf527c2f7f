//! Every way in which shards and their manifest can be wrong, with the sentence that says so.

use super::Split;
use std::io;
use std::path::PathBuf;

/// Why shards cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the fields are the numbers of the sentence above each variant
pub enum ShardError {
    /// The file system said no.
    #[error("cannot access `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },

    /// What a clone without git-lfs has in the place of a file.
    #[error("`{}` is {what}", path.display())]
    Pointer { path: PathBuf, what: String },
    /// An index of fairseq's format, which Megatron-LM had before.
    #[error("index `{}` has the old format of Megatron-LM (`TNTIDX`): expected `MMIDIDX`", path.display())]
    OldIndex { path: PathBuf },
    /// The same text as documents and as sentences.
    #[error("`{}` holds the same text twice, as `{documents}` and as `{sentences}`", path.display())]
    TwoLevels { path: PathBuf, documents: String, sentences: String },
    /// The index ends within its header.
    #[error("index `{}` is too short: expected at least {expected} bytes, got {got}", path.display())]
    IndexTooShort { path: PathBuf, expected: u64, got: u64 },
    /// The index does not start as one.
    #[error("`{}` is no Megatron index: expected it to start with `MMIDIDX`", path.display())]
    Magic { path: PathBuf },
    /// An index of another version.
    #[error("index `{}` has the wrong version: expected {expected}, got {got}", path.display())]
    Version { path: PathBuf, expected: u64, got: u64 },
    /// Tokens of a type that is not read.
    #[error("index `{}` has token type {code}: expected 8 (`uint16`) or 4 (`int32`)", path.display())]
    TokenType { path: PathBuf, code: u8 },
    /// The size of the index is not what its counts make.
    #[error(
        "index `{}` has the wrong size for {num_sequences} sequences and {num_document_indices} document indices: \
         expected {expected} bytes, got {got}",
        path.display()
    )]
    IndexSize { path: PathBuf, num_sequences: u64, num_document_indices: u64, expected: u128, got: u64 },
    /// Not even the end of the documents is there.
    #[error("index `{}` has no document indices: expected at least 1", path.display())]
    NoDocumentIndex { path: PathBuf },
    /// The documents do not start at the first sequence.
    #[error("index `{}` starts its first document at the wrong sequence: expected 0, got {got}", path.display())]
    FirstDocument { path: PathBuf, got: i64 },
    /// The documents do not end at the last sequence.
    #[error("index `{}` ends its last document at the wrong sequence: expected {expected}, got {got}", path.display())]
    LastDocument { path: PathBuf, expected: u64, got: i64 },
    /// The first sequence is not at the start of the tokens.
    #[error("index `{}` starts its first sequence at the wrong byte: expected 0, got {got}", path.display())]
    FirstPointer { path: PathBuf, got: i64 },
    /// The size of the tokens is not what the index says.
    #[error("tokens `{}` have the wrong size: expected {expected} bytes by the index, got {got}", path.display())]
    BinSize { path: PathBuf, expected: i128, got: u64 },

    /// A file that was changed in place while it is mapped: reading behind its end would kill the process.
    #[error("`{}` has changed since it was opened: expected {expected} bytes, got {got}", path.display())]
    Changed { path: PathBuf, expected: u64, got: u64 },

    /// Document indices that go down or leave the sequences.
    #[error(
        "index `{}` is damaged at document {document}: it starts at sequence {got} and the next one at {next}",
        path.display()
    )]
    DocumentOrder { path: PathBuf, document: u64, got: i64, next: i64 },
    /// Document starts that go down, so that a place in the stream cannot be found.
    #[error("index `{}` is damaged near document {document}: documents do not start one after the other", path.display())]
    DocumentStarts { path: PathBuf, document: u64 },
    /// A pointer outside the tokens, or into the middle of one.
    #[error(
        "index `{}` is damaged at sequence {sequence}: expected a multiple of {size} from 0 to {limit}, got {got}",
        path.display()
    )]
    SequencePointer { path: PathBuf, sequence: u64, got: i64, size: u64, limit: u64 },
    /// A sequence length below zero.
    #[error("index `{}` has a negative length at sequence {sequence}: got {got}", path.display())]
    NegativeLength { path: PathBuf, sequence: u64, got: i32 },
    /// A sequence that does not end where the next one starts.
    #[error(
        "index `{}` is damaged at sequence {sequence}: {length} tokens from token {start} on should end where the next \
         sequence starts, got {next}",
        path.display()
    )]
    SequenceEnd { path: PathBuf, sequence: u64, start: u64, length: u64, next: u64 },
    /// Sequences whose end lies before their start.
    #[error(
        "index `{}` is damaged between sequences {sequence} and {next}: they start at tokens {start} and {end}",
        path.display()
    )]
    SequenceOrder { path: PathBuf, sequence: u64, start: u64, next: u64, end: u64 },
    /// An int32 token below zero.
    #[error("tokens `{}` have a negative token at position {position}: got {got}", path.display())]
    NegativeToken { path: PathBuf, position: u64, got: i32 },
    /// A token that the tokenizer does not have.
    #[error(
        "token {position} of `{}` is not in the vocabulary: expected less than {vocab_size}, got {got}",
        path.display()
    )]
    TokenOutOfVocabulary { path: PathBuf, position: u64, vocab_size: u32, got: u32 },
    /// The caller asked for more than there is.
    #[error("{what} {got} is out of range in `{}`: it has {limit}", path.display())]
    OutOfRange { path: PathBuf, what: &'static str, got: u64, limit: u64 },
    /// The caller asked for a document that the split does not have.
    #[error("document {got} is out of range: the split has {limit}")]
    DocumentOutOfRange { got: u64, limit: u64 },
    /// The caller asked for more than the whole stream has.
    #[error("the end of a run of the stream is out of range: expected at most {limit}, got {got}")]
    StreamOutOfRange { got: u64, limit: u64 },

    /// A token that the token type of a new shard cannot hold.
    #[error("token {got} does not fit the shard `{}`: expected at most {limit}", path.display())]
    TokenTooLarge { path: PathBuf, got: u32, limit: u32 },
    /// A sequence longer than the format can say.
    #[error("a sequence does not fit the shard `{}`: expected at most {limit} tokens, got {got}", path.display())]
    SequenceTooLong { path: PathBuf, got: u64, limit: u64 },

    /// A folder without shards of this split.
    #[error(
        "no {split} shards in `{}`: expected a manifest, `{split}-00000.idx` and `{split}-00000.bin`, or Megatron-LM's \
         `PREFIX_text_document.idx` and `PREFIX_text_document.bin`",
        path.display()
    )]
    NoShards { path: PathBuf, split: Split },
    /// A preparation that was interrupted, or that is still under way.
    #[error("`{}` is unfinished: it has no `manifest.json` and a `.partial` folder", path.display())]
    Unfinished { path: PathBuf },

    /// A manifest that does not parse.
    #[error("manifest `{}` is not valid", path.display())]
    ManifestJson { path: PathBuf, source: serde_json::Error },
    /// A manifest of another version.
    #[error("manifest `{}` has the wrong version: expected {expected}, got {got}", path.display())]
    ManifestVersion { path: PathBuf, expected: u32, got: u32 },
    /// A shard name in the manifest that leads elsewhere.
    #[error("manifest `{}` names a shard `{name}`: expected `{split}-` and digits", path.display())]
    ManifestName { path: PathBuf, name: String, split: Split },
    /// Counts of the manifest that do not add up.
    #[error("manifest `{}` does not add up: {what} of `{split}`: expected {expected}, its shards have {got}", path.display())]
    ManifestCounts { path: PathBuf, split: Split, what: &'static str, expected: u64, got: u64 },
    /// A file of another size than the manifest says.
    #[error("`{}` does not match the manifest: expected {expected} bytes, got {got}", path.display())]
    FileSize { path: PathBuf, expected: u64, got: u64 },
    /// A file of other content than the manifest says.
    #[error("`{}` does not match the manifest: expected xxh3 `{expected}`, got `{got}`", path.display())]
    FileHash { path: PathBuf, expected: String, got: String },
    /// A file of an unfinished shard that is gone in part.
    #[error("`{}` holds less than the unfinished preparation had written", path.display())]
    CheckpointLost { path: PathBuf },
    /// A shard of other counts than the manifest says.
    #[error("`{}` does not match the manifest: expected {expected} {what}, got {got}", path.display())]
    ShardCounts { path: PathBuf, what: &'static str, expected: u64, got: u64 },
}

impl ShardError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            ShardError::Unfinished { .. } => Some("run the same `prepare` again; it goes on from there"),
            ShardError::NoShards { split: Split::Valid, .. } => {
                Some("hold some documents out: `--valid-fraction` of `untie prepare`, `data.valid_fraction` for Megatron-LM's files")
            }
            ShardError::NoShards { .. } => Some("make shards with `untie prepare --input FILE --out DIR`"),
            ShardError::Pointer { .. } => {
                Some("run `git lfs pull` (or `git annex get`) in its repository, or download the file itself")
            }
            ShardError::OldIndex { .. } => Some("make it again with a newer `preprocess_data.py` (`--dataset-impl mmap`)"),
            ShardError::TwoLevels { .. } => {
                Some("name one of the two with its folder, without `.bin` and `.idx`; pairs of segments need sentences")
            }
            ShardError::TokenType { .. } => Some("other token types come from data that is not text"),
            ShardError::IndexSize { .. } => {
                Some("the file was cut short, or it is a multimodal dataset, which is not read")
            }
            ShardError::FileSize { .. } | ShardError::FileHash { .. } | ShardError::ShardCounts { .. } => {
                Some("the file was changed or cut short; copy it again, or prepare again with `--force`")
            }
            ShardError::CheckpointLost { .. } => Some("start anew with `--force`"),
            ShardError::ManifestVersion { .. } => Some("prepare the data again with this version"),
            ShardError::TokenOutOfVocabulary { .. } => Some("these shards were made with another tokenizer"),
            _ => None,
        }
    }
}
