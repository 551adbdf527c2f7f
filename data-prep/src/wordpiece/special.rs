//! The special tokens of a tokenizer, whatever they are called.

use super::error::TokenizerError;
use super::tokens::SPECIAL_TOKENS;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

/// What a special token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Fills a sequence up.
    Pad,
    /// A word that the vocabulary cannot spell.
    Unk,
    /// The first token of a sequence.
    Cls,
    /// Stands behind each segment.
    Sep,
    /// Stands for a token to predict.
    Mask,
}

impl Role {
    /// All of them, in the order of [`SPECIAL_TOKENS`].
    pub const ALL: [Role; 5] = [Role::Pad, Role::Unk, Role::Cls, Role::Sep, Role::Mask];

    /// The token's name in BERT.
    pub fn standard(self) -> &'static str {
        SPECIAL_TOKENS[self as usize]
    }

    /// The key in `tokenizer_config.json`.
    pub fn key(self) -> &'static str {
        ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"][self as usize]
    }

    fn letters(self) -> &'static str {
        ["pad", "unk", "cls", "sep", "mask"][self as usize]
    }

    /// The token of this role. Files of a tokenizer name no roles, so it is looked for where it shows: what the model gives for
    /// an unknown word, what is put around a text, BERT's own name, a special token of the same letters (`<mask>`).
    pub fn token(self, tokenizer: &Tokenizer) -> Option<(String, u32)> {
        let added = tokenizer.get_added_tokens_decoder();
        let special = |token: &str| added.values().any(|found| found.special && found.content == token);
        let shown = match self {
            Role::Unk => match tokenizer.get_model() {
                ModelWrapper::WordPiece(model) => Some(model.unk_token.clone()),
                _ => None,
            },
            Role::Cls | Role::Sep => around(tokenizer).map(|(cls, sep)| if self == Role::Cls { cls } else { sep }),
            Role::Pad | Role::Mask => None,
        };
        let same_letters = || {
            let letters = |token: &AddedToken| token.content.chars().filter(|c| c.is_alphabetic()).collect::<String>();
            let mut found: Vec<_> = added
                .iter()
                .filter(|(_, token)| token.special && letters(token).to_lowercase() == self.letters())
                .collect();
            found.sort_by_key(|(id, _)| **id);
            found.first().map(|(_, token)| token.content.clone())
        };
        let standard = self.standard().to_owned();
        let name = shown.or_else(|| special(&standard).then(|| standard.clone())).or_else(same_letters);
        let name = name.unwrap_or(standard);
        let id = tokenizer.token_to_id(&name)?;
        Some((name, id))
    }
}

/// The two tokens that a tokenizer puts around a text, if it does.
fn around(tokenizer: &Tokenizer) -> Option<(String, String)> {
    let encoding = tokenizer.encode("", true).ok()?;
    match encoding.get_ids() {
        &[first, last] => Some((tokenizer.id_to_token(first)?, tokenizer.id_to_token(last)?)),
        _ => None,
    }
}

/// Ids of the special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecialTokens {
    /// `[PAD]`, fills a sequence up.
    pub pad: u32,
    /// `[UNK]`, a word that the vocabulary cannot spell.
    pub unk: u32,
    /// `[CLS]`, the first token of a sequence.
    pub cls: u32,
    /// `[SEP]`, behind each segment.
    pub sep: u32,
    /// `[MASK]`, stands for a token to predict.
    pub mask: u32,
}

impl SpecialTokens {
    /// Looks them up.
    ///
    /// # Errors
    /// If one is missing.
    pub fn of(tokenizer: &Tokenizer) -> Result<SpecialTokens, TokenizerError> {
        let id = |role: Role| match role.token(tokenizer) {
            Some((_, id)) => Ok(id),
            None => Err(TokenizerError::MissingSpecialToken { token: role.standard().to_owned() }),
        };
        Ok(SpecialTokens {
            pad: id(Role::Pad)?,
            unk: id(Role::Unk)?,
            cls: id(Role::Cls)?,
            sep: id(Role::Sep)?,
            mask: id(Role::Mask)?,
        })
    }
}
