//! A MediaWiki dump in (`.xml`, also with `.bz2`, `.gz`, `.zst`), one JSON object `{"title", "text"}` an article out, on stdout.
//!
//! `cargo run --release -p untie-data --example clean_dump -- DUMP > cleaned.jsonl`. With `--wikitext` and a file of lines
//! `{"title", "wikitext"}` instead, the cleaner runs alone and its time goes to stderr: `data-prep/tests/compare_cleaners.py` does
//! that.

use anyhow::{ensure, Context};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use untie_data::corpus::wikitext::{clean_page, CleanOptions, ListItems, Wiki};
use untie_data::corpus::{CorpusFile, Format, ReaderOptions, Record};

const USAGE: &str = "usage: clean_dump DUMP | clean_dump --wikitext [--all-items] [--headings] PAGES.jsonl";

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut take = |flag: &str| {
        let count = arguments.len();
        arguments.retain(|argument| argument != flag);
        arguments.len() < count
    };
    let is_wikitext = take("--wikitext");
    let list_items = if take("--all-items") { ListItems::All } else { ListItems::Prose };
    let options = CleanOptions { headings: take("--headings"), list_items, ..CleanOptions::default() };
    let [path] = arguments.as_slice() else { anyhow::bail!(USAGE) };
    let path = Path::new(path);
    if is_wikitext {
        return clean_pages(path, &options);
    }
    ensure!(options == CleanOptions::default(), USAGE);
    clean_dump(path)
}

/// The articles of a dump, as `untie prepare` reads them.
fn clean_dump(path: &Path) -> anyhow::Result<()> {
    let file = CorpusFile::new(path, Format::Mediawiki).context("a format of its own always has a file")?;
    let options = ReaderOptions::default();
    let reader = file.reader(&options);
    let records = file.read(&options, 1, |_| {}).with_context(|| format!("cannot open `{}`", path.display()))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut num_records: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records {
        let record = match record? {
            Record::Document(page) => reader.finish(page)?,
            skipped => skipped,
        };
        let reason = match record {
            Record::Document(document) => {
                write_line(&mut out, &serde_json::json!({ "title": document.title, "text": document.text }))?;
                "article"
            }
            Record::Skipped(reason) => reason,
        };
        *num_records.entry(reason).or_default() += 1;
    }
    out.flush()?;
    for (reason, count) in num_records {
        eprintln!("{count} × {reason}");
    }
    Ok(())
}

/// The pages of a file of JSON lines, with the time that the cleaner took on standard error.
fn clean_pages(path: &Path, options: &CleanOptions) -> anyhow::Result<()> {
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut num_pages, mut num_bytes, mut time) = (0_u64, 0, Duration::ZERO);
    for line in BufReader::new(file).lines() {
        let page: serde_json::Value = serde_json::from_str(&line?)?;
        let wikitext = page["wikitext"].as_str().context("a line has no string field `wikitext`")?;
        let start = Instant::now();
        let title = page["title"].as_str().unwrap_or_default();
        let text = clean_page(title, wikitext, &Wiki::default(), options).text;
        time += start.elapsed();
        num_pages += 1;
        num_bytes += wikitext.len();
        write_line(&mut out, &serde_json::json!({ "title": page["title"], "text": text }))?;
    }
    out.flush()?;
    let seconds = time.as_secs_f64();
    eprintln!("{}", serde_json::json!({ "pages": num_pages, "bytes": num_bytes, "seconds": seconds }));
    Ok(())
}

fn write_line(out: &mut impl Write, value: &serde_json::Value) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")?;
    Ok(())
}
