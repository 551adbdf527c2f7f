//! Compressed bytes in, decompressed bytes out, whatever a file has more than one of: members of gzip, streams of bzip2 and xz,
//! frames of zstd and LZ4, one behind the other, with zeros between and behind them.
//!
//! Tapes, disks and `tar` pad files with zeros, and every decoder but this loop takes those for damage. Other bytes behind the
//! compressed data are an error of their own: the data is whole, but what follows may be more of it. Cost: one decoder.

use super::compression::{is_skippable, Compression};
use super::CorpusError;
use flate2::bufread::GzDecoder;
use lzma_rust2::{LzmaReader, XzReader};
use std::io::{self, BufRead, BufReader, Read};

/// zstd's own limit: a window of 2 GiB, as `zstd --long=31` makes it. The memory is taken as the text fills it.
const WINDOW_LOG: u32 = 31;

/// The same for the dictionaries of xz and lzma, whose own tool makes up to 1.5 GiB; KiB.
const MOST_DICTIONARY: u32 = 2_200_000;

const BUFFER_BYTES: usize = 1 << 20;

/// Bytes that may be looked at before they are read.
pub(super) struct Lookahead<R> {
    /// Bytes that were looked at, and how many of them are read.
    held: Vec<u8>,
    num_read: usize,
    raw: BufReader<R>,
}

impl<R: Read> Lookahead<R> {
    pub(super) fn new(raw: R) -> Lookahead<R> {
        Lookahead { held: Vec::new(), num_read: 0, raw: BufReader::with_capacity(BUFFER_BYTES, raw) }
    }

    /// The next `num_bytes`, fewer at the end.
    pub(super) fn peek(&mut self, num_bytes: usize) -> io::Result<&[u8]> {
        self.held.drain(..self.num_read);
        self.num_read = 0;
        let missing = num_bytes.saturating_sub(self.held.len()) as u64;
        self.raw.by_ref().take(missing).read_to_end(&mut self.held)?;
        Ok(&self.held[..num_bytes.min(self.held.len())])
    }

    /// Reads past zeros.
    fn skip_zeros(&mut self) -> io::Result<()> {
        loop {
            let bytes = self.fill_buf()?;
            let num_bytes = bytes.len();
            let num_zeros = bytes.iter().position(|&byte| byte != 0).unwrap_or(num_bytes);
            self.consume(num_zeros);
            if num_zeros < num_bytes || num_bytes == 0 {
                return Ok(());
            }
        }
    }
}

impl<R: Read> BufRead for Lookahead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.num_read < self.held.len() {
            return Ok(&self.held[self.num_read..]);
        }
        self.raw.fill_buf()
    }

    fn consume(&mut self, num_bytes: usize) {
        if self.num_read < self.held.len() {
            self.num_read += num_bytes;
        } else {
            self.raw.consume(num_bytes);
        }
    }
}

impl<R: Read> Read for Lookahead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num_bytes = self.fill_buf()?.read(buffer)?;
        self.consume(num_bytes);
        Ok(num_bytes)
    }
}

/// The bytes of a file that [`Members`] decodes.
pub(super) type Raw = Lookahead<Box<dyn Read + Send>>;

/// A decoder of one member.
enum Member {
    Gzip(Box<GzDecoder<Raw>>),
    Bzip2(bzip2::bufread::BzDecoder<Raw>),
    Zstd(zstd::stream::read::Decoder<'static, Raw>),
    Xz(Box<XzReader<Raw>>),
    Lzma(Box<LzmaReader<Raw>>),
    Lz4(Box<Lz4>),
}

/// A decoder of an LZ4 frame. The crate's decoder takes the end of the input between two blocks for the end of the
/// frame, so the last bytes are checked for the end mark.
struct Lz4 {
    decoder: lz4_flex::frame::FrameDecoder<Tail>,
    /// Bytes behind the end mark; nothing for the legacy format, which has no end mark.
    num_behind_mark: Option<usize>,
}

impl Lz4 {
    /// Bytes up to the flags of a frame.
    const START_BYTES: usize = 7;

    fn open(mut raw: Raw) -> io::Result<Lz4> {
        let start = raw.peek(Lz4::START_BYTES)?;
        let num_behind_mark = match start {
            [0x02, 0x21, 0x4c, 0x18, ..] => None,
            [0x04, 0x22, 0x4d, 0x18, flags, _, _] => Some(if flags & 0b100 == 0 { 0 } else { 4 }),
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let decoder = lz4_flex::frame::FrameDecoder::new(Tail { raw, last: [1; 8] });
        Ok(Lz4 { decoder, num_behind_mark })
    }
}

impl Read for Lz4 {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num_bytes = self.decoder.read(buffer)?;
        if let (0, false, Some(behind)) = (num_bytes, buffer.is_empty(), self.num_behind_mark) {
            let last = &self.decoder.get_ref().last;
            if last[4 - behind..8 - behind] != [0; 4] {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(num_bytes)
    }
}

/// Keeps the last bytes that were read.
struct Tail {
    raw: Raw,
    last: [u8; 8],
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num_bytes = self.raw.read(buffer)?;
        let new = &buffer[num_bytes.saturating_sub(8)..num_bytes];
        self.last.rotate_left(new.len());
        self.last[8 - new.len()..].copy_from_slice(new);
        Ok(num_bytes)
    }
}

impl Member {
    fn open(compression: Compression, raw: Raw) -> io::Result<Member> {
        Ok(match compression {
            Compression::Gzip => Member::Gzip(Box::new(GzDecoder::new(raw))),
            Compression::Bzip2 => Member::Bzip2(bzip2::bufread::BzDecoder::new(raw)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?.single_frame();
                decoder.window_log_max(WINDOW_LOG)?;
                Member::Zstd(decoder)
            }
            Compression::Xz => Member::Xz(Box::new(XzReader::new_mem_limit(raw, false, MOST_DICTIONARY))),
            Compression::Lzma => {
                Member::Lzma(Box::new(LzmaReader::new_mem_limit(raw, MOST_DICTIONARY, None).map_err(xz_error)?))
            }
            Compression::Lz4 => Member::Lz4(Box::new(Lz4::open(raw)?)),
            Compression::None => return Err(io::Error::other("bytes that are not compressed have no members")),
        })
    }

