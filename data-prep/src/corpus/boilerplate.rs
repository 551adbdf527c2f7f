//! A book in, the same book without what its distributor put around it, and what that was.
//!
//! Known are Project Gutenberg's header, licence and credits, in their forms since 1991, and the licence notes and last pages
//! of Smashwords. In: text whose paragraphs are lines or, hard-wrapped, lie between blank lines. Out: a part of it, not copied.
//! Cost: linear in the windows, which are the first [`HEAD_BYTES`] and the last [`TAIL_BYTES`]; what lies between is never
//! looked at, so a book about Project Gutenberg keeps its text.

/// How far into a text its start is looked for. Gutenberg's longest header, the small print of the 1990s, has 13 kB.
pub const HEAD_BYTES: usize = 32 << 10;

/// How far before the end of a text its end is looked for. Gutenberg's licence has 19 kB.
pub const TAIL_BYTES: usize = 48 << 10;

/// Smashwords' notes, and the notes of transcribers, are shorter.
const NOTE_BYTES: usize = 12 << 10;

/// How much of a line is compared with the marks.
const MARK_BYTES: usize = 240;

/// What [`strip`] left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripped<'a> {
    /// The text without boilerplate, and without blanks at the places where some was.
    pub text: &'a str,
    /// What was cut, in the order of the text; empty if `text` is all of it.
    pub cut: Vec<Boilerplate>,
}

/// A kind of boilerplate; [`Boilerplate::name`] is for reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Boilerplate {
    /// Up to `*** START OF THE PROJECT GUTENBERG EBOOK … ***`.
    GutenbergHeader,
    /// Up to `*END*THE SMALL PRINT! … *END*`, which ended the header before 2004.
    GutenbergSmallPrint,
    /// `Produced by …` and its like, at the start of a text or after its header.
    GutenbergCredits,
    /// Title, copyright and licence notes up to `Smashwords Edition` or the licence's last sentence.
    SmashwordsLicence,
    /// From `Transcriber's Notes` on, at the end.
    TranscribersNote,
    /// From `*** END OF THE PROJECT GUTENBERG EBOOK … ***` or `End of Project Gutenberg's …` on.
    GutenbergFooter,
    /// From `###` or `Discover other titles by …` on, where Smashwords is named.
    SmashwordsTail,
}

impl Boilerplate {
    /// The name that reports count by.
    pub fn name(self) -> &'static str {
        match self {
            Boilerplate::GutenbergHeader => "Gutenberg header",
            Boilerplate::GutenbergSmallPrint => "Gutenberg small print",
            Boilerplate::GutenbergCredits => "Gutenberg credits",
            Boilerplate::SmashwordsLicence => "Smashwords licence",
            Boilerplate::TranscribersNote => "transcriber's note",
            Boilerplate::GutenbergFooter => "Gutenberg footer",
            Boilerplate::SmashwordsTail => "Smashwords tail",
        }
    }
}

/// Cuts the boilerplate at the start and at the end of `text`.
pub fn strip(text: &str) -> Stripped<'_> {
    let mut cut = Vec::new();
    let text = strip_head(text, &mut cut);
    let text = strip_tail(text, &mut cut);
    Stripped { text, cut }
}

fn strip_head<'a>(text: &'a str, cut: &mut Vec<Boilerplate>) -> &'a str {
    let mut body = 0;
    let mut lines = Lines { text, at: 0 };
    while let Some((start, line)) = lines.next().filter(|&(start, _)| start < HEAD_BYTES) {
        let mark = Mark::new(line);
        let kind = if mark.is_gutenberg("start of") {
            if !line.trim_end().ends_with("***") {
                lines.skip_wrapped_mark();
            }
            Boilerplate::GutenbergHeader
        } else if mark.line.starts_with("*end") && mark.line.contains("small print") {
            Boilerplate::GutenbergSmallPrint
        } else if start < NOTE_BYTES && mark.is_smashwords_licence() {
            lines.at = paragraph_end(text, start);
            Boilerplate::SmashwordsLicence
        } else {
            continue;
        };
        body = lines.at;
        if cut.last() != Some(&kind) {
            cut.push(kind);
        }
    }
    let has_header = cut.iter().any(|kind| *kind != Boilerplate::SmashwordsLicence);
    let mut has_credits = false;
    loop {
        let start = text.len() - text[body..].trim_start().len();
        let end = paragraph_end(text, start);
        if !is_credit(&text[start..end], has_header || has_credits) {
            break;
        }
        body = end;
        has_credits = true;
    }
    if has_credits {
        cut.push(Boilerplate::GutenbergCredits);
    }
    if cut.is_empty() {
        text
    } else {
        text[body..].trim_start()
    }
}

