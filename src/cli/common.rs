//! What several subcommands say and read in the same way.

use std::process::ExitCode;

use crate::error::Error;
use crate::step::Precision;

/// Reports an error on stderr; the exit code.
pub(crate) fn fail(error: &Error) -> ExitCode {
    eprintln!("{}", error.report());
    ExitCode::from(error.exit_code())
}

/// Tells what may surprise, a warning each.
pub(crate) fn warn(notes: &[String]) {
    notes.iter().for_each(|note| eprintln!("warning: {note}"));
}

/// Tells what `precision`, decided, costs on `device` where that is more than one would think.
pub(crate) fn warn_of(precision: Precision, device: tch::Device) {
    if let Some(words) = precision.warning(device) {
        eprintln!("warning: {words}");
    }
}

/// An argument's value as a configuration file names it.
pub(crate) fn named<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::from(name)).map_err(|error| error.to_string())
}
