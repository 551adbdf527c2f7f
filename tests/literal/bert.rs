//! The masked-language-model loss of transformers' BertForMaskedLM (Post-LN) and MegatronBertForMaskedLM (Pre-LN) without
//! dropout, from elementary operations.

use tch::{Kind, Tensor};

/// What the values do not say by themselves.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub layers: usize,
    pub hidden: i64,
    pub heads: i64,
    /// Pre-LN (Megatron) instead of Post-LN (BERT).
    pub pre_norm: bool,
    /// Of every LayerNorm.
    pub epsilon: f64,
}

/// A global batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Sequences of equal length.
    pub token_ids: Vec<Vec<i64>>,
    /// Sequence, position in it, and original token.
    pub targets: Vec<(usize, usize, i64)>,
}

/// A model's tensors by their name.
type Lookup<'a> = &'a dyn Fn(&str) -> Tensor;

/// The mean of −log p(label) over all targets of `batch`.
pub fn loss(sizes: &Sizes, lookup: Lookup<'_>, batch: &Batch) -> Tensor {
    let length = batch.token_ids[0].len() as i64;
    let flat: Vec<i64> = batch.token_ids.concat();
    let word = lookup("bert.embeddings.word_embeddings.weight");
    let mut hidden = word.index_select(0, &Tensor::from_slice(&flat)).view([-1, length, sizes.hidden])
        + lookup("bert.embeddings.position_embeddings.weight").narrow(0, 0, length)
        + lookup("bert.embeddings.token_type_embeddings.weight").get(0);
    if !sizes.pre_norm {
        hidden = layer_norm(sizes, lookup, "bert.embeddings.LayerNorm", &hidden);
    }
    for layer in 0..sizes.layers {
        let name = |suffix: &str| format!("bert.encoder.layer.{layer}.{suffix}");
        let attend = |input: &Tensor| attention(sizes, lookup, &name("attention."), input);
        let feed = |input: &Tensor| {
            let inner = gelu(&linear(lookup, &name("intermediate.dense"), input));
            linear(lookup, &name("output.dense"), &inner)
        };
        let norm = |suffix: &str, input: &Tensor| layer_norm(sizes, lookup, &name(suffix), input);
        if sizes.pre_norm {
            hidden = &hidden + attend(&norm("attention.ln", &hidden));
            hidden = &hidden + feed(&norm("ln", &hidden));
        } else {
            hidden = norm("attention.output.LayerNorm", &(&hidden + attend(&hidden)));
            hidden = norm("output.LayerNorm", &(&hidden + feed(&hidden)));
        }
    }
    if sizes.pre_norm {
        hidden = layer_norm(sizes, lookup, "bert.encoder.ln", &hidden);
    }
    let transformed = gelu(&linear(lookup, "cls.predictions.transform.dense", &hidden));
    let transformed = layer_norm(sizes, lookup, "cls.predictions.transform.LayerNorm", &transformed);
    let logits = transformed.matmul(&word.tr()) + lookup("cls.predictions.bias"); // [B, T, V]
    let log_probabilities = &logits - logits.logsumexp([-1], true);
    let surprise = |&(sequence, position, label): &(usize, usize, i64)| {
        -log_probabilities.get(sequence as i64).get(position as i64).get(label)
    };
    Tensor::stack(&batch.targets.iter().map(surprise).collect::<Vec<_>>(), 0).mean(Kind::Double)
}

fn attention(sizes: &Sizes, lookup: Lookup<'_>, prefix: &str, input: &Tensor) -> Tensor {
    let (batch, length, width) = input.size3().unwrap();
    let size = width / sizes.heads;
    let heads = |name: &str| {
        linear(lookup, &format!("{prefix}self.{name}"), input).view([batch, length, sizes.heads, size]).transpose(1, 2)
    };
    let scores = heads("query").matmul(&heads("key").transpose(2, 3)) / (size as f64).sqrt(); // [B, H, T, T]
    let exponentials = (&scores - scores.amax([-1], true).detach()).exp();
    let probabilities = &exponentials / exponentials.sum_dim_intlist(-1, true, Kind::Double);
    let context = probabilities.matmul(&heads("value")).transpose(1, 2).reshape([batch, length, width]);
    linear(lookup, &format!("{prefix}output.dense"), &context)
}

fn linear(lookup: Lookup<'_>, name: &str, input: &Tensor) -> Tensor {
    input.matmul(&lookup(&format!("{name}.weight")).tr()) + lookup(&format!("{name}.bias"))
}

fn layer_norm(sizes: &Sizes, lookup: Lookup<'_>, name: &str, input: &Tensor) -> Tensor {
    let centred = input - input.mean_dim(-1, true, Kind::Double);
    let variance = centred.square().mean_dim(-1, true, Kind::Double);
    centred / (variance + sizes.epsilon).sqrt() * lookup(&format!("{name}.weight")) + lookup(&format!("{name}.bias"))
}

/// x·Φ(x).
fn gelu(input: &Tensor) -> Tensor {
    input * ((input / std::f64::consts::SQRT_2).erf() + 1.0) * 0.5
}
