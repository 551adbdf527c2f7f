//! Files that are no corpus, and text that is not UTF-8: named for what they are, before anything is made of them.

use super::{message, read, write};
use std::fs;
use untie_data::corpus::{find_files, CorpusFile, Format, InputError, ReaderOptions, Record};

/// What the first look at a file says, with the hint.
fn look(name: &str, bytes: &[u8], format: Format) -> Result<(), (String, String)> {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), name, bytes);
    CorpusFile::new(path, format).unwrap().look(&ReaderOptions::default()).map_err(message)
}

const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";

#[test]
fn pointers_of_git_lfs_are_named_whatever_they_stand_for() {
    for name in ["a.txt", "a.jsonl", "a.xml.bz2", "wiki_00", "a.jsonl.zst", "a.txt.xz", "a.parquet"] {
        if name == "a.parquet" && cfg!(not(feature = "parquet")) {
            continue;
        }
        let (text, hint) = look(name, POINTER, Format::Auto).unwrap_err();
        assert_eq!(text, "the file is a Git LFS pointer: the data of 12345 bytes is not here", "{name}");
        assert!(hint.contains("git lfs pull"), "{hint}");
    }
}

#[test]
fn other_kinds_are_named_with_what_to_do() {
    let mut tar = vec![b'x'; 700];
    tar[257..265].copy_from_slice(b"ustar\x0000");
    for (bytes, what, hint) in [
        (b"PK\x03\x04\x14\x00\x00\x00".as_slice(), "the file is a ZIP archive", "unzip"),
        (&tar, "the file is a tar archive", "tar -xf"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "the file is a PNG picture", "leave it out"),
        (b"%PDF-1.4\n%\xe2\xe3", "the file is a PDF document", "pdftotext"),
        (b"<!DOCTYPE html>\n<html>", "the file is an HTML page", "fetch it again"),
        (b"\x1f\x9d\x90", "the file is compressed with compress", "gzip -d"),
        (b"SQLite format 3\0", "the file is an SQLite database", "JSON lines"),
    ] {
        for (name, format) in [("a.txt", Format::Auto), ("a.jsonl", Format::Auto), ("a", Format::Blocks)] {
            let (text, said) = look(name, bytes, format).unwrap_err();
            assert_eq!(text, what, "{name}");
            assert!(said.contains(hint), "{said}");
        }
    }
    // unknown bytes, among them text of other programs with numbers of 32 bits
    let numbers: Vec<u8> = (0..500_u32).flat_map(u32::to_le_bytes).collect();
    let noise: Vec<u8> = (0..500_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [numbers, noise] {
        assert_eq!(look("a.txt", &bytes, Format::Auto).unwrap_err().0, "the file is binary data, not text");
    }
}

#[test]
fn a_named_file_of_no_known_format_is_named_for_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let message = |name: &str, bytes: &[u8]| {
        let error = find_files(&[write(dir.path(), name, bytes)], Format::Auto).unwrap_err();
        assert!(!error.hint().is_empty());
        error.to_string().replace(dir.path().to_str().unwrap(), "D")
    };
    assert_eq!(message("a.zip", b"PK\x03\x04"), "the input `D/a.zip` is a ZIP archive");
    assert_eq!(message("a.pdf", b"%PDF-1.4"), "the input `D/a.pdf` is a PDF document");
    assert_eq!(
        message("data", POINTER),
        "the input `D/data` is a Git LFS pointer: the data of 12345 bytes is not here"
    );
    let error = find_files(&[write(dir.path(), "a.csv", b"a,b\n")], Format::Auto).unwrap_err();
    assert!(matches!(error, InputError::UnknownFormat { .. }), "{error}");
    fs::remove_dir_all(dir.path()).unwrap();
}

