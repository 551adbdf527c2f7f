//! How fast the loader is: samples and tokens a second for every objective, on 1 and 2 threads, and how long a dataset of ten
//! billion tokens takes to open.
//!
//! `cargo run --release --example loader_speed -- --data DIR [--sentences DIR]` (shards without and with sentences). The factor
//! is that over `--training-rate`, by default what an H100 needs for bert-base.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use untie::batch::samples::Vocabulary;
use untie::batch::{DataConfig, Loader, Objective, Packing, Samples, Share};
use untie::error::{Error, Result};
use untie_data::shard::Split;

/// Measures the loader.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder of prepared shards
    #[arg(long)]
    data: PathBuf,
    /// The same text prepared with --sentences, for pairs
    #[arg(long)]
    sentences: Option<PathBuf>,
    /// Tokens a second that training reads
    #[arg(long, default_value_t = 400_000.0)]
    training_rate: f64,
    /// Sequences of a micro-batch
    #[arg(long, default_value_t = 64)]
    micro_batch: usize,
    /// Seconds a measurement
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    println!("{:<38} {:>8} {:>12} {:>14} {:>8}", "samples", "threads", "samples/s", "tokens/s", "times");
    for length in [128, 512] {
        let data = DataConfig { dir: arguments.data.clone(), sequence_length: length, ..Default::default() };
        let mut cases = vec![
            ("mlm", data.clone()),
            ("mlm, whole words, spans of 3", DataConfig { whole_word: true, span_length: 3.0, ..data.clone() }),
            ("mlm, isolated documents", DataConfig { packing: Packing::Isolated, ..data.clone() }),
        ];
        if let Some(dir) = &arguments.sentences {
            for (name, objective) in [("mlm+nsp", Objective::MlmNsp), ("mlm+sop", Objective::MlmSop)] {
                cases.push((name, DataConfig { dir: dir.clone(), objective, ..data.clone() }));
            }
        }
        for (name, config) in cases {
            let samples = Arc::new(Samples::open(&config, &Vocabulary::open(&config)?, Split::Train, 1)?);
            for threads in [1, 2, 1, 2] {
                measure(&format!("{name}, {length} tokens"), &samples, threads, &arguments)?;
            }
        }
    }
    large(&arguments.data)
}

fn measure(name: &str, samples: &Arc<Samples>, threads: usize, arguments: &Arguments) -> Result<()> {
    let loader = Loader::start(samples.clone(), 0, Share::whole(arguments.micro_batch), threads)?;
    let (begin, mut sequences, mut tokens) = (Instant::now(), 0, 0);
    while begin.elapsed().as_secs_f64() < arguments.seconds {
        let batch = loader.next_batch()?;
        sequences += batch.num_sequences();
        tokens += batch.token_ids.len();
    }
    let seconds = begin.elapsed().as_secs_f64();
    let rate = tokens as f64 / seconds;
    let times = rate / arguments.training_rate;
    println!("{name:<38} {threads:>8} {:>12.0} {rate:>14.0} {times:>8.1}", sequences as f64 / seconds);
    Ok(())
}

/// Ten billion tokens in ten million documents: sparse tokens, a whole index.
fn large(tokenizer_of: &Path) -> Result<()> {
    const DOCUMENTS: u64 = 10_000_000;
    const LENGTH: u64 = 1000;
    let failed = |error| Error::failed("cannot write the large dataset").caused_by(error);
    let dir = tempfile::tempdir().map_err(failed)?;
    let write = || -> std::io::Result<()> {
        File::create(dir.path().join("train-00000.bin"))?.set_len(2 * DOCUMENTS * LENGTH)?;
        let mut idx = BufWriter::new(File::create(dir.path().join("train-00000.idx"))?);
        idx.write_all(b"MMIDIDX\x00\x00")?;
        idx.write_all(&1_u64.to_le_bytes())?;
        idx.write_all(&[8])?;
        idx.write_all(&DOCUMENTS.to_le_bytes())?;
        idx.write_all(&(DOCUMENTS + 1).to_le_bytes())?;
        (0..DOCUMENTS).try_for_each(|_| idx.write_all(&(LENGTH as i32).to_le_bytes()))?;
        (0..DOCUMENTS).try_for_each(|at| idx.write_all(&(2 * LENGTH * at).to_le_bytes()))?;
        (0..=DOCUMENTS).try_for_each(|at| idx.write_all(&at.to_le_bytes()))?;
        idx.flush()
    };
    write().map_err(failed)?;
    let tokenizer = Some(tokenizer_of.join("tokenizer.json"));
    let config = DataConfig { dir: dir.path().into(), tokenizer, sequence_length: 512, ..Default::default() };
    let vocabulary = Vocabulary::open(&config)?;
    let before = memory("RssAnon");
    let begin = Instant::now();
    let samples = Samples::open(&config, &vocabulary, Split::Train, 1)?;
    let position = samples.num_samples() * 3 + 12_345_678;
    samples.batch(position, 1)?;
    let open = begin.elapsed();
    println!("\n{} tokens: open and read a random sample in {:.2} ms", samples.num_tokens(), 1e3 * open.as_secs_f64());
    for count in [1_000, 10_000, 100_000] {
        let begin = Instant::now();
        (0..count).try_for_each(|at| samples.batch(position + at, 1).map(drop))?;
        println!(
            "{count} random samples: {:.1} µs each; memory {} kB more than before (RssAnon), {} kB of mapped files",
            1e6 * begin.elapsed().as_secs_f64() / count as f64,
            memory("RssAnon").saturating_sub(before),
            memory("RssFile")
        );
    }
    Ok(())
}

/// A line of /proc/self/status, in kB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
