//! A file or stdin in, its decompressed bytes out.
//!
//! The first bytes tell the compression, the last suffix of the name does where they cannot: `.gz`, `.bz2` (on several threads:
//! [`super::multistream`]), `.zst`, `.xz`, `.lzma` and `.lz4`, each of any number of members ([`super::members`]). They also tell
//! what is no text ([`Other`]), before and after decompression. Cost: one decoder's window (that of zstd has up to 2 GiB, if it
//! was compressed so) and a 1 MiB buffer. A stream that is cut short is an error of kind `UnexpectedEof`, never a silent end.

use super::compression::Compression;
use super::encoding::{is_control, other_than_utf8};
use super::kind::{Other, KIND_BYTES};
use super::members::{Lookahead, Members, Raw};
use super::multistream::ParallelDecoder;
use super::CorpusError;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

const BUFFER_BYTES: usize = 1 << 20;

/// Decompressed bytes that are looked at before anything is made of them.
const HEAD_BYTES: usize = 256 << 10;

/// The path that stands for stdin.
pub const STDIN: &str = "-";

/// Decompressed bytes of one corpus file.
pub type Input = Box<dyn BufRead + Send>;

/// Sees every chunk of compressed bytes as it is read, for progress and for the file's hash.
pub type Meter = Box<dyn FnMut(&[u8]) + Send>;

/// Opens a file, or stdin where that is what `path` stands for, and decompresses it on the fly.
pub(super) fn open(path: &Path, threads: usize, meter: Meter) -> Result<Input, CorpusError> {
    if path == Path::new(STDIN) {
        return decode(Metered { raw: io::stdin(), meter }, Compression::None, threads);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if let Some(unread) = Other::of_suffix(&name) {
        return Err(unread.into());
    }
    let raw = Metered { raw: File::open(path)?, meter };
    decode(raw, Compression::of_path(path), threads)
}

/// Wraps `raw`, compressed bytes, into a decoder that uses up to `threads` threads.
fn decode_raw(compression: Compression, raw: Raw, threads: usize) -> Input {
    match compression {
        Compression::None => Box::new(raw),
        Compression::Bzip2 if threads > 1 => Box::new(ParallelDecoder::new(raw, threads)),
        packed => Box::new(BufReader::with_capacity(BUFFER_BYTES, Members::new(packed, raw))),
    }
}

/// Decompresses bytes whose name says that they are `named`.
fn decode(raw: impl Read + Send + 'static, named: Compression, threads: usize) -> Result<Input, CorpusError> {
    let mut raw: Raw = Lookahead::new(Box::new(raw));
    let start = raw.peek(KIND_BYTES)?;
    if let Some(other) = Other::of_start(start) {
        return Err(other.into());
    }
    let compression = match Compression::of_start(start) {
        Compression::None if start.is_empty() && named != Compression::None => {
            return Err(Other::new("empty", "a download may have failed: fetch it again").into());
        }
        Compression::None if named == Compression::Lzma && start.first() == Some(&0x5d) => Compression::Lzma,
        Compression::None if named != Compression::None && !is_text(start) => {
            let what = format!("not what its name says: it does not start as {} does", named.name());
            return Err(Other::new(what, "the file was damaged or has the wrong name: fetch it again").into());
        }
        // Lz4 and zstd share their skippable frames
        Compression::Zstd if named == Compression::Lz4 && named.may_start(start) => Compression::Lz4,
        // a browser or a server may have unpacked it and kept the name
        found => found,
    };
    let mut decoded = decode_raw(compression, raw, threads);
    let mut head = Vec::new();
    decoded.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    if let Some(other) = Other::of_start(&head) {
        return Err(other.into());
    }
    if compression != Compression::None {
        let inner = Compression::of_start(&head);
        if inner != Compression::None {
            let (outer, inner) = (compression.name(), inner.name());
            let what = format!("compressed twice, with {inner} and then with {outer}");
            return Err(Other::new(what, format!("unpack it once, with `{outer} -d`")).into());
        }
    }
    if let Some(other) = other_than_utf8(&head) {
        return Err(other.into());
    }
    Ok(Box::new(Cursor::new(head).chain(decoded)))
}

/// Whether the start of a file is UTF-8, of which the last character may be cut, without control characters. A few bytes are
/// none: they may be what is left of compressed ones.
fn is_text(start: &[u8]) -> bool {
    let is_utf8 = std::str::from_utf8(start).map_or_else(|error| error.error_len().is_none(), |_| true);
    start.len() >= 8 && is_utf8 && !start.iter().any(|&byte| is_control(byte))
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
    const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Bzip2, Compression::Zstd, Compression::Lz4];

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
            Compression::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Xz | Compression::Lzma => {
                unreachable!("made by the tool itself, in tests/prepare/corpus/packed.rs")
            }
        }
    }

    fn unpacked(compression: Compression, bytes: Vec<u8>, threads: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decode_raw(compression, Lookahead::new(Box::new(Cursor::new(bytes))), threads).read_to_end(&mut out)?;
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
                decode(Cursor::new(bytes.clone()), Compression::None, threads).unwrap().read_to_end(&mut out).unwrap();
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
