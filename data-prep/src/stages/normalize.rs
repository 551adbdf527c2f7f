//! Unicode normalisation (Unicode Standard Annex 15): text that looks the same becomes the same characters.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use unicode_normalization::{is_nfc_quick, is_nfkc_quick, IsNormalized, UnicodeNormalization};

/// The normal form that text is brought into. BERT's uncased tokenizer decomposes and drops accents by itself; a cased
/// vocabulary has two spellings of one word where the text is in no normal form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalization {
    /// As it is
    #[default]
    None,
    /// Accents composed with their letters
    Nfc,
    /// Also ligatures, full-width letters, superscripts as plain characters
    Nfkc,
}

impl Normalization {
    /// The text in this form.
    pub fn apply(self, text: &str) -> Cow<'_, str> {
        match self {
            Normalization::None => Cow::Borrowed(text),
            Normalization::Nfc if is_nfc_quick(text.chars()) == IsNormalized::Yes => Cow::Borrowed(text),
            Normalization::Nfc => Cow::Owned(text.nfc().collect()),
            Normalization::Nfkc if is_nfkc_quick(text.chars()) == IsNormalized::Yes => Cow::Borrowed(text),
            Normalization::Nfkc => Cow::Owned(text.nfkc().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python 3.11: unicodedata.normalize("NFC", ..) and ("NFKC", ..).
    #[test]
    fn forms_are_those_of_unicode() {
        let text = "e\u{301} \u{fb01} \u{ff21} x\u{b2}";
        assert_eq!(Normalization::None.apply(text), text);
        assert_eq!(Normalization::Nfc.apply(text), "\u{e9} \u{fb01} \u{ff21} x\u{b2}");
        assert_eq!(Normalization::Nfkc.apply(text), "\u{e9} fi A x2");
        assert!(matches!(Normalization::Nfkc.apply("plain"), Cow::Borrowed("plain")));
    }
}
