//! Compressed bytes of a bzip2 file in, decompressed bytes out, its streams decoded in parallel.
//!
//! Wikimedia's multistream dumps and pbzip2's files are many bzip2 streams one behind the other. The bytes are split where a
//! stream seems to start ([`is_stream_start`]), and the segments are decoded ahead on several threads, and returned in order. What
//! looks like a start may be chance: then the segment before it does not end, and its decoder goes on through the next.
//! A file of one stream is decoded in order by the thread that reads, as without threads.
//!
//! Cost: `threads` + 2 segments of at most [`SEGMENT_BYTES`] and, decoded, [`OUTPUT_BYTES`] (each a stream more than that
//! goes on in order).

use super::compression::{is_stream_start, Compression, START_BYTES};
use super::members::trailing;
use bzip2::{Decompress, Status};
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

/// Compressed bytes of a stream that are decoded ahead: several times what 100 pages of Wikipedia take.
const SEGMENT_BYTES: usize = 4 << 20;

/// Compressed bytes that are worth the way to another thread.
const LEAST_BYTES: usize = 64 << 10;

/// Decompressed bytes that are made ahead of one segment.
const OUTPUT_BYTES: usize = 16 << 20;

/// Decompressed bytes that are made at once: more than a block has, so that the first is checked before it is returned.
const STEP_BYTES: usize = 1 << 20;

/// A part of the compressed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    bytes: Vec<u8>,
    /// Whether a stream seems to start here; else it goes on.
    is_start: bool,
}

/// Splits a bzip2 file where streams seem to start.
struct Segments<R> {
    raw: R,
    /// Bytes that a segment has at least: small streams go together.
    least: usize,
    /// Bytes that were read and not yet returned.
    held: Vec<u8>,
    /// Whether `held` starts a stream.
    is_start: bool,
}

impl<R: BufRead> Segments<R> {
    fn next_segment(&mut self) -> io::Result<Option<Segment>> {
        // the first byte is the start of this segment, not of the next
        let least = self.least.max(1);
        let mut from = least;
        loop {
            while let Some(found) = memchr::memmem::find(self.held.get(from..).unwrap_or_default(), b"BZh") {
                let at = from + found;
                if self.held.len() - at < START_BYTES {
                    from = at;
                    break;
                }
                if at > SEGMENT_BYTES {
                    break;
                }
                if is_stream_start(&self.held[at..]) {
                    return Ok(Some(self.take(at, true)));
                }
                from = at + 1;
            }
            if self.held.len() >= SEGMENT_BYTES + START_BYTES {
                return Ok(Some(self.take(SEGMENT_BYTES, false)));
            }
            let more = self.raw.fill_buf()?;
            if more.is_empty() {
                let is_empty = self.held.is_empty();
                return Ok((!is_empty).then(|| self.take(self.held.len(), true)));
            }
            // what is left of the bytes already searched may be the start of a start
            from = from.max(self.held.len().saturating_sub(START_BYTES)).max(least);
            let num_bytes = more.len();
            self.held.extend_from_slice(more);
            self.raw.consume(num_bytes);
        }
    }

    fn take(&mut self, num_bytes: usize, next_is_start: bool) -> Segment {
        let rest = self.held.split_off(num_bytes);
        let bytes = std::mem::replace(&mut self.held, rest);
        Segment { bytes, is_start: std::mem::replace(&mut self.is_start, next_is_start) }
    }
}

impl<R: BufRead> Iterator for Segments<R> {
    type Item = io::Result<Segment>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_segment().transpose()
    }
}

/// A segment on its way through the decoder.
#[derive(Default)]
struct Decoding {
    input: Vec<u8>,
    num_read: usize,
    /// The stream that has begun and not ended.
    stream: Option<Decompress>,
    /// Whether a stream has ended: zeros and other bytes behind it are no damage of the stream.
    is_behind_stream: bool,
    output: Vec<u8>,
    error: Option<io::Error>,
}

impl Decoding {
    /// Decodes until `limit` bytes are made, the input ends or is found damaged.
    fn advance(&mut self, limit: usize) {
        while self.error.is_none() && self.output.len() < limit {
            if self.stream.is_none() {
                let rest = &self.input[self.num_read..];
                self.num_read += rest.iter().position(|&byte| byte != 0).unwrap_or(rest.len());
                let rest = &self.input[self.num_read..];
                if rest.is_empty() {
                    return;
                }
                if self.is_behind_stream && !Compression::Bzip2.may_start(rest) {
                    self.error = Some(trailing(Compression::Bzip2));
                    return;
                }
            }
            let input = &self.input[self.num_read..];
            let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
            self.output.reserve(STEP_BYTES);
            let (num_before, num_read) = (self.output.len(), stream.total_in());
            let status = stream.decompress_vec(input, &mut self.output);
            let num_read = (stream.total_in() - num_read) as usize;
            self.num_read += num_read;
            match status {
                Ok(Status::StreamEnd) => {
                    self.stream = None;
                    self.is_behind_stream = true;
                }
                Ok(_) if num_read == 0 && self.output.len() == num_before => return,
                Ok(_) => {}
                Err(error) => {
                    // what it made of damaged bytes
                    self.output.truncate(num_before);
                    self.error = Some(io::Error::new(io::ErrorKind::InvalidInput, error));
                }
            }
        }
    }

