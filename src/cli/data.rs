//! `untie data inspect`: what a folder of shards holds, and what a model would see of it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tokenizers::Tokenizer;
use untie_data::inspect::InspectArgs;
use untie_data::shard::Split;

use crate::batch::samples::Vocabulary;
use crate::batch::{Batch, DataConfig, Objective, Packing, Samples};
use crate::cli::{named, warn};
use crate::error::{Error, Result};

/// Samples that are shown.
const NUM_SAMPLES: usize = 10;

/// Arguments of `untie data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Counts, lengths, tokens, duplicates, hashes, and ten samples with their masks
    Inspect(InspectSamplesArgs),
}

/// Arguments of `untie data inspect`.
#[derive(Debug, Args)]
struct InspectSamplesArgs {
    #[command(flatten)]
    folder: InspectArgs,
    /// Tokens of a sample
    #[arg(long, value_name = "N", default_value_t = 128)]
    sequence_length: usize,
    /// mlm, mlm+nsp or mlm+sop
    #[arg(long, value_name = "NAME", default_value = "mlm", value_parser = named::<Objective>)]
    objective: Objective,
    /// concat or isolated
    #[arg(long, value_name = "NAME", default_value = "concat", value_parser = named::<Packing>)]
    packing: Packing,
    /// Mask whole words
    #[arg(long)]
    whole_word: bool,
    /// Mean length of masked spans
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    span_length: f64,
    /// Seed of order and masks
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
}

impl DataArgs {
    /// Runs; the exit code of the process.
    pub fn run(&self) -> ExitCode {
        let DataCommand::Inspect(arguments) = &self.command;
        // The folder first: its errors say more of shards than those of samples.
        let folder = match arguments.folder.open() {
            Ok(folder) => folder,
            Err(error) => return InspectArgs::exit_code(Err(error)),
        };
        let texts = match arguments.samples() {
            Ok(texts) => texts,
            Err(error) => return super::fail(&error),
        };
        let title = "samples ([seen|to predict])";
        let printed =
            arguments.folder.report(&folder).and_then(|report| arguments.folder.print(&report, title, &texts));
        InspectArgs::exit_code(printed)
    }
}

impl InspectSamplesArgs {
    /// The first training samples of a run, as text.
    fn samples(&self) -> Result<Vec<String>> {
        let config = DataConfig {
            dir: self.folder.dir.clone(),
            valid_fraction: self.folder.valid_fraction,
            tokenizer: self.folder.tokenizer.clone(),
            sequence_length: self.sequence_length,
            objective: self.objective,
            packing: self.packing,
            whole_word: self.whole_word,
            span_length: self.span_length,
            ..Default::default()
        };
        config.validate()?;
        let vocabulary = Vocabulary::open(&config)?;
        warn(&vocabulary.notes);
        let samples = Samples::open(&config, &vocabulary, Split::Train, self.seed)?;
        let batch = samples.batch(0, NUM_SAMPLES)?;
        let tokenizer = vocabulary.json.parse::<Tokenizer>();
        let tokenizer = tokenizer.map_err(|error| Error::data(format!("the tokenizer cannot be used: {error}")))?;
        Ok((0..NUM_SAMPLES).map(|sample| describe(&batch, sample, &tokenizer, self.objective)).collect())
    }
}

/// One sample: its tokens, glued to words, each target as `[what the model sees|what it is to predict]`.
fn describe(batch: &Batch, sample: usize, tokenizer: &Tokenizer, objective: Objective) -> String {
    let spell = |id: i64| tokenizer.id_to_token(id as u32).unwrap_or_default();
    let length = batch.sequence_length;
    let mut text = match batch.pair_labels.as_ref().map(|labels| (objective, labels[sample])) {
        None => String::new(),
        Some((_, 0)) => "(in order)".to_owned(),
        Some((Objective::MlmSop, _)) => "(swapped)".to_owned(),
        Some(_) => "(another document)".to_owned(),
    };
    let mut padding = 0;
    for at in sample * length..(sample + 1) * length {
        if batch.attention_mask.as_ref().is_some_and(|mask| mask[at] == 0) {
            padding += 1;
            continue;
        }
        let mut token = spell(batch.token_ids[at]);
        let slot =
            (0..batch.positions.len()).find(|&slot| batch.weights[slot] > 0.0 && batch.positions[slot] == at as i64);
        if let Some(slot) = slot {
            let seen = if token == "[MASK]" { "MASK" } else { &token };
            token = format!("[{seen}|{}]", spell(batch.labels[slot]));
        }
        match token.strip_prefix("##") {
            // A sample may begin within a word.
            Some(rest) if !text.ends_with(']') => text.push_str(rest),
            _ => {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(&token);
            }
        }
    }
    if padding > 0 {
        text.push_str(&format!(" (and {padding} [PAD])"));
    }
    text
}
