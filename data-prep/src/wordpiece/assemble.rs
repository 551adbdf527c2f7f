//! A vocabulary in, a tokenizer around it out.

use super::casing::Casing;
use super::error::TokenizerError;
use super::pretrained::template;
use super::special::Role;
use super::tokens::{CONTINUATION, MAX_WORD_CHARACTERS, SPECIAL_TOKENS};
use ahash::AHashMap;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Tokenizer};

/// Google's BERT tokenizer with `tokens` as its vocabulary, in id order.
pub(super) fn from_tokens(tokens: Vec<String>, casing: Casing) -> Result<Tokenizer, TokenizerError> {
    let vocabulary = tokens.into_iter().enumerate().map(|(id, token)| (token, id as u32)).collect();
    let mut tokenizer = around_vocabulary(vocabulary, Role::Unk.standard().to_owned(), casing.normalizer())?;
    tokenizer
        .add_special_tokens(SPECIAL_TOKENS.map(|token| AddedToken::from(token, true)))
        .map_err(|error| TokenizerError::Tokenise(error.to_string()))?;
    let template = template::bert(&tokenizer, Role::Cls.standard(), Role::Sep.standard())?;
    tokenizer.with_post_processor(template);
    tokenizer.set_encode_special_tokens(true);
    Ok(tokenizer)
}

/// A WordPiece tokenizer that normalises and splits as Google's BERT, without special tokens.
pub(super) fn around_vocabulary(
    vocabulary: AHashMap<String, u32>,
    unknown: String,
    normalizer: BertNormalizer,
) -> Result<Tokenizer, TokenizerError> {
    let failed = |error: tokenizers::Error| TokenizerError::Tokenise(error.to_string());
    let model = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token(unknown)
        .continuing_subword_prefix(CONTINUATION.to_owned())
        .max_input_chars_per_word(MAX_WORD_CHARACTERS)
        .build()
        .map_err(failed)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(normalizer))
        .map_err(failed)?
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_decoder(Some(tokenizers::decoders::wordpiece::WordPiece::new(CONTINUATION.to_owned(), true)));
    Ok(tokenizer)
}
