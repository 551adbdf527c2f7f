//! A file in the official layout in, rows out.
//!
//! A field ends at a tab or at the end of the line, whatever is in it: quotes are text. Columns are found by the names in
//! the first line (CoLA's train.tsv and dev.tsv have none, and a fixed order). Lines may end with `\n` or `\r\n`, a byte
//! order mark at the start goes. Cost: one line in memory beside the rows.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::examples::{Reason, Rows};
use super::glue_task::{GlueSet, GlueTask, Split, TsvFile};
use super::rows::{shortened, Gatherer, Raw};
use crate::error::{io, quoted, Error, Result};

/// The longest line that is read, in bytes: GLUE's longest, with parse trees, have a few thousand.
const LONGEST_LINE: u64 = 1 << 20;

const NO_QUOTING: &str =
    "fields are separated by single tabs, without quoting: a text cannot have a tab or a line break";

pub(super) fn read(task: &GlueTask, set: &GlueSet, file: &TsvFile, path: &Path) -> Result<Rows> {
    let mut lines = Lines::open(path)?;
    let columns = match file.columns {
        Some(names) => Columns::find(names, file, set, path)?,
        None => {
            let Some(header) = lines.next_line()? else { return Err(empty(path)) };
            Columns::find(&header.split('\t').collect::<Vec<_>>(), file, set, path)?
        }
    };
    let may_be_torn = task.has_torn_rows && set.split != Split::Test;
    let mut rows = Gatherer::new(task, set, "line", path);
    loop {
        let place = lines.number + 1;
        let Some(line) = lines.next_line()? else { break };
        if line.is_empty() {
            rows.skip(place, Reason::Blank);
            continue;
        }
        let fields: Vec<&str> = line.split('\t').collect();
        if fields.len() == columns.num {
            let id = columns.index.map(|at| fields[at].to_owned());
            let (first, second) = (fields[columns.first].to_owned(), columns.second.map(|at| fields[at].to_owned()));
            let label = columns.label.map_or(Raw::NoColumn, |at| Raw::Word(fields[at]));
            rows.push(place, id, first, second, label).map_err(|error| match file.columns {
                Some(_) if place == 1 => error.hint(format!("the official `{}` has no header", file.name)),
                _ => error,
            })?;
        } else if may_be_torn {
            rows.skip(place, Reason::Torn);
        } else {
            let what = format!("expected {} fields, got {}", columns.num, fields.len());
            return Err(rows.wrong(place, &what).hint(NO_QUOTING));
        }
    }
    if lines.number == 0 {
        return Err(empty(path));
    }
    rows.finish()
}

fn empty(path: &Path) -> Error {
    Error::data(format!("`{}` is empty", path.display()))
}

/// Where the fields of a row stand.
struct Columns {
    num: usize,
    index: Option<usize>,
    first: usize,
    second: Option<usize>,
    label: Option<usize>,
}

impl Columns {
    fn find(names: &[&str], file: &TsvFile, set: &GlueSet, path: &Path) -> Result<Self> {
        let wrong = |what: String| {
            Error::data(format!("`{}`: {what}", path.display())).hint("`--data` is the folder of this task's own files")
        };
        let optional = |name: &str| -> Result<Option<usize>> {
            let mut places = names.iter().enumerate().filter(|(_, found)| **found == name).map(|(at, _)| at);
            let place = places.next();
            match places.next() {
                None => Ok(place),
                Some(_) => Err(wrong(format!("the header has the column `{name}` twice"))),
            }
        };
        let needed = |name: &str| {
            optional(name)?.ok_or_else(|| {
                let found = quoted(names.iter().map(|name| shortened(name)));
                wrong(format!("the header has no column `{name}`: found {found}"))
            })
        };
        Ok(Self {
            num: names.len(),
            index: optional(file.index)?,
            first: needed(file.first)?,
            second: file.second.map(needed).transpose()?,
            label: if set.split == Split::Test { optional(file.label)? } else { Some(needed(file.label)?) },
        })
    }
}

/// The lines of a file.
struct Lines<'a> {
    path: &'a Path,
    file: BufReader<File>,
    buffer: Vec<u8>,
    /// Of the line last returned, from 1.
    number: usize,
}

impl<'a> Lines<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| io("open", path, error))?;
        Ok(Self { path, file: BufReader::new(file), buffer: Vec::new(), number: 0 })
    }

    /// The next line without its end; nothing at the end of the file.
    fn next_line(&mut self) -> Result<Option<&str>> {
        self.buffer.clear();
        let mut line = self.file.by_ref().take(LONGEST_LINE + 1);
        line.read_until(b'\n', &mut self.buffer).map_err(|error| io("read", self.path, error))?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let wrong = |what: String| Error::data(format!("`{}` line {}: {what}", self.path.display(), self.number));
        if self.buffer.len() as u64 > LONGEST_LINE {
            let what = format!("expected at most {LONGEST_LINE} bytes, got more");
            return Err(wrong(what).hint("is it a text file with line ends?"));
        }
        let mut bytes = self.buffer.as_slice();
        if let Some(rest) = bytes.strip_suffix(b"\n") {
            bytes = rest.strip_suffix(b"\r").unwrap_or(rest);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            wrong(format!("not UTF-8 at byte {}", error.valid_up_to() + 1))
                .hint("convert the file, for instance with `iconv -f LATIN1 -t UTF-8`")
        })?;
        Ok(Some(if self.number == 1 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text }))
    }
}
