//! Checkpoints: everything a run needs to go on as if nothing had happened, in a folder that is whole or not there.
//!
//! In: the run's [`RunState`], its weights and its moments. Out: `RUN/checkpoints/step-NNNNNNNN/` with
//!
//! - `model.safetensors`: one entry per tensor of each weight group, fp32 or fp64 as in memory, vocabulary not padded;
//! - `optimizer.safetensors`: `exp_avg.<name>` and `exp_avg_sq.<name>` of each of them;
//! - `remembered.safetensors`, in a V-cycle only: the weights that it blends with later;
//! - `state.json`: the [`RunState`];
//! - `checksums.json`, written last: size and XXH3 (128 bits) of each of the others.
//!
//! A checkpoint is written aside, synced and renamed, so a crash leaves the earlier ones as they were; the file
//! `checkpoints/latest` names the newest. Every load verifies the checksums of what it reads and trusts nothing else.
//!
//! Written by [`save`] at once, or by a [`Saver`] while training goes on.
//!
//! Cost: 12 bytes a parameter on disk (24 in fp64). Tensors are streamed; beyond the model itself, saving and loading
//! hold the largest tensor once in host memory. Loading reads each file twice: for its checksum, then for its tensors.

mod background;
mod checksums;
mod config;
mod folder;
mod load;
mod rollback;
mod save;
mod state;
mod tensors;

pub use background::Saver;
pub use config::{CheckpointConfig, OnError};
pub use folder::{list, newest_valid, verify, Entry};
pub use load::{load, load_state, load_weights, Loaded};
pub use rollback::roll_back;
pub use save::save;
pub use state::{DataFingerprint, RunState, Totals, Untying, FORMAT};

/// The tensors of the model.
const MODEL_FILE: &str = "model.safetensors";
/// The moments of AdamW.
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// The [`RunState`].
const STATE_FILE: &str = "state.json";
/// Sizes and hashes of the other files.
const CHECKSUMS_FILE: &str = "checksums.json";
/// The files that [`CHECKSUMS_FILE`] vouches for.
const FILES: [&str; 3] = [STATE_FILE, MODEL_FILE, OPTIMIZER_FILE];
/// The weights that a later transition blends with, where there are some.
const REMEMBERED_FILE: &str = "remembered.safetensors";
/// What names the moments in [`OPTIMIZER_FILE`], before the name of the weight.
const MOMENTS: [&str; 2] = ["exp_avg.", "exp_avg_sq."];
