//! What an unfinished preparation has safely on disk, so that the next one goes on from there.
//!
//! `OUT/.partial/journal.json`, replaced as a whole after every segment. What it speaks of is on disk before it is written.

use super::dealer::{DealerState, HoldOut};
use super::report::Report;
use super::source::Position;
use crate::files::write_aside;
use crate::manifest::{Settings, Source};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

pub(super) const FILE: &str = "journal.json";
const VERSION: u32 = 1;

/// The state of a preparation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Journal {
    version: u32,
    untie_data: String,
    pub(super) settings: Settings,
    pub(super) sources: Vec<Source>,
    /// What was met so far.
    pub(super) report: Report,
    /// Segments of clean text, and the place in the corpus behind them.
    pub(super) segments: u32,
    pub(super) read: Position,
    pub(super) is_read: bool,
    pub(super) hold_out: HoldOut,
    /// Whether the tokenizer is there.
    pub(super) has_tokenizer: bool,
    /// Segments that are tokens.
    pub(super) tokenised: u32,
    pub(super) dealer: DealerState,
}

impl Journal {
    /// That of a preparation that has done nothing yet.
    pub(super) fn new(settings: Settings, sources: Vec<Source>) -> Journal {
        Journal {
            version: VERSION,
            untie_data: env!("CARGO_PKG_VERSION").to_owned(),
            hold_out: HoldOut::new(settings.valid_fraction),
            settings,
            sources,
            report: Report::default(),
            segments: 0,
            read: Position::default(),
            is_read: false,
            has_tokenizer: false,
            tokenised: 0,
            dealer: DealerState::default(),
        }
    }

    /// The journal in `dir`; nothing if there is none that this version can go on from.
    pub(super) fn load(dir: &Path) -> Option<Journal> {
        let journal: Journal = serde_json::from_slice(&fs::read(dir.join(FILE)).ok()?).ok()?;
        let same = journal.version == VERSION && journal.untie_data == env!("CARGO_PKG_VERSION");
        same.then_some(journal)
    }

    pub(super) fn save(&self, dir: &Path) -> io::Result<()> {
        write_aside(&dir.join(FILE), &serde_json::to_vec(self)?)
    }
}
