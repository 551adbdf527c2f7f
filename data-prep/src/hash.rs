//! Bytes in, XXH3 (64 bits) as 16 hexadecimal digits out: how files, tokenizers and documents are told apart.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use xxhash_rust::xxh3::{xxh3_64, Xxh3Default};

/// Size and hash of a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileChecksum {
    /// Size in bytes.
    pub bytes: u64,
    /// XXH3, 64 bits, 16 hexadecimal digits.
    pub xxh3: String,
}

/// A running hash.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Xxh3Default);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn hex(&self) -> String {
        format!("{:016x}", self.0.digest())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.hex())
    }
}

/// The hash of some bytes.
pub(crate) fn hex(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

/// Reads a file to its end for its size and hash.
pub(crate) fn checksum(path: &Path) -> io::Result<FileChecksum> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(FileChecksum { bytes, xxh3: hasher.hex() }),
            Ok(num_bytes) => {
                hasher.update(&buffer[..num_bytes]);
                bytes += num_bytes as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_xxhash() {
        // `xxhash` 4.1.0 for Python: xxh3_64_hexdigest(b"") and (b"untie").
        assert_eq!(hex(b""), "2d06800538d394c2");
        assert_eq!(hex(b"untie"), "2215c6a4c79a869f");
        let mut hasher = Hasher::default();
        hasher.update(b"un");
        hasher.update(b"tie");
        assert_eq!(hasher.hex(), "2215c6a4c79a869f");
    }
}
