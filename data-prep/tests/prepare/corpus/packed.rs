//! Compressed files as tools write them: several members, padding, long windows, and what only looks like one.

use super::{message, read, write};
use std::io::Write;
use untie_data::corpus::{ReaderOptions, Record};

/// The text of a plain text file with these bytes, or the error and its hint.
fn text_of(name: &str, bytes: &[u8], threads: usize) -> Result<String, (String, String)> {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), name, bytes);
    let mut text = String::new();
    for record in read(&path, &ReaderOptions::default(), threads) {
        if let Record::Document(document) = record.map_err(message)? {
            text += &document.text;
        }
    }
    Ok(text)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    super::packed("a.gz", bytes)
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `one two` by `xz`, CRC64.
const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\
    \x07\x6f\x6e\x65\x20\x74\x77\x6f\x0a\x00\xeb\x51\xe7\xb4\x34\x57\xf9\x6d\x00\x01\x20\x08\xbb\x19\xd9\xbb\x1f\xb6\xf3\
    \x7d\x01\x00\x00\x00\x00\x04\x59\x5a";
/// `three` by `xz --check=sha256`.
const XZ_SHA256: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x0a\xe1\xfb\x0c\xa1\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\
    \x01\x00\x05\x74\x68\x72\x65\x65\x0a\x00\x00\x00\xf6\x93\x69\x12\x18\x44\x81\xf5\xed\xd4\xc3\x04\xce\x27\xc5\xa1\xa8\
    \x27\x80\x4f\xc7\xf3\x29\xf4\x3d\x27\x3b\x86\x21\x87\x07\x76\x00\x01\x36\x06\x6b\x81\xf9\x40\x18\x9b\x4b\x9a\x01\x00\
    \x00\x00\x00\x0a\x59\x5a";
/// `three` by `xz --delta --lzma2`.
const XZ_DELTA: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x01\x03\x01\x00\x21\x01\x16\x79\x20\xc4\xee\
    \x01\x00\x05\x74\xf4\x0a\xf3\x00\xa5\x00\x00\x00\x2c\xe7\xe1\xb2\x82\xb1\x93\x65\x00\x01\x1e\x06\xc1\x2f\xa4\x1d\x1f\
    \xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";
/// `one two` by `xz --format=lzma`.
const LZMA: &[u8] =
    b"\x5d\x00\x00\x80\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\x37\x9b\x88\xce\x76\xe2\xf4\xe1\x94\xdf\xce\
    \x75\xff\xff\x8c\xfc\x00\x00";

/// A zstd frame of `bytes` in one raw block (RFC 8878), whose header names a window of 2^(10 + `exponent`) bytes, and a
/// dictionary if there is one.
fn zstd_frame(exponent: u8, dictionary: Option<u8>, bytes: &[u8]) -> Vec<u8> {
    let mut frame = b"\x28\xb5\x2f\xfd".to_vec();
    frame.push(u8::from(dictionary.is_some()));
    frame.push(exponent << 3);
    frame.extend(dictionary);
    frame.extend(&(1 | (bytes.len() as u32) << 3).to_le_bytes()[..3]);
    frame.extend(bytes);
    frame
}

