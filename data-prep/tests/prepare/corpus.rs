//! Corpus files as users name and break them: what is found, what is read, and what the errors say.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use untie_data::corpus::{find_files, CorpusError, CorpusFile, Format, InputError, ReaderOptions, Record};

mod json;
mod kinds;
mod packed;

fn write(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// The names of the files found below `dir`.
fn names(dir: &Path, inputs: &[&str], format: Format) -> Result<Vec<String>, InputError> {
    let inputs: Vec<PathBuf> = inputs.iter().map(|input| dir.join(input)).collect();
    let name = |file: &CorpusFile| file.path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
    Ok(find_files(&inputs, format)?.files.iter().map(name).collect())
}

fn read(path: &Path, options: &ReaderOptions, threads: usize) -> Vec<Result<Record, CorpusError>> {
    let file = CorpusFile::new(path, Format::Auto).unwrap();
    let reader = file.reader(options);
    let records = match file.read(options, threads, |_| {}) {
        Ok(records) => records,
        Err(error) => return vec![Err(error)],
    };
    let finish = |record| match record {
        Record::Document(document) => reader.finish(document),
        skipped => Ok(skipped),
    };
    records.map(|record| record.and_then(finish)).collect()
}

/// The error with its causes, as the command line prints it, and the hint.
fn message(error: CorpusError) -> (String, String) {
    let hint = error.hint().unwrap_or_default().into_owned();
    (format!("{:#}", anyhow::Error::from(error)), hint)
}

#[test]
fn folders_patterns_and_files_are_found_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for name in ["b/wiki_01", "b/wiki_00.bz2", "a.txt", "c/d/e.jsonl.gz", "c/README.md", ".hidden/x.txt", "c/.y.txt"] {
        write(dir, name, "");
    }
    let all = ["a.txt", "b/wiki_00.bz2", "b/wiki_01", "c/d/e.jsonl.gz"];
    assert_eq!(names(dir, &[""], Format::Auto).unwrap(), all);
    assert_eq!(find_files(&[dir.to_owned()], Format::Auto).unwrap().passed_over, [dir.join("c/README.md")]);
    assert_eq!(names(dir, &["c"], Format::Text).unwrap(), ["c/README.md", "c/d/e.jsonl.gz"]);
    assert_eq!(names(dir, &["b/wiki_*", "a.txt"], Format::Auto).unwrap(), ["b/wiki_00.bz2", "b/wiki_01", "a.txt"]);
    assert_eq!(names(dir, &["**/*.gz"], Format::Auto).unwrap(), ["c/d/e.jsonl.gz"]);
    let stdin = find_files(&["-".into()], Format::Jsonl).unwrap().files;
    assert!(stdin[0].is_stdin() && stdin[0].format() == Format::Jsonl);
}

#[test]
fn a_file_named_like_a_pattern_is_that_file() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a[1].txt", "");
    write(dir.path(), "a1.txt", "");
    assert_eq!(names(dir.path(), &["a[1].txt"], Format::Auto).unwrap(), ["a[1].txt"]);
}

#[test]
fn what_cannot_be_found_has_a_sentence_and_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, "a.txt", "");
    write(dir, "x/a.csv", "");
    let message = |inputs: &[&str], format| {
        let error = names(dir, inputs, format).unwrap_err();
        assert!(!error.hint().is_empty());
        error.to_string().replace(dir.to_str().unwrap(), "D")
    };
    for (inputs, expected) in [
        (["none.txt"].as_slice(), "cannot open the input `D/none.txt`"),
        (&["none-*.txt"], "nothing matches the input `D/none-*.txt`"),
        (&["x"], "no corpus file in `D/x`: the names of its 1 files do not tell the format"),
        (&["a.txt", "a.txt"], "the input `D/a.txt` is read twice"),
        (&["*.txt", "../{}/a.txt"], "cannot open the input `D/../{}/a.txt`"),
    ] {
        assert_eq!(message(inputs, Format::Auto), expected);
    }
    let pattern = message(&["a***b"], Format::Auto);
    assert!(pattern.starts_with("the input `D/a***b` is not a pattern: Pattern syntax error"), "{pattern}");
    assert!(message(&["x/a.csv"], Format::Auto).starts_with("cannot tell the format of `D/x/a.csv`: expected `.xml`"));
    let stdin = |format| find_files(&["-".into()], format).unwrap_err().to_string();
    assert_eq!(stdin(Format::Auto), "cannot tell the format of stdin");
    assert_eq!(stdin(Format::Parquet), "cannot read Parquet from stdin: it is read from its end");
}

