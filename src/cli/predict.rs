//! `untie predict`: what a fine-tuned model says about texts.
//!
//! In: the folder of a fine-tuned model and a table or a text file. Out: a line of JSON for each row, in order, with the label and its
//! probability, the score, or the tags of its words. Cost: one forward over the texts, in fp32.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Args;
use tch::Kind;
use untie_data::wordpiece::Pretrained;

use crate::cli::warn;
use crate::error::{Error, Result};
use crate::finetune::custom::{self, Names, Outputs};
use crate::finetune::custom_examples::{sentences_to_ask, texts_to_ask};
use crate::finetune::{ask, check_segments, Task, TaskData};
use crate::hub;
use crate::model::{Bert, TaskHead};
use crate::parallel::World;
use crate::train::resolve_device;

/// Arguments of `untie predict`.
#[derive(Args, Clone, Debug)]
pub struct PredictArgs {
    /// A model that was fine-tuned for classes, a number or tags: `best` of a sweep, or a Hugging Face directory
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Texts: .txt with one a line, or .csv, .tsv, .jsonl, .json or .parquet with a column `text`. For tags: .conll, .bio or .txt with one
    /// word a line, or .jsonl, .json or .parquet with lists of words in a column `tokens`
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The column of the text, or of the first of a pair [default: as in `untie finetune`]
    #[arg(long, value_name = "COLUMN")]
    text: Option<String>,
    /// The column of the second text of a pair
    #[arg(long, value_name = "COLUMN")]
    text_pair: Option<String>,
    /// Longest sequence in tokens, longer ones are cut [default: the number of the model's positions]
    #[arg(long, value_name = "T")]
    max_length: Option<usize>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

impl PredictArgs {
    /// Prints the predictions to stdout.
    ///
    /// # Errors
    /// A model without such a head, a file that cannot be read, and a stdout that cannot be written.
    pub fn run(&self) -> Result<()> {
        let device = resolve_device(&self.device)?;
        let loaded = hub::load_finetuned(&self.model, Kind::Float, device)?;
        let positions = usize::try_from(loaded.config.max_position_embeddings).unwrap_or(usize::MAX);
        let max_length = self.max_length.unwrap_or(positions);
        if max_length > positions {
            return Err(Error::config(format!(
                "`--max-length` {max_length} is longer than the model's {positions} positions"
            )));
        }
        let names = Names { text: self.text.clone(), text_pair: self.text_pair.clone(), label: None };
        let Pretrained { tokenizer, notes, .. } = loaded.open_tokenizer()?;
        warn(&notes);
        let bert = Bert::new(&loaded.config, &loaded.layer_map(), &loaded.weights, Kind::Float)?;
        let (task, head) = match loaded.config.task_head {
            Some(head @ TaskHead::Sequence { num_labels: 1 }) => (Task::Regression, head),
            Some(head @ TaskHead::Sequence { .. }) => (Task::TextClassification, head),
            Some(head @ TaskHead::Token { .. }) => (Task::TokenClassification, head),
            Some(TaskHead::Span) | None => {
                return Err(Error::data(format!("`{}` answers questions", self.model.display()))
                    .hint("`untie finetune --epochs 0` with `--task squad1` or `squad2` writes its answers"))
            }
        };
        let labels = loaded.labels.clone();
        let (set, notes) = match task {
            Task::TokenClassification => {
                let sentences = custom::read_sentences(&self.input, &names)?;
                sentences_to_ask(&sentences, &labels, &tokenizer, max_length)?
            }
            _ => {
                let of = if task == Task::Regression { Outputs::Number } else { Outputs::Classes(labels) };
                texts_to_ask(&custom::read(&self.input, &names, false)?, &of, &tokenizer, max_length)?
            }
        };
        warn(&notes);
        let data = TaskData::of_set(task, head, set, &tokenizer);
        check_segments(data.last_segment(), task, &loaded.config, &self.model)?;
        let outputs = ask(&bert, &data, &data.sets[0], device, &World::alone())?;
        let mut out = BufWriter::new(std::io::stdout().lock());
        let unwritten = |error: std::io::Error| Error::failed("cannot write to stdout").caused_by(error);
        for line in data.sets[0].lines(&outputs)? {
            writeln!(out, "{line}").map_err(unwritten)?;
        }
        out.flush().map_err(unwritten)
    }
}
