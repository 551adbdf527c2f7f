//! A file in, its decompressed bytes out.
//!
//! Compression goes by the last suffix of the name: `.gz` (all members), `.bz2` (all streams), `.zst` (all frames). Cost:
//! one decoder's window and a 1 MiB buffer. A stream that is cut short is an error of kind `UnexpectedEof`, never a silent end.

use super::Input;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const BUFFER_BYTES: usize = 1 << 20;

/// How the bytes of a file are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// gzip, `.gz`
    Gzip,
    /// bzip2, `.bz2`
    Bzip2,
    /// Zstandard, `.zst`
    Zstd,
}

impl Compression {
    const SUFFIXES: [(&'static str, Compression); 3] =
        [(".gz", Compression::Gzip), (".bz2", Compression::Bzip2), (".zst", Compression::Zstd)];

    /// The compression that a file name stands for.
    pub fn of_path(path: &Path) -> Compression {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        Compression::SUFFIXES
            .iter()
            .find(|(suffix, _)| name.ends_with(suffix))
            .map_or(Compression::None, |entry| entry.1)
    }

    /// A lower-case file name without its compression suffix.
    pub(super) fn strip_suffix(name: &str) -> &str {
        Compression::SUFFIXES.iter().find_map(|(suffix, _)| name.strip_suffix(suffix)).unwrap_or(name)
    }

    /// Wraps `raw`, compressed bytes, into a decoder.
    ///
    /// # Errors
    /// If the decoder cannot be built (out of memory).
    pub fn decode(self, raw: impl Read + Send + 'static) -> io::Result<Input> {
        let raw = BufReader::with_capacity(BUFFER_BYTES, raw);
        Ok(match self {
            Compression::None => Box::new(raw),
            Compression::Gzip => buffered(flate2::bufread::MultiGzDecoder::new(raw)),
            Compression::Bzip2 => buffered(bzip2::bufread::MultiBzDecoder::new(raw)),
            Compression::Zstd => buffered(zstd::stream::read::Decoder::with_buffer(raw)?),
        })
    }
}

fn buffered(decoder: impl Read + Send + 'static) -> Input {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
}

/// Opens a corpus file and decompresses it on the fly. `meter` sees every chunk of compressed bytes as it is read, for
/// progress and for the file's hash.
///
/// # Errors
/// If the file cannot be opened.
pub fn open(path: &Path, meter: impl FnMut(&[u8]) + Send + 'static) -> io::Result<Input> {
    Compression::of_path(path).decode(Metered { file: File::open(path)?, meter })
}

struct Metered<M> {
    file: File,
    meter: M,
}

impl<M: FnMut(&[u8])> Read for Metered<M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num_bytes = self.file.read(buffer)?;
        (self.meter)(&buffer[..num_bytes]);
        Ok(num_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TEXT: &[u8] = b"the quick brown fox jumps over the lazy dog";

    fn packed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => bytes.to_vec(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(bytes, 0).unwrap(),
        }
    }

    fn unpacked(compression: Compression, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.decode(io::Cursor::new(bytes))?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn several_members_are_read_to_the_end() {
        for compression in [Compression::None, Compression::Gzip, Compression::Bzip2, Compression::Zstd] {
            let mut bytes = packed(compression, &TEXT[..20]);
            bytes.extend(packed(compression, &TEXT[20..]));
            assert_eq!(unpacked(compression, bytes).unwrap(), TEXT, "{compression:?}");
        }
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        for compression in [Compression::Gzip, Compression::Bzip2, Compression::Zstd] {
            let bytes = packed(compression, TEXT);
            let cut = bytes[..bytes.len() - 5].to_vec();
            let kind = unpacked(compression, cut).unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::UnexpectedEof, "{compression:?}");
        }
    }

    #[test]
    fn a_damaged_stream_is_an_error() {
        for compression in [Compression::Gzip, Compression::Bzip2, Compression::Zstd] {
            assert!(unpacked(compression, b"no such magic at all".to_vec()).is_err(), "{compression:?}");
        }
    }
}
