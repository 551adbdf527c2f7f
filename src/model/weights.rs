//! The named store of everything that is trained: one entry per tensor, one set of encoder tensors per weight GROUP.
//!
//! In: a configuration and a [`LayerMap`]. Out: fp32 (or fp64) leaf tensors with gradients on, in a fixed order. A
//! group's tensors are named after the group's lowest layer, with Hugging Face's BERT names; only query, key and value
//! are kept as one tensor (`attention.self.qkv`, rows in that order), because one product is faster than three.
//! Cost: 4 bytes a parameter (8 in fp64).

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::model::config::{BertConfig, Norm, TaskHead};
use crate::shim::{make_gradients, uniform};

/// A bias that makes a padded vocabulary row impossible: exp(−1e9 − x) is 0 in every precision.
const PADDED_LOGIT: f64 = -1e9;

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// Truncated normal, BERT's matrices and embeddings.
    Normal,
    /// Biases.
    Zero,
    /// LayerNorm scales.
    One,
}

/// Name, shape and treatment of one tensor, before it exists.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Full name, e.g. `bert.encoder.layer.0.output.dense.weight`.
    pub name: String,
    /// Shape as in files (the vocabulary not padded).
    pub shape: Vec<i64>,
    /// Initial values.
    pub init: Init,
    /// The group it belongs to; `None` outside the encoder's layers.
    pub group: Option<usize>,
}

impl Spec {
    /// Whether AdamW's weight decay applies: not to biases and LayerNorm (Google's BERT).
    pub fn decays(&self) -> bool {
        self.init == Init::Normal
    }

    /// The kind of parameter, for the printed table.
    pub fn part(&self) -> &'static str {
        if self.group.is_some() {
            "encoder layers"
        } else if is_of_pooler(&self.name) {
            "pooler"
        } else if is_of_task_head(&self.name) {
            "task head"
        } else if is_of_pair_head(&self.name) {
            "pair head"
        } else if self.name.starts_with("cls.") {
            "MLM head"
        } else if self.name.starts_with("bert.embeddings.") {
            "embeddings"
        } else {
            "final LayerNorm"
        }
    }
}

/// One trained tensor.
#[derive(Debug)]
pub struct Weight {
    /// Name, shape in files, treatment.
    pub spec: Spec,
    /// The leaf. Its first dimension may be longer than the spec's, padded for the matrix units.
    pub tensor: Tensor,
    /// How many layers use it; 1 outside the encoder.
    pub members: usize,
}

impl Weight {
    /// The part of `padded` (this weight, its gradient or a moment) that exists outside memory.
    pub fn in_file(&self, padded: &Tensor) -> Tensor {
        padded.narrow(0, 0, self.spec.shape[0])
    }
}

/// All weights of a model, in a fixed order.
#[derive(Debug, Default)]
pub struct Weights {
    entries: Vec<Weight>,
    index: HashMap<String, usize>,
}

impl Weights {
    /// Collects entries.
    pub fn new(entries: Vec<Weight>) -> Self {
        let index = entries.iter().enumerate().map(|(at, entry)| (entry.spec.name.clone(), at)).collect();
        Self { entries, index }
    }

    /// Random weights as BERT starts them: truncated normal (σ = `initializer_range`, cut at 2σ), biases 0, scales 1.
    /// See [`initial_values`].
    ///
    /// # Errors
    /// When memory for a tensor cannot be had.
    pub fn initialise(config: &BertConfig, map: &LayerMap, seed: u64, kind: Kind, device: Device) -> Result<Self> {
        let mut entries = Vec::new();
        for spec in specs(config, map) {
            let values = initial_values(&spec, config.initializer_range, seed)?;
            entries.push(leaf(config, map, spec, &values, kind, device)?);
        }
        Ok(Self::new(entries))
    }

    /// Weights from tensors with the shapes of [`specs`], which `find` looks up by name.
    ///
    /// # Errors
    /// `find`'s own, and a tensor of another shape.
    pub fn from_named(
        config: &BertConfig,
        map: &LayerMap,
        kind: Kind,
        device: Device,
        mut find: impl FnMut(&Spec) -> Result<Tensor>,
    ) -> Result<Self> {
        let mut entries = Vec::new();
        for spec in specs(config, map) {
            let values = find(&spec)?;
            if values.size() != spec.shape {
                return Err(Error::data(format!(
                    "tensor `{}`: expected shape {:?}, got {:?}",
                    spec.name,
                    spec.shape,
                    values.size()
                )));
            }
            entries.push(leaf(config, map, spec, &values, kind, device)?);
        }
        Ok(Self::new(entries))
    }

