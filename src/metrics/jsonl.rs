//! `metrics.jsonl`: one JSON object a line, appended.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::error::{io as io_error, Error, Result};

/// The open file.
#[derive(Debug)]
pub(super) struct Jsonl {
    path: PathBuf,
    file: File,
}

impl Jsonl {
    /// Opens the file to append to it, without what came after step `keep`; without anything when that is `None`.
    pub(super) fn open(path: PathBuf, keep: Option<u64>) -> Result<Self> {
        let open = || -> io::Result<File> {
            let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
            let end = keep.map_or(Ok(0), |step| end_of(&file, step))?;
            file.set_len(end)?;
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(io_error("open", &path, error)),
        }
    }

    pub(super) fn append(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut line = serde_json::to_vec(&Record { step, values })
            .map_err(|error| Error::failed("cannot write metrics as JSON").caused_by(error))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| io_error("write", &self.path, error))
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|error| io_error("sync", &self.path, error))
    }
}

/// One line: the step first, then the values in their order.
struct Record<'a> {
    step: u64,
    values: &'a [(&'a str, f64)],
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1 + self.values.len()))?;
        map.serialize_entry("step", &self.step)?;
        // serde_json writes what is not finite as null.
        self.values.iter().try_for_each(|(tag, value)| map.serialize_entry(tag, value))?;
        map.end()
    }
}

/// Where the last whole line of a step up to `keep` ends, in bytes; lines after a later step do not count.
fn end_of(file: &File, keep: u64) -> io::Result<u64> {
    #[derive(Deserialize)]
    struct Step {
        step: u64,
    }
    let mut reader = BufReader::new(file);
    let (mut at, mut end) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        at += reader.read_until(b'\n', &mut line)? as u64;
        if line.pop() != Some(b'\n') {
            return Ok(end);
        }
        match serde_json::from_slice(&line) {
            Ok(Step { step }) if step > keep => return Ok(end),
            Ok(_) => end = at,
            // Not ours, or hurt by a power cut: it stays only if lines that count follow it.
            Err(_) => {}
        }
    }
}
