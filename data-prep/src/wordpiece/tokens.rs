//! What WordPiece and BERT fix of tokens and words.

/// Prefix of a token that continues a word.
pub const CONTINUATION: &str = "##";

/// Words with more characters become `[UNK]`, as in Google's BERT.
pub(super) const MAX_WORD_CHARACTERS: usize = 100;

/// The special tokens of a trained vocabulary: their ids are their places here.
pub const SPECIAL_TOKENS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