fn strip_tail<'a>(text: &'a str, cut: &mut Vec<Boilerplate>) -> &'a str {
    let mut body = text;
    let end = find_line(text, TAIL_BYTES, |mark, _| {
        mark.is_gutenberg("end of") || END_LINES.iter().any(|start| mark.line.starts_with(start))
    });
    let mut tail = None;
    if let Some(end) = end {
        body = text[..end].trim_end();
        tail = Some(Boilerplate::GutenbergFooter);
    }
    let end = find_line(body, NOTE_BYTES, |mark, rest| {
        (mark.is_hashes() || mark.line.starts_with("discover other titles")) && names_smashwords(rest)
    });
    if let Some(end) = end {
        body = body[..end].trim_end();
        tail = Some(Boilerplate::SmashwordsTail);
    }
    if let Some(end) = find_line(body, NOTE_BYTES, |mark, _| mark.is_transcribers_heading()) {
        body = body[..end].trim_end();
        cut.push(Boilerplate::TranscribersNote);
    }
    cut.extend(tail);
    body
}

const END_LINES: [&str; 4] = [
    "end of project gutenberg",
    "end of the project gutenberg",
    "end of this project gutenberg",
    "end of this etext of ",
];

/// Where the first line starts that `is_mark` accepts, of those in the last `window` bytes and the last half of `text`. It is
/// handed the line and the text from it on.
fn find_line(text: &str, window: usize, is_mark: impl Fn(&Mark, &str) -> bool) -> Option<usize> {
    let first = text.len().saturating_sub(window).max(text.len() / 2);
    let at = if first == 0 { 0 } else { first + text.as_bytes()[first..].iter().position(|&byte| byte == b'\n')? + 1 };
    let mut lines = Lines { text, at };
    let found = std::iter::from_fn(|| lines.next()).find(|&(start, line)| is_mark(&Mark::new(line), &text[start..]));
    found.map(|(start, _)| start)
}

fn names_smashwords(text: &str) -> bool {
    text.to_ascii_lowercase().contains("smashwords")
}

/// Where the paragraph at `start` ends: at the next blank line if the text has one near, else with its line.
fn paragraph_end(text: &str, start: usize) -> usize {
    let mut lines = Lines { text, at: start };
    let first = lines.next().map_or(start, |_| lines.at);
    while let Some((at, line)) = lines.next() {
        if line.trim().is_empty() {
            return at;
        }
        if at - start > MAX_PARAGRAPH_BYTES {
            break;
        }
    }
    first
}

/// The most bytes of a hard-wrapped paragraph of licence or credits.
const MAX_PARAGRAPH_BYTES: usize = 2000;