    /// All entries in their order.
    pub fn entries(&self) -> &[Weight] {
        &self.entries
    }

    /// The entry of that name.
    pub fn get(&self, name: &str) -> Option<&Weight> {
        self.index.get(name).map(|&at| &self.entries[at])
    }

    /// The leaf of that name, sharing its storage and gradient.
    ///
    /// # Errors
    /// When there is none.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        self.get(name)
            .map(|weight| weight.tensor.shallow_clone())
            .ok_or_else(|| Error::failed(format!("the model has no tensor `{name}`")))
    }

    /// Number of parameters, the vocabulary not padded.
    pub fn num_parameters(&self) -> i64 {
        self.entries.iter().map(|weight| weight.spec.shape.iter().product::<i64>()).sum()
    }

    /// Gives every weight a gradient of zeros, before there are activations: made between these, it would break up the heap.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn make_gradients(&self) -> Result<()> {
        make_gradients(self.entries.iter().map(|weight| &weight.tensor))
    }

    /// Sets every gradient that exists to 0; the next backward adds to it.
    pub fn zero_gradients(&self) {
        for weight in &self.entries {
            let mut gradient = weight.tensor.grad();
            if gradient.defined() {
                let _ = gradient.detach_().zero_();
            }
        }
    }
}

/// The prefix of the tensors of the group whose lowest layer is `layer`.
pub fn layer_prefix(layer: usize) -> String {
    format!("bert.encoder.layer.{layer}.")
}

/// Every tensor of a model with this sharing, in the store's order.
pub fn specs(config: &BertConfig, map: &LayerMap) -> Vec<Spec> {
    let (hidden, vocab) = (config.hidden_size, config.vocab_size);
    let mut all = Vec::new();
    let mut add = |name: &str, shape: &[i64], init| {
        all.push(Spec { name: name.into(), shape: shape.into(), init, group: None });
    };
    add("bert.embeddings.word_embeddings.weight", &[vocab, hidden], Init::Normal);
    add("bert.embeddings.position_embeddings.weight", &[config.max_position_embeddings, hidden], Init::Normal);
    add("bert.embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden], Init::Normal);
    if config.norm == Norm::Post {
        add("bert.embeddings.LayerNorm.weight", &[hidden], Init::One);
        add("bert.embeddings.LayerNorm.bias", &[hidden], Init::Zero);
    }
    for group in 0..map.num_groups() {
        let prefix = layer_prefix(map.lowest(group));
        all.extend(layer_specs(config).into_iter().map(|(suffix, shape, init)| Spec {
            name: format!("{prefix}{suffix}"),
            shape,
            init,
            group: Some(group),
        }));
    }
    let mut add = |name: &str, shape: &[i64], init| {
        all.push(Spec { name: name.into(), shape: shape.into(), init, group: None });
    };
    if config.norm == Norm::Pre {
        add("bert.encoder.ln.weight", &[hidden], Init::One);
        add("bert.encoder.ln.bias", &[hidden], Init::Zero);
    }
    if config.task_head.is_none() {
        add("cls.predictions.transform.dense.weight", &[hidden, hidden], Init::Normal);
        add("cls.predictions.transform.dense.bias", &[hidden], Init::Zero);
        add("cls.predictions.transform.LayerNorm.weight", &[hidden], Init::One);
        add("cls.predictions.transform.LayerNorm.bias", &[hidden], Init::Zero);
        add("cls.predictions.bias", &[vocab], Init::Zero);
    }
    let classifier = match config.task_head {
        None if config.pair_head => Some(("cls.seq_relationship", 2)),
        Some(TaskHead::Sequence { num_labels }) => Some(("classifier", num_labels as i64)),
        Some(TaskHead::Span | TaskHead::Token { .. }) | None => None,
    };
    if let Some((name, num_labels)) = classifier {
        add("bert.pooler.dense.weight", &[hidden, hidden], Init::Normal);
        add("bert.pooler.dense.bias", &[hidden], Init::Zero);
        add(&format!("{name}.weight"), &[num_labels, hidden], Init::Normal);
        add(&format!("{name}.bias"), &[num_labels], Init::Zero);
    }
    let of_tokens = match config.task_head {
        Some(TaskHead::Span) => Some(("qa_outputs", 2)),
        Some(TaskHead::Token { num_labels }) => Some(("classifier", num_labels as i64)),
        Some(TaskHead::Sequence { .. }) | None => None,
    };
    if let Some((name, num_labels)) = of_tokens {
        add(&format!("{name}.weight"), &[num_labels, hidden], Init::Normal);
        add(&format!("{name}.bias"), &[num_labels], Init::Zero);
    }
    all
}

/// Whether the tensor of that name belongs to the head that classifies pairs: the pooler, or the classifier on it.
pub fn is_of_pair_head(name: &str) -> bool {
    is_of_pooler(name) || name.starts_with("cls.seq_relationship.")
}

/// Whether the tensor of that name belongs to the pooler, below the head for pairs and below that for sequences.
pub fn is_of_pooler(name: &str) -> bool {
    name.starts_with("bert.pooler.")
}

/// Whether the tensor of that name belongs to the output layer of a [`TaskHead`].
pub fn is_of_task_head(name: &str) -> bool {
    name.starts_with("classifier.") || name.starts_with("qa_outputs.")
}

/// Name within the layer, shape and initial values of each tensor of one layer.
pub fn layer_specs(config: &BertConfig) -> Vec<(&'static str, Vec<i64>, Init)> {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let norms: [&'static str; 4] = match config.norm {
        Norm::Post => [
            "attention.output.LayerNorm.weight",
            "attention.output.LayerNorm.bias",
            "output.LayerNorm.weight",
            "output.LayerNorm.bias",
        ],
        Norm::Pre => ["attention.ln.weight", "attention.ln.bias", "ln.weight", "ln.bias"],
    };
    vec![
        ("attention.self.qkv.weight", vec![3 * hidden, hidden], Init::Normal),
        ("attention.self.qkv.bias", vec![3 * hidden], Init::Zero),
        ("attention.output.dense.weight", vec![hidden, hidden], Init::Normal),
        ("attention.output.dense.bias", vec![hidden], Init::Zero),
        (norms[0], vec![hidden], Init::One),
        (norms[1], vec![hidden], Init::Zero),
        ("intermediate.dense.weight", vec![inner, hidden], Init::Normal),
        ("intermediate.dense.bias", vec![inner], Init::Zero),
        ("output.dense.weight", vec![hidden, inner], Init::Normal),
        ("output.dense.bias", vec![hidden], Init::Zero),
        (norms[2], vec![hidden], Init::One),
        (norms[3], vec![hidden], Init::Zero),
    ]
}