#[cfg(unix)]
#[test]
fn links_are_followed_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let file = write(dir, "blobs/1", "text");
    fs::create_dir(dir.join("snapshot")).unwrap();
    std::os::unix::fs::symlink(file, dir.join("snapshot/a.txt")).unwrap();
    std::os::unix::fs::symlink(dir.join("snapshot"), dir.join("snapshot/loop")).unwrap();
    assert_eq!(names(dir, &["snapshot"], Format::Auto).unwrap(), ["snapshot/a.txt"]);
    std::os::unix::fs::symlink("a.txt", dir.join("snapshot/b.txt")).unwrap();
    assert!(matches!(names(dir, &["snapshot"], Format::Auto), Err(InputError::Twice { .. })));
}

fn packed(name: &str, bytes: &[u8]) -> Vec<u8> {
    match name.rsplit_once('.').unwrap().1 {
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "bz2" => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zst" => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        _ => bytes.to_vec(),
    }
}

#[test]
fn truncated_and_damaged_files_are_errors_in_every_format() {
    const HINT: &str = "the file was cut short or damaged: fetch it again";
    let dir = tempfile::tempdir().unwrap();
    let line = |number: u32| format!("{{\"text\": \"line {}\"}}\n", number.wrapping_mul(2_654_435_761));
    let jsonl: String = (0..5000).map(line).collect();
    for name in ["a.jsonl.gz", "a.jsonl.bz2", "a.jsonl.zst", "a.txt.gz", "wiki_00.bz2"] {
        let bytes = packed(name, jsonl.as_bytes());
        let mut damaged = bytes.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0xa5);
        for (bad, what) in [(&bytes[..bytes.len() - 20], "cut"), (&damaged, "damaged")] {
            let path = write(dir.path(), name, bad);
            for threads in [1, 2] {
                let error = read(&path, &ReaderOptions::default(), threads).pop().unwrap().unwrap_err();
                assert!(matches!(error, CorpusError::Io(_)), "{name} {what}: {error:?}");
                let (text, hint) = message(error);
                assert!(text.starts_with("cannot read the stream: "), "{text}");
                assert_eq!(hint, HINT, "{name} {what}");
            }
        }
    }
}

#[test]
fn the_meter_sees_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = packed("a.jsonl.bz2", b"{\"text\": \"a\"}\n");
    let path = write(dir.path(), "a.jsonl.bz2", &bytes);
    for threads in [1, 2] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let meter = Arc::clone(&seen);
        let file = CorpusFile::new(&path, Format::Auto).unwrap();
        let records =
            file.read(&ReaderOptions::default(), threads, move |bytes| meter.lock().unwrap().extend_from_slice(bytes));
        assert_eq!(records.unwrap().count(), 1);
        assert!(*seen.lock().unwrap() == bytes);
    }
}

#[test]
fn one_document_of_50_mb_is_cut_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let paragraph = "word ".repeat(199) + "end\n\n";
    let path = write(dir.path(), "a.txt", paragraph.repeat(50_000));
    let options = ReaderOptions { max_document_bytes: 1 << 20, ..ReaderOptions::default() };
    let (mut num_ends, mut num_documents) = (0, 0);
    for record in read(&path, &options, 1) {
        let Record::Document(document) = record.unwrap() else { panic!("skipped") };
        assert!(document.text.len() <= 1 << 20 && document.text.ends_with("end"));
        num_ends += document.text.matches("end").count();
        num_documents += 1;
    }
    assert_eq!((num_ends, num_documents), (50_000, 48));
}

#[cfg(feature = "parquet")]
mod parquet {
    use super::*;
    use ::parquet::basic::{Compression, GzipLevel, ZstdLevel};
    use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;
    use untie_data::corpus::Document;

    const SCHEMA: &str = "message schema { required int64 id; optional binary title (UTF8); \
                          optional group meta { optional binary text (UTF8); } optional binary text (UTF8); }";

