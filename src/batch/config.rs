//! The `[data]` table.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use untie_data::shard::ShardSet;

use crate::batch::mixture::Mixture;
use crate::batch::phase::PhaseConfig;
use crate::batch::spans::SpanLengths;
use crate::error::{Error, Result};
use crate::keys::classes;

/// What a sample is, and what the model learns from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Objective {
    /// Full sequences, masked tokens only.
    #[serde(rename = "mlm")]
    Mlm,
    /// Pairs of segments. In half of the pairs the second segment comes from another document (Devlin et al. 2018).
    #[serde(rename = "mlm+nsp")]
    MlmNsp,
    /// Pairs of segments. In half of the pairs the two segments are swapped (Lan et al. 2019).
    #[serde(rename = "mlm+sop")]
    MlmSop,
}

/// How documents fill a sequence of the objective `mlm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// One after the other, with `[SEP]` between them. Every token sees all others.
    Concat,
    /// One after the other, each with its own `[CLS]`, `[SEP]` and positions. A token sees only its own document.
    Isolated,
}

/// One of several corpora.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusConfig {
    /// Folder of shards. Required.
    pub dir: PathBuf,
    /// Its share of the samples, relative to the other weights. Required.
    pub weight: f64,
}

classes! { CorpusConfig {
    Order: weight;
    Placement: dir;
} }

/// Where the tokens come from, and how they become samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Folder of shards, written by `untie prepare` or Megatron-LM, or one pair of Megatron-LM's files as
    /// `DIR/PREFIX_text_document`. `[[data.corpus]]` replaces it. Default: `data/sample`.
    pub dir: PathBuf,
    /// Only for Megatron-LM's files: the fraction of the documents to hold out. The hash of a document's tokens decides. At
    /// least one document is held out, unless the fraction is 0. It is ignored if file names mark a held-out part
    /// (`valid-NNNNN`, or the word `valid`, `validation`, `val`, `dev` or `eval`). Default: 0.01.
    pub valid_fraction: f64,
    /// The tokenizer that made the shards: a Hugging Face directory, a tokenizer.json or a vocab.txt. If a vocab.txt has no
    /// tokenizer_config.json beside it, the manifest of the shards says how to treat case and accents. Default: the one in
    /// `dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Tokens of a sample, special tokens included. Default: 128.
    pub sequence_length: usize,
    /// `mlm`: full sequences with masked tokens. `mlm+nsp`: pairs of segments, is the second one next? `mlm+sop`: pairs, are the two swapped? Default: `mlm`.
    pub objective: Objective,
    /// For `mlm`. `concat`: documents fill a sequence one after the other. `isolated`: the same, but a token sees only its own
    /// document. Default: `concat`.
    pub packing: Packing,
    /// For pairs: the fraction of the samples that is made shorter on purpose. Default: 0.1 (BERT).
    pub short_sequence_rate: f64,
    /// Fraction of the tokens of each sequence that the model must predict. Default: 0.15.
    pub mask_rate: f64,
    /// Fraction of the tokens to predict that become `[MASK]`. Default: 0.8.
    pub mask_token_rate: f64,
    /// Fraction of the tokens to predict that become a random token. The other ones stay as they are. Default: 0.1.
    pub random_token_rate: f64,
    /// Predict all tokens of a word together (its first token and those with `##`). Default: false.
    pub whole_word: bool,
    /// Mean length of the spans that are predicted together: in tokens, or with `whole_word` in words. 1 means no spans.
    /// Lengths have a geometric distribution up to 10 (SpanBERT: 3.8 words). Default: 1.
    pub span_length: f64,
    /// Threads that make batches. Default: 1.
    pub workers: usize,
    /// Check the hash of every file before training. Default: false.
    pub verify: bool,
    /// Parts of the run with sequences of other lengths. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phase: Vec<PhaseConfig>,
    /// Several corpora, mixed by weight, instead of `dir`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub corpus: Vec<CorpusConfig>,
}

classes! { DataConfig {
    Order: objective;
    Identity: valid_fraction, sequence_length, packing, short_sequence_rate, mask_rate, mask_token_rate, random_token_rate, whole_word,
        span_length;
    Placement: dir, tokenizer, workers, verify;
} with phase: PhaseConfig, corpus: CorpusConfig }

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            dir: "data/sample".into(),
            valid_fraction: ShardSet::VALID_FRACTION,
            tokenizer: None,
            sequence_length: 128,
            objective: Objective::Mlm,
            packing: Packing::Concat,
            short_sequence_rate: 0.1,
            mask_rate: 0.15,
            mask_token_rate: 0.8,
            random_token_rate: 0.1,
            whole_word: false,
            span_length: 1.0,
            workers: 1,
            verify: false,
            phase: Vec::new(),
            corpus: Vec::new(),
        }
    }
}

impl DataConfig {
    /// The folders of shards, at least one.
    pub fn dirs(&self) -> Vec<&Path> {
        if self.corpus.is_empty() {
            return vec![&self.dir];
        }
        self.corpus.iter().map(|corpus| corpus.dir.as_path()).collect()
    }

    /// The weight of each of [`Self::dirs`].
    pub fn weights(&self) -> Vec<f64> {
        if self.corpus.is_empty() {
            return vec![1.0];
        }
        self.corpus.iter().map(|corpus| corpus.weight).collect()
    }

    /// Special tokens of a sample.
    pub fn num_special_tokens(&self) -> usize {
        match self.objective {
            Objective::Mlm => 2,
            Objective::MlmNsp | Objective::MlmSop => 3,
        }
    }