/// How BERT starts one tensor, σ = `sigma`, on the CPU. The values depend on `seed` and the tensor's name only, so tied and
/// untied models with one seed agree where names do.
///
/// # Errors
/// When memory for a tensor cannot be had.
pub fn initial_values(spec: &Spec, sigma: f64, seed: u64) -> Result<Tensor> {
    Ok(match spec.init {
        Init::Normal => truncated_normal(&spec.shape, sigma, xxh3_64_with_seed(spec.name.as_bytes(), seed))?,
        Init::Zero => Tensor::f_zeros(&spec.shape, (Kind::Float, Device::Cpu))?,
        Init::One => Tensor::f_ones(&spec.shape, (Kind::Float, Device::Cpu))?,
    })
}

/// Pads the vocabulary's rows, converts, moves to the device and turns gradients on.
fn leaf(
    config: &BertConfig,
    map: &LayerMap,
    spec: Spec,
    values: &Tensor,
    kind: Kind,
    device: Device,
) -> Result<Weight> {
    let padding = match spec.name.as_str() {
        "bert.embeddings.word_embeddings.weight" => Some(0.0),
        "cls.predictions.bias" => Some(PADDED_LOGIT),
        _ => None,
    };
    let mut shape = spec.shape.clone();
    if padding.is_some() {
        shape[0] = config.padded_vocab_size();
    }
    let tensor = Tensor::f_full(&shape, padding.unwrap_or(0.0), (kind, device))?;
    tensor.narrow(0, 0, spec.shape[0]).f_copy_(values)?;
    let members = spec.group.map_or(1, |group| map.members(group).len());
    Ok(Weight { tensor: tensor.f_set_requires_grad(true)?, members, spec })
}

