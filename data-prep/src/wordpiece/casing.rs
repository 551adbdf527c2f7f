//! What of a letter's form is kept: its case and its accents.

use tokenizers::normalizers::BertNormalizer;
use tokenizers::{NormalizedString, Normalizer};

/// What of a letter's form is kept. `Casing::from(true)` is that of BERT's uncased models, `from(false)` of the cased ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Casing {
    /// Whether letters are lower-cased.
    pub lowercase: bool,
    /// Whether letters are decomposed and lose their nonspacing marks; nothing: exactly where they are lower-cased.
    pub strip_accents: Option<bool>,
}

impl From<bool> for Casing {
    fn from(lowercase: bool) -> Casing {
        Casing { lowercase, strip_accents: None }
    }
}

impl Casing {
    /// Whether marks are stripped.
    pub fn strips_accents(self) -> bool {
        self.strip_accents.unwrap_or(self.lowercase)
    }

    /// Google's BERT's normaliser.
    pub(super) fn normalizer(self) -> BertNormalizer {
        BertNormalizer::new(true, true, self.strip_accents, self.lowercase)
    }
}

/// Hangul syllables, which decompose into letters that are no marks.
const HANGUL: std::ops::RangeInclusive<char> = '\u{ac00}'..='\u{d7a3}';

/// What stripping accents makes of `text`, its case aside; nothing if it stays as it is. (The crate works on decomposed text,
/// so that Hangul comes out as its letters: that alone loses nothing.)
pub(super) fn stripped(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let mut normalized = NormalizedString::from(text);
    BertNormalizer::new(false, false, Some(true), false).normalize(&mut normalized).ok()?;
    let changed = normalized.get() != text && !text.chars().all(|character| HANGUL.contains(&character));
    changed.then(|| normalized.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_follow_the_case_unless_told() {
        assert!(Casing::from(true).strips_accents() && !Casing::from(false).strips_accents());
        assert!(!Casing { lowercase: true, strip_accents: Some(false) }.strips_accents());
        assert!(Casing { lowercase: false, strip_accents: Some(true) }.strips_accents());
    }

    /// Python 3.11: the characters of unicodedata.normalize("NFD", ..) whose category is not Mn.
    #[test]
    fn marks_are_those_of_unicode() {
        for (text, expected) in [
            ("möchte", Some("mochte")),
            ("パンダ", Some("ハンタ")),
            ("हिन्दी", Some("हिनदी")),
            ("น้ำ", Some("นำ")),
            ("й", Some("и")),
            ("한", None),
            ("groß", None),
            ("中文", None),
            ("plain", None),
        ] {
            assert_eq!(stripped(text).as_deref(), expected, "{text}");
        }
    }
}
