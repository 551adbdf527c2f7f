//! Names of tensors: ours ↔ those of transformers' files.

/// The tensors of a file, by row, that make up our tensor `name`: itself, or query, key and value.
pub(super) fn parts(name: &str) -> Vec<String> {
    match name.split_once(".self.qkv.") {
        Some((before, after)) => ["query", "key", "value"].map(|part| format!("{before}.self.{part}.{after}")).to_vec(),
        None => vec![name.into()],
    }
}

/// How the names of a model with a head begin.
const PREFIXES: [&str; 4] = ["bert.", "cls.", "classifier.", "qa_outputs."];

/// The name that a tensor of a file has in a model with a head of today: an encoder saved alone lacks the prefix
/// `bert.`, and checkpoints converted from TensorFlow call LayerNorm's tensors `gamma` and `beta`.
pub(super) fn canonical(stored: &str) -> String {
    let name = if PREFIXES.iter().any(|prefix| stored.starts_with(prefix)) {
        stored.to_owned()
    } else {
        format!("bert.{stored}")
    };
    if let Some(before) = name.strip_suffix(".LayerNorm.gamma") {
        format!("{before}.LayerNorm.weight")
    } else if let Some(before) = name.strip_suffix(".LayerNorm.beta") {
        format!("{before}.LayerNorm.bias")
    } else {
        name
    }
}

/// Whether a file may hold the tensor of this [`canonical`] name without our using it: a head for pairs that is not whole, and
/// buffers.
pub(super) fn is_ignored(name: &str) -> bool {
    name.starts_with("bert.pooler.") || name.starts_with("cls.seq_relationship.") || is_buffer(name)
}

/// Whether the tensor is no weight: modules of PyTorch may save such constants.
pub(super) fn is_buffer(name: &str) -> bool {
    matches!(name, "bert.embeddings.position_ids" | "bert.embeddings.token_type_ids")
}

/// How the names of the masked-language-model head begin.
pub(super) const MLM_HEAD: &str = "cls.predictions.";

/// The tensors that a model has if it has a head for pairs.
pub(super) const PAIR_HEAD: [&str; 4] =
    ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "cls.seq_relationship.weight", "cls.seq_relationship.bias"];

/// The embeddings, which the decoder of the MLM head reads too.
pub(super) const WORD_EMBEDDINGS: &str = "bert.embeddings.word_embeddings.weight";

/// Other names under which a file may hold a tensor a second time, because PyTorch's module has two names for it.
pub(super) const ALIASES: [(&str, &str); 2] =
    [("cls.predictions.decoder.weight", WORD_EMBEDDINGS), ("cls.predictions.decoder.bias", "cls.predictions.bias")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_names_become_todays() {
        for (stored, name) in [
            ("embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight"),
            ("bert.encoder.layer.0.output.LayerNorm.beta", "bert.encoder.layer.0.output.LayerNorm.bias"),
            ("cls.predictions.bias", "cls.predictions.bias"),
            ("pooler.dense.bias", "bert.pooler.dense.bias"),
            ("classifier.bias", "classifier.bias"),
            ("qa_outputs.weight", "qa_outputs.weight"),
        ] {
            assert_eq!(canonical(stored), name);
        }
        assert_eq!(
            parts("bert.encoder.layer.0.attention.self.qkv.bias")[1],
            "bert.encoder.layer.0.attention.self.key.bias"
        );
        assert_eq!(parts("cls.predictions.bias"), ["cls.predictions.bias"]);
    }
}
