//! Quality filters of published corpora, with their published thresholds.
//!
//! `c4`: Raffel et al. 2020 ("Exploring the limits of transfer learning", section 2.2), without its list of bad words.
//! `gopher-quality` and `gopher-repetition`: Rae et al. 2021 ("Scaling language models", appendix A.1.1 and table A1).
//! Words are separated by whitespace, lines by a newline. They were made for web pages in English: of books they drop little, of
//! lists and tables much. In scripts without spaces, such as those of Chinese, Japanese and Thai, words are estimated, the
//! rules about the length of a word, letters in it and stop words do not apply, and sequences are of as many characters as
//! their words have.

use crate::sentences::sentences;
use crate::words::{count_words, is_unspaced, words_in};
use ahash::{AHashMap, AHashSet};
use serde::{Deserialize, Serialize};

/// A filter by its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Keeps lines of 5 words or more that end in `.`, `!`, `?`, `"` or a similar mark of another script. Drops lines about
    /// JavaScript, cookies or terms of use, and pages with fewer than 3 sentences, a `{` or "lorem ipsum"
    C4,
    /// Keeps documents that meet all of these: 50 to 100,000 words; 3 to 10 characters a word on average; 80 % of the words
    /// with a letter; two of eight stop words; fewer than 0.1 `#` or `...` for each word; at most 90 % bullet lines; at most 30
    /// % lines that end in an ellipsis
    GopherQuality,
    /// Drops documents with many repeated lines or sequences of 2 to 10 words
    GopherRepetition,
}

impl Filter {
    /// The text, or what is left of it, or why it is dropped.
    pub fn apply(self, text: String) -> Result<String, &'static str> {
        match self {
            Filter::C4 => c4(&text),
            Filter::GopherQuality => gopher_quality(&text).map_or(Ok(text), Err),
            Filter::GopherRepetition => gopher_repetition(&text).map_or(Ok(text), Err),
        }
    }
}

fn c4(text: &str) -> Result<String, &'static str> {
    const MIN_WORDS: u64 = 5;
    const MIN_SENTENCES: usize = 3;
    const NOTICES: [&str; 7] = [
        "javascript",
        "terms of use",
        "privacy policy",
        "cookie policy",
        "uses cookies",
        "use of cookies",
        "use cookies",
    ];
    if text.contains('{') {
        return Err("c4: curly bracket");
    }
    let kept: Vec<&str> = text
        .split('\n')
        .map(str::trim)
        .filter(|line| line.ends_with(is_terminal) && !line.ends_with("..."))
        .filter(|line| count_words(line) >= MIN_WORDS)
        .filter(|line| {
            let lower = line.to_lowercase();
            !NOTICES.iter().any(|notice| lower.contains(notice))
        })
        .collect();
    let text = kept.join("\n");
    if text.to_lowercase().contains("lorem ipsum") {
        return Err("c4: lorem ipsum");
    }
    if sentences(&text, "en").nth(MIN_SENTENCES - 1).is_none() {
        return Err("c4: too few sentences");
    }
    Ok(text)
}

/// What ends a line of prose. Thai has no such mark, and a line of it ends with a letter.
fn is_terminal(last: char) -> bool {
    const MARKS: [char; 15] = ['.', '!', '?', '"', '。', '！', '？', '．', '」', '』', '”', '।', '۔', '؟', '။'];
    MARKS.contains(&last) || ('\u{0e00}'..='\u{0eff}').contains(&last) || matches!(last, '។' | '།' | '።')
}

fn gopher_quality(text: &str) -> Option<&'static str> {
    const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];
    let (words, chunks): (Vec<&str>, Vec<&str>) =
        text.split_whitespace().partition(|chunk| !chunk.contains(is_unspaced));
    let num_unspaced: f64 = chunks.iter().map(|chunk| words_in(chunk)).sum();
    let num_words = (words.len() as f64 + num_unspaced).round();
    if num_words < 50.0 {
        return Some("gopher: fewer than 50 words");
    }
    if num_words > 100_000.0 {
        return Some("gopher: more than 100,000 words");
    }
    let characters: usize = words.iter().map(|word| word.chars().count()).sum();
    let mean = characters as f64 / words.len() as f64;
    let is_unspaced = num_unspaced > words.len() as f64;
    if !is_unspaced && !(3.0..=10.0).contains(&mean) {
        return Some("gopher: mean word length");
    }
    let symbols = [text.matches('#').count(), text.matches("...").count() + text.matches('…').count()];
    if symbols.iter().any(|&count| count as f64 / num_words > 0.1) {
        return Some("gopher: symbols");
    }
    let lines: Vec<&str> = text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect();
    let share = |is: fn(&str) -> bool| lines.iter().filter(|line| is(line)).count() as f64 / lines.len() as f64;
    if share(|line| line.starts_with(['•', '-', '*', '‣'])) > 0.9 {
        return Some("gopher: bullet lines");
    }
    if share(|line| line.ends_with("...") || line.ends_with('…')) > 0.3 {
        return Some("gopher: ellipsis lines");
    }
    if is_unspaced {
        return None;
    }
    let alphabetic = words.iter().filter(|word| word.chars().any(char::is_alphabetic)).count();
    if (alphabetic as f64) < 0.8 * words.len() as f64 {
        return Some("gopher: words without a letter");
    }
    let plain = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let found: AHashSet<String> = words.iter().map(|word| plain(word)).collect();
    if STOP_WORDS.iter().filter(|&&word| found.contains(word)).count() < 2 {
        return Some("gopher: stop words");
    }
    None
}

