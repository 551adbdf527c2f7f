//! The fetch scripts in `recipes`: without network, against a small server that misbehaves, and on made-up folders.
//!
//! Skipped, with a message, where there is no python3.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

const DUMP: &str = "enwiki-20990101-pages-articles-multistream.xml.bz2";

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: no python3");
    }
    found
}

/// Runs `get.py` with `words`, split at spaces; exit code, stdout, stderr.
fn get(dir: &Path, words: &str) -> (Option<i32>, String, String) {
    let output = Command::new("python3")
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/get.py"))
        .args(words.split(' '))
        .current_dir(dir)
        .env("no_proxy", "127.0.0.1")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The server of `fixtures/range_server.py`; ended when dropped.
struct Server {
    child: Child,
    lines: BufReader<ChildStdout>,
    port: String,
}

impl Server {
    fn start(dir: &Path, options: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/range_server.py"))
            .arg(dir)
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut port = String::new();
        lines.read_line(&mut port).unwrap();
        Self { child, lines, port: port.trim().to_owned() }
    }

    /// The requests for the dump so far, as `RANGE STATUS`.
    fn dump_requests(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        let lines: Vec<String> = self.lines.by_ref().lines().map(Result::unwrap).collect();
        lines.iter().filter_map(|line| Some(line.split_once(DUMP)?.1.trim().to_owned())).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a made-up dump and its sums, as the server publishes them; the bytes of the dump.
fn published(dir: &Path) -> (PathBuf, Vec<u8>) {
    let data: Vec<u8> = (0..100_000_u32).flat_map(|number| number.wrapping_mul(number).to_le_bytes()).collect();
    let root = dir.join("served");
    let folder = root.join("enwiki/20990101");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(DUMP), &data).unwrap();
    let sums = "import hashlib,sys; print(hashlib.sha1(open(sys.argv[1],'rb').read()).hexdigest())";
    let output = Command::new("python3").args(["-c", sums]).arg(folder.join(DUMP)).output().unwrap();
    let sum = String::from_utf8(output.stdout).unwrap();
    let other = "da39a3ee5e6b4b0d3255bfef95601890afd80709  enwiki-20990101-pages-articles.xml.bz2";
    write_sums(&root, &format!("{other}\n{}  {DUMP}\n", sum.trim()));
    (root, data)
}

fn write_sums(root: &Path, text: &str) {
    fs::write(root.join("enwiki/20990101/enwiki-20990101-sha1sums.txt"), text).unwrap();
}

fn fetch_dump(dir: &Path, server: &Server, retries: usize) -> (Option<i32>, String, String) {
    let mirror = format!("http://127.0.0.1:{}", server.port);
    get(dir, &format!("wikipedia --date 20990101 --out raw --mirror {mirror} --retries {retries}"))
}

#[test]
fn a_dry_run_needs_no_network() {
    if !has_python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (words, urls) in [
        (
            "wikipedia",
            vec!["/enwiki/latest/enwiki-latest-pages-articles-multistream.xml.bz2: 25,000,000,000 bytes (estimate)"],
        ),
        ("books", vec!["/deepmind-gutenberg/train/*.txt: 11,700,000,000 bytes (estimate)"]),
        ("books --source bookcorpus", vec!["/datasets/bookcorpus/bookcorpus/resolve/"]),
        ("simple-books", vec!["/cache/epub/12/pg12.txt: ", "and 471 more books, "]),
        ("glue", vec!["/glue/data/CoLA.zip: 376,971 bytes", "/glue/data/QNLIv2.zip: ", "/msr_paraphrase_test.txt: "]),
        ("squad", vec!["/train-v1.1.json: 30,288,272 bytes", "/dev-v2.0.json: 4,370,528 bytes"]),
    ] {
        let (code, stdout, stderr) = get(dir.path(), &format!("{words} --dry-run --mirror http://127.0.0.1:9"));
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words}");
        for url in urls {
            assert!(stdout.contains(url), "{words}: {url} in {stdout}");
        }
        assert!(stdout.contains("next: "), "{stdout}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a dry run writes nothing");
}

#[test]
fn without_network_it_says_what_to_do() {
    if !has_python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (words, url, path) in [
        ("wikipedia", "/enwiki/latest/enwiki-latest-sha1sums.txt", "raw/enwiki-latest-sha1sums.txt"),
        ("books", "/storage/v1/b/deepmind-gutenberg/o?prefix=train%2F", "raw/pg19/listing-train-0.json"),
        ("books --source bookcorpus", "/plain_text/train", "raw/bookcorpus/listing.json"),
        ("simple-books", "/cache/epub/12/pg12.txt", "raw/downloads/12.txt"),
        ("glue", "/glue/data/CoLA.zip", "raw/downloads/CoLA.zip"),
        ("squad", "/SQuAD-explorer/dataset/train-v1.1.json", "raw/train-v1.1.json"),
    ] {
        let (code, _, stderr) = get(dir.path(), &format!("{words} --out raw --mirror http://127.0.0.1:9 --retries 0"));
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.starts_with("error: cannot reach `http://127.0.0.1:9/"), "{stderr}");
        for part in [url, &format!("`{path}` by hand"), "HTTPS_PROXY", "--mirror"] {
            assert!(stderr.contains(part), "{part} in {stderr}");
        }
        assert!(!stderr.contains("Traceback"), "{stderr}");
    }
}

#[test]
fn a_dropped_download_goes_on_where_it_stopped() {
    if !has_python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, data) = published(dir.path());
    let server = Server::start(&root, &["--drop-after", "150000"]);
    let (code, _, stderr) = fetch_dump(dir.path(), &server, 0);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("connection closed after 150000 of 400000 bytes"), "{stderr}");
    let path = dir.path().join("raw").join(DUMP);
    assert!(!path.exists());
    let (code, stdout, stderr) = fetch_dump(dir.path(), &server, 0);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("fetched: "), "{stdout}");
    assert!(fs::read(&path).unwrap() == data, "the parts were put together wrongly");
    // A third run asks for nothing.
    assert_eq!(fetch_dump(dir.path(), &server, 0).0, Some(0));
    assert_eq!(server.dump_requests(), ["- 200", "bytes=150000- 206"]);
    let left: Vec<_> = fs::read_dir(dir.path().join("raw")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the dump and its .sha256, but {left:?}");
}

