//! `untie pairs`: how often a model finds the grammatical sentence of a minimal pair likelier.
//!
//! In: a Hugging Face directory (or the folder of a finished run) and files of pairs, in the formats of Zorro and BLiMP. Out: a line a
//! file. A sentence's score is its pseudo-log-likelihood, Σ log p(token | all others) over its tokens, each masked alone (Salazar et al.
//! 2020, eq. 2). Cost: one sequence a token of every sentence, in fp32.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use tch::{Device, Kind, Tensor};
use tokenizers::Tokenizer;
use untie_data::wordpiece::{Pretrained, Role};

use crate::cli::warn;
use crate::error::{Error, Result};
use crate::hub;
use crate::model::{Bert, Input, Mode};
use crate::train::resolve_device;

/// Arguments of `untie pairs`.
#[derive(Args, Clone, Debug)]
pub struct PairsArgs {
    /// A Hugging Face directory, or the folder of a finished run
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Files of pairs, or folders of them: .txt in the format of Zorro (an ungrammatical sentence, then the grammatical one),
    /// .jsonl in the format of BLiMP (`sentence_good`, `sentence_bad`)
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pairs: Vec<PathBuf>,
    /// Number of pairs to read from each file, evenly spaced [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Sequences of one forward pass
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

/// Two sentences of which one is grammatical.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Pair {
    /// The grammatical one.
    #[serde(rename = "sentence_good")]
    pub good: String,
    /// The other one.
    #[serde(rename = "sentence_bad")]
    pub bad: String,
}

impl PairsArgs {
    /// Prints accuracy, its standard error in points, and the number of pairs of each file to stdout, and the mean over the
    /// files.
    ///
    /// # Errors
    /// A model without the masked-language-model head, a file that holds no pairs, and a sentence longer than the model's
    /// positions.
    pub fn run(&self) -> Result<()> {
        if self.batch == 0 || self.limit == Some(0) {
            return Err(Error::config("`--batch` and `--limit` must be at least 1"));
        }
        let mut sets = Vec::new();
        for file in files(&self.pairs)? {
            let pairs = read(&file)?;
            sets.push((
                file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                limited(&pairs, self.limit),
            ));
        }
        let scorer = Scorer::open(&self.model, resolve_device(&self.device)?)?;
        let mut sum = 0.0;
        println!("{:<56} {:>10} {:>8} {:>7}", "file", "accuracy %", "± points", "pairs");
        for (name, pairs) in &sets {
            let accuracy = scorer.accuracy(pairs, self.batch)?;
            let error = (accuracy * (1.0 - accuracy) / pairs.len() as f64).sqrt();
            println!("{name:<56} {:>10.2} {:>8.2} {:>7}", 100.0 * accuracy, 100.0 * error, pairs.len());
            sum += accuracy;
        }
        let total: usize = sets.iter().map(|(_, pairs)| pairs.len()).sum();
        println!("{:<56} {:>10.2} {:>8} {total:>7}", "mean over files", 100.0 * sum / sets.len() as f64, "");
        Ok(())
    }
}

/// All pairs, or `limit` of them at even distances.
pub fn limited(pairs: &[Pair], limit: Option<usize>) -> Vec<Pair> {
    let count = pairs.len();
    let limit = limit.map_or(count, |limit| limit.min(count));
    (0..limit).map(|at| pairs[at * count / limit].clone()).collect()
}

/// The files that `paths` name, those of folders in the order of their names.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let unreadable = |path: &Path, error| Error::data(format!("cannot read `{}`", path.display())).caused_by(error);
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).map_err(|error| unreadable(path, error))?;
        let mut inside = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(|error| unreadable(path, error))?;
        inside.retain(|path| path.extension().is_some_and(|extension| extension == "txt" || extension == "jsonl"));
        if inside.is_empty() {
            return Err(Error::data(format!("`{}` has no files .txt or .jsonl", path.display())));
        }
        inside.sort();
        found.extend(inside);
    }
    Ok(found)
}

/// The pairs of a file: of lines of JSON where its name ends so, else of every two lines.
///
/// # Errors
/// A file that cannot be read, a line of JSON without both sentences, an odd number of lines, and a file without pairs.
pub fn read(path: &Path) -> Result<Vec<Pair>> {
    let wrong = |words: String| Error::data(format!("`{}`: {words}", path.display()));
    let text = fs::read_to_string(path)
        .map_err(|error| Error::data(format!("cannot read `{}`", path.display())).caused_by(error))?;
    let lines =
        || (1..).zip(text.lines()).map(|(number, line)| (number, line.trim())).filter(|(_, line)| !line.is_empty());
    let pairs: Vec<Pair> = if path.extension().is_some_and(|extension| extension == "jsonl") {
        lines()
            .map(|(number, line): (usize, &str)| {
                serde_json::from_str(line).map_err(|error| {
                    wrong(format!("line {number}: expected `sentence_good` and `sentence_bad`")).caused_by(error)
                })
            })
            .collect::<Result<_>>()?
    } else {
        let all: Vec<&str> = lines().map(|(_, line): (usize, &str)| line).collect();
        if !all.len().is_multiple_of(2) {
            return Err(wrong(format!("expected two lines a pair, got {} lines", all.len())));
        }
        all.chunks(2).map(|two| Pair { bad: two[0].into(), good: two[1].into() }).collect()
    };
    if pairs.is_empty() {
        return Err(wrong("expected pairs, got an empty file".into()));
    }
    Ok(pairs)
}

