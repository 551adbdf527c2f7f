//! Bytes in, size and hash out; and `checksums.json`, which holds them for every file of a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_128, Xxh3Default};

use super::{CHECKSUMS_FILE, FILES, REMEMBERED_FILE};
use crate::error::{io as io_error, Error, Result};

/// No JSON file of a checkpoint comes near this size, in bytes.
const LARGEST_JSON: u64 = 64 << 20;

const DAMAGED: &str = "the file was damaged after it was written; go back to another checkpoint";

/// Size and hash of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileChecksum {
    /// Size.
    bytes: u64,
    /// XXH3 with 128 bits, as 32 hexadecimal digits.
    xxh3: String,
}

/// Passes bytes on, and counts and hashes them.
pub(super) struct HashingWriter<W> {
    inner: W,
    bytes: u64,
    hasher: Xxh3Default,
}

impl<W: Write> HashingWriter<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, bytes: 0, hasher: Xxh3Default::new() }
    }

    pub(super) fn finish(self) -> (W, FileChecksum) {
        (self.inner, FileChecksum { bytes: self.bytes, xxh3: hex(self.hasher.digest128()) })
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn hex(hash: u128) -> String {
    format!("{hash:032x}")
}

/// The content of `checksums.json`; its last entry is the hash of the list itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checksums {
    files: BTreeMap<String, FileChecksum>,
    xxh3: String,
}

impl Checksums {
    pub(super) fn new(files: BTreeMap<String, FileChecksum>) -> Result<Self> {
        let xxh3 = hash_of(&files)?;
        Ok(Self { files, xxh3 })
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::failed("cannot write the checksums").caused_by(error))
    }

    /// Reads the checksums of the checkpoint at `path`; without them it is not one.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file = path.join(CHECKSUMS_FILE);
        if !file.exists() {
            return Err(Error::data(format!(
                "`{}` is not a complete checkpoint: expected `{CHECKSUMS_FILE}` in it",
                path.display()
            )));
        }
        let damaged = || Error::data(format!("`{}` is damaged", file.display())).hint(DAMAGED);
        let checksums: Self =
            serde_json::from_slice(&read_small(&file)?).map_err(|error| damaged().caused_by(error))?;
        let names: BTreeSet<&str> =
            checksums.files.keys().map(String::as_str).filter(|&name| name != REMEMBERED_FILE).collect();
        if hash_of(&checksums.files)? != checksums.xxh3 || names != BTreeSet::from(FILES) {
            return Err(damaged());
        }
        Ok(checksums)
    }

    /// Checks size and hash of every file of the checkpoint at `path`.
    pub(super) fn check_all(&self, path: &Path) -> Result<()> {
        self.files.keys().try_for_each(|name| self.check(path, name))
    }

    /// Checks size and hash of `name` in the checkpoint at `path`.
    pub(super) fn check(&self, path: &Path, name: &str) -> Result<()> {
        let file = path.join(name);
        let expected = self.files.get(name).ok_or_else(|| Error::failed(format!("`{name}` has no checksum")))?;
        let bytes = match std::fs::metadata(&file) {
            Ok(metadata) => metadata.len(),
            Err(error) => return Err(cannot_read(&file, error)),
        };
        if bytes != expected.bytes {
            return Err(Error::data(format!("`{}`: expected {} bytes, got {bytes}", file.display(), expected.bytes))
                .hint(DAMAGED));
        }
        let mut hashing = HashingWriter::new(io::sink());
        File::open(&file)
            .and_then(|opened| io::copy(&mut BufReader::with_capacity(1 << 20, opened), &mut hashing))
            .map_err(|error| cannot_read(&file, error))?;
        let (_, found) = hashing.finish();
        if found != *expected {
            return Err(Error::data(format!(
                "`{}`: expected checksum {}, got {}",
                file.display(),
                expected.xxh3,
                found.xxh3
            ))
            .hint(DAMAGED));
        }
        Ok(())
    }
}

fn hash_of(files: &BTreeMap<String, FileChecksum>) -> Result<String> {
    let bytes =
        serde_json::to_vec(files).map_err(|error| Error::failed("cannot hash the checksums").caused_by(error))?;
    Ok(hex(xxh3_128(&bytes)))
}

/// The error of a file of a checkpoint that cannot be read: missing is the checkpoint's fault, the rest the disk's.
pub(super) fn cannot_read(file: &Path, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::NotFound {
        Error::data(format!("`{}` is missing", file.display())).hint(DAMAGED)
    } else {
        io_error("read", file, error)
    }
}

/// Reads a JSON file whole, unless it is absurdly large.
pub(super) fn read_small(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(LARGEST_JSON + 1).read_to_end(&mut bytes))
        .map_err(|error| cannot_read(file, error))?;
    if bytes.len() as u64 > LARGEST_JSON {
        return Err(Error::data(format!("`{}`: expected at most {LARGEST_JSON} bytes, got more", file.display())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_xxhash() {
        let mut hashing = HashingWriter::new(io::sink());
        hashing.write_all(b"un").unwrap();
        hashing.write_all(b"tie").unwrap();
        // `xxhash` 4.1.0 for Python: xxh3_128_hexdigest(b"untie").
        let expected = FileChecksum { bytes: 5, xxh3: "194f7b932328e1024e7d99a8eb9198d0".into() };
        assert_eq!(hashing.finish().1, expected);
    }
}