    /// Two row groups of `rows`: the text, of which the title is the number.
    fn file(rows: &[Option<&[u8]>], compression: Compression, dictionary: bool) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let properties =
            WriterProperties::builder().set_compression(compression).set_dictionary_enabled(dictionary).build();
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
        for _ in 0..2 {
            let mut group = writer.next_row_group().unwrap();
            let mut column = 0;
            while let Some(mut out) = group.next_column().unwrap() {
                let texts: Vec<ByteArray> = match column {
                    1 => (0..rows.len()).map(|row| ByteArray::from(row.to_string().into_bytes())).collect(),
                    2 => rows.iter().map(|_| ByteArray::from("nested")).collect(),
                    _ => rows.iter().flatten().map(|text| ByteArray::from(text.to_vec())).collect(),
                };
                let levels: Vec<i16> = match column {
                    1 => vec![1; rows.len()],
                    2 => vec![2; rows.len()],
                    _ => rows.iter().map(|text| i16::from(text.is_some())).collect(),
                };
                if column == 0 {
                    let ids = vec![7; rows.len()];
                    out.typed::<Int64Type>().write_batch(&ids, None, None).unwrap();
                } else {
                    out.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).unwrap();
                }
                out.close().unwrap();
                column += 1;
            }
            group.close().unwrap();
        }
        writer.close().unwrap();
        bytes
    }

    fn titled(row: usize, text: &str) -> Record {
        Record::Document(Document { title: Some(row.to_string()), ..Document::plain(text.into()) })
    }

    #[test]
    fn rows_are_documents_whatever_the_encoding() {
        let dir = tempfile::tempdir().unwrap();
        let texts: Vec<String> = (0..300).map(|row| format!("text {}", row % 9)).collect();
        let rows: Vec<Option<&[u8]>> = texts.iter().map(|text| Some(text.as_bytes())).collect();
        let expected: Vec<Record> =
            (0..2).flat_map(|_| texts.iter().enumerate().map(|(row, text)| titled(row, text))).collect();
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::ZSTD(ZstdLevel::default()),
        ] {
            for dictionary in [false, true] {
                let path = write(dir.path(), "a.parquet", file(&rows, compression, dictionary));
                let records = read(&path, &ReaderOptions::default(), 1).into_iter().map(Result::unwrap);
                assert!(records.eq(expected.iter().cloned()), "{compression:?} {dictionary}");
            }
        }
        let options = ReaderOptions { text_field: "meta.text".to_owned(), ..ReaderOptions::default() };
        let records = read(&dir.path().join("a.parquet"), &options, 1);
        assert_eq!((records.len(), records[0].as_ref().unwrap()), (600, &titled(0, "nested")));
    }

    #[test]
    fn bad_rows_are_skipped_or_named() {
        let dir = tempfile::tempdir().unwrap();
        for (bad, record, strict) in [
            (None, Record::Skipped("no text field"), "row 2 has no string field `text`"),
            (Some(b" \n".as_slice()), Record::Skipped("empty"), "the document at row 2 is empty"),
            (
                Some(&[b'x'; 40]),
                Record::Skipped("larger than the limit"),
                "the document at row 2 is larger than 30 bytes",
            ),
            (
                Some(b"caf\xe9"),
                Record::Document(Document {
                    title: Some("1".into()),
                    replaced: 1,
                    ..Document::plain("caf\u{fffd}".into())
                }),
                "row 2 is not valid UTF-8",
            ),
        ] {
            let bytes = file(&[Some(b"a"), bad, Some(b"b")], Compression::SNAPPY, false);
            let path = write(dir.path(), "a.parquet", bytes);
            let mut options = ReaderOptions { max_document_bytes: 30, ..ReaderOptions::default() };
            let records: Vec<Record> = read(&path, &options, 1).into_iter().map(Result::unwrap).collect();
            assert_eq!(records[..3], [titled(0, "a"), record, titled(2, "b")]);
            options.strict = true;
            assert_eq!(read(&path, &options, 1).remove(1).unwrap_err().to_string(), strict);
        }
    }

    #[test]
    fn another_or_damaged_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let good = file(&[Some(b"some text"), Some(b"more")], Compression::SNAPPY, false);
        let path = write(dir.path(), "a.parquet", &good);
        for (name, expected) in [
            ("content", "no string column `content`: found `id`, `title`, `meta.text`, `text`"),
            ("id", "column `id` holds integers: expected strings"),
            ("meta", "column `meta` is a struct of `text`: expected strings"),
        ] {
            let options = ReaderOptions { text_field: name.to_owned(), ..ReaderOptions::default() };
            let (text, hint) = message(read(&path, &options, 1).remove(0).unwrap_err());
            assert_eq!(text, expected);
            assert!(hint.contains("with `--text-field`"), "{hint}");
        }
        // every cut, and every damaged byte of the pages' headers and data: an error or a text, never a panic
        for end in 1..good.len() {
            let path = write(dir.path(), "a.parquet", &good[..end]);
            let error = read(&path, &ReaderOptions::default(), 1).pop().unwrap().unwrap_err();
            assert!(message(error).0.starts_with("invalid Parquet: "));
        }
        let path = write(dir.path(), "a.parquet", b"");
        assert_eq!(message(read(&path, &ReaderOptions::default(), 1).remove(0).unwrap_err()).0, "the file is empty");
        for at in 4..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            let path = write(dir.path(), "a.parquet", bad);
            read(&path, &ReaderOptions::default(), 1);
        }
    }
}

