//! What libraries log where there is nobody to return an error or an event to: a line each on stderr.

use log::{LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    /// Our own messages only: those of other crates are for their developers.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("untie")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("{}", record.args());
        }
    }

    fn flush(&self) {}
}

/// Shows warnings and errors from now on.
pub(super) fn show() {
    // A program that calls `Cli` as a library may have a logger of its own.
    let _ = log::set_logger(&Stderr);
    log::set_max_level(LevelFilter::Warn);
}
