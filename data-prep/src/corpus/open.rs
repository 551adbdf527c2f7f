//! A file or stdin in, its decompressed bytes out.
//!
//! Compression goes by the last suffix of the name, and on stdin by the first bytes: `.gz` (all members), `.bz2` (all
//! streams, on several threads: [`super::multistream`]), `.zst` (all frames). Cost: one decoder's window and a 1 MiB buffer.
//! A stream that is cut short is an error of kind `UnexpectedEof`, never a silent end.

use super::multistream::{self, ParallelDecoder};
use super::Input;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

const BUFFER_BYTES: usize = 1 << 20;

/// Sees every chunk of compressed bytes as it is read, for progress and for the file's hash.
pub type Meter = Box<dyn FnMut(&[u8]) + Send>;

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

    /// The compression that the first bytes of a file tell.
    fn of_start(start: &[u8]) -> Compression {
        if start.starts_with(b"\x1f\x8b") {
            Compression::Gzip
        } else if start.starts_with(b"\x28\xb5\x2f\xfd") {
            Compression::Zstd
        } else if multistream::is_stream_start(start) {
            Compression::Bzip2
        } else {
            Compression::None
        }
    }

    /// A lower-case file name without its compression suffix.
    pub(super) fn strip_suffix(name: &str) -> &str {
        Compression::SUFFIXES.iter().find_map(|(suffix, _)| name.strip_suffix(suffix)).unwrap_or(name)
    }

    /// Wraps `raw`, compressed bytes, into a decoder that uses up to `threads` threads.
    ///
    /// # Errors
    /// If the decoder cannot be built (out of memory).
    pub fn decode(self, raw: impl Read + Send + 'static, threads: usize) -> io::Result<Input> {
        let raw = BufReader::with_capacity(BUFFER_BYTES, raw);
        Ok(match self {
            Compression::None => Box::new(raw),
            Compression::Gzip => buffered(flate2::bufread::MultiGzDecoder::new(raw)),
            Compression::Bzip2 if threads > 1 => Box::new(ParallelDecoder::new(raw, threads)),
            Compression::Bzip2 => buffered(bzip2::bufread::MultiBzDecoder::new(raw)),
            Compression::Zstd => buffered(zstd::stream::read::Decoder::with_buffer(raw)?),
        })
    }
}

fn buffered(decoder: impl Read + Send + 'static) -> Input {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
}

/// Opens a file and decompresses it on the fly.
pub(super) fn open(path: &Path, threads: usize, meter: Meter) -> io::Result<Input> {
    Compression::of_path(path).decode(Metered { raw: File::open(path)?, meter }, threads)
}

/// Decompresses stdin on the fly.
pub(super) fn open_stdin(threads: usize, meter: Meter) -> io::Result<Input> {
    decode_unnamed(Metered { raw: io::stdin(), meter }, threads)
}

fn decode_unnamed(mut raw: impl Read + Send + 'static, threads: usize) -> io::Result<Input> {
    let mut start = Vec::new();
    raw.by_ref().take(multistream::START_BYTES as u64).read_to_end(&mut start)?;
    let compression = Compression::of_start(&start);
    compression.decode(Cursor::new(start).chain(raw), threads)
}

struct Metered<R> {
    raw: R,
    meter: Meter,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num_bytes = self.raw.read(buffer)?;
        (self.meter)(&buffer[..num_bytes]);
        Ok(num_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const TEXT: &[u8] = b"the quick brown fox jumps over the lazy dog";
    const ALL: [Compression; 4] = [Compression::None, Compression::Gzip, Compression::Bzip2, Compression::Zstd];

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

    fn unpacked(compression: Compression, bytes: Vec<u8>, threads: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.decode(Cursor::new(bytes), threads)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn several_members_are_read_to_the_end_and_stdin_tells_them_by_their_start() {
        for compression in ALL {
            let mut bytes = packed(compression, &TEXT[..20]);
            bytes.extend(packed(compression, &TEXT[20..]));
            for threads in [1, 3] {
                assert_eq!(unpacked(compression, bytes.clone(), threads).unwrap(), TEXT, "{compression:?}");
                let mut out = Vec::new();
                decode_unnamed(Cursor::new(bytes.clone()), threads).unwrap().read_to_end(&mut out).unwrap();
                assert_eq!(out, TEXT, "{compression:?}");
            }
        }
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        for compression in &ALL[1..] {
            let bytes = packed(*compression, TEXT);
            let cut = bytes[..bytes.len() - 5].to_vec();
            for threads in [1, 3] {
                let kind = unpacked(*compression, cut.clone(), threads).unwrap_err().kind();
                assert_eq!(kind, io::ErrorKind::UnexpectedEof, "{compression:?}");
            }
        }
    }

    #[test]
    fn a_damaged_stream_is_an_error() {
        for compression in &ALL[1..] {
            for threads in [1, 3] {
                assert!(unpacked(*compression, b"no such magic at all".to_vec(), threads).is_err(), "{compression:?}");
            }
        }
    }
}