/// N(0, σ²) cut at ±2σ, by inverting the distribution function as torch.nn.init.trunc_normal_ does.
fn truncated_normal(shape: &[i64], sigma: f64, seed: u64) -> Result<Tensor> {
    // Φ(2) − Φ(−2) = erf(√2): the probability that is kept.
    const KEPT: f64 = 0.954_499_736_103_641_6;
    let uniform = uniform(shape, seed)? * (2.0 * KEPT) - KEPT;
    Ok((uniform.f_erfinv()? * (sigma * std::f64::consts::SQRT_2)).f_clamp(-2.0 * sigma, 2.0 * sigma)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::{ModelConfig, Preset};

    /// 109,514,298 is what transformers counts for BertForMaskedLM of bert-base-uncased (decoder tied, no pooler).
    #[test]
    fn bert_base_has_the_published_number_of_parameters() {
        let config = ModelConfig { preset: Some(Preset::BertBase), ..Default::default() }.resolve(30522).unwrap();
        let count: i64 =
            specs(&config, &LayerMap::untied(12)).iter().map(|spec| spec.shape.iter().product::<i64>()).sum();
        assert_eq!(count, 109_514_298);
    }

    /// 110,106,428 is what transformers counts for BertForPreTraining: 590,592 of the pooler and 1,538 of the classifier more.
    #[test]
    fn the_pair_head_adds_its_parameters_and_changes_no_other() {
        let plain = ModelConfig { preset: Some(Preset::BertBase), ..Default::default() }.resolve(30522).unwrap();
        let config = BertConfig { pair_head: true, ..plain.clone() };
        let all = specs(&config, &LayerMap::untied(12));
        assert_eq!(all.iter().map(|spec| spec.shape.iter().product::<i64>()).sum::<i64>(), 110_106_428);
        let names: Vec<&str> =
            all.iter().map(|spec| spec.name.as_str()).filter(|name| !is_of_pair_head(name)).collect();
        assert!(specs(&plain, &LayerMap::untied(12)).iter().map(|spec| spec.name.as_str()).eq(names));
    }

    /// What transformers counts for BertForSequenceClassification with 2 labels, with 1, for BertForQuestionAnswering, and for
    /// BertForTokenClassification with 9 labels, all of bert-base-uncased (tests/fixtures/hub/make_task_fixtures.py prints them).
    #[test]
    fn a_task_head_replaces_those_of_pre_training() {
        let plain = ModelConfig { preset: Some(Preset::BertBase), ..Default::default() }.resolve(30522).unwrap();
        for (head, expected, parts) in [
            (TaskHead::Sequence { num_labels: 2 }, 109_483_778, vec![("pooler", 590_592), ("task head", 1_538)]),
            (TaskHead::Sequence { num_labels: 1 }, 109_483_009, vec![("pooler", 590_592), ("task head", 769)]),
            (TaskHead::Span, 108_893_186, vec![("task head", 1_538)]),
            (TaskHead::Token { num_labels: 9 }, 108_898_569, vec![("task head", 6_921)]),
        ] {
            let config = BertConfig { task_head: Some(head), ..plain.clone() };
            let all = specs(&config, &LayerMap::untied(12));
            let size = |spec: &Spec| spec.shape.iter().product::<i64>();
            assert_eq!(all.iter().map(size).sum::<i64>(), expected, "{head:?}");
            for name in ["pooler", "task head", "MLM head", "pair head"] {
                let got: i64 = all.iter().filter(|spec| spec.part() == name).map(size).sum();
                let expected = parts.iter().find(|(part, _)| *part == name).map_or(0, |(_, count)| *count);
                assert_eq!(got, expected, "{head:?}: {name}");
            }
            let is_of_a_head = |name: &str| is_of_task_head(name) || is_of_pooler(name) || name.starts_with("cls.");
            let encoder = |all: Vec<Spec>| -> Vec<String> {
                all.into_iter().map(|spec| spec.name).filter(|name| !is_of_a_head(name)).collect()
            };
            assert_eq!(encoder(all), encoder(specs(&plain, &LayerMap::untied(12))));
        }
    }

    #[test]
    fn truncated_normal_has_the_moments_of_the_distribution() {
        let values = truncated_normal(&[400_000], 0.02, 1).unwrap();
        assert!(f64::try_from(values.abs().max()).unwrap() <= 0.04);
        // The standard deviation of a normal cut at ±2σ: σ·√(1 − 2·2φ(2)/erf(√2)) = 0.8796σ.
        let deviation = f64::try_from(values.std(true)).unwrap();
        assert!((deviation / 0.02 - 0.8796).abs() < 0.004, "{deviation}");
    }
}
