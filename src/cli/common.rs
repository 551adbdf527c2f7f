//! What several subcommands say and read in the same way.

use std::process::ExitCode;
use std::rc::Rc;

use tch::Device;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::parallel::{LaunchEnv, ParallelConfig, World};
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
pub(crate) fn warn_of(precision: Precision, device: Device) {
    if let Some(words) = precision.warning(device) {
        eprintln!("warning: {words}");
    }
}

/// Meets the other processes of `env`, if there are some, and does `work` with them; where it fails, they are told why.
///
/// # Errors
/// Those of [`World::connect`] and of `work`.
pub(crate) fn with_processes(
    env: Option<LaunchEnv>,
    parallel: &ParallelConfig,
    device: Device,
    work: impl FnOnce(&Rc<World>) -> Result<u8>,
) -> Result<u8> {
    let world = Rc::new(World::connect(env, parallel, device)?);
    let result = work(&world);
    let Err(error) = result else { return result };
    world.tell(&error);
    if world.size() == 1 {
        return Err(error);
    }
    let who = if world.is_first() { String::new() } else { format!("rank={} ", world.rank()) };
    eprintln!("{who}{}", error.report());
    // Process groups that have lost a process may wait for it when they are taken apart.
    signal_hook::low_level::exit(i32::from(error.exit_code()))
}

/// Compares parts of a run, each with its name, with rank 0's.
pub(crate) fn check_same_parts(world: &World, parts: &[(String, String)]) -> Result<()> {
    let hashes: Vec<u64> = parts.iter().map(|(_, text)| xxh3_64(text.as_bytes())).collect();
    world.check_same("run", &hashes, |at| parts[at].0.clone())
}

/// An argument's value as a configuration file names it.
pub(crate) fn named<T: serde::de::DeserializeOwned>(name: &str) -> std::result::Result<T, String> {
    serde_json::from_value(serde_json::Value::from(name)).map_err(|error| error.to_string())
}
