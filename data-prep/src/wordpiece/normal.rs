//! BERT's normaliser, alone or behind a Unicode normal form.

use tokenizers::normalizers::{BertNormalizer, Sequence, NFC, NFKC};
use tokenizers::{NormalizerWrapper, Tokenizer};

use super::TokenizerError;
use crate::stages::Normalization;

/// A normaliser that is understood.
pub(super) struct Parts<'a> {
    /// The normal form that comes first.
    pub(super) form: Normalization,
    /// BERT's, behind it.
    pub(super) bert: &'a BertNormalizer,
}

/// The parts of a tokenizer's normaliser; nothing if it has others.
pub(super) fn parts(tokenizer: &Tokenizer) -> Option<Parts<'_>> {
    use NormalizerWrapper as N;
    let found = match tokenizer.get_normalizer()? {
        N::Sequence(all) => all.as_ref(),
        alone => std::slice::from_ref(alone),
    };
    match found {
        [N::BertNormalizer(bert)] => Some(Parts { form: Normalization::None, bert }),
        [N::NFC(_), N::BertNormalizer(bert)] => Some(Parts { form: Normalization::Nfc, bert }),
        [N::NFKC(_), N::BertNormalizer(bert)] => Some(Parts { form: Normalization::Nfkc, bert }),
        _ => None,
    }
}

/// Makes the tokenizer bring text into `form` first, so that it knows text as it is outside the corpus.
///
/// # Errors
/// If the `tokenizers` crate fails.
pub fn normalize_first(tokenizer: &mut Tokenizer, form: Normalization) -> Result<(), TokenizerError> {
    let first: NormalizerWrapper = match form {
        Normalization::None => return Ok(()),
        Normalization::Nfc => NFC.into(),
        Normalization::Nfkc => NFKC.into(),
    };
    let rest: Vec<NormalizerWrapper> = match parts(tokenizer) {
        Some(found) if found.form == form || found.form == Normalization::Nfkc => return Ok(()),
        Some(found) => vec![(*found.bert).into()],
        None => match tokenizer.get_normalizer() {
            Some(NormalizerWrapper::Sequence(all)) => all.as_ref().to_vec(),
            other => other.cloned().into_iter().collect(),
        },
    };
    let all = std::iter::once(first).chain(rest).collect();
    tokenizer.with_normalizer(Some(Sequence::new(all))).map_err(|error| TokenizerError::Tokenise(error.to_string()))?;
    Ok(())
}
