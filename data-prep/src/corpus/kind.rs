//! The first bytes of a file in, what it is instead of a corpus out: an archive, a picture, a pointer of Git LFS, a web page.
//!
//! Names lie: a download may have brought an error page, a clone without git-lfs brings pointers, a folder holds files of
//! other programs. So every file is looked at before it is read, and what is no text is named with what to do about it.

use crate::placeholder::{is_git_lfs, is_html};
use std::borrow::Cow;

/// The bytes that tell the kind of a file: up to the magic of tar, which is at 257.
pub(crate) use crate::placeholder::HEAD_BYTES as KIND_BYTES;

const UNPACK: &str = "unpack it, and name the files that were in it";
const EXPORT: &str = "save its text as plain text first";
const NOT_TEXT: &str = "leave it out: name the text files, or a pattern such as 'DIR/*.txt'";
const CONVERT: &str = "write its texts to Parquet or JSON lines first";

/// What starts with these bytes, at this offset.
#[rustfmt::skip]
const MAGICS: [(usize, &[u8], &str, &str); 48] = [
    (30, b"mimetypeapplication/epub", "an EPUB book", EXPORT),
    (30, b"[Content_Types].xml", "an Office document", EXPORT),
    (30, b"mimetypeapplication/vnd.oasis", "an OpenDocument file", EXPORT),
    (0, b"PK\x03\x04", "a ZIP archive", "unpack it with `unzip`, and name the files that were in it"),
    (0, b"PK\x05\x06", "an empty ZIP archive", "fetch it again"),
    (257, b"ustar\x00", "a tar archive", "unpack it with `tar -xf`, and name the files that were in it"),
    (257, b"ustar  \x00", "a tar archive", "unpack it with `tar -xf`, and name the files that were in it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it with `7z x`, and name the files that were in it"),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (0, b"LZIP\x01", "compressed with lzip", "unpack it with `lzip -d`"),
    (0, b"\x1f\x9d", "compressed with compress", "unpack it with `gzip -d`"),
    (0, b"\x89LZO\x00", "compressed with lzop", "unpack it with `lzop -d`"),
    (0, b"\xff\x06\x00\x00sNaPpY", "compressed with Snappy", UNPACK),
    (0, b"%PDF-", "a PDF document", "extract its text first, for instance with `pdftotext`"),
    (0, b"%!PS", "a PostScript document", EXPORT),
    (0, b"{\\rtf", "an RTF document", EXPORT),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", EXPORT),
    (0, b"AT&TFORM", "a DjVu document", EXPORT),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture", NOT_TEXT),
    (0, b"\xff\xd8\xff", "a JPEG picture", NOT_TEXT),
    (0, b"GIF87a", "a GIF picture", NOT_TEXT),
    (0, b"GIF89a", "a GIF picture", NOT_TEXT),
    (0, b"II*\x00", "a TIFF picture", NOT_TEXT),
    (0, b"MM\x00*", "a TIFF picture", NOT_TEXT),
    (0, b"OggS\x00", "a sound file or a film", NOT_TEXT),
    (0, b"fLaC\x00", "a sound file", NOT_TEXT),
    (0, b"ID3\x03", "a sound file", NOT_TEXT),
    (0, b"ID3\x04", "a sound file", NOT_TEXT),
    (4, b"ftyp", "a film or a picture", NOT_TEXT),
    (0, b"\x1aE\xdf\xa3", "a film", NOT_TEXT),
    (0, b"wOF2", "a font", NOT_TEXT),
    (0, b"\x00\x01\x00\x00\x00", "a font", NOT_TEXT),
    (0, b"\x7fELF", "a program", NOT_TEXT),
    (0, b"\xca\xfe\xba\xbe", "a program", NOT_TEXT),
    (0, b"\x00asm", "a program", NOT_TEXT),
    (0, b"\x93NUMPY", "a NumPy array", CONVERT),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", CONVERT),
    (0, b"SQLite format 3\x00", "an SQLite database", CONVERT),
    (0, b"ARROW1\x00\x00", "an Arrow file", "write it as Parquet, for instance with `to_parquet` of Hugging Face's `datasets`"),
    (0, b"\xff\xff\xff\xff\x10\x00\x00\x00", "an Arrow stream", "write it as Parquet, for instance with `to_parquet` of Hugging Face's `datasets`"),
    (0, b"FEA1", "a Feather file", CONVERT),
    (0, b"Obj\x01", "an Avro file", CONVERT),
    (0, b"PAR1\x15", "a Parquet file", "name its layout with `--format parquet`, or end its name with `.parquet`"),
    (0, b"PARE", "an encrypted Parquet file", "write it without encryption"),
    (0, b"MMIDIDX\x00\x00", "an index of Megatron-LM, whose text is already tokens", "train on its folder with `data.dir`"),
    (0, b"\x80\x02}", "a Python pickle", CONVERT),
    (0, b"\x80\x04\x95", "a Python pickle", CONVERT),
    (0, b"\x80\x05\x95", "a Python pickle", CONVERT),
];

