//! Tables of a configuration, read from TOML and changed by `--set`.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Reads the tables of `path`, or starts from none, and applies `settings`, each `table.key=value` with a TOML value (a bare
/// word is a string).
///
/// # Errors
/// A file that cannot be read or parsed, an unknown key, and a value of the wrong type.
pub fn tables<T: DeserializeOwned>(path: Option<&Path>, settings: &[String]) -> Result<T> {
    let Some(path) = path else {
        // The first few settings leave much missing.
        let mut table = toml::Table::new();
        settings.iter().try_for_each(|setting| apply(&mut table, setting))?;
        return made(table);
    };
    made(apply_all::<T>(read::<T>(path)?, settings)?)
}

/// Applies `settings` one after the other, so that the one which is wrong is named.
pub(super) fn apply_all<T: DeserializeOwned>(mut table: toml::Table, settings: &[String]) -> Result<toml::Table> {
    for setting in settings {
        apply(&mut table, setting)?;
        table.clone().try_into::<T>().map_err(|error: toml::de::Error| {
            Error::config(format!("`--set {setting}` is not valid")).caused_by(error)
        })?;
    }
    Ok(table)
}

/// A `T` of all its tables.
pub(super) fn made<T: DeserializeOwned>(table: toml::Table) -> Result<T> {
    table.try_into().map_err(|error: toml::de::Error| Error::config("the settings are not valid").caused_by(error))
}

/// The tables of `path`, of which a `T` can be made.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::config(format!("there is no configuration at `{}`", path.display()))
            .hint("see configs/ for examples, e.g. `--config configs/quickstart.toml`"),
        _ => Error::config(format!("cannot read the configuration `{}`", path.display())).caused_by(error),
    })?;
    let invalid = |error: toml::de::Error| {
        Error::config(format!("`{}` is not a valid configuration", path.display())).caused_by(error)
    };
    // Into a `T` from the text: its errors show the line.
    toml::from_str::<T>(&text).map_err(invalid)?;
    toml::from_str(&text).map_err(invalid)
}

/// Sets one dotted key.
fn apply(table: &mut toml::Table, setting: &str) -> Result<()> {
    let shape = || Error::config(format!("`--set {setting}`: expected `table.key=value`"));
    let (key, value) = setting.split_once('=').ok_or_else(shape)?;
    let (path, name) = key.trim().rsplit_once('.').ok_or_else(shape)?;
    let value = value.trim();
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.into()));
    // The table that holds the key, which may be inside another.
    let mut inner = table;
    for part in path.split('.') {
        let found = inner.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        inner = found.as_table_mut().ok_or_else(shape)?;
    }
    inner.insert(name.into(), parsed);
    Ok(())
}
