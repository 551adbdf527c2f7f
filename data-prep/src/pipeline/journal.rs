//! What an unfinished preparation has safely on disk, so that the next one goes on from there.
//!
//! `OUT/.partial/journal.json`, replaced as a whole after every segment. What it speaks of is on disk before it is written.

use super::report::Report;
use super::source::Position;
use super::split_writers::{HoldOut, SplitWritersState};
use crate::files::write_aside;
use crate::manifest::{Settings, Source};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

pub(super) const FILE: &str = "journal.json";
const VERSION: u32 = 2;

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
    /// As it was behind the last file that was read whole, when a segment ended there.
    boundary: Option<Boundary>,
    /// Whether the tokenizer is there.
    pub(super) has_tokenizer: bool,
    /// Segments that are tokens.
    pub(super) tokenised: u32,
    #[serde(rename = "dealer")]
    pub(super) writers: SplitWritersState,
}

/// What reading the first files has given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Boundary {
    /// Number of those files.
    files: usize,
    segments: u32,
    report: Report,
    hold_out: HoldOut,
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
            boundary: None,
            has_tokenizer: false,
            tokenised: 0,
            writers: SplitWritersState::default(),
        }
    }

    /// The journal in `dir`; nothing if there is none that this version can go on from.
    pub(super) fn load(dir: &Path) -> Option<Journal> {
        let journal: Journal = serde_json::from_slice(&fs::read(dir.join(FILE)).ok()?).ok()?;
        let same = journal.version == VERSION && journal.untie_data == env!("CARGO_PKG_VERSION");
        same.then_some(journal)
    }

    /// Notes that segments up to number `segments` hold everything before `read`.
    pub(super) fn commit(&mut self, segments: u32, read: Position) {
        (self.segments, self.read, self.is_read) = (segments, read, read.file == self.sources.len());
        if read.records == 0 {
            let (report, hold_out) = (self.report.clone(), self.hold_out);
            self.boundary = Some(Boundary { files: read.file, segments, report, hold_out });
        }
    }

    /// Goes back to the last boundary between files, for a preparation of `fresh` input and settings: nothing if these make
    /// other text of the files before it.
    pub(super) fn for_fresh(self, fresh: &Journal) -> Option<Journal> {
        let Boundary { files, segments, report, hold_out } = self.boundary.clone()?;
        let text = |settings: &Settings| (settings.format, settings.reader.clone(), settings.stages.clone());
        let is_same_text = text(&self.settings) == text(&fresh.settings)
            && fresh.sources.get(..files) == self.sources.get(..files)
            && fresh.sources.iter().all(|source| source.name != "-");
        if !is_same_text || files == 0 {
            return None;
        }
        let mut journal = Journal::new(fresh.settings.clone(), fresh.sources.clone());
        journal.report = report;
        journal.hold_out = hold_out.with_fraction(fresh.settings.valid_fraction);
        journal.commit(segments, Position { file: files, ..Position::default() });
        Some(journal)
    }

    /// Whether what was read of some files is worth going on from should another change: more than a segment.
    pub(super) fn has_whole_files(&self) -> bool {
        self.boundary.as_ref().is_some_and(|boundary| boundary.files > 0 && boundary.segments > 1)
            && self.sources.iter().all(|source| source.name != "-")
    }

    /// Files that were read whole.
    pub(super) fn num_files(&self) -> usize {
        self.read.file
    }

    pub(super) fn save(&self, dir: &Path) -> io::Result<()> {
        write_aside(&dir.join(FILE), &serde_json::to_vec(self)?)
    }
}
