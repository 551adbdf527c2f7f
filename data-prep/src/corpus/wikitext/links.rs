//! Pass 4: links. `[[target|text]]` and `[http://target text]` leave their text; files, categories and language links nothing.
//!
//! A stack of open brackets; a link's target is dropped from the output when its first `|` comes, so closing costs nothing.
//! As in MediaWiki an external link ends with its line, a target does not hold a newline, and `[[a [[b]]` has only the inner
//! link. At a blank line or a heading all that is open is given up.

use super::lines::LIST_MARKERS;
use super::{languages, run_end, HiddenPrefixes, BREAK, HOLE, LINK_END, LINK_START};

/// Replaces links by what they show.
pub(super) fn resolve(text: &str, hidden: &HiddenPrefixes) -> String {
    let mut pass = Links { text, hidden, out: String::with_capacity(text.len()), open: Vec::new(), in_item: false };
    pass.start_line(0);
    pass.run();
    pass.out
}

struct Links<'a> {
    text: &'a str,
    hidden: &'a HiddenPrefixes,
    out: String,
    open: Vec<Bracket>,
    /// The line is an item of a list: its links are marked.
    in_item: bool,
}

/// An open bracket; `start` is where in the output its content starts.
struct Bracket {
    start: usize,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// `[[` of a link that shows nothing.
    Hidden,
    /// `[[` of a link that shows its target, which starts at this byte of the input.
    Target(usize),
    /// The same after its `|`: the target is input[start..end].
    Text(usize, usize),
    /// `[` before a URL.
    External,
    /// `[` that is text; it stands in the output before `start`.
    Plain,
}

impl Kind {
    fn is_internal(self) -> bool {
        matches!(self, Kind::Hidden | Kind::Target(_) | Kind::Text(..))
    }
}