/// Sentences by Python's `str.encode` in each encoding, and what iconv calls it.
#[rustfmt::skip]
const ENCODED: [(&[u8], &str); 6] = [
    (b"\x93\xfa\x96{\x8c\xea\x82\xcc\x95\xb6\x8f\xcd\x82\xc5\x82\xb7\x81B\x82\xb1\x82\xea\x82\xcd\x95\xb6\x8e\x9a\x83R\x81[\x83h\x82\xcc\x8e\x8e\x8c\xb1\x82\xcc\x82\xbd\x82\xdf\x82\xcc\x95\xb6\x82\xc5\x81A\x8a\xbf\x8e\x9a\x82\xc6\x82\xa9\x82\xc8\x82\xc6\x83J\x83^\x83J\x83i\x82\xaa\x82\xa0\x82\xe8\x82\xdc\x82\xb7\x81B\n", "Shift_JIS"),
    (b"\xc6\xfc\xcb\xdc\xb8\xec\xa4\xce\xca\xb8\xbe\xcf\xa4\xc7\xa4\xb9\xa1\xa3\xa4\xb3\xa4\xec\xa4\xcf\xca\xb8\xbb\xfa\xa5\xb3\xa1\xbc\xa5\xc9\xa4\xce\xbb\xee\xb8\xb3\xa4\xce\xa4\xbf\xa4\xe1\xa4\xce\xca\xb8\xa4\xc7\xa1\xa2\xb4\xc1\xbb\xfa\xa4\xc8\xa4\xab\xa4\xca\xa4\xc8\xa5\xab\xa5\xbf\xa5\xab\xa5\xca\xa4\xac\xa4\xa2\xa4\xea\xa4\xde\xa4\xb9\xa1\xa3\n", "EUC-JP"),
    (b"\xd5\xe2\xca\xc7\xd2\xbb\xb8\xf6\xd3\xc3\xc0\xb4\xb2\xe2\xca\xd4\xce\xc4\xd7\xd6\xb1\xe0\xc2\xeb\xb5\xc4\xbe\xe4\xd7\xd3\xa3\xac\xc0\xef\xc3\xe6\xd3\xd0\xb3\xa3\xbc\xfb\xb5\xc4\xba\xba\xd7\xd6\xa3\xac\xc3\xbb\xd3\xd0\xb1\xf0\xb5\xc4\xb6\xab\xce\xf7\xa1\xa3\n", "GBK"),
    (b"\xdd\xf2\xee \xef\xf0\xe5\xe4\xeb\xee\xe6\xe5\xed\xe8\xe5 \xed\xf3\xe6\xed\xee \xe4\xeb\xff \xef\xf0\xee\xe2\xe5\xf0\xea\xe8 \xea\xee\xe4\xe8\xf0\xee\xe2\xea\xe8 \xf2\xe5\xea\xf1\xf2\xe0.\n", "windows-1251"),
    (b"Die Gr\xf6\xdfe der sch\xf6nen Stra\xdfe \xfcberrascht die G\xe4ste am sp\xe4ten Abend.\n", "windows-1252"),
    (b"\xc0\xcc \xb9\xae\xc0\xe5\xc0\xba \xb9\xae\xc0\xda \xba\xce\xc8\xa3\xc8\xad\xb8\xa6 \xbd\xc3\xc7\xe8\xc7\xcf\xb1\xe2 \xc0\xa7\xc7\xd1 \xb0\xcd\xc0\xd4\xb4\xcf\xb4\xd9.\n", "EUC-KR"),
];

#[test]
fn text_in_another_encoding_is_refused_with_its_likely_name() {
    for (sentence, name) in ENCODED {
        // at once, and where the start of the file is ASCII and longer than what is looked at
        let ascii = b"{\"text\": \"plain words\"}\n".repeat(20_000);
        let line = [b"{\"text\": \"", sentence.trim_ascii_end(), b"\"}\n"].concat();
        let late = [ascii, line.repeat(3000)].concat();
        for (file, bytes) in [("a.txt", sentence.repeat(5)), ("a.jsonl", line.repeat(5)), ("a.jsonl", late)] {
            let dir = tempfile::tempdir().unwrap();
            let error =
                read(&write(dir.path(), file, &bytes), &ReaderOptions::default(), 1).pop().unwrap().unwrap_err();
            let (text, hint) = message(error);
            assert!(
                text.starts_with("the file is not UTF-8 (") && text.ends_with(&format!("it looks like {name}")),
                "{text}"
            );
            assert!(hint.contains(&format!("`iconv -f {name} -t UTF-8 FILE > NEW`")), "{hint}");
        }
    }
}

#[test]
fn utf_16_and_32_are_named_with_and_without_their_mark() {
    let texts = [
        "a line of plain words\n".repeat(20),
        "这是一个用来测试文字编码的句子，\n".repeat(20),
        "Это предложение\n".repeat(20),
    ];
    for text in texts {
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let wide: Vec<u8> = text.chars().flat_map(|letter| u32::from(letter).to_le_bytes()).collect();
        for (bytes, name, iconv) in [
            ([b"\xff\xfe", &little[..]].concat(), "UTF-16 (little-endian)", "UTF-16"),
            ([b"\xfe\xff", &big[..]].concat(), "UTF-16 (big-endian)", "UTF-16"),
            ([b"\xff\xfe\0\0", &wide[..]].concat(), "UTF-32 (little-endian)", "UTF-32"),
            (little, "UTF-16LE", "UTF-16LE"),
            (big, "UTF-16BE", "UTF-16BE"),
        ] {
            let (text, hint) = look("a.txt", &bytes, Format::Auto).unwrap_err();
            assert_eq!(text, format!("the file is text in {name}, and UTF-8 is expected"));
            assert_eq!(hint, format!("convert it with `iconv -f {iconv} -t UTF-8 FILE > NEW`"));
        }
    }
    let japanese = b"\x1b$B$3$l$OF|K\\8l$G$9\x1b(B.\n".repeat(5);
    let (text, _) = look("a.txt", &japanese, Format::Auto).unwrap_err();
    assert_eq!(text, "the file is text in ISO-2022-JP, and UTF-8 is expected");
}

/// A few bad bytes are damage, whatever the language: repaired and counted.
#[test]
fn damaged_utf_8_is_still_read() {
    let english = "A line of plain words, as there are many in this file.\n".repeat(60);
    let chinese = "这是一个用来测试文字编码的句子，里面有常见的汉字。\n".repeat(60);
    for text in [english.clone(), chinese] {
        let mut bytes = text.into_bytes();
        bytes.extend(b"bad \xff\xfe\xfd\xe9\xe9 bytes\n");
        let dir = tempfile::tempdir().unwrap();
        let mut records = read(&write(dir.path(), "a.txt", &bytes), &ReaderOptions::default(), 1);
        let Some(Ok(Record::Document(document))) = records.pop() else { panic!() };
        assert_eq!(document.replaced, 5);
    }
    // control characters of terminals and printers
    let bytes = [english.as_bytes(), b"\x0c\x1b[1mbold\x1b[0m\x0b\n"].concat();
    look("a.txt", &bytes, Format::Auto).unwrap();
}