    fn into_raw(self) -> Raw {
        match self {
            Member::Gzip(decoder) => decoder.into_inner(),
            Member::Bzip2(decoder) => decoder.into_inner(),
            Member::Zstd(decoder) => decoder.finish(),
            Member::Xz(decoder) => decoder.into_inner(),
            Member::Lzma(decoder) => decoder.into_inner(),
            Member::Lz4(decoder) => decoder.decoder.into_inner().raw,
        }
    }
}

impl Read for Member {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Member::Gzip(decoder) => decoder.read(buffer),
            Member::Bzip2(decoder) => decoder.read(buffer),
            Member::Zstd(decoder) => decoder.read(buffer).map_err(zstd_error),
            Member::Xz(decoder) => decoder.read(buffer).map_err(xz_error),
            Member::Lzma(decoder) => decoder.read(buffer),
            Member::Lz4(decoder) => decoder.read(buffer),
        }
    }
}

/// Where the decoder of a file is.
enum State {
    /// Before a member, or behind the last one.
    Between(Raw),
    In(Member),
    /// Behind an error or the end.
    Over,
}

/// Decodes the members of a file one after the other.
pub(super) struct Members {
    compression: Compression,
    state: State,
    /// Whether a member was begun: what follows it may be padding.
    any: bool,
}

impl Members {
    pub(super) fn new(compression: Compression, raw: Raw) -> Members {
        Members { compression, state: State::Between(raw), any: false }
    }

    /// Opens the next member; nothing at the end of the file.
    fn next_member(&mut self, mut raw: Raw) -> io::Result<Option<Member>> {
        loop {
            if self.any {
                raw.skip_zeros()?;
            }
            let start = raw.peek(Compression::START_BYTES)?;
            if self.any && start.is_empty() {
                return Ok(None);
            }
            if self.any && !self.compression.may_start(start) {
                return Err(trailing(self.compression));
            }
            self.any = true;
            if !is_skippable(start) || !matches!(self.compression, Compression::Zstd | Compression::Lz4) {
                return Member::open(self.compression, raw).map(Some);
            }
            let mut header = [0; 8];
            raw.read_exact(&mut header)?;
            let [_, _, _, _, length @ ..] = header;
            let length = u64::from(u32::from_le_bytes(length));
            if io::copy(&mut raw.by_ref().take(length), &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Read for Members {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Ok(0),
                State::Between(raw) => match self.next_member(raw)? {
                    Some(member) => self.state = State::In(member),
                    None => return Ok(0),
                },
                State::In(mut member) => {
                    let num_bytes = member.read(buffer)?;
                    if num_bytes > 0 || buffer.is_empty() {
                        self.state = State::In(member);
                        return Ok(num_bytes);
                    }
                    self.state = State::Between(member.into_raw());
                }
            }
        }
    }
}

/// Bytes behind the compressed data that are neither padding nor more of it.
pub(super) fn trailing(compression: Compression) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, CorpusError::Trailing { compression })
}

/// What zstd says of frames that are whole, but that cannot be read just so.
fn zstd_error(error: io::Error) -> io::Error {
    let words = error.to_string();
    let (what, hint) = if words.contains("too much memory") {
        ("a zstd frame has a window of more than 2 GiB", "compress it again, with `--long=31` at most")
    } else if words.contains("Allocation error") {
        (
            "there is not enough memory for the window of a zstd frame, which may have up to 2 GiB",
            "compress it again with a smaller window: `zstd -dc --long=31 FILE | zstd -o NEW`",
        )
    } else if words.contains("ictionary") {
        ("a zstd frame needs the dictionary that it was compressed with", "unpack it with `zstd -d -D DICTIONARY`")
    } else {
        return error;
    };
    io::Error::other(CorpusError::Packed { what, hint })
}

/// What a stream needs that is whole, but has a dictionary that is too large.
fn xz_error(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::OutOfMemory {
        return error;
    }
    let (what, hint) = ("the dictionary of an xz stream has more than 2 GiB", "unpack it with `xz -d`");
    io::Error::other(CorpusError::Packed { what, hint })
}
