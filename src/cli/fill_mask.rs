//! `untie fill-mask`: what an exported model would put in place of each `[MASK]`.
//!
//! In: a Hugging Face directory (or the folder of a finished run) and a text. Out: the likeliest tokens for each `[MASK]`, one a line. Cost: one forward
//! pass over the text, in fp32.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use tch::{Device, Kind, Tensor};
use tokenizers::Tokenizer;
use untie_data::wordpiece::{Pretrained, Role};

use crate::cli::warn;
use crate::error::{Error, Result};
use crate::hub;
use crate::model::{Bert, Input, Mode};

/// Arguments of `untie fill-mask`.
#[derive(Args, Clone, Debug)]
pub struct FillMaskArgs {
    /// A Hugging Face directory, or the folder of a finished run
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Text with one or more `[MASK]`
    pub text: String,
    /// Number of candidates to print for each `[MASK]`
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub top: usize,
}

impl FillMaskArgs {
    /// Prints probability, token and completed text of each candidate to stdout, a candidate a line, an empty line
    /// between one `[MASK]` and the next. Runs on the CPU: one sentence is faster there than a GPU is started.
    ///
    /// # Errors
    /// As [`fill_mask`]; when no candidates are asked for, and when stdout cannot be written.
    pub fn run(&self) -> Result<()> {
        if self.top == 0 {
            return Err(Error::config("`--top` must be at least 1, got 0"));
        }
        let masks = fill_mask(&self.model, &self.text, self.top, Device::Cpu)?;
        let mut text = String::new();
        for (at, candidates) in masks.iter().enumerate() {
            if at > 0 {
                text.push('\n');
            }
            for Candidate { token, probability, sequence } in candidates {
                text.push_str(&format!("{probability:.4}  {token:<16} {sequence}\n"));
            }
        }
        match std::io::stdout().write_all(text.as_bytes()) {
            // `| head` has read enough.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::failed("cannot write to stdout").caused_by(error))
            }
            _ => Ok(()),
        }
    }
}

/// One token in place of a `[MASK]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The token, as the vocabulary spells it.
    pub token: String,
    /// Its probability, in [0, 1].
    pub probability: f64,
    /// The text with the token filled in; other `[MASK]`s stay.
    pub sequence: String,
}

/// The `top` likeliest tokens for each `[MASK]` of `text`, by the model in `model_dir`: one list a `[MASK]`, in the
/// order of the text, the likeliest candidate first.
///
/// # Errors
/// When the model cannot be loaded or has no masked-language-model head, the text has no `[MASK]`, or it is longer than
/// the model's positions.
pub fn fill_mask(model_dir: &Path, text: &str, top: usize, device: Device) -> Result<Vec<Vec<Candidate>>> {
    let model = hub::load(model_dir, Kind::Float, device)?;
    model.require_head(model_dir)?;
    let Pretrained { mut tokenizer, notes, .. } = model.open_tokenizer()?;
    warn(&notes);
    tokenizer.with_truncation(None).map_err(|error| Error::failed("the tokenizer fails").caused_by(error))?;
    let sentence = Sentence::new(&tokenizer, text, model.config.max_position_embeddings)?;

    let bert = Bert::new(&model.config, &model.layer_map(), &model.weights, Kind::Float)?;
    let vocabulary = model.config.vocab_size.min(tokenizer.get_vocab_size(true) as i64);
    let wanted = i64::try_from(top).unwrap_or(i64::MAX).min(vocabulary);
    let (values, indices) = tch::no_grad(|| -> Result<_> {
        let row = |ids: &[i64]| Tensor::f_from_slice(ids)?.f_unsqueeze(0)?.f_to_device(device);
        let (token_ids, token_types) = (row(&sentence.ids)?, row(&sentence.types)?); // [1, T]
        let positions = Tensor::f_from_slice(&sentence.masks)?.f_to_device(device)?; // [N]
        let input = Input { token_types: Some(&token_types), ..Input::full(&token_ids) };
        let logits = bert.mlm_logits(&bert.encode(input, Mode::Eval)?, &positions)?; // [N, V]
        let probabilities = logits.f_softmax(-1, Kind::Double)?; // [N, V]

        // Rows of the embeddings that no token has are not candidates.
        let candidates = probabilities.f_narrow(1, 0, vocabulary)?;
        Ok(candidates.f_topk(wanted, -1, true, true)?) // [N, top], twice
    })?;

    sentence
        .masks
        .iter()
        .enumerate()
        .map(|(row, &position)| {
            let row = row as i64;
            (0..wanted)
                .map(|rank| {
                    let id = u32::try_from(indices.f_int64_value(&[row, rank])?).unwrap_or_default();
                    Ok(Candidate {
                        token: tokenizer.id_to_token(id).unwrap_or_default(),
                        probability: values.f_double_value(&[row, rank])?,
                        sequence: sentence.with(&tokenizer, position as usize, id)?,
                    })
                })
                .collect()
        })
        .collect()
}

/// A text as the model reads it.
struct Sentence {
    ids: Vec<i64>,
    types: Vec<i64>,
    /// Whether the tokenizer put the token there, around the text.
    added: Vec<bool>,
    /// Places of the `[MASK]`s.
    masks: Vec<i64>,
}

impl Sentence {
    fn new(tokenizer: &Tokenizer, text: &str, max_length: i64) -> Result<Self> {
        let Some((mask_token, mask)) = Role::Mask.token(tokenizer) else {
            return Err(Error::data("the model's tokenizer has no `[MASK]`"));
        };
        let encoding =
            tokenizer.encode(text, true).map_err(|error| Error::failed("cannot tokenise the text").caused_by(error))?;
        let ids = encoding.get_ids();
        let masks: Vec<i64> = (0i64..).zip(ids).filter(|&(_, &id)| id == mask).map(|(place, _)| place).collect();
        if masks.is_empty() {
            return Err(Error::config(format!("the text has no `{mask_token}`"))
                .hint(format!("put it where a word is to be found: `the capital of france is {mask_token}.`")));
        }
        if ids.len() as i64 > max_length {
            return Err(Error::config(format!(
                "the text is too long: expected at most {max_length} tokens, got {}",
                ids.len()
            ))
            .hint("shorten the text around the mask"));
        }
        Ok(Self {
            ids: ids.iter().map(|&id| id.into()).collect(),
            types: encoding.get_type_ids().iter().map(|&id| id.into()).collect(),
            added: encoding.get_special_tokens_mask().iter().map(|&special| special == 1).collect(),
            masks,
        })
    }

    /// The text with token `id` at `position`.
    fn with(&self, tokenizer: &Tokenizer, position: usize, id: u32) -> Result<String> {
        let ids: Vec<u32> = (0..self.ids.len())
            .filter(|&place| !self.added[place])
            .map(|place| if place == position { id } else { self.ids[place] as u32 })
            .collect();
        tokenizer.decode(&ids, false).map_err(|error| Error::failed("cannot write the tokens as text").caused_by(error))
    }
}
