//! Bold and italics: runs of apostrophes, resolved a line at a time as MediaWiki does.
//!
//! 2 are italics, 3 bold, 5 both; 4 are an apostrophe and bold, more than 5 are apostrophes and both. Where a line then has an
//! odd number of both, one bold is taken for an apostrophe and italics: `l'''amour''` reads l'amour.

/// Appends `line` to `out` without its quote marks.
pub(super) fn append(line: &str, out: &mut String) {
    let mut runs = runs(line);
    if let Some(index) = apostrophe(line, &runs) {
        runs[index].marks = 2;
    }
    let mut copied = 0;
    for run in &runs {
        out.push_str(&line[copied..run.end - run.marks]);
        copied = run.end;
    }
    out.push_str(&line[copied..]);
}

/// A run of apostrophes, the last `marks` of which are markup.
struct Run {
    start: usize,
    end: usize,
    marks: usize,
}

fn runs(line: &str) -> Vec<Run> {
    let bytes = line.as_bytes();
    let mut runs = Vec::new();
    let mut start = 0;
    while let Some(found) = line[start..].find("''") {
        start += found;
        let length = bytes[start..].iter().take_while(|&&byte| byte == b'\'').count();
        let marks = match length {
            4 => 3,
            _ => length.min(5),
        };
        let end = start + length;
        runs.push(Run { start, end, marks });
        start = end;
    }
    runs
}

/// The bold run to read as an apostrophe and italics, if the line does not balance: the first one after a word of one letter,
/// else the first one after a longer word, else the first one after a space.
fn apostrophe(line: &str, runs: &[Run]) -> Option<usize> {
    let num_with = |marks: usize| runs.iter().filter(|run| run.marks == marks || run.marks == 5).count();
    if num_with(2) % 2 == 0 || num_with(3) % 2 == 0 {
        return None;
    }
    let mut after_word = None;
    let mut after_space = None;
    for (index, run) in runs.iter().enumerate().filter(|(_, run)| run.marks == 3) {
        let mut before = line[..run.start].chars().rev();
        let is_apostrophe_run = run.end - run.start > 3;
        let last = if is_apostrophe_run { Some('\'') } else { before.next() };
        if last == Some(' ') {
            after_space = after_space.or(Some(index));
        } else if before.next() == Some(' ') {
            return Some(index);
        } else {
            after_word = after_word.or(Some(index));
        }
    }
    after_word.or(after_space)
}
