//! Which weight group each encoder layer uses: the one description of sharing that every room reads.
//!
//! In: the number of layers and a pattern (all tied, A×B units, contiguous groups, untied, or a list). Out: for every
//! layer the index of its group, groups being numbered by their lowest layer. Untying refines a map: it splits groups, it
//! never joins them.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// layer → group; group numbers are dense and ordered by each group's lowest layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub struct LayerMap {
    group_of: Vec<usize>,
}

impl LayerMap {
    /// Every layer uses the same weights (1×n in the paper's notation).
    pub fn tied(num_layers: usize) -> Self {
        Self { group_of: vec![0; num_layers] }
    }

    /// Every layer has its own weights (n×1).
    pub fn untied(num_layers: usize) -> Self {
        Self { group_of: (0..num_layers).collect() }
    }

    /// A unit of `unit` consecutive layers repeated `repeats` times: layer l uses the weights of layer l mod `unit`.
    ///
    /// # Errors
    /// When `unit`·`repeats` is not the number of layers.
    pub fn units(num_layers: usize, unit: usize, repeats: usize) -> Result<Self> {
        if unit == 0 || unit.checked_mul(repeats) != Some(num_layers) {
            return Err(Error::config(format!(
                "sharing unit `{unit}x{repeats}` does not fit: expected A·B = {num_layers} layers"
            ))
            .hint("choose A×B with A·B equal to `model.num_hidden_layers`"));
        }
        Ok(Self { group_of: (0..num_layers).map(|layer| layer % unit).collect() })
    }

    /// `groups` runs of consecutive layers of equal length.
    ///
    /// # Errors
    /// When the number of layers is not a multiple of `groups`.
    pub fn contiguous(num_layers: usize, groups: usize) -> Result<Self> {
        if groups == 0 || !num_layers.is_multiple_of(groups) {
            return Err(Error::config(format!("{num_layers} layers do not split into {groups} groups of equal size"))
                .hint("set `sharing.start` to `contiguous:G` with G a divisor of `model.num_hidden_layers`"));
        }
        let size = num_layers / groups;
        Ok(Self { group_of: (0..num_layers).map(|layer| layer / size).collect() })
    }

    /// `groups` groups over `num_layers` layers, as equal as can be: layer j uses group ⌊j·groups/num_layers⌋.
    ///
    /// # Errors
    /// When there are no groups, or fewer layers than groups.
    pub fn spread(num_layers: usize, groups: usize) -> Result<Self> {
        if groups == 0 || groups > num_layers {
            return Err(Error::config(format!("{num_layers} layers do not use {groups} groups")));
        }
        Ok(Self { group_of: (0..num_layers).map(|layer| layer * groups / num_layers).collect() })
    }

    /// From lists of layers that share weights, e.g. `[[0, 1], [2, 3]]`.
    ///
    /// # Errors
    /// When a layer is missing, named twice or out of range, or a group is empty.
    pub fn from_groups(num_layers: usize, groups: &[Vec<usize>]) -> Result<Self> {
        let mut of = vec![None; num_layers];
        for (group, layers) in groups.iter().enumerate() {
            if layers.is_empty() {
                return Err(Error::config(format!("sharing group {group} is empty")));
            }
            for &layer in layers {
                match of.get_mut(layer) {
                    None => {
                        return Err(Error::config(format!(
                            "sharing names layer {layer}, there are {num_layers} layers"
                        )))
                    }
                    Some(Some(_)) => return Err(Error::config(format!("sharing names layer {layer} twice"))),
                    Some(slot) => *slot = Some(group),
                }
            }
        }
        match of.iter().position(Option::is_none) {
            Some(layer) => Err(Error::config(format!("sharing does not name layer {layer}"))),
            None => Ok(Self::renumbered(of.into_iter().flatten())),
        }
    }

    /// Numbers groups in the order in which they first appear.
    fn renumbered(labels: impl Iterator<Item = usize>) -> Self {
        let mut seen: Vec<usize> = Vec::new();
        let group_of = labels
            .map(|label| {
                seen.iter().position(|&known| known == label).unwrap_or_else(|| {
                    seen.push(label);
                    seen.len() - 1
                })
            })
            .collect();
        Self { group_of }
    }

    /// How many layers there are.
    pub fn num_layers(&self) -> usize {
        self.group_of.len()
    }

    /// How many groups, that is, sets of weights, there are.
    pub fn num_groups(&self) -> usize {
        self.group_of.iter().max().map_or(0, |&last| last + 1)
    }

    /// The group whose weights `layer` uses.
    pub fn group_of(&self, layer: usize) -> usize {
        self.group_of[layer]
    }

    /// The layers of `group`, from the lowest.
    pub fn members(&self, group: usize) -> Vec<usize> {
        (0..self.num_layers()).filter(|&layer| self.group_of[layer] == group).collect()
    }

    /// The lowest layer of `group`; it names the group's tensors in files.
    pub fn lowest(&self, group: usize) -> usize {
        self.members(group)[0]
    }

    /// Layers that share weights and are adjacent in depth within their group, as (lower, upper), by the lower layer:
    /// where a group can be split.
    pub fn boundaries(&self) -> Vec<(usize, usize)> {
        let above =
            |layer: usize| (layer + 1..self.num_layers()).find(|&next| self.group_of[next] == self.group_of[layer]);
        (0..self.num_layers()).filter_map(|layer| Some((layer, above(layer)?))).collect()
    }

    /// The layers of each unit, when this is the pattern of A×B units with B > 1 (all tied: A = 1).
    pub fn repeated_units(&self) -> Option<Vec<Vec<usize>>> {
        let (layers, unit) = (self.num_layers(), self.num_groups());
        let is_pattern = unit < layers && layers.is_multiple_of(unit);
        (is_pattern && (0..layers).all(|layer| self.group_of[layer] == layer % unit))
            .then(|| (0..layers).step_by(unit).map(|first| (first..first + unit).collect()).collect())
    }

