//! Corpus files in, chunks of documents out, read ahead by one thread.
//!
//! Cost: three chunks of up to [`CHUNK_BYTES`] of text (one more document at most), whatever the size of the corpus.

use super::{PrepareConfig, PrepareError, Progress};
use crate::corpus::{open, Record};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::Arc;

/// Text in a chunk: enough to keep every core busy, little enough to be bounded.
const CHUNK_BYTES: usize = 8 << 20;

/// What was left out, by reason.
pub(super) type Skipped = BTreeMap<&'static str, u64>;

/// Documents with text, in the order of the input.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) texts: Vec<String>,
    pub(super) skipped: Skipped,
    num_bytes: usize,
}

impl Chunk {
    fn push(&mut self, text: String) {
        self.num_bytes += text.len();
        self.texts.push(text);
    }

    fn is_full(&self) -> bool {
        self.num_bytes >= CHUNK_BYTES
    }
}

/// Calls `consume` with one chunk after the other, while `produce` makes the next ones on a thread of its own. `produce`
/// ends early when its sink returns false: then nobody listens any more.
fn pump(
    produce: impl FnOnce(&mut dyn FnMut(Chunk) -> bool) -> Result<(), PrepareError> + Send,
    mut consume: impl FnMut(Chunk) -> Result<(), PrepareError>,
) -> Result<(), PrepareError> {
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        let producer = scope.spawn(move || produce(&mut |chunk| sender.send(chunk).is_ok()));
        let consumed = receiver.iter().try_for_each(&mut consume);
        drop(receiver);
        let produced = producer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        consumed.and(produced)
    })
}

/// Reads the inputs through their readers.
pub(super) fn read_corpus(
    config: &PrepareConfig,
    progress: &Arc<dyn Progress>,
    consume: impl FnMut(Chunk) -> Result<(), PrepareError>,
) -> Result<(), PrepareError> {
    pump(
        |sink| {
            let mut chunk = Chunk::default();
            for path in &config.inputs {
                let failed = |source| PrepareError::Input { path: path.clone(), source };
                let reader = config
                    .format
                    .reader(path, &config.reader)
                    .ok_or_else(|| PrepareError::UnknownFormat { path: path.clone() })?;
                let meter = Arc::clone(progress);
                let input = open(path, move |bytes| meter.advance(bytes.len() as u64)).map_err(failed)?;
                for record in reader.read(input) {
                    match record.map_err(|source| PrepareError::Corpus { path: path.clone(), source })? {
                        Record::Document(document) if document.text.trim().is_empty() => {
                            *chunk.skipped.entry("empty").or_default() += 1;
                        }
                        Record::Document(document) => chunk.push(document.text),
                        Record::Skipped(reason) => *chunk.skipped.entry(reason).or_default() += 1,
                    }
                    if chunk.is_full() && !sink(std::mem::take(&mut chunk)) {
                        return Ok(());
                    }
                }
            }
            sink(chunk);
            Ok(())
        },
        consume,
    )
}

/// Documents kept on disk between the two passes, so that the corpus is read and cleaned once: Zstandard frames of
/// (length, text).
pub(super) struct SpillWriter {
    path: PathBuf,
    encoder: zstd::Encoder<'static, BufWriter<File>>,
}

impl SpillWriter {
    pub(super) fn create(path: PathBuf) -> Result<SpillWriter, PrepareError> {
        let make = || zstd::Encoder::new(BufWriter::new(File::create(&path)?), 1);
        let encoder = make().map_err(|source| PrepareError::Output { path: path.clone(), source })?;
        Ok(SpillWriter { path, encoder })
    }

    pub(super) fn push(&mut self, text: &str) -> Result<(), PrepareError> {
        let length = (text.len() as u64).to_le_bytes();
        let written = self.encoder.write_all(&length).and_then(|()| self.encoder.write_all(text.as_bytes()));
        written.map_err(|source| PrepareError::Output { path: self.path.clone(), source })
    }

    /// Ends the file and returns its path.
    pub(super) fn finish(self) -> Result<PathBuf, PrepareError> {
        match self.encoder.finish().and_then(|mut file| file.flush()) {
            Ok(()) => Ok(self.path),
            Err(source) => Err(PrepareError::Output { path: self.path, source }),
        }
    }
}

/// Reads back what a [`SpillWriter`] wrote.
pub(super) fn read_spill(
    path: &Path,
    progress: &Arc<dyn Progress>,
    consume: impl FnMut(Chunk) -> Result<(), PrepareError>,
) -> Result<(), PrepareError> {
    pump(
        |sink| {
            let failed = |source| PrepareError::Output { path: path.to_owned(), source };
            let decoder = zstd::Decoder::new(File::open(path).map_err(failed)?).map_err(failed)?;
            let mut input = BufReader::new(decoder);
            let mut chunk = Chunk::default();
            while let Some(text) = read_text(&mut input).map_err(failed)? {
                progress.advance(text.len() as u64);
                chunk.push(text);
                if chunk.is_full() && !sink(std::mem::take(&mut chunk)) {
                    return Ok(());
                }
            }
            sink(chunk);
            Ok(())
        },
        consume,
    )
}

fn read_text(input: &mut impl Read) -> io::Result<Option<String>> {
    let mut length = [0; 8];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u64::from_le_bytes(length);
    let mut text = String::new();
    if input.take(length).read_to_string(&mut text)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(text))
}
