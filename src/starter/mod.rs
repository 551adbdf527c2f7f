//! A first configuration for a text: which model this text and this machine can train, and the file that says so.
//!
//! In: a few MB of the text ([`untie_data::pipeline::plan`]), the rate of matrix products here, free memory, and the hours that there
//! are. Out: a [`Size`] and a commented TOML file. Cost: seconds. These numbers are estimates; the run itself measures its
//! steps, as the file sets `train.time`.

pub mod choice;
pub mod estimate;
pub mod file;
pub mod size;

pub use choice::{Choice, Length, Request, Start};
pub use estimate::{choose, Budget, Estimate};
pub use file::ConfigFile;
pub use size::Size;
