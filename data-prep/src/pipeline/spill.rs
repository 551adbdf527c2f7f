//! Clean text kept on disk between reading and tokenising, so that the corpus is read and cleaned once.
//!
//! Segment files `text-NNNNN.zst` of Zstandard frames of (length, hash, text), about 40 % of the size of the text. The hash is
//! that of the document before paragraphs were dropped. A segment counts once it is committed; what a killed process left behind it is overwritten. Cost: one chunk of text.

use super::source::pump;
use super::{PrepareError, Progress};
use rayon::prelude::*;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Zstandard's fastest level: the disk is slower.
const LEVEL: i32 = 1;
/// Text in one frame, which one worker compresses.
const FRAME_BYTES: usize = 1 << 20;

/// The text of a document.
pub(super) struct Text {
    pub(super) text: String,
    /// Hash of the document's text as its stages left it, before paragraphs were dropped.
    pub(super) hash: u64,
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

fn segment_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("text-{number:05}.zst"))
}

/// Writes segments.
pub(super) struct SpillWriter {
    dir: PathBuf,
    number: u32,
    open: Option<File>,
}

impl SpillWriter {
    /// Goes on behind `number` committed segments.
    pub(super) fn new(dir: &Path, number: u32) -> SpillWriter {
        SpillWriter { dir: dir.to_owned(), number, open: None }
    }

    /// Appends texts to the open segment, compressed in parallel.
    pub(super) fn push(&mut self, texts: &[Text]) -> Result<(), PrepareError> {
        let mut groups: Vec<&[Text]> = Vec::new();
        let (mut start, mut bytes) = (0, 0);
        for (index, text) in texts.iter().enumerate() {
            bytes += text.text.len();
            if bytes >= FRAME_BYTES || index + 1 == texts.len() {
                groups.push(&texts[start..=index]);
                (start, bytes) = (index + 1, 0);
            }
        }
        let frames: io::Result<Vec<Vec<u8>>> = groups.into_par_iter().map(compress).collect();
        self.write(frames).map_err(|source| PrepareError::Output { path: segment_path(&self.dir, self.number), source })
    }

    fn write(&mut self, frames: io::Result<Vec<Vec<u8>>>) -> io::Result<()> {
        let file = match &mut self.open {
            Some(file) => file,
            None => self.open.insert(File::create(segment_path(&self.dir, self.number))?),
        };
        frames?.iter().try_for_each(|frame| file.write_all(frame))
    }

    /// Ends the open segment, if anything is in it; the number of segments that are safely on disk.
    pub(super) fn commit(&mut self) -> Result<u32, PrepareError> {
        if let Some(file) = self.open.take() {
            let path = segment_path(&self.dir, self.number);
            file.sync_all().map_err(|source| PrepareError::Output { path, source })?;
            self.number += 1;
        }
        Ok(self.number)
    }
}

fn compress(texts: &[Text]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    for Text { text, hash } in texts {
        encoder.write_all(&(text.len() as u64).to_le_bytes())?;
        encoder.write_all(&hash.to_le_bytes())?;
        encoder.write_all(text.as_bytes())?;
    }
    encoder.finish()
}

/// Calls `consume` with the texts of one segment in chunks of about `chunk_bytes`, read ahead by one thread.
pub(super) fn read_segment(
    dir: &Path,
    number: u32,
    chunk_bytes: usize,
    progress: &Arc<dyn Progress>,
    consume: impl FnMut(Vec<Text>) -> Result<(), PrepareError>,
) -> Result<(), PrepareError> {
    let path = segment_path(dir, number);
    pump(
        |sink| {
            let failed = |source| PrepareError::Output { path: path.clone(), source };
            let decoder = zstd::Decoder::new(File::open(&path).map_err(failed)?).map_err(failed)?;
            let mut input = BufReader::with_capacity(FRAME_BYTES, decoder);
            let (mut texts, mut bytes) = (Vec::new(), 0);
            while let Some(text) = read_text(&mut input).map_err(failed)? {
                progress.advance(text.text.len() as u64);
                bytes += text.text.len();
                texts.push(text);
                if bytes >= chunk_bytes {
                    bytes = 0;
                    if !sink(std::mem::take(&mut texts)) {
                        return Ok(());
                    }
                }
            }
            sink(texts);
            Ok(())
        },
        consume,
    )
}

fn read_text(input: &mut impl Read) -> io::Result<Option<Text>> {
    let (mut length, mut hash) = ([0; 8], [0; 8]);
    match input.read_exact(&mut length[..1]) {
        Ok(()) => input.read_exact(&mut length[1..]).and_then(|()| input.read_exact(&mut hash))?,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u64::from_le_bytes(length);
    let mut text = String::new();
    if input.take(length).read_to_string(&mut text)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(Text { text, hash: u64::from_le_bytes(hash) }))
}