/// As pzstd and the seekable format write them.
fn skippable(bytes: &[u8]) -> Vec<u8> {
    [b"\x5e\x2a\x4d\x18", &(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

#[test]
fn xz_and_lzma_are_read() {
    for (bytes, expected) in [
        (XZ.to_vec(), "one two"),
        ([XZ, XZ_SHA256].concat(), "one two three"),
        ([XZ, &[0; 8], XZ_DELTA, &[0; 4]].concat(), "one two three"),
    ] {
        assert_eq!(text_of("a.txt.xz", &bytes, 1).unwrap(), expected);
    }
    assert_eq!(text_of("a.txt.lzma", LZMA, 1).unwrap(), "one two");
    for end in 1..XZ.len() {
        let (text, hint) = text_of("a.txt.xz", &XZ[..end], 1).unwrap_err();
        assert!(text.starts_with("cannot read the stream: ") || end < 6, "{end}: {text}");
        assert!(hint.contains("fetch it again"), "{end}: {hint}");
    }
}

#[test]
fn long_windows_and_skippable_frames_of_zstd_are_read() {
    let long = zstd_frame(21, None, b"one two");
    assert_eq!(text_of("a.txt.zst", &long, 1).unwrap(), "one two");
    for file in [
        [skippable(b"12"), zstd_frame(0, None, b"one"), skippable(b""), zstd_frame(5, None, b" two")].concat(),
        [zstd_frame(0, None, b"one two"), skippable(&[7; 99])].concat(),
    ] {
        assert_eq!(text_of("a.txt.zst", &file, 1).unwrap(), "one two");
    }
}

#[test]
fn what_zstd_cannot_read_just_so_is_not_called_damaged() {
    let (text, hint) = text_of("a.txt.zst", &zstd_frame(22, None, b"one"), 1).unwrap_err();
    assert_eq!(text, "a zstd frame has a window of more than 2 GiB");
    assert!(hint.contains("--long=31"), "{hint}");
    let (text, hint) = text_of("a.txt.zst", &zstd_frame(5, Some(9), b"one"), 1).unwrap_err();
    assert_eq!(text, "a zstd frame needs the dictionary that it was compressed with");
    assert!(hint.contains("zstd -d -D"), "{hint}");
}

/// Tapes and disks pad with zeros; `gzip`, `bzip2` and `xz` read past them.
#[test]
fn zeros_between_and_behind_members_are_padding() {
    for (name, one, two) in [
        ("a.txt.gz", gzip(b"one "), gzip(b"two")),
        ("a.txt.bz2", super::packed("a.bz2", b"one "), super::packed("a.bz2", b"two")),
        ("a.txt.zst", super::packed("a.zst", b"one "), super::packed("a.zst", b"two")),
        ("a.txt.lz4", lz4(b"one "), lz4(b"two")),
        ("a.txt.xz", XZ.to_vec(), XZ_SHA256.to_vec()),
    ] {
        let expected = if name.ends_with("xz") { "one two three" } else { "one two" };
        for padding in [0, 1, 3, 512, 3 << 20] {
            let zeros = vec![0; padding];
            for file in [[&one[..], &two, &zeros].concat(), [&one[..], &zeros, &two].concat()] {
                for threads in [1, 3] {
                    assert_eq!(text_of(name, &file, threads).as_deref(), Ok(expected), "{name} {padding}");
                }
            }
        }
        // other bytes may be more of the text: they are not passed over in silence
        for threads in [1, 3] {
            let (text, hint) = text_of(name, &[&one[..], b"other bytes"].concat(), threads).unwrap_err();
            assert!(text.ends_with("data is complete, but other bytes follow it"), "{name}: {text}");
            assert!(hint.contains("-dc FILE"), "{hint}");
        }
    }
}

#[test]
fn the_first_bytes_tell_the_compression_where_the_name_lies() {
    let zstd = super::packed("a.zst", b"one two");
    for (name, bytes) in [
        ("a.txt", gzip(b"one two")),
        ("a.txt.gz", zstd.clone()),
        ("a.txt.gz", b"one two\n".to_vec()),
        ("a.txt", XZ.to_vec()),
        ("a.txt", skippable(b"1").into_iter().chain(zstd.clone()).collect()),
        ("a.txt", lz4(b"one two")),
        ("a.txt.zst", super::packed("a.bz2", b"one two")),
    ] {
        assert_eq!(text_of(name, &bytes, 1).as_deref(), Ok("one two"), "{name}");
    }
    for (name, bytes, expected) in [
        ("a.txt.gz", gzip(&zstd), "the file is compressed twice, with zstd and then with gzip"),
        ("a.txt.gz", Vec::new(), "the file is empty"),
        (
            "a.txt.zst",
            b"\x00\x01\x02\x03\x80\x81\x82".repeat(99),
            "the file is not what its name says: it does not start as zstd does",
        ),
        ("a.txt.br", b"\x0b\x02\x80one\x03".to_vec(), "the file is compressed with Brotli"),
        ("a.txt.z", b"\x1f\x9d\x90".to_vec(), "the file is compressed with compress"),
        ("a.txt.gz", gzip(b"PK\x03\x04........"), "the file is a ZIP archive"),
    ] {
        assert_eq!(text_of(name, &bytes, 1).unwrap_err().0, expected, "{name}");
    }
}

/// Whatever byte is changed and wherever a file ends: an error or a text, never a panic.
#[test]
fn no_damage_makes_a_decoder_panic() {
    let padded = [lz4(b"one "), vec![0; 5], lz4(b"two")].concat();
    let frames = [skippable(b"1"), zstd_frame(21, None, b"one two")].concat();
    for (name, good) in [
        ("a.txt.xz", [XZ, XZ_SHA256].concat()),
        ("a.txt.xz", XZ_DELTA.to_vec()),
        ("a.txt.lzma", LZMA.to_vec()),
        ("a.txt.lz4", padded),
        ("a.txt.zst", frames),
    ] {
        for at in 0..good.len() {
            for flip in [0x01, 0x55, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                let _ = text_of(name, &bad, 1);
            }
            // between two members a file may end; within one it may not
            let text = text_of(name, &good[..at], 1);
            let is_whole = text.as_deref().is_ok_and(|text| ["", "one", "one two"].contains(&text));
            assert!(text.is_err() || is_whole, "{name} {at}: {text:?}");
        }
    }
}
