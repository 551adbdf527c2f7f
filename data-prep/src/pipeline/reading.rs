//! The first pass: the corpus becomes clean text in segments on disk, and its words are counted.
//!
//! In: corpus files, from the place where the journal stands. Out: segments, the counts of words if a vocabulary is to be
//! trained, the report. One thread reads; parsing, cleaning, filters, counting and compression run on all workers; duplicates
//! are looked up in the order of the corpus. Cost: three chunks of text, the counts, the hashes.

use super::journal::Journal;
use super::report::{count, prune};
use super::source::{Chunk, Corpus};
use super::spill::{read_segment, SpillWriter, Text};
use super::{PrepareConfig, PrepareError, Progress};
use crate::corpus::wikitext::Names;
use crate::corpus::{CorpusReader, Document, Record};
use crate::stages::dedup::{paragraph_hashes, retain_paragraphs, Dedup, Full, Seen};
use crate::stages::near::{near_hashes, BANDS};
use crate::stages::StageOutcome;
use crate::wordpiece::WordCounter;
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// A document after the stages that need no other.
enum Outcome {
    Kept { text: String, hashes: Hashes, changed: Vec<(&'static str, u64)>, gaps: Names },
    Dropped(&'static str),
}

/// What duplicates are found by: the hash of the text, and where they are looked for, those of its paragraphs and of its signature.
struct Hashes {
    text: u64,
    paragraphs: Vec<Option<u64>>,
    near: Option<Box<[u64; BANDS]>>,
}

/// The pass under way.
pub(super) struct Reading<'a> {
    config: &'a PrepareConfig,
    dir: &'a Path,
    readers: Vec<Arc<dyn CorpusReader>>,
    documents: Seen,
    paragraphs: Seen,
    near: Seen,
    counter: Option<WordCounter>,
    spill: SpillWriter,
}

impl<'a> Reading<'a> {
    pub(super) fn new(config: &'a PrepareConfig, dir: &'a Path, corpus: &Corpus<'_>, segments: u32) -> Reading<'a> {
        let seen = |dedup| Seen::new(if config.stages.drops(dedup) { config.dedup_bytes() } else { 0 });
        Reading {
            config,
            dir,
            readers: corpus.files.iter().map(|file| file.reader(corpus.options)).collect(),
            documents: seen(Dedup::Documents),
            paragraphs: seen(Dedup::Paragraphs),
            near: seen(Dedup::Near),
            counter: config.tokenizer.is_none().then(|| WordCounter::new(config.casing)),
            spill: SpillWriter::new(dir, segments),
        }
    }

    /// Whether anything that reading the committed segments had taught is needed again.
    pub(super) fn has_forgotten(&self, journal: &Journal) -> bool {
        self.counter.is_some() || (!journal.is_read && !self.config.stages.dedup.is_empty())
    }

    /// Learns from committed segments what reading them had taught.
    pub(super) fn recall(&mut self, journal: &Journal, progress: &Arc<dyn Progress>) -> Result<(), PrepareError> {
        for number in 0..journal.segments {
            read_segment(self.dir, number, self.config.chunk_bytes(), progress, |texts| {
                for Text { text, hash } in &texts {
                    if self.config.stages.drops(Dedup::Documents) && !journal.is_read {
                        self.remember(|reading| reading.documents.insert(*hash))?;
                    }
                    if self.config.stages.drops(Dedup::Paragraphs) && !journal.is_read {
                        for hash in paragraph_hashes(text).into_iter().flatten() {
                            self.remember(|reading| reading.paragraphs.insert(hash))?;
                        }
                    }
                }
                if self.config.stages.drops(Dedup::Near) && !journal.is_read {
                    let all: Vec<_> = texts.par_iter().map(|Text { text, .. }| near_hashes(text)).collect();
                    all.iter().try_for_each(|hashes| self.remember_near(hashes))?;
                }
                if let Some(counter) = &mut self.counter {
                    counter.add(&texts);
                }
                Ok(())
            })?;
            if let Some(counter) = &mut self.counter {
                counter.prune();
            }
        }
        Ok(())
    }

    /// Reads on to the end; the journal is saved after every segment.
    pub(super) fn run(
        &mut self,
        corpus: &Corpus<'_>,
        journal: &mut Journal,
        progress: &Arc<dyn Progress>,
        meter: impl Fn(usize, &[u8]) + Send + Sync + Clone + 'static,
    ) -> Result<(), PrepareError> {
        corpus.read(journal.read, progress, meter, |chunk| {
            let (end, ends_segment) = (chunk.end, chunk.ends_segment);
            self.take(chunk, corpus, journal)?;
            if ends_segment {
                prune(&mut journal.report.gaps);
                journal.commit(self.spill.commit()?, end);
                if let Some(counter) = &mut self.counter {
                    counter.prune();
                }
                journal.save(self.dir).map_err(|source| PrepareError::Output { path: self.dir.to_owned(), source })?;
            }
            Ok(())
        })
    }

    /// The counts of the words, unless the tokenizer was given.
    pub(super) fn into_counter(self) -> Option<WordCounter> {
        self.counter
    }

    fn take(&mut self, chunk: Chunk, corpus: &Corpus<'_>, journal: &mut Journal) -> Result<(), PrepareError> {
        let outcomes: Vec<Result<Outcome, PrepareError>> = chunk
            .documents
            .into_par_iter()
            .map(|(file, document)| {
                let failed = |source| PrepareError::Corpus { path: corpus.files[file].path().to_owned(), source };
                self.process(self.readers[file].as_ref(), document).map_err(failed)
            })
            .collect();
        let report = &mut journal.report;
        for (reason, number) in &chunk.skipped {
            count(&mut report.dropped, reason, *number);
        }
        let mut texts = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            match outcome? {
                Outcome::Dropped(reason) => count(&mut report.dropped, reason, 1),
                Outcome::Kept { text, hashes, changed, gaps } => {
                    let hash = hashes.text;
                    let (text, repeated) = match self.without_duplicates(text, &hashes)? {
                        Ok(left) => left,
                        Err(reason) => {
                            count(&mut report.dropped, reason, 1);
                            continue;
                        }
                    };
                    for (what, number) in changed.into_iter().chain([("duplicate paragraphs", repeated)]) {
                        count(&mut report.changed, what, number);
                    }
                    for (name, number) in gaps {
                        count(&mut report.gaps, &name, number);
                    }
                    report.num_texts += 1;
                    report.text_bytes += text.len() as u64;
                    journal.hold_out.see(xxh3_64(text.as_bytes()));
                    texts.push(Text { text, hash });
                }
            }
        }
        if let Some(counter) = &mut self.counter {
            counter.add(&texts);
        }
        self.spill.push(&texts)
    }

    /// What needs no other document.
    fn process(&self, reader: &dyn CorpusReader, document: Document) -> Result<Outcome, crate::corpus::CorpusError> {
        let document = match reader.finish(document)? {
            Record::Skipped(reason) => return Ok(Outcome::Dropped(reason)),
            Record::Document(document) => document,
        };
        let (text, cut) = match self.config.stages.apply(&document.text) {
            StageOutcome::Drop(reason) => return Ok(Outcome::Dropped(reason)),
            StageOutcome::Keep(text, cut) => (text, cut),
        };
        let mut changed: Vec<(&'static str, u64)> = cut.into_iter().map(|what| (what, 1)).collect();
        changed.push(("invalid UTF-8 sequences replaced", document.replaced));
        changed.push(("cuts of large documents", u64::from(document.is_cut)));
        changed.push(("incomplete sentences dropped", document.dropped_sentences));
        let paragraphs = match self.config.stages.drops(Dedup::Paragraphs) {
            true => paragraph_hashes(&text),
            false => Vec::new(),
        };
        let near = self.config.stages.drops(Dedup::Near).then(|| Box::new(near_hashes(&text)));
        let hashes = Hashes { text: xxh3_64(text.as_bytes()), paragraphs, near };
        Ok(Outcome::Kept { text, hashes, changed, gaps: document.gaps })
    }

    /// The text without paragraphs that came before, and how many those are; or why it is dropped. What is dropped is not remembered, so
    /// that [`Reading::recall`] knows the same from the texts that were kept.
    fn without_duplicates(
        &mut self,
        text: String,
        hashes: &Hashes,
    ) -> Result<Result<(String, u64), &'static str>, PrepareError> {
        const DUPLICATE: &str = "duplicate";
        let by_document = self.config.stages.drops(Dedup::Documents);
        if by_document && self.documents.contains(hashes.text) {
            return Ok(Err(DUPLICATE));
        }
        if hashes.near.as_ref().is_some_and(|bands| bands.iter().any(|band| self.near.contains(*band))) {
            return Ok(Err("near-duplicate"));
        }
        let mut keep = Vec::with_capacity(hashes.paragraphs.len());
        for hash in &hashes.paragraphs {
            keep.push(match hash {
                Some(hash) => self.remember(|reading| reading.paragraphs.insert(*hash))?,
                None => true,
            });
        }
        let (text, repeated) = retain_paragraphs(text, &keep);
        if text.trim().is_empty() {
            return Ok(Err(DUPLICATE));
        }
        if by_document {
            self.remember(|reading| reading.documents.insert(hashes.text))?;
        }
        match &hashes.near {
            Some(bands) if repeated == 0 => self.remember_near(bands)?,
            Some(_) => self.remember_near(&near_hashes(&text))?,
            None => {}
        }
        Ok(Ok((text, repeated)))
    }

    fn remember_near(&mut self, bands: &[u64; BANDS]) -> Result<(), PrepareError> {
        bands.iter().try_for_each(|band| self.remember(|reading| reading.near.insert(*band)).map(|_| ()))
    }

    fn remember(&mut self, insert: impl FnOnce(&mut Self) -> Result<bool, Full>) -> Result<bool, PrepareError> {
        insert(self).map_err(|Full { num_hashes }| PrepareError::DedupMemory {
            limit: self.config.memory_limit,
            num_hashes: num_hashes as u64,
        })
    }
}