    /// Every group cut after those of its members that are in `cuts`.
    pub fn split_after(&self, cuts: &[usize]) -> Self {
        let piece = |layer: usize| {
            let group = self.group_of[layer];
            (group, cuts.iter().filter(|&&cut| cut < layer && self.group_of[cut] == group).count())
        };
        let pieces: Vec<(usize, usize)> = (0..self.num_layers()).map(piece).collect();
        let first = |piece: &(usize, usize)| pieces.iter().take_while(|other| *other != piece).count();
        Self::renumbered(pieces.iter().map(first))
    }

    /// Whether every group of `self` lies inside one group of `coarser`: the condition for a transition to `self`.
    pub fn refines(&self, coarser: &Self) -> bool {
        self.num_layers() == coarser.num_layers()
            && (0..self.num_groups()).all(|group| {
                let members = self.members(group);
                members.iter().all(|&layer| coarser.group_of[layer] == coarser.group_of[members[0]])
            })
    }
}

impl TryFrom<Vec<usize>> for LayerMap {
    type Error = String;

    fn try_from(group_of: Vec<usize>) -> std::result::Result<Self, String> {
        let map = Self::renumbered(group_of.iter().copied());
        if map.group_of == group_of {
            Ok(map)
        } else {
            Err(format!("layer map {group_of:?} does not number its groups by their lowest layer"))
        }
    }
}

impl From<LayerMap> for Vec<usize> {
    fn from(map: LayerMap) -> Self {
        map.group_of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_the_paper() {
        assert_eq!(Vec::from(LayerMap::units(6, 2, 3).unwrap()), [0, 1, 0, 1, 0, 1]);
        assert_eq!(Vec::from(LayerMap::contiguous(6, 2).unwrap()), [0, 0, 0, 1, 1, 1]);
        assert_eq!(LayerMap::units(4, 1, 4).unwrap(), LayerMap::tied(4));
        assert_eq!(LayerMap::units(4, 4, 1).unwrap(), LayerMap::untied(4));
        assert_eq!(Vec::from(LayerMap::spread(5, 3).unwrap()), [0, 0, 1, 1, 2]);
        assert_eq!(LayerMap::spread(12, 3).unwrap(), LayerMap::contiguous(12, 3).unwrap());
        let listed = LayerMap::from_groups(4, &[vec![1, 3], vec![0, 2]]).unwrap();
        assert_eq!(Vec::from(listed.clone()), [0, 1, 0, 1]);
        assert_eq!(listed.members(1), [1, 3]);
        assert_eq!(listed.lowest(1), 1);
    }

    #[test]
    fn impossible_patterns_are_refused() {
        for (result, words) in [
            (LayerMap::units(6, 4, 2), "does not fit"),
            (LayerMap::contiguous(6, 4), "do not split"),
            (LayerMap::spread(2, 3), "do not use 3 groups"),
            (LayerMap::from_groups(3, &[vec![0, 1]]), "does not name layer 2"),
            (LayerMap::from_groups(2, &[vec![0, 1], vec![1]]), "layer 1 twice"),
            (LayerMap::from_groups(2, &[vec![0, 1, 2]]), "names layer 2"),
            (LayerMap::from_groups(2, &[vec![0, 1], vec![]]), "is empty"),
        ] {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        assert!(serde_json::from_str::<LayerMap>("[1, 0]").is_err());
    }

    #[test]
    fn boundaries_lie_between_members_adjacent_in_depth() {
        assert_eq!(LayerMap::tied(4).boundaries(), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(LayerMap::units(6, 2, 3).unwrap().boundaries(), [(0, 2), (1, 3), (2, 4), (3, 5)]);
        assert_eq!(LayerMap::contiguous(4, 2).unwrap().boundaries(), [(0, 1), (2, 3)]);
        assert!(LayerMap::untied(4).boundaries().is_empty());
    }

    #[test]
    fn units_are_recognised() {
        let units = |map: LayerMap| map.repeated_units();
        assert_eq!(units(LayerMap::tied(3)), Some(vec![vec![0], vec![1], vec![2]]));
        assert_eq!(units(LayerMap::units(6, 3, 2).unwrap()), Some(vec![vec![0, 1, 2], vec![3, 4, 5]]));
        assert_eq!(units(LayerMap::contiguous(4, 2).unwrap()), None);
        assert_eq!(units(LayerMap::untied(4)), None);
    }

    #[test]
    fn groups_split_by_themselves() {
        assert_eq!(Vec::from(LayerMap::tied(4).split_after(&[1])), [0, 0, 1, 1]);
        assert_eq!(Vec::from(LayerMap::tied(4).split_after(&[0, 2])), [0, 1, 1, 2]);
        let units = LayerMap::units(6, 2, 3).unwrap();
        assert_eq!(Vec::from(units.split_after(&[0])), [0, 1, 2, 1, 2, 1]);
        assert_eq!(units.split_after(&[0, 1, 2, 3]), LayerMap::untied(6));
        assert_eq!(units.split_after(&[]), units);
    }

    #[test]
    fn refinement_splits_and_never_joins() {
        let (tied, units, untied) = (LayerMap::tied(4), LayerMap::units(4, 2, 2).unwrap(), LayerMap::untied(4));
        let halves = LayerMap::contiguous(4, 2).unwrap();
        assert!(untied.refines(&units) && units.refines(&tied) && tied.refines(&tied));
        assert!(!tied.refines(&units) && !units.refines(&halves) && !LayerMap::tied(3).refines(&tied));
    }
}
