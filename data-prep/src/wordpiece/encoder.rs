//! Text in, WordPiece ids out, each distinct piece of text tokenised once.
//!
//! The `tokenizers` crate does the tokenising; an [`Encoder`] remembers what it said about the pieces that it met (see
//! [`pieces`](super::pieces)), because a text of millions of words has only thousands of different ones. Cost: one hash lookup a
//! piece, and at most [`MAX_REMEMBERED`] remembered pieces, about 20 MB; the ids do not depend on what is remembered.

use super::pieces::pieces;
use super::{cut, TokenizerError};
use ahash::AHashMap;
use tokenizers::{ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer};

/// Pieces that an encoder remembers; the first ones met are the frequent ones.
const MAX_REMEMBERED: usize = 1 << 18;
/// Longer pieces are not worth remembering.
const MAX_PIECE_BYTES: usize = 64;

/// Tokenises text without special tokens; one a thread.
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    /// Whether pieces tokenise apart from one another.
    by_piece: bool,
    /// `[UNK]`, and the most characters that a word may have to be anything else.
    unknown: Option<(u32, usize)>,
    /// Where the ids of a piece are in `ids`: start and number.
    known: AHashMap<Box<str>, (u32, u32)>,
    ids: Vec<u32>,
}

impl<'a> Encoder<'a> {
    /// An encoder that has met nothing yet.
    pub fn new(tokenizer: &'a Tokenizer) -> Encoder<'a> {
        Encoder {
            tokenizer,
            by_piece: is_plain_bert(tokenizer),
            unknown: match tokenizer.get_model() {
                ModelWrapper::WordPiece(model) => {
                    tokenizer.token_to_id(&model.unk_token).map(|unk| (unk, model.max_input_chars_per_word))
                }
                _ => None,
            },
            known: AHashMap::new(),
            ids: Vec::new(),
        }
    }

    /// Appends the ids of `text` to `out`. Text that spells a special token is text.
    ///
    /// # Errors
    /// If the crate fails.
    pub fn encode(&mut self, text: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        if !self.by_piece {
            return cut(text).try_for_each(|part| encode_with(self.tokenizer, part, out));
        }
        for piece in pieces(text) {
            if let Some(&(start, number)) = self.known.get(piece) {
                out.extend_from_slice(&self.ids[start as usize..(start + number) as usize]);
            } else {
                self.encode_piece(piece, out)?;
            }
        }
        Ok(())
    }

    fn encode_piece(&mut self, piece: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        match self.unknown {
            // The crate would need a hundred times the word's size to say so.
            Some((unk, longest)) if piece.len() > longest && piece.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                out.push(unk);
                return Ok(());
            }
            _ => {}
        }
        let before = out.len();
        encode_with(self.tokenizer, piece, out)?;
        if self.known.len() < MAX_REMEMBERED && piece.len() <= MAX_PIECE_BYTES {
            let found = &out[before..];
            self.known.insert(piece.into(), (self.ids.len() as u32, found.len() as u32));
            self.ids.extend_from_slice(found);
        }
        Ok(())
    }
}

fn encode_with(tokenizer: &Tokenizer, text: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
    let encoding = tokenizer.encode_fast(text, false).map_err(|error| TokenizerError::Tokenise(error.to_string()))?;
    out.extend_from_slice(encoding.get_ids());
    Ok(())
}

/// Whether `tokenizer` normalises and splits as Google's BERT, and knows no tokens beside its vocabulary that could reach
/// over whitespace or punctuation.
fn is_plain_bert(tokenizer: &Tokenizer) -> bool {
    let normalizer =
        matches!(tokenizer.get_normalizer(), Some(NormalizerWrapper::BertNormalizer(found)) if found.clean_text);
    let splitter = matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)));
    let added = tokenizer.get_added_tokens_decoder();
    normalizer && splitter && tokenizer.get_encode_special_tokens() && added.values().all(|token| token.special)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wordpiece;
    use proptest::prelude::*;

    fn tokenizer(lowercase: bool) -> Tokenizer {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/vocab.txt");
        wordpiece::import(&path, lowercase).unwrap()
    }

    /// What the crate makes of the whole text at once.
    fn whole(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Any characters, and many of those where pieces meet: marks, accents that combine, CJK, whitespace, controls.
        #[test]
        fn pieces_tokenise_as_the_whole(
            text in "(\\PC|[a-cA-C .,'!\\-\\t\\n\\r=<>\u{b}\u{c}\u{0}\u{301}\u{308}\u{338}\u{327}\u{200d}\u{a0}\u{3000}\u{4e2d}\u{6587}éÅﬁİΣς—…]){0,40}",
            lowercase: bool,
        ) {
            let tokenizer = tokenizer(lowercase);
            let mut encoder = Encoder::new(&tokenizer);
            for _ in 0..2 {
                let mut ids = Vec::new();
                encoder.encode(&text, &mut ids).unwrap();
                prop_assert_eq!(&ids, &whole(&tokenizer, &text));
            }
        }
    }

    #[test]
    fn long_words_are_unknown_without_help() {
        let tokenizer = tokenizer(true);
        for length in [99, 100, 101, 5000] {
            let text = format!("the {} fox", "a".repeat(length));
            let mut ids = Vec::new();
            Encoder::new(&tokenizer).encode(&text, &mut ids).unwrap();
            assert_eq!(ids, whole(&tokenizer, &text), "{length}");
        }
    }

    #[test]
    fn tokens_that_reach_over_spaces_are_found() {
        let mut tokenizer = tokenizer(true);
        tokenizer.add_tokens([tokenizers::AddedToken::from("the fox", false)]).unwrap();
        let mut ids = Vec::new();
        Encoder::new(&tokenizer).encode("see the fox run", &mut ids).unwrap();
        assert_eq!(ids, whole(&tokenizer, "see the fox run"));
        assert!(ids.contains(&tokenizer.token_to_id("the fox").unwrap()));
    }
}
