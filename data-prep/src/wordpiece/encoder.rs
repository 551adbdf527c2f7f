//! Text in, WordPiece ids out, each distinct piece of text tokenised once.
//!
//! The `tokenizers` crate does the tokenising; an [`Encoder`] remembers what it said about the pieces that it met (see
//! [`pieces`](super::pieces)), because a text of millions of words has only thousands of different ones. Cost: one hash lookup a
//! piece, and at most [`MAX_REMEMBERED`] remembered pieces, about 20 MB; the ids do not depend on what is remembered.

use super::pieces::pieces;
use super::special::Role;
use super::{normal, TokenizerError};
use crate::stages::Normalization;
use ahash::AHashMap;
use std::borrow::Cow;
use tokenizers::{AddedToken, AddedVocabulary, ModelWrapper, PreTokenizerWrapper, Tokenizer};

/// Pieces that an encoder remembers; the first ones met are the frequent ones.
const MAX_REMEMBERED: usize = 1 << 18;
/// The crate is given text in parts of about this many bytes, cut at whitespace: it needs some 100 bytes of memory a byte.
const PART_BYTES: usize = 1 << 16;
/// Longer pieces are not worth remembering.
const MAX_PIECE_BYTES: usize = 64;

/// How text is cut into pieces.
#[derive(Clone, Copy)]
struct ByPiece {
    /// The normal form that it is brought into before.
    form: Normalization,
    /// Whether ideographs are set apart.
    ideographs: bool,
}

/// Tokenises text without special tokens; one a thread. Text that spells one of BERT's five special tokens is text; other added
/// tokens stay whole.
pub struct Encoder<'a> {
    tokenizer: Cow<'a, Tokenizer>,
    /// How text is cut, if pieces tokenise apart from one another.
    by_piece: Option<ByPiece>,
    /// Added tokens; a line that has one is not cut into pieces.
    whole: Vec<String>,
    /// `[UNK]`, and the most characters that a word may have to be anything else.
    unknown: Option<(u32, usize)>,
    /// Where the ids of a piece are in `ids`: start and number.
    known: AHashMap<Box<str>, (u32, u32)>,
    ids: Vec<u32>,
    num_long_words: u64,
}

impl<'a> Encoder<'a> {
    /// An encoder that has met nothing yet.
    ///
    /// # Errors
    /// If the crate fails.
    pub fn new(tokenizer: &'a Tokenizer) -> Result<Encoder<'a>, TokenizerError> {
        let tokenizer = with_whole_tokens(tokenizer)?;
        let added = tokenizer.get_added_tokens_decoder();
        let whole: Vec<&AddedToken> = added.values().filter(|token| !token.special).collect();
        // How a normalised token looks in the text is not known.
        let is_cut = whole.iter().all(|token| !token.normalized);
        Ok(Encoder {
            by_piece: if is_cut { plain_bert(&tokenizer) } else { None },
            whole: whole.into_iter().map(|token| token.content.clone()).collect(),
            unknown: match tokenizer.get_model() {
                ModelWrapper::WordPiece(model) => {
                    tokenizer.token_to_id(&model.unk_token).map(|unk| (unk, model.max_input_chars_per_word))
                }
                _ => None,
            },
            tokenizer,
            known: AHashMap::new(),
            ids: Vec::new(),
            num_long_words: 0,
        })
    }

    /// The words so far that are `[UNK]` because they are longer than the tokenizer allows (100 characters in BERT's).
    pub fn num_long_words(&self) -> u64 {
        self.num_long_words
    }

    /// Appends the ids of `text` to `out`.
    ///
    /// # Errors
    /// If the crate fails.
    pub fn encode(&mut self, text: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let Some(ByPiece { form, ideographs }) = self.by_piece else {
            return cut(text).try_for_each(|part| encode_with(&self.tokenizer, part, out));
        };
        // Whole, for a mark may belong to what stands before a cut.
        let text = form.apply(text);
        if self.whole.is_empty() {
            return self.encode_pieces(&text, ideographs, out);
        }
        for part in cut(&text) {
            if self.whole.iter().any(|token| part.contains(token)) {
                encode_with(&self.tokenizer, part, out)?;
            } else {
                self.encode_pieces(part, ideographs, out)?;
            }
        }
        Ok(())
    }

    fn encode_pieces(&mut self, text: &str, ideographs: bool, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
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
        encode_with(&self.tokenizer, piece, out)?;
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

/// The tokenizer, with the additional special tokens as plain added ones: the crate's switch that makes text of special tokens
/// does so to all of them.
fn with_whole_tokens(tokenizer: &Tokenizer) -> Result<Cow<'_, Tokenizer>, TokenizerError> {
    let roles: Vec<String> =
        Role::ALL.into_iter().filter_map(|role| role.token(tokenizer)).map(|(token, _)| token).collect();
    let mut added: Vec<(u32, AddedToken)> = tokenizer.get_added_tokens_decoder().into_iter().collect();
    let is_additional = |token: &AddedToken| token.special && !roles.contains(&token.content);
    if !tokenizer.get_encode_special_tokens() || !added.iter().any(|(_, token)| is_additional(token)) {
        return Ok(Cow::Borrowed(tokenizer));
    }
    // Tokens beyond the vocabulary are numbered in the order in which they are added.
    added.sort_unstable_by_key(|(id, _)| *id);
    let tokens =
        added.into_iter().map(|(_, token)| AddedToken { special: !is_additional(&token) && token.special, ..token });
    let mut whole = tokenizer.clone();
    whole.with_added_vocabulary(AddedVocabulary::new());
    whole.add_tokens(tokens).map_err(|error| TokenizerError::Tokenise(error.to_string()))?;
    whole.set_encode_special_tokens(true);
    Ok(Cow::Owned(whole))
}

/// How text is cut into pieces, if `tokenizer` normalises and splits as Google's BERT, perhaps behind a normal form, and leaves
/// special tokens in text alone.
fn plain_bert(tokenizer: &Tokenizer) -> Option<ByPiece> {
    let found = normal::parts(tokenizer)?;
    let splitter = matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)));
    let is_plain = found.bert.clean_text && splitter && tokenizer.get_encode_special_tokens();
    is_plain.then_some(ByPiece { form: found.form, ideographs: found.bert.handle_chinese_chars })
}

