//! Metrics are on disk after each record, and a resume leaves neither gaps nor doubles.

use std::fs;
use std::path::{Path, PathBuf};

use protobuf::Message;
use serde_json::Value;
use tensorboard_proto::event::Event;
use tensorboard_rs::masked_crc32c::masked_crc32c;
use untie::metrics::{MetricsConfig, Recorder};

fn lines(run_dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn steps(run_dir: &Path) -> Vec<u64> {
    lines(run_dir).iter().map(|line| line["step"].as_u64().unwrap()).collect()
}

pub fn event_files(run_dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(run_dir.join("tb")).unwrap().map(|item| item.unwrap().path()).collect();
    files.sort();
    files
}

/// The payloads of an event file; panics if a record is not whole.
pub fn events(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let (mut at, mut payloads) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let payload = bytes[at + 12..at + 12 + length].to_vec();
        let checksum = u32::from_le_bytes(bytes[at + 12 + length..at + 16 + length].try_into().unwrap());
        assert_eq!(masked_crc32c(&payload), checksum);
        payloads.push(payload);
        at += 16 + length;
    }
    payloads
}

fn record(recorder: &mut Recorder, steps: impl IntoIterator<Item = u64>) {
    for step in steps {
        recorder.record(step, &[("train/loss", 1.0 / step as f64), ("train/lr", 1e-4)]).unwrap();
    }
}

#[test]
fn each_record_is_a_line_with_the_step_first() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("runs/new");
    let mut recorder = Recorder::create(&run_dir, &MetricsConfig::default()).unwrap();
    recorder.record(0, &[("sharing/groups", 1.0)]).unwrap();
    recorder.record(10, &[("train/loss", 2.5), ("data/epoch", f64::NAN)]).unwrap();
    recorder.record(10, &[("eval/loss", 2.0)]).unwrap();
    // Read while it is open: a killed run would have left this.
    assert_eq!(
        fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap(),
        "{\"step\":0,\"sharing/groups\":1.0}\n{\"step\":10,\"train/loss\":2.5,\"data/epoch\":null}\n\
         {\"step\":10,\"eval/loss\":2.0}\n"
    );
    let files = event_files(&run_dir);
    assert_eq!(files.len(), 1);
    assert_eq!(events(&files[0]).len(), 4, "the version and three records");
    recorder.flush().unwrap();
    let error = recorder.record(9, &[]).unwrap_err().to_string();
    assert!(error.contains("step 9: expected step 10 or a later one"), "{error}");
}

#[test]
fn a_resume_cuts_what_came_after_the_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let config = MetricsConfig::default();
    let mut recorder = Recorder::create(dir.path(), &config).unwrap();
    record(&mut recorder, (10..=100).step_by(10));
    let first = &event_files(dir.path())[0];
    let before = events(first);
    drop(recorder);

    let mut recorder = Recorder::resume(dir.path(), &config, 60).unwrap();
    assert_eq!(steps(dir.path()), [10, 20, 30, 40, 50, 60]);
    assert_eq!(events(first), before[..7], "the version and six records");
    record(&mut recorder, [70, 80]);
    drop(recorder);
    assert_eq!(steps(dir.path()), [10, 20, 30, 40, 50, 60, 70, 80]);
    let files = event_files(dir.path());
    assert_eq!(files.len(), 2, "a resume within the same second starts a file of its own");
    assert_eq!(events(&files[1]).len(), 4, "version, session start, two records");

    // Back across the border of both files.
    let mut recorder = Recorder::resume(dir.path(), &config, 45).unwrap();
    record(&mut recorder, [50]);
    assert_eq!(steps(dir.path()), [10, 20, 30, 40, 50]);
    let files = event_files(dir.path());
    assert_eq!(files.iter().map(|file| events(file).len()).collect::<Vec<_>>(), [5, 1, 3]);

    Recorder::create(dir.path(), &config).unwrap();
    assert!(steps(dir.path()).is_empty());
    assert_eq!(event_files(dir.path()).len(), 1);
}

