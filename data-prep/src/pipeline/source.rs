//! Corpus files in, chunks of raw documents out, read ahead by one thread.
//!
//! The thread decompresses and separates documents, no more; whatever takes longer is done by the workers. Cost: three
//! chunks of the configured size (and one more document), whatever the size of the corpus.

use super::report::{count, Tally};
use super::{PrepareError, Progress};
use crate::corpus::{CorpusFile, Document, ReaderOptions, Record};
use serde::{Deserialize, Serialize};
use std::sync::mpsc::sync_channel;
use std::sync::Arc;

/// A place in the corpus: so many records of that file are read, and all files before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) file: usize,
    pub(super) records: u64,
}

/// Documents in the order of the corpus, each with the number of its file.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) documents: Vec<(usize, Document)>,
    pub(super) skipped: Tally,
    /// Where the next chunk starts.
    pub(super) end: Position,
    pub(super) ends_segment: bool,
    num_bytes: usize,
}

/// Calls `consume` with one item after the other, while `produce` makes the next ones on a thread of its own. `produce`
/// ends early when its sink returns false: then nobody listens any more.
pub(super) fn pump<T: Send>(
    produce: impl FnOnce(&mut dyn FnMut(T) -> bool) -> Result<(), PrepareError> + Send,
    mut consume: impl FnMut(T) -> Result<(), PrepareError>,
) -> Result<(), PrepareError> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        let producer = scope.spawn(move || produce(&mut |item| sender.send(item).is_ok()));
        let consumed = receiver.iter().try_for_each(&mut consume);
        drop(receiver);
        let produced = producer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        consumed.and(produced)
    })
}

/// What is read.
pub(super) struct Corpus<'a> {
    pub(super) files: &'a [CorpusFile],
    pub(super) options: &'a ReaderOptions,
    /// Threads that may decompress.
    pub(super) threads: usize,
    /// Text in a chunk, bytes.
    pub(super) chunk_bytes: usize,
    /// Text in a segment, bytes.
    pub(super) segment_bytes: usize,
}

impl Corpus<'_> {
    /// Calls `consume` with the documents behind `from`, chunk by chunk; `meter` sees all bytes of the files. A segment ends where
    /// its text is enough, and with each file in which another has ended: should a later file be repaired or left out, what was
    /// read of those before it still counts.
    pub(super) fn read(
        &self,
        from: Position,
        progress: &Arc<dyn Progress>,
        meter: impl Fn(usize, &[u8]) + Send + Sync + Clone + 'static,
        consume: impl FnMut(Chunk) -> Result<(), PrepareError>,
    ) -> Result<(), PrepareError> {
        pump(
            |sink| {
                let (mut chunk, mut segment_bytes) = (Chunk::default(), 0);
                for (number, file) in self.files.iter().enumerate().skip(from.file) {
                    // A segment that ended inside the file, so that another is to end with it.
                    let mut is_cut = number == from.file && from.records > 0;
                    let failed = |source| PrepareError::Corpus { path: file.path().to_owned(), source };
                    let (progress, meter) = (Arc::clone(progress), meter.clone());
                    let metered = move |bytes: &[u8]| {
                        progress.advance(bytes.len() as u64);
                        meter(number, bytes);
                    };
                    let known = if number == from.file { from.records } else { 0 };
                    for (index, record) in file.read(self.options, self.threads, metered).map_err(failed)?.enumerate() {
                        let record = record.map_err(failed)?;
                        if (index as u64) < known {
                            continue;
                        }
                        chunk.end = Position { file: number, records: index as u64 + 1 };
                        match record {
                            Record::Skipped(reason) => count(&mut chunk.skipped, reason, 1),
                            Record::Document(document) => {
                                chunk.num_bytes += document.text.len();
                                segment_bytes += document.text.len();
                                chunk.documents.push((number, document));
                            }
                        }
                        chunk.ends_segment = segment_bytes >= self.segment_bytes;
                        if chunk.ends_segment {
                            (segment_bytes, is_cut) = (0, true);
                        }
                        if (chunk.ends_segment || chunk.num_bytes >= self.chunk_bytes)
                            && !sink(std::mem::take(&mut chunk))
                        {
                            return Ok(());
                        }
                    }
                    if is_cut && number + 1 < self.files.len() {
                        chunk.end = Position { file: number + 1, records: 0 };
                        (chunk.ends_segment, segment_bytes) = (true, 0);
                        if !sink(std::mem::take(&mut chunk)) {
                            return Ok(());
                        }
                    }
                }
                chunk.end = Position { file: self.files.len(), records: 0 };
                chunk.ends_segment = true;
                sink(chunk);
                Ok(())
            },
            consume,
        )
    }
}