/// Cuts `text` behind newlines, and behind a space once a part is long. No word crosses a cut.
fn cut(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| {
        let mut rest = line;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let long = rest.len() > PART_BYTES;
            let space = if long { rest.as_bytes()[PART_BYTES..].iter().position(|&byte| byte == b' ') } else { None };
            // A space is one byte, so the cut is at a character boundary.
            let (part, remainder) = rest.split_at(space.map_or(rest.len(), |offset| PART_BYTES + offset + 1));
            rest = remainder;
            Some(part)
        })
    })
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
            form in proptest::sample::select(vec![Normalization::None, Normalization::Nfc, Normalization::Nfkc]),
        ) {
            let mut tokenizer = tokenizer(lowercase);
            let normalizer = BertNormalizer::new(true, ideographs, strip_accents, lowercase);
            tokenizer.with_normalizer(Some(normalizer)).unwrap();
            wordpiece::normalize_first(&mut tokenizer, form).unwrap();
            let mut encoder = Encoder::new(&tokenizer).unwrap();
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
            let (mut encoder, mut ids) = (Encoder::new(&tokenizer).unwrap(), Vec::new());
            encoder.encode(&text, &mut ids).unwrap();
            assert_eq!(ids, whole(&tokenizer, &text), "{length}");
            assert_eq!(encoder.num_long_words(), num_long, "{letter} {length}");
        }
    }

    /// A mark that composes with punctuation, full-width letters, ligatures, kana with a mark of their own.
    #[test]
    fn a_normal_form_comes_before_the_cut() {
        for form in [Normalization::Nfc, Normalization::Nfkc] {
            let mut tokenizer = tokenizer(false);
            wordpiece::normalize_first(&mut tokenizer, form).unwrap();
            let mut encoder = Encoder::new(&tokenizer).unwrap();
            assert!(encoder.by_piece.is_some());
            let text = "the=\u{338}fox Cafe\u{301} ｔｈｅ ﬁ か\u{3099} x²!";
            let mut ids = Vec::new();
            encoder.encode(text, &mut ids).unwrap();
            assert_eq!(ids, whole(&tokenizer, text), "{form:?}");
        }
    }

    #[test]
    fn tokens_that_reach_over_spaces_are_found() {
        let mut tokenizer = tokenizer(true);
        tokenizer.add_tokens([AddedToken::from("the fox", false)]).unwrap();
        let mut ids = Vec::new();
        Encoder::new(&tokenizer).unwrap().encode("see the fox run", &mut ids).unwrap();
        assert_eq!(ids, whole(&tokenizer, "see the fox run"));
        assert!(ids.contains(&tokenizer.token_to_id("the fox").unwrap()));
    }
}