impl Links<'_> {
    fn run(&mut self) {
        let bytes = self.text.as_bytes();
        let mut copied = 0;
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            if !matches!(byte, b'[' | b']' | b'|' | b'\n') {
                at += 1;
                continue;
            }
            self.out.push_str(&self.text[copied..at]);
            at = match byte {
                b'[' => self.opening(at, run_end(bytes, at)),
                b']' => self.closing(at, run_end(bytes, at)),
                b'|' => self.bar(at),
                _ => self.newline(at),
            };
            copied = at;
        }
        self.out.push_str(&self.text[copied..]);
        self.give_up_all();
    }

    fn push(&mut self, kind: Kind) {
        const MAX_OPEN: usize = 64;
        if self.open.len() == MAX_OPEN {
            self.give_up_all();
        }
        let start = self.out.len();
        self.open.push(Bracket { start, kind });
    }

    fn push_plain(&mut self, count: usize) {
        for _ in 0..count {
            self.out.push('[');
            self.push(Kind::Plain);
        }
    }

    /// A run of `[` from `at` to `end`.
    fn opening(&mut self, at: usize, end: usize) -> usize {
        if let Some(length) = url_length(&self.text[end..], end - at == 1) {
            self.push_plain(end - at - 1);
            self.mark(LINK_START);
            self.push(Kind::External);
            return end + length;
        }
        if end - at == 1 {
            self.push_plain(1);
            return end;
        }
        self.push_plain(end - at - 2);
        // links nest within files only: an inner link undoes an outer one that shows text
        if let Some(outer) = self.open.iter().rposition(|bracket| bracket.kind.is_internal()) {
            if self.open[outer].kind != Kind::Hidden {
                self.open.remove(outer);
            }
        }
        let target = &self.text[end..];
        if self.is_hidden(target) {
            self.push(Kind::Hidden);
            return end;
        }
        let start = self.text.len() - target.trim_start_matches([' ', ':']).len();
        self.mark(LINK_START);
        self.push(Kind::Target(start));
        start
    }

    fn mark(&mut self, mark: char) {
        if self.in_item {
            self.out.push(mark);
        }
    }

    /// A line starts at byte `at` of the input.
    fn start_line(&mut self, at: usize) {
        self.in_item = self.text[at..].trim_start_matches([' ', '\t', HOLE]).starts_with(LIST_MARKERS);
    }

    /// Whether the link whose target starts `target` shows nothing: `File:…`, `Category:…`, `de:…`.
    fn is_hidden(&self, target: &str) -> bool {
        const MAX_PREFIX_BYTES: usize = 80;
        let end = target.bytes().take(MAX_PREFIX_BYTES).position(|byte| b":|[]\n".contains(&byte));
        match end {
            Some(end) if target.as_bytes()[end] == b':' => {
                let prefix = target[..end].trim();
                languages::is_language(prefix) || self.hidden.contains(prefix)
            }
            _ => false,
        }
    }

    /// A run of `]` from `at` to `end`.
    fn closing(&mut self, at: usize, end: usize) -> usize {
        let mut left = end - at;
        while left > 0 {
            let Some(top) = self.open.last() else { break };
            let (start, kind) = (top.start, top.kind);
            if kind.is_internal() {
                if left == 1 {
                    break;
                }
                self.open.pop();
                left -= 2;
                self.close_internal(start, kind);
                continue;
            }
            self.open.pop();
            let below = self.open.last().map(|bracket| bracket.kind);
            if kind == Kind::Plain && left == 2 && below.is_some_and(Kind::is_internal) {
                // `[[a|[b]]`: the bracket is text
                continue;
            }
            left -= 1;
            if kind == Kind::Plain {
                // an entity is text to the last pass, which takes a bare `]]` for markup
                self.out.push_str("&#93;");
            } else if self.out.len() == start {
                self.out.push(HOLE);
            } else {
                self.mark(LINK_END);
            }
        }
        self.out.push_str(&self.text[end - left..end]);
        end
    }

    fn close_internal(&mut self, start: usize, kind: Kind) {
        match kind {
            Kind::Hidden => {
                self.out.truncate(start);
                self.out.push(HOLE);
            }
            Kind::Text(target, target_end) if self.out.len() == start => {
                self.out.push_str(pipe_trick(&self.text[target..target_end]));
                self.mark(LINK_END);
            }
            _ => self.mark(LINK_END),
        }
    }

    fn bar(&mut self, at: usize) -> usize {
        match self.open.last_mut() {
            Some(Bracket { start, kind }) if matches!(kind, Kind::Target(_)) => {
                if let Kind::Target(target) = *kind {
                    self.out.truncate(*start);
                    *kind = Kind::Text(target, at);
                }
            }
            _ => self.out.push('|'),
        }
        at + 1
    }

    fn newline(&mut self, at: usize) -> usize {
        let rest = self.text[at + 1..].trim_start_matches([' ', '\t']);
        if rest.is_empty() || rest.starts_with(['\n', '=']) {
            self.give_up_all();
        }
        while let Some(Bracket { kind: Kind::External | Kind::Plain | Kind::Target(_), .. }) = self.open.last() {
            self.open.pop();
        }
        self.out.push('\n');
        self.start_line(at + 1);
        at + 1
    }

    /// Brackets that nothing closed: files lose what came after them, the others only the brackets.
    fn give_up_all(&mut self) {
        if let Some(file) = self.open.iter().find(|bracket| bracket.kind == Kind::Hidden) {
            self.out.truncate(file.start);
            self.out.push(HOLE);
        }
        self.open.clear();
    }
}

/// The bytes of the URL that `text` starts with, and of the blank after it. Behind `[[` only a URL of the web counts.
fn url_length(text: &str, is_single: bool) -> Option<usize> {
    const WEB: [&str; 3] = ["http://", "https://", "ftp://"];
    const OTHER: [&str; 9] = ["//", "mailto:", "news:", "irc://", "ircs://", "git://", "sftp://", "ssh://", "tel:"];
    let is_scheme = |scheme: &&str| {
        let start = text.as_bytes().get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    // a template that made the URL is a hole by now
    let is_other = is_single && (text.starts_with(HOLE) || OTHER.iter().any(is_scheme));
    if !is_other && !WEB.iter().any(is_scheme) {
        return None;
    }
    let end = text.find([' ', '\t', '\n', ']', '[', '"', '<', BREAK]).unwrap_or(text.len());
    Some(end + usize::from(text[end..].starts_with([' ', '\t'])))
}

/// What `[[target|]]` shows: the target without its namespace, a last part in parentheses, or else what follows a comma.
fn pipe_trick(target: &str) -> &str {
    let title = target.split_once(':').map_or(target, |(_, title)| title).trim();
    if let Some((name, _)) = title.strip_suffix(')').and_then(|title| title.rsplit_once('(')) {
        return name.trim_end();
    }
    title.split_once(", ").map_or(title, |(name, _)| name)
}