fn gopher_repetition(text: &str) -> Option<&'static str> {
    // (length in words, largest share of the characters): of the most frequent sequence, and of all repeated ones.
    const TOP: [(usize, f64); 3] = [(2, 0.20), (3, 0.18), (4, 0.16)];
    const REPEATED: [(usize, f64); 6] = [(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)];
    let lines: Vec<&str> = text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect();
    let characters = text.chars().count() as f64;
    let mut seen = AHashSet::new();
    let (mut repeated, mut repeated_characters) = (0, 0);
    for line in &lines {
        if !seen.insert(*line) {
            repeated += 1;
            repeated_characters += line.chars().count();
        }
    }
    if repeated as f64 > 0.3 * lines.len() as f64 || repeated_characters as f64 > 0.2 * characters {
        return Some("gopher: repeated lines");
    }
    // Words, and the characters of scripts without spaces, as slices of the text joined by single spaces, so that a sequence
    // is a slice as well.
    let mut joined = String::with_capacity(text.len());
    let (mut spans, mut num_words) = (Vec::new(), 0.0);
    for chunk in text.split_whitespace() {
        if !joined.is_empty() {
            joined.push(' ');
        }
        num_words += words_in(chunk);
        let mut start = joined.len();
        for character in chunk.chars() {
            if is_unspaced(character) && joined.len() > start {
                spans.push((start, joined.len()));
                start = joined.len();
            }
            joined.push(character);
            if is_unspaced(character) {
                spans.push((start, joined.len()));
                start = joined.len();
            }
        }
        if joined.len() > start {
            spans.push((start, joined.len()));
        }
    }
    let characters_a_word = (spans.len() as f64 / num_words.max(1.0)).max(1.0);
    let scaled = |length: usize| (length as f64 * characters_a_word).round() as usize;
    let sequence = |at: usize, length: usize| &joined[spans[at].0..spans[at + length - 1].1];
    for (length, most) in TOP.map(|(length, most)| (scaled(length), most)) {
        let mut counts: AHashMap<&str, usize> = AHashMap::new();
        for at in 0..(spans.len() + 1).saturating_sub(length) {
            *counts.entry(sequence(at, length)).or_default() += 1;
        }
        let covered = counts.iter().filter(|(_, &count)| count > 1).max_by_key(|(text, &count)| (count, text.len()));
        if covered.is_some_and(|(text, count)| (text.chars().count() * count) as f64 > most * characters) {
            return Some("gopher: one repeated sequence");
        }
    }
    for (length, most) in REPEATED.map(|(length, most)| (scaled(length), most)) {
        let mut seen = AHashSet::new();
        let (mut at, mut covered) = (0, 0);
        while at + length <= spans.len() {
            let found = sequence(at, length);
            if seen.insert(found) {
                at += 1;
            } else {
                covered += found.chars().count();
                at += length;
            }
        }
        if covered as f64 > most * characters {
            return Some("gopher: repeated sequences");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROSE: &str = "The old man sat by the window and watched the boats that came up the river with the tide. \
        He had been a sailor once, and he knew each of them by the cut of her sails. His daughter brought him tea, \
        read the letters from abroad to him, and wondered how many more winters they would have to spend in that house.";

    #[test]
    fn prose_passes_every_filter() {
        for filter in [Filter::C4, Filter::GopherQuality, Filter::GopherRepetition] {
            assert_eq!(filter.apply(PROSE.to_owned()).as_deref(), Ok(PROSE), "{filter:?}");
        }
    }

    #[test]
    fn c4_keeps_sentences_and_drops_the_page_around_them() {
        let page =
            format!("Home | About\n{PROSE}\nWe use cookies on this page of ours.\nNot ended at all here\nToo short.");
        assert_eq!(Filter::C4.apply(page).as_deref(), Ok(PROSE));
        assert_eq!(Filter::C4.apply(format!("{PROSE} {{")), Err("c4: curly bracket"));
        assert_eq!(Filter::C4.apply("One line of five words.".into()), Err("c4: too few sentences"));
        assert_eq!(Filter::C4.apply(format!("{PROSE} Lorem ipsum dolor sit amet.")), Err("c4: lorem ipsum"));
    }

    #[test]
    fn gopher_quality_thresholds() {
        let quality = |text: String| Filter::GopherQuality.apply(text).map(|_| ());
        let prose = |number: usize| PROSE.split_whitespace().cycle().take(number).collect::<Vec<_>>().join(" ");
        assert_eq!(quality(prose(50)), Ok(()));
        assert_eq!(quality(prose(49)), Err("gopher: fewer than 50 words"));
        assert_eq!(quality(prose(100_001)), Err("gopher: more than 100,000 words"));
        assert_eq!(quality("a an of ".repeat(40)), Err("gopher: mean word length"));
        // 60 words: 6 symbols are a tenth, 7 are more.
        assert_eq!(quality(format!("{}{}", prose(60), "#".repeat(6))), Ok(()));
        assert_eq!(quality(format!("{}{}", prose(60), "#".repeat(7))), Err("gopher: symbols"));
        assert_eq!(quality(prose(60).replace(' ', "\n-")), Err("gopher: bullet lines"));
        let lines =
            |ended: usize| format!("{}\n", prose(10)).repeat(10 - ended) + &format!("{}…\n", prose(10)).repeat(ended);
        assert_eq!(quality(lines(3)), Ok(()));
        assert_eq!(quality(lines(4)), Err("gopher: ellipsis lines"));
        assert_eq!(quality(format!("{} {}", prose(50), "12345 ".repeat(13))), Err("gopher: words without a letter"));
        assert_eq!(quality("river water flows slowly ".repeat(15)), Err("gopher: stop words"));
    }

    #[test]
    fn gopher_repetition_thresholds() {
        let repetition = |text: String| Filter::GopherRepetition.apply(text).map(|_| ());
        let unique = |from: usize, number: usize| {
            (from..from + number).map(|index| format!("w{index:04}")).collect::<Vec<_>>().join(" ")
        };
        // Three of ten lines are repeated: 30 % is not more than 30 %; four of eleven are. They hold few characters.
        let lines: Vec<String> = (0..6).map(|index| unique(100 * index, 20)).collect();
        assert_eq!(repetition(lines.join("\n") + &"\nx".repeat(4)), Ok(()));
        assert_eq!(repetition(lines.join("\n") + &"\nx".repeat(5)), Err("gopher: repeated lines"));
        assert_eq!(repetition(format!("{0}\n{0}", unique(0, 50))), Err("gopher: repeated lines"));
        // "ab cd" (5 characters) 50 times among 250 of 5 others and spaces: 250 of 250·6 + 50·6 - 1 characters are 14 %.
        let with = |times: usize| {
            let mixed: Vec<String> = (0..times).map(|index| format!("{} ab cd", unique(index * 5, 5))).collect();
            mixed.join(" ")
        };
        assert_eq!(repetition(with(50)), Ok(()));
        // Among 2 others each: 5 of 18 characters.
        let dense: Vec<String> = (0..50).map(|index| format!("{} ab cd", unique(index * 2, 2))).collect();
        assert_eq!(repetition(dense.join(" ")), Err("gopher: one repeated sequence"));
        // A sequence of ten words that comes twice among 100 covers 59 of 719 characters, three times 118 of 779: over 0.15 at
        // length 5.
        let ten = unique(9000, 10);
        let filled = |times: usize| {
            let parts: Vec<String> =
                (0..times).map(|index| format!("{ten} {}", unique(index * 100, 100 / times))).collect();
            parts.join(" ")
        };
        assert_eq!(repetition(filled(2)), Ok(()));
        assert_eq!(repetition(filled(4)), Err("gopher: repeated sequences"));
    }

    /// The preamble of the Universal Declaration of Human Rights, its first paragraphs, in Chinese.
    const CHINESE: &str = "鉴于对人类家庭所有成员的固有尊严及其平等的和不移的权利的承认，乃是世界自由、正义与和平的基础。\n\
        鉴于对人权的无视和侮蔑已发展为野蛮暴行，这些暴行玷污了人类的良心，而一个人人享有言论和信仰自由并免予恐惧和匮乏的世界的来临，已被宣布为普通人民的最高愿望。\n\
        鉴于为使人类不致迫不得已铤而走险对暴政和压迫进行反叛，有必要使人权受法治的保护。\n\
        鉴于有必要促进各国间友好关系的发展。";

    #[test]
    fn filters_know_scripts_without_spaces() {
        for filter in [Filter::C4, Filter::GopherQuality, Filter::GopherRepetition] {
            assert_eq!(filter.apply(CHINESE.to_owned()).as_deref(), Ok(CHINESE), "{filter:?}");
        }
        let first = CHINESE.split('\n').next().unwrap();
        assert_eq!(Filter::GopherQuality.apply(first.to_owned()), Err("gopher: fewer than 50 words"));
        assert_eq!(Filter::C4.apply(format!("{CHINESE}\n目录\n太短了。")).as_deref(), Ok(CHINESE));
        let spam = format!("{CHINESE}{}", "欢迎来到我们的网站。".repeat(40));
        assert!(Filter::GopherRepetition.apply(spam).is_err());
    }
}
