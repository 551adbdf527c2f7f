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
    /// Whether pieces tokenise apart from one another, and if so, whether ideographs are set apart.
    by_piece: Option<bool>,
    /// `[UNK]`, and the most characters that a word may have to be anything else.
    unknown: Option<(u32, usize)>,
    /// Where the ids of a piece are in `ids`: start and number.
    known: AHashMap<Box<str>, (u32, u32)>,
    ids: Vec<u32>,
    num_long_words: u64,
}

impl<'a> Encoder<'a> {
    /// An encoder that has met nothing yet.
    pub fn new(tokenizer: &'a Tokenizer) -> Encoder<'a> {
        Encoder {
            tokenizer,
            by_piece: plain_bert(tokenizer),
            unknown: match tokenizer.get_model() {
                ModelWrapper::WordPiece(model) => {
                    tokenizer.token_to_id(&model.unk_token).map(|unk| (unk, model.max_input_chars_per_word))
                }
                _ => None,
            },
            known: AHashMap::new(),
            ids: Vec::new(),
            num_long_words: 0,
        }
    }

    /// The words so far that are `[UNK]` because they are longer than the tokenizer allows (100 characters in BERT's).
    pub fn num_long_words(&self) -> u64 {
        self.num_long_words
    }

    /// Appends the ids of `text` to `out`. Text that spells a special token is text.
    ///
    /// # Errors
    /// If the crate fails.
    pub fn encode(&mut self, text: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let Some(ideographs) = self.by_piece else {
            return cut(text).try_for_each(|part| encode_with(self.tokenizer, part, out));
        };
        for piece in pieces(text, ideographs) {
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
                self.num_long_words += 1;
                return Ok(());
            }
            _ => {}
        }
        let before = out.len();
        encode_with(self.tokenizer, piece, out)?;
        if let Some((unk, longest)) = self.unknown {
            if piece.len() > longest && piece.chars().count() > longest {
                self.num_long_words += out[before..].iter().filter(|&&id| id == unk).count() as u64;
            }
        }
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

/// Whether `tokenizer` sets ideographs apart, if it normalises and splits as Google's BERT and knows no tokens beside its
/// vocabulary that could reach over whitespace or punctuation; else nothing.
fn plain_bert(tokenizer: &Tokenizer) -> Option<bool> {
    let Some(NormalizerWrapper::BertNormalizer(normalizer)) = tokenizer.get_normalizer() else { return None };
    let splitter = matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)));
    let added = tokenizer.get_added_tokens_decoder();
    let is_plain = normalizer.clean_text
        && splitter
        && tokenizer.get_encode_special_tokens()
        && added.values().all(|token| token.special);
    is_plain.then_some(normalizer.handle_chinese_chars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wordpiece;
    use proptest::prelude::*;
    use tokenizers::normalizers::BertNormalizer;

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
            text in "(\\PC|[a-cA-C .,'!\\-\\t\\n\\r=<>\u{b}\u{c}\u{0}\u{301}\u{308}\u{338}\u{327}\u{200d}\u{a0}\u{3000}\u{4e2d}\u{6587}\u{4e00}\u{9fcc}\u{9ffd}\u{3400}\u{f900}。、「〜（！？～･がｶﾞパ한éÅﬁİΣς—…]){0,40}",
            lowercase: bool,
            strip_accents: Option<bool>,
            ideographs: bool,
        ) {
            let mut tokenizer = tokenizer(lowercase);
            let normalizer = BertNormalizer::new(true, ideographs, strip_accents, lowercase);
            tokenizer.with_normalizer(Some(normalizer)).unwrap();
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
        for (letter, length, num_long) in
            [("a", 99, 0), ("a", 100, 0), ("a", 101, 1), ("a", 5000, 1), ("\u{e01}", 100, 0), ("\u{e01}", 101, 1)]
        {
            let text = format!("the {} fox", letter.repeat(length));
            let (mut encoder, mut ids) = (Encoder::new(&tokenizer), Vec::new());
            encoder.encode(&text, &mut ids).unwrap();
            assert_eq!(ids, whole(&tokenizer, &text), "{length}");
            assert_eq!(encoder.num_long_words(), num_long, "{letter} {length}");
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
