//! What a user should know about the vocabulary of a preparation: what its text loses by it, and why.

use super::{PrepareConfig, Report};
use crate::wordpiece::{self, Casing, LostMarks, Trained};
use std::path::Path;
use tokenizers::Tokenizer;

/// A larger share of `[UNK]` in the tokens is told.
const MAX_UNKNOWN: f64 = 0.001;

/// Of a vocabulary that was trained.
pub(super) fn of_training(config: &PrepareConfig, trained: &Trained) -> Vec<String> {
    let mut warnings = Vec::new();
    let vocab_size = wordpiece::vocab_size(&trained.tokenizer) as usize;
    if vocab_size < config.vocab_size {
        let reason = match (trained.alphabet.num_left_out, config.limit_alphabet) {
            (left_out @ 1.., Some(limit)) => format!("`--limit-alphabet {limit}` leaves out {left_out} characters"),
            _ => "the text has no more pieces that occur twice".to_owned(),
        };
        warnings.push(format!("the vocabulary has {vocab_size} tokens instead of {}: {reason}", config.vocab_size));
    }
    warnings.extend(of_marks(&trained.lost_marks));
    warnings
}

fn of_marks(lost: &[LostMarks]) -> Option<String> {
    let script = |lost: &LostMarks| {
        let example = match &lost.example {
            Some((word, bare)) => format!(" (`{word}` becomes `{bare}`)"),
            None => String::new(),
        };
        format!("{:.1} % of the {} letters{example}", 100.0 * lost.share, lost.script)
    };
    let scripts: Vec<String> = lost.iter().map(script).collect();
    (!scripts.is_empty()).then(|| {
        format!(
            "stripping accents changes {}: keep them with `--strip-accents off`, and case as well with `--cased`",
            scripts.join(", ")
        )
    })
}

/// What of the `asked` casing does not count, as the files of the tokenizer at `path` say how it is `found`.
pub(super) fn of_case(path: &Path, asked: Casing, found: Casing) -> Vec<String> {
    let path = path.display();
    let mut warnings = Vec::new();
    if !asked.lowercase && found.lowercase {
        warnings.push(format!("`{path}` lower-cases text: its files say so, `--cased` does not count"));
    }
    if asked.strip_accents.is_some_and(|asked| asked != found.strips_accents()) {
        let does = if found.strips_accents() { "strips" } else { "keeps" };
        warnings.push(format!("`{path}` {does} accents: its files say so, `--strip-accents` does not count"));
    }
    warnings
}

/// Why more than a few tokens are `[UNK]`, if they are.
pub(super) fn of_unknown(
    config: &PrepareConfig,
    tokenizer: &Tokenizer,
    report: &Report,
    num_tokens: u64,
) -> Option<String> {
    let share = |number: u64| 100.0 * number as f64 / num_tokens.max(1) as f64;
    if share(report.unknown) < 100.0 * MAX_UNKNOWN {
        return None;
    }
    let mut reasons = Vec::new();
    if report.long_words < report.unknown {
        let characters = match (&config.tokenizer, config.limit_alphabet) {
            (Some(path), _) => format!("that `{}` does not have", path.display()),
            (None, Some(limit)) => format!("that `--limit-alphabet {limit}` leaves out"),
            (None, None) => {
                format!("for which {} tokens have no room: raise `--vocab-size`", wordpiece::vocab_size(tokenizer))
            }
        };
        reasons.push(format!("{:.2} % words with characters {characters}", share(report.unknown - report.long_words)));
    }
    if report.long_words > 0 {
        reasons.push(format!(
            "{:.2} % words longer than a tokenizer of BERT allows, as in scripts without spaces",
            share(report.long_words)
        ));
    }
    Some(format!("{:.2} % of the tokens are `[UNK]`: {}", share(report.unknown), reasons.join("; ")))
}
