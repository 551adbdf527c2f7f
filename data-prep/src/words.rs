//! How many words a text has, in scripts that put no spaces between them too.
//!
//! Cost: one pass; of ASCII, that of finding its spaces.

/// Scripts without spaces between words: their letters and signs, and how many of these say what one English word says.
///
/// Measured on the translations that come with Django 5.1 (of its sentences without Latin words, English words in the original
/// against characters of the script): Chinese 1.75 (4,221 characters, 2,430 words), Japanese 2.9 (kana 3.6, where Han
/// counts as in Chinese), Thai 5.1, Khmer 6.4, Burmese 6.4. Lao is counted as Thai, Tibetan as Burmese. (Segmented corpora agree:
/// 1.5 to 1.7 characters a word in the four of the second SIGHAN bakeoff, Emerson 2005.)
const UNSPACED: [(std::ops::RangeInclusive<char>, f64); 11] = [
    ('\u{0e00}'..='\u{0eff}', 5.1),
    ('\u{0f00}'..='\u{109f}', 6.4),
    ('\u{1780}'..='\u{17ff}', 6.4),
    ('\u{3041}'..='\u{309f}', KANA),
    ('\u{30a1}'..='\u{30fa}', KANA),
    ('\u{30fc}'..='\u{30ff}', KANA),
    ('\u{3400}'..='\u{9fff}', HAN),
    ('\u{aa60}'..='\u{aa7f}', 6.4),
    ('\u{f900}'..='\u{faff}', HAN),
    ('\u{ff66}'..='\u{ff9f}', KANA),
    ('\u{20000}'..='\u{3fffd}', HAN),
];
const HAN: f64 = 1.75;
const KANA: f64 = 3.6;

/// The part of a word that a character is, if its script has no spaces.
fn part_of_word(character: char) -> Option<f64> {
    if character < '\u{0e00}' {
        return None;
    }
    let (_, letters) = UNSPACED.iter().find(|(range, _)| range.contains(&character))?;
    Some(1.0 / letters)
}

/// Whether words of this character's script are not separated by spaces.
pub(crate) fn is_unspaced(character: char) -> bool {
    part_of_word(character).is_some()
}

/// The words in `chunk`, a text without whitespace. Of letters of scripts without spaces it is an estimate; each run of other
/// letters and digits beside them is a word; any other chunk is one.
pub(crate) fn words_in(chunk: &str) -> f64 {
    if chunk.is_ascii() {
        return 1.0;
    }
    let (mut unspaced, mut runs, mut in_run) = (None, 0, false);
    for character in chunk.chars() {
        let part = part_of_word(character);
        if let Some(part) = part {
            unspaced = Some(unspaced.unwrap_or(0.0) + part);
        }
        let is_spaced = part.is_none() && character.is_alphanumeric();
        runs += u32::from(is_spaced && !in_run);
        in_run = is_spaced;
    }
    unspaced.map_or(1.0, |words| words + f64::from(runs))
}

/// The words of `text`: what whitespace separates, and an estimate where a script has none.
pub fn count_words(text: &str) -> u64 {
    text.split_whitespace().map(words_in).sum::<f64>().round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitespace_separates_words() {
        assert_eq!(count_words(" The cafés – of\u{3000}Köln,\tÜber-all.\n"), 6);
        assert_eq!(count_words(" \n"), 0);
    }

    /// The first article of the Universal Declaration of Human Rights, which has 30 words in English. Half and double are
    /// within what languages differ by.
    #[test]
    fn scripts_without_spaces_have_words() {
        for text in [
            "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
            "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
            "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
            "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។ មនុស្ស មានវិចារណញ្ញាណនិងសតិសម្បជញ្ញៈជាប់ពីកំណើត ហើយគប្បីប្រព្រឹត្ដចំពោះគ្នាទៅវិញទៅមក ក្នុងស្មារតីភាតរភាពជាបងប្អូន។",
            "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ တူညီလွတ်လပ်သော အခွင့်အရေးများဖြင့် လည်းကောင်း၊ မွေးဖွားလာသူများ ဖြစ်သည်။",
        ] {
            let words = count_words(text);
            assert!((15..=60).contains(&words), "{words}: {text}");
        }
    }

    #[test]
    fn words_of_other_scripts_among_them_count_as_well() {
        // 7 characters of Han are 4 words
        assert_eq!(count_words("中文中文中文中"), 4);
        assert_eq!(count_words("中文中BERT文中文中。"), 5);
        assert!(is_unspaced('か') && is_unspaced('ཀ') && !is_unspaced('한') && !is_unspaced('é'));
    }
}
