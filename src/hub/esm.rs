//! Pre-LN models as transformers' `EsmForMaskedLM`, which has PyTorch's fast attention where `MegatronBertForMaskedLM` has none.
//!
//! In: the tensors and the config.json of a Megatron export. Out: those of an Esm export. Esm has no segments: its positions are
//! the sum of the positions and of segment 0, rounded to fp32. It numbers positions from the id of `[PAD]` + 1. Its contact head,
//! which is for proteins, gets zeros.

use std::collections::BTreeMap;

use serde_json::{json, Value};
use tch::{Device, Kind, Tensor};
use tokenizers::Tokenizer;
use untie_data::wordpiece::Role;

use crate::error::{Error, Result};

const POSITIONS: &str = "bert.embeddings.position_embeddings.weight";
const SEGMENTS: &str = "bert.embeddings.token_type_embeddings.weight";

/// Parts of names of Megatron's tensors, and what Esm calls them. The first that is found in a name counts.
const NAMES: [(&str, &str); 5] = [
    ("bert.encoder.ln.", "esm.encoder.emb_layer_norm_after."),
    (".attention.ln.", ".attention.LayerNorm."),
    ("cls.predictions.transform.LayerNorm.", "lm_head.layer_norm."),
    ("cls.predictions.transform.dense.", "lm_head.dense."),
    ("cls.predictions.", "lm_head."),
];

fn esm_name(name: &str) -> String {
    let found = NAMES.iter().find(|(theirs, _)| name.contains(theirs));
    let name =
        found.map_or_else(|| name.replacen(".ln.", ".LayerNorm.", 1), |(theirs, own)| name.replacen(theirs, own, 1));
    match name.strip_prefix("bert.") {
        Some(rest) => format!("esm.{rest}"),
        None => name,
    }
}

/// The id of `[PAD]`, from which Esm numbers positions.
///
/// # Errors
/// A tokenizer without `[PAD]`.
pub(super) fn pad_id(tokenizer: &Tokenizer) -> Result<u32> {
    let found = Role::Pad.token(tokenizer).map(|(_, id)| id);
    found.ok_or_else(|| {
        Error::config("the model cannot be written as `esm`: its tokenizer has no token for padding")
            .hint("Esm numbers positions by it: use `--as megatron-bert`")
    })
}

/// The keys of a Megatron export's config.json as those of Esm.
pub(super) fn adapt_config(mut keys: Value, tokenizer: &Tokenizer) -> Value {
    if let Some(keys) = keys.as_object_mut() {
        keys.remove("hidden_act");
        keys.remove("type_vocab_size");
    }
    let id = |role: Role| role.token(tokenizer).map(|(_, id)| id);
    let longest = keys["max_position_embeddings"].as_u64().unwrap_or(0);
    keys["max_position_embeddings"] = json!(longest + u64::from(id(Role::Pad).unwrap_or(0)) + 1);
    keys["emb_layer_norm_before"] = json!(false);
    keys["token_dropout"] = json!(false);
    keys["mask_token_id"] = json!(id(Role::Mask));
    keys["eos_token_id"] = json!(id(Role::Sep));
    keys
}

/// Turns the tensors of a Megatron export, contiguous fp32 on the CPU, into those of Esm; `heads` is the number of all attention
/// heads of all layers.
///
/// # Errors
/// libtorch's own, and a model without positions or segments.
pub(super) fn adapt_tensors(
    mut tensors: BTreeMap<String, Tensor>,
    pad: u32,
    heads: i64,
) -> Result<BTreeMap<String, Tensor>> {
    let mut take =
        |name: &str| tensors.remove(name).ok_or_else(|| Error::failed(format!("the model has no tensor `{name}`")));
    let (positions, segments) = (take(POSITIONS)?, take(SEGMENTS)?);
    let zeros = |shape: [i64; 2]| Tensor::f_zeros(shape, (Kind::Float, Device::Cpu));
    let moved = positions.f_add(&segments.f_get(0)?)?;
    let moved = Tensor::f_cat(&[zeros([i64::from(pad) + 1, positions.size()[1]])?, moved], 0)?;
    let mut found: BTreeMap<String, Tensor> =
        tensors.into_iter().map(|(name, tensor)| (esm_name(&name), tensor)).collect();
    found.insert(esm_name(POSITIONS), moved);
    found.insert("esm.contact_head.regression.weight".into(), zeros([1, heads])?);
    found.insert("esm.contact_head.regression.bias".into(), zeros([1, 1])?.f_flatten(0, 1)?);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_esm() {
        for (name, expected) in [
            ("bert.encoder.layer.1.attention.ln.weight", "esm.encoder.layer.1.attention.LayerNorm.weight"),
            ("bert.encoder.layer.1.ln.bias", "esm.encoder.layer.1.LayerNorm.bias"),
            ("bert.encoder.ln.bias", "esm.encoder.emb_layer_norm_after.bias"),
            ("bert.encoder.layer.0.attention.self.key.bias", "esm.encoder.layer.0.attention.self.key.bias"),
            ("cls.predictions.bias", "lm_head.bias"),
            ("cls.predictions.transform.LayerNorm.bias", "lm_head.layer_norm.bias"),
        ] {
            assert_eq!(esm_name(name), expected);
        }
    }

    #[test]
    fn positions_begin_behind_the_id_of_padding_and_have_the_first_segment_in_them() {
        let rows = |values: &[f32]| Tensor::from_slice(values).view([-1, 1]);
        let tensors =
            BTreeMap::from([(POSITIONS.to_owned(), rows(&[1.0, 2.0])), (SEGMENTS.to_owned(), rows(&[10.0, 20.0]))]);
        let found = adapt_tensors(tensors, 2, 4).unwrap();
        let positions = &found["esm.embeddings.position_embeddings.weight"];
        assert_eq!(Vec::<f32>::try_from(positions.flatten(0, 1)).unwrap(), [0.0, 0.0, 0.0, 11.0, 12.0]);
        assert_eq!(found["esm.contact_head.regression.weight"].size(), [1, 4]);
        assert_eq!(found.len(), 3);
    }
}