/// Suffixes of compressions that are not read, and what to do.
const UNREAD_SUFFIXES: [(&str, &str, &str); 4] = [
    (".br", "compressed with Brotli", "unpack it with `brotli -d`, or compress it with zstd"),
    (".z", "compressed with compress", "unpack it with `gzip -d`"),
    (".lz", "compressed with lzip", "unpack it with `lzip -d`"),
    (".lzo", "compressed with lzop", "unpack it with `lzop -d`"),
];

/// What a file is that is no corpus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// With its article: `a PNG picture`.
    pub what: Cow<'static, str>,
    /// What the user can do.
    pub hint: Cow<'static, str>,
}

impl Other {
    pub(crate) fn new(what: impl Into<Cow<'static, str>>, hint: impl Into<Cow<'static, str>>) -> Other {
        Other { what: what.into(), hint: hint.into() }
    }

    /// What a file that starts with these bytes is, if that is known and no text.
    pub fn of_start(start: &[u8]) -> Option<Other> {
        if let Some(pointer) = pointer(start) {
            return Some(pointer);
        }
        if let Some((name, iconv)) = byte_order_mark(start) {
            return Some(encoded(name, iconv));
        }
        if start.starts_with(b"RIFF")
            && start
                .get(8..)
                .is_some_and(|kind| [b"WEBP", b"WAVE", b"AVI "].iter().any(|known| kind.starts_with(*known)))
        {
            return Some(Other::new("a picture, a sound file or a film", NOT_TEXT));
        }
        let magic =
            MAGICS.iter().find(|(offset, magic, ..)| start.get(*offset..).is_some_and(|at| at.starts_with(magic)));
        magic.map(|&(_, _, what, hint)| Other::new(what, hint)).or_else(|| page(start))
    }

    /// The compression that a lower-case file name tells and that is not read.
    pub(super) fn of_suffix(name: &str) -> Option<Other> {
        let found = UNREAD_SUFFIXES.iter().find(|(suffix, ..)| name.ends_with(suffix));
        found.map(|&(_, what, hint)| Other::new(what, hint))
    }

    /// A lower-case file name without the suffix of [`Self::of_suffix`].
    pub(super) fn strip_suffix(name: &str) -> &str {
        UNREAD_SUFFIXES.iter().find_map(|(suffix, ..)| name.strip_suffix(suffix)).unwrap_or(name)
    }
}

/// The bytes without the byte order mark of UTF-8.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// Text in an encoding that is not UTF-8.
pub(super) fn encoded(name: &str, iconv: &str) -> Other {
    let hint = format!("convert it with `iconv -f {iconv} -t UTF-8 FILE > NEW`");
    Other::new(format!("text in {name}, and UTF-8 is expected"), hint)
}