#[test]
fn one_run_retries_by_itself() {
    if !has_python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, data) = published(dir.path());
    let server = Server::start(&root, &["--drop-after", "150000"]);
    let (code, _, stderr) = fetch_dump(dir.path(), &server, 1);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("retrying in 1 s"), "{stderr}");
    assert!(fs::read(dir.path().join("raw").join(DUMP)).unwrap() == data);
    assert_eq!(server.dump_requests(), ["- 200", "bytes=150000- 206"]);
}

#[test]
fn a_server_without_range_or_with_a_newer_file_starts_anew() {
    if !has_python() {
        return;
    }
    for options in [&["--no-range"][..], &["--etag", "\"two\""]] {
        let dir = tempfile::tempdir().unwrap();
        let (root, data) = published(dir.path());
        let dropping = Server::start(&root, &["--drop-after", "150000"]);
        assert_eq!(fetch_dump(dir.path(), &dropping, 0).0, Some(1));
        let server = Server::start(&root, options);
        let (code, _, stderr) = fetch_dump(dir.path(), &server, 0);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(fs::read(dir.path().join("raw").join(DUMP)).unwrap() == data);
        assert_eq!(server.dump_requests(), ["bytes=150000- 200"]);
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    if !has_python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (root, data) = published(dir.path());
    let wrong = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    write_sums(&root, &format!("{wrong}  {DUMP}\n"));
    let server = Server::start(&root, &[]);
    let (code, _, stderr) = fetch_dump(dir.path(), &server, 0);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains(&format!("error: `raw/{DUMP}.bad` has sha1 `")), "{stderr}");
    assert!(stderr.contains(&format!("expected `{wrong}`")) && stderr.contains("hint: "), "{stderr}");
    assert!(!dir.path().join("raw").join(DUMP).exists());
    // A file that changes after it was recorded is refused as well.
    published(dir.path());
    assert_eq!(fetch_dump(dir.path(), &server, 0).0, Some(0));
    fs::write(dir.path().join("raw").join(DUMP), &data[1..]).unwrap();
    let (code, _, stderr) = fetch_dump(dir.path(), &server, 0);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains(&format!("error: `raw/{DUMP}` has sha256 `")), "{stderr}");
}