    /// Whether more input is needed for the stream to end.
    fn is_starved(&self) -> bool {
        self.num_read == self.input.len() && self.stream.is_some()
    }
}

struct Job {
    input: Vec<u8>,
    reply: Sender<Decoding>,
}

/// A segment that was read ahead.
enum Ahead {
    /// It is being decoded.
    Decoded(Receiver<Decoding>),
    /// It continues a stream and waits for it.
    Raw(Vec<u8>),
    /// It could not be read.
    Failed(io::Error),
}

/// Decodes the streams of a bzip2 file on several threads.
pub(super) struct ParallelDecoder {
    segments: Box<dyn Iterator<Item = io::Result<Segment>> + Send>,
    ahead: VecDeque<Ahead>,
    max_ahead: usize,
    jobs: Sender<Job>,
    current: Decoding,
    /// Bytes of the current output that were returned.
    num_returned: usize,
    /// Whether the file has a byte: an empty one is cut short.
    any: bool,
}

impl ParallelDecoder {
    /// Starts `threads` threads, which end with the decoder.
    pub(super) fn new(raw: impl BufRead + Send + 'static, threads: usize) -> ParallelDecoder {
        let segments = Segments { raw, least: LEAST_BYTES, held: Vec::new(), is_start: true };
        ParallelDecoder::of_segments(Box::new(segments), threads)
    }

    fn of_segments(segments: Box<dyn Iterator<Item = io::Result<Segment>> + Send>, threads: usize) -> ParallelDecoder {
        let (jobs, queue) = channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            // without any thread, all is decoded by the one that reads
            let _ = std::thread::Builder::new().name("bzip2".to_owned()).spawn(move || work(&queue));
        }
        ParallelDecoder {
            segments,
            ahead: VecDeque::new(),
            max_ahead: threads + 2,
            jobs,
            current: Decoding::default(),
            num_returned: 0,
            any: false,
        }
    }

    /// Reads segments ahead and hands them to the threads.
    fn look_ahead(&mut self) {
        while self.ahead.len() < self.max_ahead && !matches!(self.ahead.back(), Some(Ahead::Failed(_))) {
            let ahead = match self.segments.next() {
                None => return,
                Some(Err(error)) => Ahead::Failed(error),
                Some(Ok(Segment { bytes, is_start: false })) => Ahead::Raw(bytes),
                Some(Ok(Segment { bytes, is_start: true })) => {
                    let (reply, decoded) = channel();
                    match self.jobs.send(Job { input: bytes, reply }) {
                        Ok(()) => Ahead::Decoded(decoded),
                        // no thread could be started
                        Err(unsent) => Ahead::Raw(unsent.0.input),
                    }
                }
            };
            self.any = true;
            self.ahead.push_back(ahead);
        }
    }

    /// Makes more output; none is left at the end of the file.
    fn refill(&mut self) -> io::Result<()> {
        self.current.output.clear();
        self.num_returned = 0;
        while self.current.output.is_empty() {
            self.current.advance(STEP_BYTES);
            if !self.current.output.is_empty() {
                return Ok(());
            }
            if let Some(error) = self.current.error.take() {
                return Err(error);
            }
            let is_starved = self.current.is_starved();
            self.look_ahead();
            match self.ahead.pop_front() {
                None if is_starved || !self.any => return Err(cut_short()),
                None => return Ok(()),
                Some(Ahead::Failed(error)) => return Err(error),
                Some(Ahead::Raw(bytes)) => self.go_on(bytes),
                Some(Ahead::Decoded(decoding)) => {
                    let decoding = decoding.recv().map_err(|_| io::Error::other("a decoding thread ended"))?;
                    if is_starved {
                        // what looked like the start of a stream lay inside of one
                        self.go_on(decoding.input);
                    } else {
                        self.current = decoding;
                    }
                }
            }
            self.look_ahead();
        }
        Ok(())
    }

    fn go_on(&mut self, input: Vec<u8>) {
        self.current.input = input;
        self.current.num_read = 0;
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "decompression not finished but EOF reached")
}

/// Decodes jobs until the decoder is gone.
fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { input, reply }) = job else {
            return;
        };
        let mut decoding = Decoding { input, ..Decoding::default() };
        decoding.advance(OUTPUT_BYTES);
        // nobody listens once the decoder is gone
        let _ = reply.send(decoding);
    }
}

impl BufRead for ParallelDecoder {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.num_returned == self.current.output.len() {
            self.refill()?;
        }
        Ok(&self.current.output[self.num_returned..])
    }

    fn consume(&mut self, num_bytes: usize) {
        self.num_returned += num_bytes;
    }
}

impl Read for ParallelDecoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let num_bytes = self.fill_buf()?.read(buffer)?;
        self.consume(num_bytes);
        Ok(num_bytes)
    }
}

#[cfg(test)]
mod tests;
