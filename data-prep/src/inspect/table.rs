//! A [`Report`] as a person reads it.

use super::{LengthReport, Report, SplitReport};
use std::fmt;

/// Columns of the longest bar.
const BAR: u64 = 40;

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.verified {
            writeln!(formatter, "verified: every file has the hash of the manifest")?;
        }
        for split in &self.splits {
            write_split(formatter, split, self.vocab_size)?;
        }
        Ok(())
    }
}

fn write_split(formatter: &mut fmt::Formatter<'_>, split: &SplitReport, vocab_size: u32) -> fmt::Result {
    writeln!(formatter, "{}", split.split)?;
    writeln!(
        formatter,
        "  {} documents, {} sequences, {} tokens ({:.2} bytes of text each, {:.0} stored)",
        split.documents, split.sequences, split.tokens, split.text_bytes_per_token, split.stored_bytes_per_token
    )?;
    writeln!(
        formatter,
        "  duplicate documents {:.2}%, [UNK] {:.4}%, {} of {vocab_size} tokens never used",
        100.0 * split.duplicate_rate,
        100.0 * split.unknown_rate,
        split.unused_tokens
    )?;
    write_lengths(formatter, "document", &split.document_lengths)?;
    if let Some(lengths) = &split.sequence_lengths {
        write_lengths(formatter, "sequence", lengths)?;
    }
    let shares: Vec<String> =
        split.frequent.iter().map(|entry| format!("{} {:.2}%", entry.token, 100.0 * entry.share)).collect();
    writeln!(formatter, "  most frequent: {}", shares.join(", "))
}

fn write_lengths(formatter: &mut fmt::Formatter<'_>, what: &str, lengths: &LengthReport) -> fmt::Result {
    writeln!(
        formatter,
        "  tokens a {what}: mean {:.1}, median {}, 95% up to {}, longest {}",
        lengths.mean, lengths.median, lengths.p95, lengths.max
    )?;
    let most = lengths.histogram.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    for bin in &lengths.histogram {
        let bar = "#".repeat((u128::from(bin.count) * u128::from(BAR)).div_ceil(u128::from(most)) as usize);
        writeln!(formatter, "  {:>12} to {:<12} {:>12} {bar}", bin.from, bin.to - 1, bin.count)?;
    }
    Ok(())
}