#[test]
fn rows_are_counted_as_the_files_are_laid_out() {
    if !has_python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    // An open quote would swallow lines in a CSV reader; the last line has no newline.
    write("glue/WNLI/train.tsv", format!("index\ts1\ts2\tl\n{}634\ta\tb\t1", "0\t\"a\tb\t1\n".repeat(634)));
    write("glue/WNLI/dev.tsv", format!("index\ts1\ts2\tl\n{}", "0\ta\tb\t1\n".repeat(70)));
    write("glue/CoLA/dev.tsv", "gj04\t1\t\ta\n".repeat(1043));
    let (code, stdout, stderr) = get(dir.path(), "check glue glue");
    assert_eq!(code, Some(3), "{stderr}");
    for line in [
        "CoLA/dev: 1043 rows, as expected\n",
        "CoLA/train: MISSING, expected 8551 rows\n",
        "WNLI/train: 635 rows, as expected\n",
        "WNLI/dev: 70 rows, fewer than the expected 71\n",
        "QQP: not there\n",
    ] {
        assert!(stdout.contains(line), "{line} in {stdout}");
    }
    let article = r#"{"data": [{"paragraphs": [{"qas": [{}, {}]}, {"qas": [{}]}]}]}"#;
    write("squad/sample-dev-v1.1.json", article.to_owned());
    let (code, stdout, _) = get(dir.path(), "check squad squad");
    assert_eq!(code, Some(3));
    assert!(stdout.contains("sample-dev-v1.1.json: a sample: 3 of 10570 questions\n"), "{stdout}");
    write("squad/dev-v1.1.json", "{".to_owned());
    let (code, _, stderr) = get(dir.path(), "check squad squad");
    assert_eq!(code, Some(3));
    assert!(stderr.contains("error: `squad/dev-v1.1.json` is not a SQuAD file"), "{stderr}");
    assert_eq!(get(dir.path(), "check glue missing").0, Some(1));
}

#[test]
fn glue_is_unpacked_and_mrpc_is_split() {
    if !has_python() {
        return;
    }
    // All files are put there by hand, each with its sum, so nothing is asked of the network.
    let make = r#"
import hashlib, os, sys, zipfile
sys.path.insert(0, sys.argv[1])
import sources
os.makedirs("raw/downloads")
texts = {
    "mrpc_dev_ids.tsv": "3\t4\n",
    "msr_paraphrase_train.txt": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\ta\tb\n0\t3\t4\t\"c\td\n1\t4\t3\te\tf",
    "msr_paraphrase_test.txt": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t5\t6\tg\th\n0\t7\t8\ti\tj\n",
    "AX.tsv": "index\n0\n",
}
for task, url, _, _ in sources.GLUE_FILES:
    path = "raw/downloads/" + url.split("/")[-1]
    if path.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../outside.tsv", "x")
            archive.writestr(task + "/original/train.tsv", "x")
            for split in sources.GLUE_ROWS[task]:
                archive.writestr(f"{task}/{split}.tsv", task + split)
    else:
        open(path, "w", encoding="utf-8").write(texts[os.path.basename(path)])
    sum = hashlib.sha256(open(path, "rb").read()).hexdigest()
    open(path + ".sha256", "w").write(sum)
"#;
    let dir = tempfile::tempdir().unwrap();
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let made = Command::new("python3").args(["-B", "-c", make]).arg(recipes).current_dir(dir.path()).status().unwrap();
    assert!(made.success());
    let (code, _, stderr) = get(dir.path(), "glue --out raw --mirror http://127.0.0.1:9 --retries 0");
    assert_eq!(code, Some(0), "{stderr}");
    let read = |name: &str| fs::read_to_string(dir.path().join("raw").join(name)).unwrap();
    let header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n";
    assert_eq!(read("MRPC/train.tsv"), format!("{header}1\t1\t2\ta\tb\n1\t4\t3\te\tf\n"));
    assert_eq!(read("MRPC/dev.tsv"), format!("{header}0\t3\t4\t\"c\td\n"));
    let test = "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t5\t6\tg\th\n1\t7\t8\ti\tj\n";
    assert_eq!(read("MRPC/test.tsv"), test);
    assert_eq!(read("MNLI/dev_mismatched.tsv"), "MNLIdev_mismatched");
    assert_eq!(read("QNLI/train.tsv"), "QNLItrain");
    assert_eq!(read("AX/AX.tsv"), "index\n0\n");
    assert!(!dir.path().join("raw/MNLI/original").exists() && !dir.path().join("outside.tsv").exists());
}

