//! How a context is cut into windows.

use serde::{Deserialize, Serialize};

/// How a context is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowConfig {
    /// The most tokens of a window, special ones included; default 384.
    pub max_length: usize,
    /// How many tokens of the context a window repeats from the one before; default 128.
    pub stride: usize,
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self { max_length: 384, stride: 128 }
    }
}
