//! Names and first bytes of a file in, how it is compressed out.

use std::path::Path;

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
    /// xz, `.xz`
    Xz,
    /// The format before xz, `.lzma`
    Lzma,
    /// LZ4 frames, `.lz4`
    Lz4,
}

impl Compression {
    const SUFFIXES: [(&'static str, Compression); 7] = [
        (".gz", Compression::Gzip),
        (".bz2", Compression::Bzip2),
        (".zst", Compression::Zstd),
        (".zstd", Compression::Zstd),
        (".xz", Compression::Xz),
        (".lzma", Compression::Lzma),
        (".lz4", Compression::Lz4),
    ];

    /// Bytes by which a compression is known.
    pub(super) const START_BYTES: usize = START_BYTES;

    /// The name of the program that makes it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "nothing",
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Zstd => "zstd",
            Compression::Xz => "xz",
            Compression::Lzma => "lzma",
            Compression::Lz4 => "lz4",
        }
    }

    /// The compression that a file name stands for.
    pub fn of_path(path: &Path) -> Compression {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        Compression::SUFFIXES
            .iter()
            .find(|(suffix, _)| name.ends_with(suffix))
            .map_or(Compression::None, |entry| entry.1)
    }

    /// The compression that the first bytes of a file tell. Those of `.lzma` tell nothing.
    pub(super) fn of_start(start: &[u8]) -> Compression {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            // the first byte is the version of the format, 0.2 to 0.8
            [0x22..=0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // with which pzstd begins
            start if is_skippable(start) => Compression::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            // frames, and the legacy format of Linux kernels
            [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => Compression::Lz4,
            start if is_stream_start(start) => Compression::Bzip2,
            _ => Compression::None,
        }
    }

    /// Whether another member may start with these bytes, which may end early.
    pub(super) fn may_start(self, start: &[u8]) -> bool {
        match self {
            Compression::None | Compression::Lzma => false,
            Compression::Lz4 if is_skippable(start) => true,
            // what is too short to tell is a member that was cut
            _ if start.len() < 4 => true,
            Compression::Bzip2 => start.starts_with(b"BZh"),
            _ => Compression::of_start(start) == self,
        }
    }

    /// A lower-case file name without its compression suffix.
    pub(super) fn strip_suffix(name: &str) -> &str {
        Compression::SUFFIXES.iter().find_map(|(suffix, _)| name.strip_suffix(suffix)).unwrap_or(name)
    }
}

/// Whether a frame starts here that zstd and LZ4 skip.
pub(super) fn is_skippable(start: &[u8]) -> bool {
    matches!(start, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Bytes by which [`is_stream_start`] knows a stream.
pub(super) const START_BYTES: usize = 10;

/// Whether `bytes` start as a bzip2 stream does: `BZh`, the level, and the magic number of a block or of the end.
pub(super) fn is_stream_start(bytes: &[u8]) -> bool {
    let Some(([b'B', b'Z', b'h', b'1'..=b'9'], magic)) = bytes.split_first_chunk::<4>() else {
        return false;
    };
    magic.starts_with(b"\x31\x41\x59\x26\x53\x59") || magic.starts_with(b"\x17\x72\x45\x38\x50\x90")
}