/// Files that pyarrow wrote, as Hugging Face's `datasets` does: skipped where there is no Python with it.
#[cfg(feature = "parquet")]
#[test]
fn files_of_pyarrow_are_read() {
    use untie_data::corpus::Document;

    const SCRIPT: &str = "
import sys, pyarrow as pa, pyarrow.parquet as pq
texts = [f'é {i % 50} text' if i % 10 else None for i in range(3000)]
for kind in ('string', 'large_string', 'dictionary'):
    values = pa.array(texts, pa.string() if kind == 'dictionary' else getattr(pa, kind)())
    values = values.dictionary_encode() if kind == 'dictionary' else values
    table = pa.table({'id': list(range(3000)), 'text': values, 'tags': [['a', 'b']] * 3000})
    for codec in ('none', 'snappy', 'gzip', 'zstd', 'lz4'):
        for version in ('1.0', '2.0'):
            path = f'{sys.argv[1]}/{kind}-{codec}-{version}.parquet'
            pq.write_table(table, path, compression=codec, row_group_size=1000, data_page_version=version)
";
    let dir = tempfile::tempdir().unwrap();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let written = std::process::Command::new(python).args(["-c", SCRIPT]).arg(dir.path()).output();
    if !written.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no Python with pyarrow (name one with PYTHON)");
        return;
    }
    let files = find_files(&[dir.path().to_owned()], Format::Auto).unwrap().files;
    assert_eq!(files.len(), 30);
    for file in files {
        let records: Vec<Record> =
            read(file.path(), &ReaderOptions::default(), 1).into_iter().map(Result::unwrap).collect();
        assert_eq!(records.len(), 3000);
        for (index, record) in records.into_iter().enumerate() {
            let expected = match index % 10 {
                0 => Record::Skipped("no text field"),
                _ => Record::Document(Document::plain(format!("é {} text", index % 50))),
            };
            assert_eq!(record, expected, "{} {index}", file.path().display());
        }
    }
}

/// Columns and codecs that are not read, by pyarrow: skipped where there is no Python with it.
#[cfg(feature = "parquet")]
#[test]
fn what_is_not_read_of_pyarrow_is_named() {
    const SCRIPT: &str = "
import sys, datetime, pyarrow as pa, pyarrow.parquet as pq
day = datetime.date(2020, 1, 2)
columns = {
    'list': [['a', 'b']], 'lists': [[['a']]], 'structs': [[{'a': 1, 'b': 'x'}]], 'struct': [{'a': 'x', 'n': 1}], 'int': [5],
    'float': [.5], 'bool': [True], 'date': [day], 'time': [datetime.datetime(2020, 1, 2)],
    'map': pa.array([[('a', 'b')]], pa.map_(pa.string(), pa.string())), 'null': pa.array([None], pa.null()),
    'decimal': pa.array([1], pa.decimal128(5, 2)), 'fixed': pa.array([b'abcd'], pa.binary(4)),
}
for name, values in columns.items():
    pq.write_table(pa.table({'text': values}), f'{sys.argv[1]}/{name}.parquet')
pq.write_table(pa.table({'text': ['a'] * 99}), f'{sys.argv[1]}/brotli.parquet', compression='brotli')
pq.write_table(pa.table({'text': [bytes(range(128, 255))] * 9}), f'{sys.argv[1]}/binary.parquet')
";
    let dir = tempfile::tempdir().unwrap();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let written = std::process::Command::new(python).args(["-c", SCRIPT]).arg(dir.path()).output();
    if !written.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no Python with pyarrow (name one with PYTHON)");
        return;
    }
    for (name, field, expected) in [
        ("list", "text", "column `text` is a list of strings: expected strings"),
        ("list", "text.list.element", "column `text` is a list of strings: expected strings"),
        ("lists", "text", "column `text` is a list of lists: expected strings"),
        ("structs", "text", "column `text` is a list of structs: expected strings"),
        ("struct", "text", "column `text` is a struct of `a`, `n`: expected strings"),
        ("struct", "text.n", "column `text.n` holds integers: expected strings"),
        ("int", "text", "column `text` holds integers: expected strings"),
        ("float", "text", "column `text` holds floating point numbers: expected strings"),
        ("bool", "text", "column `text` holds true or false: expected strings"),
        ("date", "text", "column `text` holds dates: expected strings"),
        ("time", "text", "column `text` holds points in time: expected strings"),
        ("map", "text", "column `text` is a map: expected strings"),
        ("null", "text", "column `text` holds nulls: expected strings"),
        ("decimal", "text", "column `text` holds decimal numbers: expected strings"),
        ("fixed", "text", "column `text` holds binary data: expected strings"),
        ("brotli", "text", "the column is compressed with Brotli, which is not read"),
        ("binary", "text", "the file is not UTF-8: 100.0 % of its characters are invalid"),
    ] {
        let options = ReaderOptions { text_field: field.to_owned(), ..ReaderOptions::default() };
        let path = dir.path().join(format!("{name}.parquet"));
        let file = CorpusFile::new(path, Format::Auto).unwrap();
        let (text, hint) = message(file.look(&options).unwrap_err());
        assert_eq!(text, expected, "{name}");
        assert!(!hint.is_empty(), "{name}");
    }
}
