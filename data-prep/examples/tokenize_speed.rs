//! How fast the `tokenizers` crate's own `encode_batch_fast` and our [`Encoder`] tokenise the same text on the same threads: MB of
//! text a second, A B A B, and whether their ids agree; then how fast a vocabulary of the same size is learnt from the text.
//!
//! `tokenize_speed TOKENIZER JSONL.zst [MB]`; `RAYON_NUM_THREADS` sets the threads. The text is cut at newlines into parts of
//! about 4 KB, which suits `encode_batch` best.

use anyhow::Context;
use rayon::prelude::*;
use std::path::PathBuf;
use std::time::Instant;
use untie_data::corpus::{CorpusFile, Format, ReaderOptions, Record};
use untie_data::wordpiece::{casing, import, vocab_size, Encoder, TokenizerError, WordCounter};

const PART_BYTES: usize = 4096;

fn main() -> anyhow::Result<()> {
    let usage = "usage: tokenize_speed TOKENIZER FILE [MB]";
    let mut arguments = std::env::args_os().skip(1);
    let tokenizer = import(&PathBuf::from(arguments.next().context(usage)?), true)?;
    let path = PathBuf::from(arguments.next().context(usage)?);
    let most: usize = match arguments.next() {
        Some(megabytes) => megabytes.to_str().context(usage)?.parse::<usize>()? * 1_000_000,
        None => 40_000_000,
    };
    let parts = parts(&path, most)?;
    let bytes: usize = parts.iter().map(String::len).sum();
    println!("{:.1} MB in {} parts, {} threads", bytes as f64 / 1e6, parts.len(), rayon::current_num_threads());
    for _ in 0..3 {
        let begin = Instant::now();
        let theirs = tokenizer.encode_batch_fast(parts.clone(), false).map_err(anyhow::Error::msg)?;
        let crate_seconds = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let ours: Result<Vec<Vec<u32>>, _> = parts
            .par_iter()
            .map_init(
                || Encoder::new(&tokenizer),
                |encoder, part| {
                    let encoder = encoder.as_mut().map_err(|error| TokenizerError::Tokenise(error.to_string()))?;
                    let mut ids = Vec::new();
                    encoder.encode(part, &mut ids).map(|()| ids)
                },
            )
            .collect();
        let our_seconds = begin.elapsed().as_secs_f64();
        let differing = ours?.iter().zip(&theirs).filter(|(ours, theirs)| ours.as_slice() != theirs.get_ids()).count();
        let speed = |seconds: f64| bytes as f64 / 1e6 / seconds;
        println!(
            "encode_batch_fast {:.2} MB/s, Encoder {:.2} MB/s, {:.1} times; {differing} parts differ",
            speed(crate_seconds),
            speed(our_seconds),
            crate_seconds / our_seconds
        );
    }
    let begin = Instant::now();
    let mut counter = WordCounter::new(casing(&tokenizer).context("the normaliser is not BERT's")?);
    counter.add(&parts);
    let counted = begin.elapsed().as_secs_f64();
    let trained = counter.train(vocab_size(&tokenizer) as usize, None)?;
    println!(
        "words counted at {:.2} MB/s; a vocabulary of {} learnt in {:.1} s",
        bytes as f64 / 1e6 / counted,
        vocab_size(&trained.tokenizer),
        begin.elapsed().as_secs_f64() - counted
    );
    Ok(())
}

fn parts(path: &std::path::Path, most: usize) -> anyhow::Result<Vec<String>> {
    let options = ReaderOptions::default();
    let file = CorpusFile::new(path, Format::Auto).context("the name tells no format")?;
    let reader = file.reader(&options);
    let (mut parts, mut part, mut bytes) = (Vec::new(), String::new(), 0);
    for record in file.read(&options, 1, |_| ())? {
        let Record::Document(document) = record? else { continue };
        let Record::Document(document) = reader.finish(document)? else { continue };
        for line in document.text.split_inclusive('\n') {
            part.push_str(line);
            if part.len() >= PART_BYTES {
                bytes += part.len();
                parts.push(std::mem::take(&mut part));
            }
        }
        if bytes >= most {
            break;
        }
    }
    Ok(parts)
}
