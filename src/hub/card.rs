//! The card of an export: README.md, and the picture that it shows.

use std::fs;
use std::path::Path;

use super::{CARD_FILE, PICTURE_FILE};
use crate::error::{io, Result};

/// The line of README.md that says that it is ours. A file without it is a person's own.
pub const CARD_MARK: &str = "# Written by untie. Remove this line, and another export leaves the file as it is.";

/// What stands beside the model: a text for people, and a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// README.md, with the line [`CARD_MARK`].
    pub text: String,
    /// `curves.png`, if there is a picture.
    pub picture: Option<Vec<u8>>,
}

/// A file of a folder: its name and its content.
type File = (&'static str, Vec<u8>);

/// README.md and the picture for a new export in place of `dir`: those of `card`, but a person's own README.md stays, and so does
/// the picture that it may show.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn files(dir: &Path, card: Option<&Card>) -> Result<Vec<File>> {
    let read = |name: &'static str| match fs::read(dir.join(name)) {
        Ok(bytes) => Ok(Some((name, bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("read", &dir.join(name), error)),
    };
    let own = read(CARD_FILE)?.filter(|(_, text)| !String::from_utf8_lossy(text).lines().any(|line| line == CARD_MARK));
    let made = card.and_then(|card| card.picture.clone()).map(|picture| (PICTURE_FILE, picture));
    let picture = match own {
        Some(_) if made.is_none() => read(PICTURE_FILE)?,
        _ => made,
    };
    let text = own.or_else(|| card.map(|card| (CARD_FILE, card.text.clone().into_bytes())));
    Ok(text.into_iter().chain(picture).collect())
}