/// What a clone without git-lfs or git-annex has in the place of a file.
pub(crate) fn pointer(start: &[u8]) -> Option<Other> {
    if is_git_lfs(start) {
        let text = String::from_utf8_lossy(start);
        let size = text.lines().find_map(|line| line.strip_prefix("size ")?.trim().parse::<u64>().ok());
        let size = size.map_or(String::new(), |size| format!(" of {size} bytes"));
        return Some(Other::new(
            format!("a Git LFS pointer: the data{size} is not here"),
            "run `git lfs pull` in its repository, or download the file itself",
        ));
    }
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
    if line.starts_with(b"/annex/objects/") || line.starts_with(b"../.git/annex/objects/") {
        return Some(Other::new("a pointer of git-annex: the data is not here", "run `git annex get` on it"));
    }
    None
}

/// The encoding that a byte order mark tells, and what iconv calls it.
fn byte_order_mark(start: &[u8]) -> Option<(&'static str, &'static str)> {
    // UTF-32 first: its mark starts as that of UTF-16
    let marks: [(&[u8], _); 4] = [
        (b"\xff\xfe\x00\x00", ("UTF-32 (little-endian)", "UTF-32")),
        (b"\x00\x00\xfe\xff", ("UTF-32 (big-endian)", "UTF-32")),
        (b"\xff\xfe", ("UTF-16 (little-endian)", "UTF-16")),
        (b"\xfe\xff", ("UTF-16 (big-endian)", "UTF-16")),
    ];
    marks.iter().find(|(mark, _)| start.starts_with(mark)).map(|entry| entry.1)
}

/// A web page, or what a server says instead of giving a file.
fn page(start: &[u8]) -> Option<Other> {
    const HINT: &str = "a download may have brought an error page: look into the file, and fetch it again";
    let start = without_mark(&start[..start.len().min(KIND_BYTES)]).trim_ascii_start();
    let text = String::from_utf8_lossy(start).to_ascii_lowercase();
    if is_html(&text) {
        return Some(Other::new("an HTML page", HINT));
    }
    let (declared, rest) = match text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")) {
        Some((_, rest)) => (true, rest.trim_start()),
        None => (false, text.as_str()),
    };
    if rest.starts_with("<error>") && (declared || rest.contains("<code>")) {
        return Some(Other::new("the error message of a server", HINT));
    }
    (declared && is_html(rest)).then(|| Other::new("an HTML page", HINT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_start() {
        let mut tar = vec![0; 600];
        tar[257..265].copy_from_slice(b"ustar\x0000");
        let rows: [(&[u8], &str); 14] = [
            (b"PK\x03\x04rest", "a ZIP archive"),
            (&tar, "a tar archive"),
            (b"\x89PNG\r\n\x1a\n\0\0", "a PNG picture"),
            (b"%PDF-1.7", "a PDF document"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "a picture, a sound file or a film"),
            (b"SQLite format 3\0", "an SQLite database"),
            (b"\xff\xfea\0", "text in UTF-16 (little-endian), and UTF-8 is expected"),
            (b"\xfe\xff\0a", "text in UTF-16 (big-endian), and UTF-8 is expected"),
            (b"\xff\xfe\0\0a\0\0\0", "text in UTF-32 (little-endian), and UTF-8 is expected"),
            (b"\xef\xbb\xbf\n <!DOCTYPE HTML>", "an HTML page"),
            (b"<?xml version=\"1.0\"?>\n<!DOCTYPE html PUBLIC>", "an HTML page"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>", "the error message of a server"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 42\n",
                "a Git LFS pointer: the data of 42 bytes is not here",
            ),
            (b"/annex/objects/SHA256E-s1--0.txt\n", "a pointer of git-annex: the data is not here"),
        ];
        for (start, what) in rows {
            assert_eq!(Other::of_start(start).unwrap().what, what);
        }
    }

    #[test]
    fn text_is_no_other_kind() {
        for start in [
            "",
            "ID3 and ORC",
            "GIF8",
            "RIFF and WAVE",
            "A SHORT WAVE",
            "MM and II",
            "<mediawiki>",
            "<doc id=\"1\">",
            "<error> is a word",
            "version 1",
            "{\"a\": 1}",
        ] {
            assert_eq!(Other::of_start(start.as_bytes()), None, "{start}");
        }
    }
}
