//! Pass 3: tables. `{|` and `|}` pair where they start a line (after spaces and `:`), nested as deep as they come.
//!
//! An opening that nothing closes stays, for [`super::lines`] to drop with the lines that belong to it.

use super::HOLE;

pub(super) fn remove(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open: Vec<usize> = Vec::new();
    for line in text.split_inclusive('\n') {
        let start = line.trim_start_matches([' ', '\t', ':', HOLE]);
        if start.starts_with("{|") {
            open.push(out.len());
            out.push_str(line);
        } else if let Some(rest) = start.strip_prefix("|}") {
            if let Some(table) = open.pop() {
                out.truncate(table);
                out.push(HOLE);
            }
            out.push_str(rest);
        } else {
            out.push_str(line);
        }
    }
    out
}
