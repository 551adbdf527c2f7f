//! Whether bytes are UTF-8 text, and if not, what they may be.
//!
//! A few invalid sequences are damage, which is repaired and counted. Many are another encoding, or no text: to tokenise them
//! would fill the shards with `[UNK]`. The share decides: [`Tally::is_refused`]. Text that is valid UTF-8 by chance (UTF-16 of
//! English, numbers of a binary file) shows by its control characters.

use super::kind::{encoded, Other};
use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};

/// Fewer replaced sequences than this are never refused: a short file tells too little.
const LEAST_REPLACED: u64 = 10;
/// Share of all characters that may be replaced.
const MOST_REPLACED: f64 = 0.05;
/// Share above which the file is refused if hardly anything beyond ASCII is valid: Latin-1 has this much in most languages.
const MOST_REPLACED_OF_ASCII: f64 = 0.003;
/// So many valid characters beyond ASCII make up for one that is replaced.
const VALID_FOR_REPLACED: u64 = 4;
/// Share of control characters that text may have.
const MOST_CONTROL: f64 = 0.02;

/// Counts of a file so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    characters: u64,
    /// Valid characters beyond ASCII.
    beyond_ascii: u64,
    /// Invalid sequences.
    replaced: u64,
}

impl Tally {
    /// Adds text in which `replaced` sequences became U+FFFD.
    pub(super) fn add(&mut self, text: &str, replaced: u64) {
        let count = |is_counted: fn(u8) -> bool| text.bytes().filter(|&byte| is_counted(byte)).count() as u64;
        let (first_bytes, later_bytes) = (count(|byte| byte >= 0xc0), count(|byte| (0x80..0xc0).contains(&byte)));
        self.characters += text.len() as u64 - later_bytes;
        self.beyond_ascii += first_bytes.saturating_sub(replaced);
        self.replaced += replaced;
    }

    /// The share of the characters that was replaced.
    pub(super) fn share(&self) -> f64 {
        self.replaced as f64 / self.characters.max(1) as f64
    }

    /// Whether so much was replaced that the file is no damaged UTF-8, but something else.
    pub(super) fn is_refused(&self) -> bool {
        let few_valid = self.beyond_ascii < VALID_FOR_REPLACED * self.replaced;
        self.replaced >= LEAST_REPLACED
            && (self.share() > MOST_REPLACED || (few_valid && self.share() > MOST_REPLACED_OF_ASCII))
    }
}

/// What the start of a file is, if it is no UTF-8 text.
pub(super) fn other_than_utf8(start: &[u8]) -> Option<Other> {
    let num_control = start.iter().filter(|&&byte| is_control(byte)).count();
    if num_control as u64 >= LEAST_REPLACED && num_control as f64 > MOST_CONTROL * start.len() as f64 {
        return Some(match utf_16(start) {
            Some(name) => encoded(name, name),
            None => Other::new("binary data, not text", "leave it out, or name its layout with `--format`"),
        });
    }
    if has_iso_2022_jp(start) {
        return Some(encoded("ISO-2022-JP", "ISO-2022-JP"));
    }
    let mut tally = Tally::default();
    for chunk in start.utf8_chunks() {
        tally.add(chunk.valid(), 0);
        // the end of the bytes may cut a character
        if !chunk.invalid().is_empty() && chunk.invalid().as_ptr_range().end != start.as_ptr_range().end {
            tally.add("\u{fffd}", 1);
        }
    }
    tally.is_refused().then(|| likely(start, tally.share()))
}

/// The likely encoding of bytes of which this share is not valid UTF-8.
pub(super) fn likely(bytes: &[u8], share: f64) -> Other {
    if let Some(name) = utf_16(bytes) {
        return encoded(name, name);
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    // not the last: the end may cut a character
    detector.feed(bytes, false);
    let name = detector.guess(None, Utf8Detection::Deny).name();
    let hint = format!(
        "convert it with `iconv -f {name} -t UTF-8 FILE > NEW`, and look at the result: the encoding is a guess"
    );
    Other::new(format!("not UTF-8 ({:.1} % of its characters are invalid): it looks like {name}", 100.0 * share), hint)
}

/// Control characters that text files do not have; ESC is that of ISO-2022-JP and of terminals.
pub(super) fn is_control(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | b'\x0b' | b'\x0c' | b'\x1b' | b'\x1e')
}

/// ISO-2022-JP is ASCII throughout: its escape sequences tell.
fn has_iso_2022_jp(bytes: &[u8]) -> bool {
    let kanji =
        memchr::memmem::find_iter(bytes, b"\x1b$B").count() + memchr::memmem::find_iter(bytes, b"\x1b$@").count();
    kanji >= 2 && bytes.is_ascii()
}

/// UTF-16 without its mark: of the two bytes of a unit, one is nearly always the same or 0.
fn utf_16(bytes: &[u8]) -> Option<&'static str> {
    [("UTF-16LE", 1), ("UTF-16BE", 0)].into_iter().find(|&(_, high)| is_utf_16(bytes, high)).map(|entry| entry.0)
}

/// Whether the bytes are UTF-16 whose upper byte is at `high`, 0 or 1, of each two.
fn is_utf_16(bytes: &[u8], high: usize) -> bool {
    const IDEOGRAPHS: std::ops::RangeInclusive<u16> = 0x3000..=0x9fff;
    const HANGUL: std::ops::RangeInclusive<u16> = 0xac00..=0xd7a3;
    const FULL_WIDTH: std::ops::RangeInclusive<u16> = 0xff00..=0xffef;
    let (mut uppers, mut num_lower_zeros, mut num_east_asian, mut num_units) = ([0_usize; 256], 0, 0, 0);
    for unit in bytes.chunks_exact(2) {
        let (upper, lower) = (unit[high], unit[1 - high]);
        let unit = u16::from_be_bytes([upper, lower]);
        uppers[usize::from(upper)] += 1;
        num_lower_zeros += usize::from(lower == 0);
        let is_east_asian = IDEOGRAPHS.contains(&unit) || HANGUL.contains(&unit) || FULL_WIDTH.contains(&unit);
        num_east_asian += usize::from(is_east_asian || unit < 0x80);
        num_units += 1;
    }
    let share = |count: usize| count as f64 / num_units.max(1) as f64;
    let most_frequent = uppers[1..].iter().max().copied().unwrap_or(0);
    let has_one_script =
        share(uppers[0]) > 0.05 && share(uppers[0] + most_frequent) > 0.9 && share(num_lower_zeros) < 0.02;
    // random bytes have about 60 % in these ranges
    let is_east_asian = share(num_east_asian) > 0.9 && share(uppers[0]) > 0.01;
    num_units >= 16 && (has_one_script || is_east_asian)
}
