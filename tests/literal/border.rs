//! Where values cross: the house keeps a group's tensors once, under its lowest layer, and query, key and value as one
//! tensor; the reference has n copies, and the three apart.

use std::collections::BTreeMap;

use tch::Tensor;

use super::prefix;

/// The house's tensors (weights or one of the moments) as the reference names them, for every layer.
pub fn copies(house: &BTreeMap<String, Tensor>, labels: &[usize]) -> BTreeMap<String, Tensor> {
    let mut found = BTreeMap::new();
    for (name, tensor) in house {
        match name.strip_prefix("bert.encoder.layer.").and_then(|rest| rest.split_once('.')) {
            None => put(&mut found, name.clone(), tensor),
            Some((lowest, suffix)) => {
                let label = labels[lowest.parse::<usize>().unwrap()];
                for layer in (0..labels.len()).filter(|&layer| labels[layer] == label) {
                    put(&mut found, prefix(layer) + suffix, tensor);
                }
            }
        }
    }
    found
}

fn put(found: &mut BTreeMap<String, Tensor>, name: String, tensor: &Tensor) {
    if name.contains(".qkv.") {
        for (part, third) in ["query", "key", "value"].into_iter().zip(tensor.chunk(3, 0)) {
            found.insert(name.replace("qkv", part), third.copy());
        }
    } else {
        found.insert(name, tensor.copy());
    }
}
