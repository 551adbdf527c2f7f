//! What a preparation made, as a short table.

use super::report::{list, most_frequent, Report};
use crate::manifest::Manifest;
use crate::shard::Split;
use std::fmt;

/// Names of unknown templates that the table has.
const NAMED_GAPS: usize = 8;

/// The result of a preparation.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The manifest of the folder.
    pub manifest: Manifest,
    /// What was done; nothing if the folder was up to date.
    pub report: Option<Report>,
}

impl Summary {
    /// Size of all shard files together.
    pub fn shard_bytes(&self) -> u64 {
        self.manifest.shards.iter().map(|shard| shard.bin.bytes + shard.idx.bytes).sum()
    }

    fn num_tokens(&self) -> u64 {
        self.manifest.train.tokens + self.manifest.valid.tokens
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:<8}{:>14}{:>18}{:>9}", "split", "documents", "tokens", "shards")?;
        for split in Split::ALL {
            let counts = self.manifest.counts(split);
            let num_shards = self.manifest.shards.iter().filter(|shard| shard.split == split).count();
            writeln!(formatter, "{split:<8}{:>14}{:>18}{num_shards:>9}", counts.documents, counts.tokens)?;
        }
        let tokenizer = &self.manifest.tokenizer;
        writeln!(formatter, "vocabulary: {} tokens, hash {}", tokenizer.vocab_size, tokenizer.json.xxh3)?;
        let (bytes, tokens) = (self.shard_bytes(), self.num_tokens());
        writeln!(formatter, "shards: {}, {:.3} bytes a token", megabytes(bytes), bytes as f64 / tokens.max(1) as f64)?;
        let Some(report) = &self.report else {
            return write!(formatter, "up to date: nothing to do");
        };
        let ratio = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        writeln!(
            formatter,
            "text: {} in {} words, {:.3} tokens a word, {:.3} % `[UNK]`",
            megabytes(report.text_bytes),
            report.words,
            ratio(self.num_tokens(), report.words),
            100.0 * ratio(report.unknown, self.num_tokens()),
        )?;
        writeln!(formatter, "documents: {} kept; left out: {}", report.num_texts, list(&report.dropped))?;
        if !report.changed.is_empty() {
            writeln!(formatter, "changed: {}", list(&report.changed))?;
        }
        if !report.gaps.is_empty() {
            let total: u64 = report.gaps.values().sum();
            let frequent: Vec<String> = most_frequent(&report.gaps, NAMED_GAPS)
                .into_iter()
                .map(|(name, number)| format!("{number} `{name}`"))
                .collect();
            let dots = if report.gaps.len() > NAMED_GAPS { ", .." } else { "" };
            let hint = match self.manifest.settings.reader.drop_incomplete_sentences {
                true => "",
                false => "; `--drop-incomplete-sentences` drops these sentences",
            };
            writeln!(formatter, "unknown templates in sentences: {total} ({}{dots}){hint}", frequent.join(", "))?;
        }
        let speed = report.text_bytes as f64 / 1e6 / report.seconds.max(1e-9);
        write!(formatter, "time: {:.1} s, {speed:.2} MB of text a second", report.seconds)
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}