    /// Checks ranges and what goes together.
    ///
    /// # Errors
    /// The first setting out of range, or that does not go with another, by name.
    pub fn validate(&self) -> Result<()> {
        let pairs = self.objective != Objective::Mlm;
        let (least, why) =
            if pairs { (5, "[CLS], a token, [SEP], a token, [SEP]") } else { (3, "[CLS], a token, [SEP]") };
        if self.sequence_length < least {
            return Err(Error::config(format!(
                "`data.sequence_length` must be at least {least} ({why}), got {}",
                self.sequence_length
            )));
        }
        // Chunk lengths are 32 bits in the pair index, and places in a sequence while it is masked.
        if u32::try_from(self.sequence_length).is_err() {
            return Err(Error::config(format!("`data.sequence_length` is too large, got {}", self.sequence_length)));
        }
        if pairs && self.packing == Packing::Isolated {
            return Err(Error::config("`data.packing` = `isolated` packs documents, and pairs have segments instead")
                .hint("set `data.objective` to `mlm`, or `data.packing` to `concat`"));
        }
        if !(self.mask_rate > 0.0 && self.mask_rate < 1.0) {
            return Err(Error::config(format!("`data.mask_rate` must be between 0 and 1, got {}", self.mask_rate)));
        }
        for (name, value) in [
            ("short_sequence_rate", self.short_sequence_rate),
            ("mask_token_rate", self.mask_token_rate),
            ("random_token_rate", self.random_token_rate),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::config(format!("`data.{name}` must be from 0 to 1, got {value}")));
            }
        }
        if !(0.0..1.0).contains(&self.valid_fraction) {
            return Err(Error::config(format!(
                "`data.valid_fraction` must be from 0 to below 1, got {}",
                self.valid_fraction
            )));
        }
        let sum = self.mask_token_rate + self.random_token_rate;
        // Rounding may lift a sum of two decimals above 1.
        if sum > 1.0 + 1e-9 {
            return Err(Error::config(format!(
                "`data.mask_token_rate` and `data.random_token_rate` must be at most 1 together, got {sum}"
            )));
        }
        if !(self.span_length >= 1.0 && self.span_length < SpanLengths::LARGEST_MEAN) {
            return Err(Error::config(format!(
                "`data.span_length` must be from 1 to below {} (the mean of spans of up to {}), got {}",
                SpanLengths::LARGEST_MEAN,
                SpanLengths::LONGEST,
                self.span_length
            )));
        }
        if self.workers == 0 {
            return Err(Error::config("`data.workers` must be at least 1, got 0"));
        }
        if self.corpus.len() > Mixture::PATTERN {
            return Err(Error::config(format!(
                "`data.corpus` must list at most {} corpora, got {}",
                Mixture::PATTERN,
                self.corpus.len()
            )));
        }
        for corpus in &self.corpus {
            if !(corpus.weight > 0.0 && corpus.weight.is_finite()) {
                return Err(Error::config(format!(
                    "`data.corpus`: the weight of `{}` must be larger than 0, got {}",
                    corpus.dir.display(),
                    corpus.weight
                ))
                .hint("remove a corpus that you do not want"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_or_clashes_is_refused_by_name() {
        let refused = |text: &str| {
            let config: DataConfig = toml::from_str(text).unwrap();
            config.validate().unwrap_err().report()
        };
        for (text, words) in [
            ("sequence_length = 2", "`data.sequence_length` must be at least 3"),
            ("sequence_length = 4\nobjective = \"mlm+nsp\"", "`data.sequence_length` must be at least 5"),
            ("packing = \"isolated\"\nobjective = \"mlm+sop\"", "set `data.objective` to `mlm`"),
            ("mask_rate = 1.0", "`data.mask_rate` must be between 0 and 1, got 1"),
            ("short_sequence_rate = -0.1", "`data.short_sequence_rate` must be from 0 to 1"),
            ("valid_fraction = 1.0", "`data.valid_fraction` must be from 0 to below 1, got 1"),
            ("mask_token_rate = nan", "`data.mask_token_rate` must be from 0 to 1, got NaN"),
            ("random_token_rate = 1.5", "`data.random_token_rate` must be from 0 to 1, got 1.5"),
            (
                "random_token_rate = 0.3",
                "`data.mask_token_rate` and `data.random_token_rate` must be at most 1 together",
            ),
            ("span_length = 0.5", "`data.span_length` must be from 1 to below 5.5"),
            ("span_length = 5.5", "`data.span_length` must be from 1 to below 5.5"),
            ("workers = 0", "`data.workers` must be at least 1"),
            ("[[corpus]]\ndir = \"a\"\nweight = 0", "the weight of `a` must be larger than 0, got 0"),
        ] {
            let report = refused(text);
            assert!(report.contains(words), "{text}: {report}");
        }
        for text in [
            "",
            "sequence_length = 5\nobjective = \"mlm+nsp\"\nwhole_word = true\nspan_length = 3.8",
            "packing = \"isolated\"\nwhole_word = true",
            "mask_token_rate = 0.7\nrandom_token_rate = 0.3",
            "[[corpus]]\ndir = \"a\"\nweight = 1\n[[corpus]]\ndir = \"b\"\nweight = 0.25",
        ] {
            toml::from_str::<DataConfig>(text).unwrap().validate().unwrap();
        }
    }

    #[test]
    fn corpora_take_the_place_of_the_folder() {
        let config: DataConfig = toml::from_str("dir = \"x\"\n[[corpus]]\ndir = \"a\"\nweight = 2").unwrap();
        assert_eq!((config.dirs(), config.weights()), (vec![Path::new("a")], vec![2.0]));
        let config: DataConfig = toml::from_str("dir = \"x\"").unwrap();
        assert_eq!((config.dirs(), config.weights()), (vec![Path::new("x")], vec![1.0]));
    }
}
