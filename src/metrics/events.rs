//! TensorBoard's event files: TFRecords (length, its checksum, payload, its checksum) of `Event` messages.
//!
//! The framing is tensorboard-rs's [`RecordWriter`]. Its `SummaryWriter` is not used: it writes from a thread that
//! panics on a full disk, and names a file by the second, so that a quick resume would overwrite the file before. The
//! few fields of an event that are needed are encoded here (tensorflow/core/util/event.proto, summary.proto).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tensorboard_rs::masked_crc32c::masked_crc32c;
use tensorboard_rs::record_writer::RecordWriter;

use super::dashboard::{layout, session_end, session_start, Dashboard, RunEnd};
use super::image::matrix_image;
use super::protobuf::{message_of, put_bytes, put_double, put_float, put_number, take_varint};
use crate::error::{io as io_error, Error, Result};
use crate::files::write_aside;

const PREFIX: &str = "events.out.tfevents.";

/// Fields of an event.
const FILE_VERSION: u8 = 3;
const SUMMARY: u8 = 5;
const SESSION_LOG: u8 = 7;

const VERSION: &[u8] = b"brain.Event:2";

/// An event file that is being written.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Starts a new file, which sorts after those that are there: TensorBoard reads files in the order of their names.
    /// After a resume it opens by telling a TensorBoard that is watching to forget the steps that were cut.
    pub(super) fn create(folder: &Path, resumed: Option<u64>) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|error| io_error("create", folder, error))?;
        let newest = event_files(folder)?.iter().filter_map(|path| seconds_of(path)).max();
        let seconds = newest.map_or(0, |newest| newest.saturating_add(1)).max(now() as u64);
        let path = folder.join(format!("{PREFIX}{seconds:010}.untie"));
        let opened = OpenOptions::new().append(true).create_new(true).open(&path);
        let mut events = match opened {
            Ok(file) => Self { path, file },
            Err(error) => return Err(io_error("create", &path, error)),
        };
        events.write(0, FILE_VERSION, VERSION)?;
        if let Some(step) = resumed {
            const START: [u8; 2] = [1 << 3, 1];
            events.write(step.saturating_add(1), SESSION_LOG, &START)?;
        }
        Ok(events)
    }

    /// Writes what is known at the start: the charts and the settings. They have a file of their own, whose name comes before those of
    /// the others. So a resume replaces them, and TensorBoard, which keeps the first that it reads, finds the settings of now.
    pub(super) fn describe(&self, dashboard: &Dashboard) -> Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        // The first file has the time of the start in its name.
        let begin =
            event_files(folder)?.iter().filter_map(|path| seconds_of(path)).filter(|&seconds| seconds > 0).min();
        let begin = begin.map_or_else(now, |seconds| seconds as f64);
        let path = folder.join(format!("{PREFIX}{:010}.untie", 0));
        let records = || -> io::Result<Vec<u8>> {
            let mut records = record(0, FILE_VERSION, VERSION)?;
            for value in [layout(&dashboard.charts), session_start(&dashboard.settings, begin)] {
                records.extend(record(0, SUMMARY, &message_of(1, &value))?);
            }
            Ok(records)
        };
        write_aside(&path, records().map_err(|error| io_error("write", &path, error))?)
    }

    /// Writes how the run ended after `step`. The event is one step later, so that a resume after `step` cuts it off.
    pub(super) fn end(&mut self, step: u64, how: RunEnd) -> Result<()> {
        self.write(step.saturating_add(1), SUMMARY, &message_of(1, &session_end(how, now())))
    }

    pub(super) fn append(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut entry = message_of(1, tag.as_bytes());
            put_float(&mut entry, 2, *value as f32);
            put_bytes(&mut summary, 1, &entry);
        }
        self.write(step, SUMMARY, &summary)
    }

    /// summary.proto: a value's image is field 4; in it height 1, width 2, colours 3 (3: RGB) and the encoded file 4.
    pub(super) fn append_matrix(&mut self, step: u64, tag: &str, values: &[f64]) -> Result<()> {
        let image =
            matrix_image(values).map_err(|error| Error::failed(format!("cannot draw `{tag}`")).caused_by(error))?;
        let mut fields = Vec::new();
        for (field, value) in [(1, image.side), (2, image.side), (3, 3)] {
            put_number(&mut fields, field, u64::from(value));
        }
        put_bytes(&mut fields, 4, &image.png);
        let mut entry = message_of(1, tag.as_bytes());
        put_bytes(&mut entry, 4, &fields);
        self.write(step, SUMMARY, &message_of(1, &entry))
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|error| io_error("sync", &self.path, error))
    }

    fn write(&mut self, step: u64, field: u8, content: &[u8]) -> Result<()> {
        record(step, field, content)
            .and_then(|record| self.file.write_all(&record))
            .map_err(|error| io_error("write", &self.path, error))
    }
}

