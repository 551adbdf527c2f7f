//! A tokenizer and lines of text in, one JSON array of ids a line out, on stdout: what `untie prepare` makes of them.
//!
//! `encode_lines TOKENIZER [--cased] < lines.json`, each line of stdin a JSON string. See `tests/compare_tokenizers.py`.

use anyhow::Context;
use std::io::{self, BufRead, BufWriter, Write};
use std::path::PathBuf;
use untie_data::wordpiece::{import, Encoder};

fn main() -> anyhow::Result<()> {
    let path: PathBuf = std::env::args_os().nth(1).context("usage: encode_lines TOKENIZER [--cased]")?.into();
    let cased = std::env::args().any(|argument| argument == "--cased");
    let tokenizer = import(&path, !cased)?;
    let mut encoder = Encoder::new(&tokenizer)?;
    let mut out = BufWriter::new(io::stdout().lock());
    for line in io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?)?;
        let mut ids = Vec::new();
        encoder.encode(&text, &mut ids)?;
        serde_json::to_writer(&mut out, &ids)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}
