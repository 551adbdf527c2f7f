//! Counts of words in, the scripts that stripping accents changes out.
//!
//! `é` is another spelling of `e` to an uncased model, but `パ` is no `ハ`, and without its vowel signs a word of Hindi is another
//! word. No list of scripts says which marks matter: what is measured is the share of a script's letters that change.
//! Cost: one table lookup a character of each distinct word.

use super::casing::stripped;
use ahash::AHashMap;
use std::collections::BTreeMap;
use unicode_script::{Script, UnicodeScript};

/// A script whose letters make up less than this of the text is left unnamed, as names and quotations bring a few of any.
const MIN_SHARE_OF_TEXT: f64 = 0.01;
/// A script of which less changes is left unnamed: in English it is 0.0003, in German 0.015, in Hindi 0.2.
const MIN_SHARE_OF_SCRIPT: f64 = 0.01;
/// An example is a word, not a line without spaces.
const MAX_EXAMPLE_CHARACTERS: usize = 16;

/// What stripping accents does to the letters of one script.
#[derive(Clone, Debug, PartialEq)]
pub struct LostMarks {
    /// Unicode's name of the script.
    pub script: &'static str,
    /// The share of its letters and marks that change, 0 to 1.
    pub share: f64,
    /// The most frequent word that changes, and what becomes of it.
    pub example: Option<(String, String)>,
}

#[derive(Default)]
struct Letters {
    all: u64,
    changed: u64,
    example: Option<(u64, String)>,
}

/// What is counted while words go by.
#[derive(Default)]
pub(super) struct Marks {
    scripts: BTreeMap<&'static str, Letters>,
    /// The script of a character, and whether it changes.
    known: AHashMap<char, (Script, bool)>,
}

impl Marks {
    /// A word, or part of one, that occurs `count` times.
    pub(super) fn add(&mut self, word: &str, count: u64) {
        let mut changed_script = None;
        for character in word.chars() {
            let (script, is_changed) = *self
                .known
                .entry(character)
                .or_insert_with(|| (character.script(), stripped(character.encode_utf8(&mut [0; 4])).is_some()));
            if matches!(script, Script::Common | Script::Inherited | Script::Unknown) {
                continue;
            }
            let letters = self.scripts.entry(script.full_name()).or_default();
            letters.all += count;
            if is_changed {
                letters.changed += count;
                changed_script = Some(script.full_name());
            }
        }
        let Some(letters) = changed_script.and_then(|script| self.scripts.get_mut(script)) else { return };
        let is_better = letters.example.as_ref().is_none_or(|(most, best)| (count, best.as_str()) > (*most, word));
        if is_better && word.chars().nth(MAX_EXAMPLE_CHARACTERS).is_none() {
            letters.example = Some((count, word.to_owned()));
        }
    }

    /// The scripts of which stripping changes enough to be told, the most changed one first.
    pub(super) fn lost(self) -> Vec<LostMarks> {
        let all: u64 = self.scripts.values().map(|letters| letters.all).sum();
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let mut lost: Vec<LostMarks> = self
            .scripts
            .into_iter()
            .filter(|(_, letters)| share(letters.all, all) >= MIN_SHARE_OF_TEXT)
            .filter(|(_, letters)| share(letters.changed, letters.all) >= MIN_SHARE_OF_SCRIPT)
            .map(|(script, letters)| LostMarks {
                script,
                share: share(letters.changed, letters.all),
                example: letters.example.and_then(|(_, word)| stripped(&word).map(|bare| (word, bare))),
            })
            .collect();
        lost.sort_by(|a, b| b.share.total_cmp(&a.share));
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_that_change_are_named_with_a_word() {
        let mut marks = Marks::default();
        for (word, count) in [("パンダ", 3), ("ハンダ", 2), ("हिन्दी", 5), ("the", 100), ("café", 1), ("한국어", 9)]
        {
            marks.add(word, count);
        }
        let lost = marks.lost();
        let example = |word: &str, bare: &str| Some((word.to_owned(), bare.to_owned()));
        // Of the 6 characters of the Hindi word only ् is a nonspacing mark (ि and ी are spacing). Of the 15 kana 8 change: パ
        // 3 times, and ダ 5 times.
        assert_eq!(
            lost,
            [
                LostMarks { script: "Katakana", share: 8.0 / 15.0, example: example("パンダ", "ハンタ") },
                LostMarks {
                    script: "Devanagari", share: 1.0 / 6.0, example: example("हिन्दी", "हिनदी")
                },
            ]
        );
    }

    #[test]
    fn rare_scripts_and_rare_accents_are_not_named() {
        let mut marks = Marks::default();
        for (word, count) in [("english", 1000), ("café", 10), ("й", 10)] {
            marks.add(word, count);
        }
        assert_eq!(marks.lost(), []);
    }
}