/// A model that scores sentences.
#[derive(Debug)]
pub struct Scorer {
    bert: Bert,
    tokenizer: Tokenizer,
    mask: i64,
    max_length: usize,
    device: Device,
}

impl Scorer {
    /// The model in `folder`.
    ///
    /// # Errors
    /// A model that cannot be loaded or has no masked-language-model head, and a tokenizer without `[MASK]`.
    pub fn open(folder: &Path, device: Device) -> Result<Self> {
        let model = hub::load(folder, Kind::Float, device)?;
        model.require_head(folder)?;
        let Pretrained { mut tokenizer, notes, .. } = model.open_tokenizer()?;
        warn(&notes);
        tokenizer.with_truncation(None).map_err(|error| Error::failed("the tokenizer fails").caused_by(error))?;
        let Some((_, mask)) = Role::Mask.token(&tokenizer) else {
            return Err(Error::data("the model's tokenizer has no `[MASK]`"));
        };
        let max_length = usize::try_from(model.config.max_position_embeddings).unwrap_or(usize::MAX);
        let bert = Bert::new(&model.config, &model.layer_map(), &model.weights, Kind::Float)?;
        Ok(Self { bert, tokenizer, mask: mask.into(), max_length, device })
    }

    /// The share of `pairs` whose grammatical sentence has the higher score; equal scores count half.
    ///
    /// # Errors
    /// As [`Self::scores`].
    pub fn accuracy(&self, pairs: &[Pair], batch: usize) -> Result<f64> {
        let sentences: Vec<&str> = pairs.iter().flat_map(|pair| [pair.good.as_str(), pair.bad.as_str()]).collect();
        let scores = self.scores(&sentences, batch)?;
        let points = scores.chunks(2).map(|two| match two[0].total_cmp(&two[1]) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        });
        Ok(points.sum::<f64>() / pairs.len() as f64)
    }

    /// The pseudo-log-likelihood of each sentence in nats, `batch` masked sequences at a time.
    ///
    /// # Errors
    /// A sentence longer than the model's positions, weights that give no number, and libtorch's own.
    pub fn scores(&self, sentences: &[&str], batch: usize) -> Result<Vec<f64>> {
        let encoded = sentences.iter().map(|sentence| self.encode(sentence)).collect::<Result<Vec<_>>>()?;
        // Sequences of like lengths share a batch: little padding.
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (sentence, (ids, added)) in encoded.iter().enumerate() {
            places.extend((0..ids.len()).filter(|&place| !added[place]).map(|place| (sentence, place)));
        }
        places.sort_by_key(|&(sentence, _)| encoded[sentence].0.len());
        let mut scores = vec![0.0; sentences.len()];
        for part in places.chunks(batch) {
            let values = tch::no_grad(|| self.log_probabilities(part, &encoded))?;
            for (&(sentence, _), value) in part.iter().zip(values) {
                scores[sentence] += value;
            }
        }
        if let Some(at) = scores.iter().position(|score| score.is_nan()) {
            return Err(Error::data(format!("the model's score of `{}` is not a number", sentences[at])));
        }
        Ok(scores)
    }

    /// Token ids of a sentence, and which of them the tokenizer has put around it.
    fn encode(&self, sentence: &str) -> Result<(Vec<i64>, Vec<bool>)> {
        let encoding = self
            .tokenizer
            .encode(sentence, true)
            .map_err(|error| Error::failed("cannot tokenise a sentence").caused_by(error))?;
        let ids: Vec<i64> = encoding.get_ids().iter().map(|&id| id.into()).collect();
        if ids.len() > self.max_length {
            return Err(Error::data(format!(
                "a sentence has {} tokens, more than the model's {} positions: `{sentence}`",
                ids.len(),
                self.max_length
            )));
        }
        Ok((ids, encoding.get_special_tokens_mask().iter().map(|&special| special == 1).collect()))
    }

    /// log p of the token at each (sentence, place), which is masked, given the others.
    fn log_probabilities(&self, part: &[(usize, usize)], encoded: &[(Vec<i64>, Vec<bool>)]) -> Result<Vec<f64>> {
        let length = part.iter().map(|&(sentence, _)| encoded[sentence].0.len()).max().unwrap_or(1);
        let (mut ids, mut visible) = (vec![0; part.len() * length], vec![0; part.len() * length]);
        let (mut positions, mut labels) = (Vec::new(), Vec::new());
        for (row, &(sentence, place)) in part.iter().enumerate() {
            let tokens = &encoded[sentence].0;
            ids[row * length..][..tokens.len()].copy_from_slice(tokens);
            visible[row * length..][..tokens.len()].fill(1);
            ids[row * length + place] = self.mask;
            positions.push((row * length + place) as i64);
            labels.push(tokens[place]);
        }
        let list = |values: &[i64]| Tensor::f_from_slice(values)?.f_to_device(self.device);
        let table = |values: &[i64]| list(values)?.f_view([part.len() as i64, length as i64]);
        let (ids, visible) = (table(&ids)?, table(&visible)?); // [N, T]
        let input = Input { attention_mask: Some(&visible), ..Input::full(&ids) };
        let logits = self.bert.mlm_logits(&self.bert.encode(input, Mode::Eval)?, &list(&positions)?)?; // [N, V]
        let labels = list(&labels)?.f_unsqueeze(1)?;
        let found = logits.f_log_softmax(-1, Kind::Double)?.f_gather(1, &labels, false)?; // [N, 1]
        Ok(Vec::<f64>::try_from(found.f_squeeze_dim(1)?.f_to_device(Device::Cpu)?)?)
    }
}