#[test]
fn torn_ends_are_dropped_wherever_they_are_torn() {
    let dir = tempfile::tempdir().unwrap();
    let config = MetricsConfig::default();
    let mut recorder = Recorder::create(dir.path(), &config).unwrap();
    record(&mut recorder, [1, 2]);
    let (jsonl, tb) = (dir.path().join("metrics.jsonl"), event_files(dir.path()).remove(0));
    let whole = [fs::read(&jsonl).unwrap(), fs::read(&tb).unwrap()];
    record(&mut recorder, [3]);
    let longer = [fs::read(&jsonl).unwrap(), fs::read(&tb).unwrap()];
    drop(recorder);
    for (at, path) in [jsonl, tb].iter().enumerate() {
        for end in whole[at].len()..longer[at].len() {
            fs::write(path, &longer[at][..end]).unwrap();
            Recorder::resume(dir.path(), &config, 5).unwrap();
            assert!(fs::read(path).unwrap() == whole[at], "{} cut at {end}", path.display());
        }
        // Zeros, as a power cut may leave them, and a length from nowhere.
        for tail in [&[0; 64][..], &[0xff; 64]] {
            fs::write(path, [&whole[at], tail].concat()).unwrap();
            Recorder::resume(dir.path(), &config, 5).unwrap();
            assert!(fs::read(path).unwrap() == whole[at]);
        }
    }
}

#[test]
fn a_run_without_tensorboard_has_no_event_files() {
    let dir = tempfile::tempdir().unwrap();
    let config: MetricsConfig = serde_json::from_str(r#"{"tensorboard": false}"#).unwrap();
    let mut recorder = Recorder::create(dir.path(), &config).unwrap();
    record(&mut recorder, [1]);
    recorder.flush().unwrap();
    assert!(!dir.path().join("tb").exists());
    // A resume of a run that has no metrics yet starts them.
    let mut recorder = Recorder::resume(&dir.path().join("other"), &config, 7).unwrap();
    record(&mut recorder, [8]);
    assert_eq!(steps(&dir.path().join("other")), [8]);
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tb"), "in the way").unwrap();
    let error = Recorder::create(dir.path(), &MetricsConfig::default()).unwrap_err().report();
    assert!(error.contains(&dir.path().join("tb").display().to_string()), "{error}");
    fs::remove_file(dir.path().join("tb")).unwrap();
    fs::create_dir(dir.path().join("metrics.jsonl")).unwrap();
    let error = Recorder::create(dir.path(), &MetricsConfig::default()).unwrap_err().report();
    assert!(error.contains("metrics.jsonl`"), "{error}");
}

/// Read with the messages of TensorFlow's own .proto files.
#[test]
fn a_matrix_is_a_picture_at_its_step_and_is_cut_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = MetricsConfig::default();
    let mut recorder = Recorder::create(dir.path(), &config).unwrap();
    for step in [1000, 2000] {
        recorder.record_matrix(step, "sharing/correlation_matrix", &[1.0, 0.3, 0.3, 1.0]).unwrap();
    }
    drop(recorder);
    let file = &event_files(dir.path())[0];
    let found: Vec<Event> = events(file).iter().map(|payload| Event::parse_from_bytes(payload).unwrap()).collect();
    assert_eq!(found.iter().map(|event| event.step).collect::<Vec<_>>(), [0, 1000, 2000]);
    let value = &found[1].get_summary().value[0];
    assert_eq!(value.tag, "sharing/correlation_matrix");
    let image = value.get_image();
    // Two cells a side of 384 pixels; 3 is RGB.
    assert_eq!((image.height, image.width, image.colorspace), (384, 384, 3));
    assert_eq!(image.encoded_image_string[..8], *b"\x89PNG\r\n\x1a\n");
    drop(Recorder::resume(dir.path(), &config, 1500).unwrap());
    assert_eq!(events(file).len(), 2, "the version and the picture of step 1000");
}
