//! A MediaWiki dump in (`.xml`, also with `.bz2`, `.gz`, `.zst`), one JSON object `{"title", "text"}` an article out, on stdout.
//!
//! `cargo run --release -p untie-data --example clean_dump -- DUMP > cleaned.jsonl`, then
//! `python data-prep/tests/compare_mwparserfromhell.py DUMP cleaned.jsonl`.

use anyhow::Context;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use untie_data::corpus::{self, CorpusReader, Mediawiki, Record};

fn main() -> anyhow::Result<()> {
    let path: PathBuf = std::env::args_os().nth(1).context("usage: clean_dump DUMP")?.into();
    let input = corpus::open(&path, |_| {}).with_context(|| format!("cannot open `{}`", path.display()))?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut num_records: BTreeMap<&str, u64> = BTreeMap::new();
    for record in Mediawiki.read(input) {
        let reason = match record? {
            Record::Document(document) => {
                serde_json::to_writer(
                    &mut out,
                    &serde_json::json!({ "title": document.title, "text": document.text }),
                )?;
                out.write_all(b"\n")?;
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
