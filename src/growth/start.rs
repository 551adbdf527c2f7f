//! How a run's layers share weights at step 0: the pattern that `sharing.start` names, and what its groups take from a model.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layer_map::LayerMap;

/// How layers share weights at step 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected `auto`, `tied`, `untied`, `AxB`, `contiguous:G` or lists of layers")]
pub enum Start {
    /// `auto`, `tied`, `untied`, `AxB` (units) or `contiguous:G`.
    Named(String),
    /// Layers that share, e.g. `[[0, 1], [2, 3]]`.
    Groups(Vec<Vec<usize>>),
}

/// Which weights a group of tied layers takes from a model that has each layer by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupInit {
    /// Those of its lowest layer.
    Lowest,
    /// The mean of its layers'.
    Mean,
}

impl Start {
    /// The pattern that this describes for `num_layers`; `setting` names it in errors.
    pub(super) fn map(&self, setting: &str, num_layers: usize) -> Result<LayerMap> {
        let name = match self {
            Self::Groups(groups) => return LayerMap::from_groups(num_layers, groups),
            Self::Named(name) => name.as_str(),
        };
        let number = |text: &str| text.trim().parse::<usize>().ok();
        if matches!(name, "tied" | "auto") {
            return Ok(LayerMap::tied(num_layers));
        }
        if name == "untied" {
            return Ok(LayerMap::untied(num_layers));
        }
        if let Some(groups) = name.strip_prefix("contiguous:").and_then(number) {
            return LayerMap::contiguous(num_layers, groups);
        }
        if let Some((Some(unit), Some(repeats))) = name.split_once('x').map(|(a, b)| (number(a), number(b))) {
            return LayerMap::units(num_layers, unit, repeats);
        }
        Err(Error::config(format!(
            "`{setting}`: expected `auto`, `tied`, `untied`, `AxB`, `contiguous:G` or lists of layers, got `{name}`"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_parse_and_mistakes_are_named() {
        let map = |start: &str| Start::Named(start.into()).map("sharing.start", 6);
        assert_eq!(map("2x3").unwrap(), LayerMap::units(6, 2, 3).unwrap());
        assert_eq!(map("contiguous:3").unwrap(), LayerMap::contiguous(6, 3).unwrap());
        assert!(map("2x2").unwrap_err().to_string().contains("does not fit"));
        assert!(map("tide").unwrap_err().to_string().contains("got `tide`"));
    }
}