/// Whether a paragraph tells who made the electronic text. Without a header before it, it must say so or name someone, as prose
/// that happens to start alike does not.
fn is_credit(paragraph: &str, has_header: bool) -> bool {
    const MAX_BYTES: usize = 1200;
    /// What only an electronic text says.
    const CERTAIN: [&str; 13] = [
        "this ebook was transcribed by ",
        "e-text prepared by ",
        "e-text produced by ",
        "etext prepared by ",
        "etext produced by ",
        "this e-text was p",
        "this e-text prepared by ",
        "this etext was p",
        "this etext was transcribed by ",
        "this etext prepared by ",
        "this ebook was p",
        "html version by ",
        "note: project gutenberg ",
    ];
    /// What needs a name, or a header before it.
    const LIKELY: [&str; 6] =
        ["produced by ", "prepared by ", "transcribed by ", "scanned by ", "scanned and proofed by ", "digitized by "];
    /// What needs a header before it.
    const POSSIBLE: [&str; 4] = ["transcriber's note", "transcribed from ", "credits: ", "note: images of "];
    if paragraph.len() > MAX_BYTES {
        return false;
    }
    let Mark { line } = Mark::new(paragraph);
    let line = line.trim_start_matches('[');
    let starts = |marks: &[&str]| marks.iter().any(|mark| line.starts_with(mark));
    let says_so = || {
        let is_named =
            ["proofread", "pgdp", "gutenberg", "pglaf", "proofed by", "email"].iter().any(|word| line.contains(word));
        is_named || (line.starts_with("transcribed from ") && line.contains("edition"))
    };
    let names_someone = || {
        let name = paragraph.split_once(" by ").map_or("", |(_, name)| name);
        name.starts_with(char::is_uppercase) && paragraph.len() < MARK_BYTES
    };
    starts(&CERTAIN)
        || (starts(&LIKELY) && (has_header || says_so() || names_someone()))
        || (starts(&POSSIBLE) && (has_header || (line.starts_with("transcribed") && says_so())))
}

/// A line as it is compared: its start, in lower case, with straight apostrophes.
struct Mark {
    line: String,
}

impl Mark {
    fn new(line: &str) -> Mark {
        let line = line.trim();
        let end = (0..=line.len().min(MARK_BYTES)).rev().find(|&end| line.is_char_boundary(end)).unwrap_or(0);
        Mark { line: line[..end].to_ascii_lowercase().replace('’', "'") }
    }

    /// `*** START OF THE PROJECT GUTENBERG EBOOK`, with `what` for `start of`.
    fn is_gutenberg(&self, what: &str) -> bool {
        let Some(rest) = self.line.strip_prefix("***") else { return false };
        let Some(rest) = rest.trim_start_matches(['*', ' ']).strip_prefix(what) else { return false };
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("the ").or(rest.strip_prefix("this ")).unwrap_or(rest);
        rest.starts_with("project gutenberg")
    }

    fn is_smashwords_licence(&self) -> bool {
        const STARTS: [&str; 10] = [
            "smashwords edition",
            "license notes",
            "licence notes",
            "smashwords license",
            "this ebook is licensed for your personal",
            "this e-book is licensed for your personal",
            "this book is licensed for your personal",
            "thank you for downloading this ebook",
            "thank you for downloading this free ebook",
            "thank you for respecting the hard work",
        ];
        let is_publisher = self.line.starts_with("published by ") && self.line.contains("smashwords");
        is_publisher || STARTS.iter().any(|start| self.line.starts_with(start))
    }

    fn is_hashes(&self) -> bool {
        self.line.len() >= 3 && self.line.bytes().all(|byte| matches!(byte, b'#' | b' '))
    }

    /// `Transcriber's Notes:` and nothing else.
    fn is_transcribers_heading(&self) -> bool {
        let rest = self.line.trim_matches(['*', '_', ' ']).strip_prefix("transcriber");
        rest.is_some_and(|rest| {
            matches!(rest.trim_end_matches([':', '.']), "'s note" | "'s notes" | "s' note" | "s' notes")
        })
    }
}

/// The lines of `text` from byte `at`, with where they start; a line ends before its newline.
struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<(usize, &'a str)> {
        let start = self.at;
        let rest = &self.text[start..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').unwrap_or(rest.len());
        self.at = (start + length + 1).min(self.text.len());
        Some((start, &rest[..length]))
    }

    /// A mark with a long title goes on for a line or two, up to its `***`.
    fn skip_wrapped_mark(&mut self) {
        const MAX_LINES: usize = 3;
        let mut ahead = Lines { text: self.text, at: self.at };
        for _ in 0..MAX_LINES {
            match ahead.next() {
                Some((_, line)) if line.trim_end().ends_with("***") => {
                    self.at = ahead.at;
                    return;
                }
                Some((_, line)) if !line.trim().is_empty() => {}
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