#[test]
fn books_follow_the_listing_of_the_source() {
    if !has_python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("served");
    let serve = |name: &str, text: &str| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    // The sums of "hello\n": MD5 b1946ac92492d2347c6235b4d2611184 in base64, and SHA-256.
    let md5 = "sZRqySSS0jR8YjW00mERhA==";
    let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    let book = |name: &str| format!(r#"{{"name": "{name}", "size": "6", "md5Hash": "{md5}"}}"#);
    let list = "storage/v1/b/deepmind-gutenberg/o?prefix=";
    let first = format!(r#"{{"items": [{}], "nextPageToken": "more"}}"#, book("train/1.txt"));
    serve(&format!("{list}train%2F"), &first);
    serve(&format!("{list}train%2F&pageToken=more"), &format!(r#"{{"items": [{}]}}"#, book("train/2.txt")));
    serve(&format!("{list}validation%2F"), "{}");
    serve(&format!("{list}test%2F"), "{}");
    serve("deepmind-gutenberg/train/1.txt", "hello\n");
    serve("deepmind-gutenberg/train/2.txt", "hello\n");
    let tree = "api/datasets/bookcorpus/bookcorpus/tree/refs%2Fconvert%2Fparquet/plain_text/train";
    let name = "plain_text/train/0000.parquet";
    serve(tree, &format!(r#"[{{"path": "{name}", "size": 6, "lfs": {{"oid": "{sha256}"}}}}]"#));
    let file = format!("datasets/bookcorpus/bookcorpus/resolve/refs%2Fconvert%2Fparquet/{name}");
    serve(&file, "hello\n");
    let server = Server::start(&root, &[]);
    let mirror = format!("--out raw --mirror http://127.0.0.1:{} --retries 0", server.port);
    let (code, stdout, stderr) = get(dir.path(), &format!("books {mirror}"));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("train: 2 books, expected 28602\n"), "{stdout}");
    assert_eq!(fs::read(dir.path().join("raw/pg19/train/2.txt")).unwrap(), b"hello\n");
    let (code, _, stderr) = get(dir.path(), &format!("books --source bookcorpus {mirror}"));
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(fs::read(dir.path().join("raw/bookcorpus/0000.parquet")).unwrap(), b"hello\n");
    // The listed sum and the listed size are both compared.
    for (content, complaint) in [("jello\n", "has sha256 `"), ("hello", "has 5 bytes, expected 6")] {
        fs::remove_dir_all(dir.path().join("raw")).unwrap();
        serve(&file, content);
        let (code, _, stderr) = get(dir.path(), &format!("books --source bookcorpus {mirror}"));
        assert_eq!(code, Some(3), "{stderr}");
        assert!(stderr.contains("error: `raw/bookcorpus/0000.parquet.bad` ") && stderr.contains(complaint), "{stderr}");
    }
}

#[test]
fn books_of_gutenberg_become_documents_without_their_frame() {
    if !has_python() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("served");
    let serve = |number: u32, bytes: &[u8]| {
        let path = root.join(format!("cache/epub/{number}/pg{number}.txt"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    // A short paragraph must be a whole sentence of letters; one of 60 characters and more is taken once over all books.
    let long = "This is a paragraph of sixty characters and more, in two books.";
    let first = format!(
        "\u{feff}The Project Gutenberg eBook of One\r\n\r\n*** START OF THE PROJECT GUTENBERG EBOOK ONE ***\r\n\r\n\
         Produced by A. Volunteer and others\r\n\r\nCHAPTER I\r\n\r\n{long}\r\n\r\n\u{201c}Short, but\r\n  a sentence.\u{201d}\r\n\r\n\
         Too short.\r\n\r\nA HEADING OF SEVERAL WORDS\r\n\r\n* * * * * * * * * * * * *\r\n\r\n\
         *** END OF THE PROJECT GUTENBERG EBOOK ONE ***\r\n\r\nThis licence is cut off, as long as it may be.\r\n"
    );
    serve(1, first.as_bytes());
    // An old file: in Latin-1, with the frame of the nineties.
    let old =
        b"You may not read this sentence.\n\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n\
        This etext was prepared by somebody.\n\nThis is a paragraph of sixty characters and more, in two books.\n\n\
        They met in the caf\xe9 at noon.\n\nEnd of The Project Gutenberg Etext of Two\n";
    serve(2, old);
    fs::write(dir.path().join("list.tsv"), "id\tauthor\ttitle\n1\tOne, A.\tFirst\n2\tTwo, B.\tSecond\n").unwrap();
    let server = Server::start(&root, &[]);
    let words = format!(
        "simple-books --list list.tsv --out raw --wait 0 --retries 0 --mirror http://127.0.0.1:{}",
        server.port
    );
    let (code, stdout, stderr) = get(dir.path(), &words);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.starts_with("2 books: raw/simple-books.jsonl\n"), "{stdout}");
    let expected = format!(
        "{{\"id\": \"1\", \"author\": \"One, A.\", \"title\": \"First\", \"text\": \"{long}\\n\\n\u{201c}Short, but a sentence.\u{201d}\"}}\n\
         {{\"id\": \"2\", \"author\": \"Two, B.\", \"title\": \"Second\", \"text\": \"They met in the caf\u{e9} at noon.\"}}\n"
    );
    assert_eq!(fs::read_to_string(dir.path().join("raw/simple-books.jsonl")).unwrap(), expected);
    // A book that is there is not asked for again; one without text is named.
    serve(1, b"gone");
    assert_eq!(get(dir.path(), &words).0, Some(0));
    fs::write(dir.path().join("raw/downloads/1.txt"), "<html>an error</html>").unwrap();
    fs::remove_file(dir.path().join("raw/downloads/1.txt.sha256")).unwrap();
    let (code, _, stderr) = get(dir.path(), &words);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("error: `raw/downloads/1.txt` has no text of a book"), "{stderr}");
}