/// A record of an event of now that has `content` in `field`.
fn record(step: u64, field: u8, content: &[u8]) -> io::Result<Vec<u8>> {
    let (mut event, mut record) = (Vec::new(), Vec::new());
    put_double(&mut event, 1, now());
    put_number(&mut event, 2, step);
    put_bytes(&mut event, field, content);
    RecordWriter::new(&mut record).write(&event)?;
    Ok(record)
}

/// Cuts every event file in `folder` before its first event of a step after `keep`, or its first torn or damaged one;
/// removes the files when `keep` is `None`.
pub(super) fn cut(folder: &Path, keep: Option<u64>) -> Result<()> {
    for path in event_files(folder)? {
        let cut = || match keep {
            None => fs::remove_file(&path),
            Some(step) => {
                let file = OpenOptions::new().read(true).write(true).open(&path)?;
                file.set_len(end_of(&file, step)?)
            }
        };
        cut().map_err(|error| io_error("cut", &path, error))?;
    }
    Ok(())
}

fn event_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| io_error("list", folder, error);
    let items = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        items => items.map_err(failed)?,
    };
    let mut files = Vec::new();
    for item in items {
        let path = item.map_err(failed)?.path();
        if seconds_of(&path).is_some() {
            files.push(path);
        }
    }
    Ok(files)
}

/// When a file was started, by its name; `None` if it is no event file.
fn seconds_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()
}

/// Seconds since 1970, 0 if the clock says earlier.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Where the records end that are whole and of a step up to `keep`.
fn end_of(file: &File, keep: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut end = 0;
    loop {
        // Length and its checksum, the payload, its checksum.
        let Some(left) = length.checked_sub(end + 16) else { return Ok(end) };
        let (size, checksum) = (read::<8>(&mut reader)?, read::<4>(&mut reader)?);
        let payload_length = u64::from_le_bytes(size);
        if masked_crc32c(&size) != u32::from_le_bytes(checksum) || payload_length > left {
            return Ok(end);
        }
        let mut payload = vec![0; payload_length as usize];
        reader.read_exact(&mut payload)?;
        if masked_crc32c(&payload) != u32::from_le_bytes(read(&mut reader)?) {
            return Ok(end);
        }
        match step_of(&payload) {
            Some(step) if step <= keep => end += 16 + payload_length,
            _ => return Ok(end),
        }
    }
}

fn read<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The step of an encoded event, 0 if it has none (protobuf's default); `None` if this is no protobuf message.
fn step_of(mut event: &[u8]) -> Option<u64> {
    let mut step = 0;
    while !event.is_empty() {
        let key = take_varint(&mut event)?;
        let skipped = match key & 7 {
            0 => {
                let value = take_varint(&mut event)?;
                if key >> 3 == 2 {
                    step = value;
                }
                0
            }
            1 => 8,
            2 => usize::try_from(take_varint(&mut event)?).ok()?,
            5 => 4,
            _ => return None,
        };
        event = event.get(skipped..)?;
    }
    Some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_gives_its_step() {
        for step in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut event = Vec::new();
            put_double(&mut event, 1, 0.0);
            put_number(&mut event, 2, step);
            put_bytes(&mut event, 5, &[7; 200]);
            assert_eq!(step_of(&event), Some(step));
            // Cut within the last field it is no message any more.
            assert_eq!(step_of(&event[..event.len() - 1]), None);
        }
        assert_eq!(step_of(&[]), Some(0));
        assert_eq!(step_of(&[0xff; 20]), None);
        assert_eq!(step_of(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), None);
    }
}
