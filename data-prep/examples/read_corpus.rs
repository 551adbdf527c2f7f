//! Corpus files in, the speed of their readers out: reading (one thread) and finishing (any thread), in MB of raw text a second.
//!
//! `cargo run --release -p untie-data --example read_corpus -- FILE...`. For a `.bz2` it reads with 1, 2, 1, 2 threads.
//! `multistream FILE.bz2 OUT.bz2 PAGES COPIES` makes a dump as Wikimedia's multistream dumps from another.

use anyhow::{bail, Context};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use untie_data::corpus::{find_files, CorpusFile, Format, ReaderOptions, Record};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, from, to, pages, copies] = arguments.as_slice() {
        if command == "multistream" {
            return multistream(from.as_ref(), to.as_ref(), pages.parse()?, copies.parse()?);
        }
    }
    let inputs: Vec<PathBuf> = arguments.iter().map(PathBuf::from).collect();
    let files = find_files(&inputs, Format::Auto)?.files;
    if files.is_empty() {
        bail!("usage: read_corpus FILE...");
    }
    let is_bzip2 = |file: &CorpusFile| file.path().extension().is_some_and(|extension| extension == "bz2");
    let threads = if files.iter().any(is_bzip2) { [1, 2, 1, 2].as_slice() } else { &[1, 1] };
    for &threads in threads {
        reading(&files, threads)?;
    }
    finishing(&files)
}

/// Reads the files, and prints the speed.
fn reading(files: &[CorpusFile], threads: usize) -> anyhow::Result<()> {
    let options = ReaderOptions::default();
    let (started, mut num_bytes, mut num_records) = (Instant::now(), 0, 0_u64);
    for file in files {
        for record in file.read(&options, threads, |_| {})? {
            num_records += 1;
            if let Record::Document(document) = record? {
                num_bytes += document.text.len();
            }
        }
    }
    let what = format!("reading on {threads} threads: {num_records} records");
    report(&what, num_bytes, started.elapsed());
    Ok(())
}

/// Finishes the documents of the files on one thread, and prints the speed of that alone.
fn finishing(files: &[CorpusFile]) -> anyhow::Result<()> {
    let options = ReaderOptions::default();
    let (mut duration, mut num_bytes, mut text_bytes) = (Duration::ZERO, 0, 0);
    for file in files {
        let reader = file.reader(&options);
        for record in file.read(&options, 1, |_| {})? {
            let Record::Document(document) = record? else { continue };
            num_bytes += document.text.len();
            let started = Instant::now();
            let finished = reader.finish(document)?;
            duration += started.elapsed();
            if let Record::Document(document) = finished {
                text_bytes += document.text.len();
            }
        }
    }
    report(&format!("finishing: {:.1} MB of text", text_bytes as f64 / 1e6), num_bytes, duration);
    Ok(())
}

fn report(what: &str, num_bytes: usize, duration: Duration) {
    let (megabytes, seconds) = (num_bytes as f64 / 1e6, duration.as_secs_f64());
    println!("{what}, {megabytes:.1} MB raw in {seconds:.2} s, {:.0} MB/s", megabytes / seconds);
}

/// Writes the header, `copies` times the pages in streams of `pages`, and the footer of the dump `from`.
fn multistream(from: &Path, to: &Path, pages: usize, copies: usize) -> anyhow::Result<()> {
    let mut xml = String::new();
    bzip2::read::MultiBzDecoder::new(File::open(from)?).read_to_string(&mut xml)?;
    let start = xml.find("<page>").context("no <page>")?;
    let end = xml.rfind("</page>").context("no </page>")? + "</page>\n".len();
    let mut out = BufWriter::new(File::create(to)?);
    let mut stream = |text: &str| -> std::io::Result<()> {
        let mut encoder = bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::best());
        encoder.write_all(text.as_bytes())?;
        encoder.finish().map(|_| ())
    };
    stream(&xml[..start])?;
    let all: Vec<&str> = xml[start..end].split_inclusive("</page>\n").collect();
    for _ in 0..copies {
        all.chunks(pages).try_for_each(|chunk| stream(&chunk.concat()))?;
    }
    stream(&xml[end..])?;
    out.flush()?;
    Ok(())
}
