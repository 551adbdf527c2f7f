//! `untie eval`: held-out loss and accuracy of a model.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use untie_data::shard::{ShardSet, Split};

use crate::batch::samples::Vocabulary;
use crate::batch::{DataConfig, Objective, Samples};
use crate::cli::{named, warn};
use crate::error::{Error, Result};
use crate::hub;
use crate::layer_map::LayerMap;
use crate::model::Bert;
use crate::parallel::World;
use crate::pretrain::{evaluate, evaluate_documents, DocumentEvaluation, EVALUATION_SEED};
use crate::step::Precision;
use crate::train::resolve_device;

/// Arguments of `untie eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// A Hugging Face directory, or the folder of a finished run
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A folder of shards with a valid split
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The tokenizer that made the shards: a Hugging Face directory, a tokenizer.json or a vocab.txt [default: the one in the
    /// folder]
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Fraction of Megatron-LM's documents to hold out, like `data.valid_fraction` of a run
    #[arg(long, value_name = "F", default_value_t = ShardSet::VALID_FRACTION)]
    valid_fraction: f64,
    /// Tokens of a sequence [default: 128, or the model's number of positions if that is smaller]
    #[arg(long, value_name = "N")]
    sequence_length: Option<usize>,
    /// mlm, mlm+nsp or mlm+sop; the last two need a model with a pair head and shards with sentences
    #[arg(long, value_name = "NAME", default_value = "mlm", value_parser = named::<Objective>)]
    objective: Objective,
    /// Number of held-out sequences; fewer if there are fewer
    #[arg(long, default_value_t = 512)]
    sequences: u64,
    /// Sequences of one forward pass
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Also write a line of JSON for each held-out document: its number, targets, sum of losses in nats, and right targets. A sequence
    /// belongs to the document in which it begins
    #[arg(long, value_name = "FILE")]
    by_document: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
}

impl EvalArgs {
    /// Prints loss, perplexity and accuracy to stdout; computes in fp32.
    ///
    /// # Errors
    /// A model or data that is invalid, or that do not fit each other.
    pub fn run(&self) -> Result<()> {
        let positions = usize::try_from(hub::load_config(&self.model)?.max_position_embeddings).unwrap_or(usize::MAX);
        let sequence_length = self.sequence_length.unwrap_or(positions.min(128));
        if sequence_length > positions {
            return Err(Error::config(format!(
                "`--sequence-length` {sequence_length} is longer than the model's {positions} positions"
            )));
        }
        let data = DataConfig {
            dir: self.data.clone(),
            valid_fraction: self.valid_fraction,
            tokenizer: self.tokenizer.clone(),
            sequence_length,
            objective: self.objective,
            ..Default::default()
        };
        data.validate()?;
        if self.batch == 0 || self.sequences == 0 {
            return Err(Error::config("`--batch` and `--sequences` must be at least 1"));
        }
        let device = resolve_device(&self.device)?;
        let vocabulary = Vocabulary::open(&data)?;
        warn(&vocabulary.notes);
        let kind = Precision::Fp32.weight_kind();
        let loaded = hub::load(&self.model, kind, device)?;
        vocabulary.fits(&Vocabulary::new(loaded.open_tokenizer()?)?, loaded.config.vocab_size).map_err(|error| {
            Error::data(format!("`{}` and `{}` do not fit each other", self.model.display(), self.data.display()))
                .hint("prepare the data with `--tokenizer` of the model")
                .caused_by(error)
        })?;
        loaded.require_head(&self.model)?;
        if self.objective != Objective::Mlm && !loaded.config.pair_head {
            return Err(Error::data(format!("`{}` has no head for pairs of segments", self.model.display()))
                .hint("leave out `--objective`"));
        }
        let map = LayerMap::untied(loaded.config.num_hidden_layers);
        let model = Bert::new(&loaded.config, &map, &loaded.weights, kind)?;
        let samples = Samples::open(&data, &vocabulary, Split::Valid, EVALUATION_SEED)?;
        let found = match &self.by_document {
            None => evaluate(&model, &samples, self.sequences, self.batch, device, &World::alone())?,
            Some(file) => {
                let (found, documents) = evaluate_documents(&model, &samples, self.sequences, self.batch, device)?;
                write_lines(file, &documents)?;
                found
            }
        };
        println!("masked tokens      {}", found.num_targets);
        println!("loss               {:.4}", found.loss);
        println!("perplexity         {:.3}", found.loss.exp());
        println!("accuracy           {:.2} %", 100.0 * found.accuracy);
        println!("unigram accuracy   {:.2} %", 100.0 * found.unigram_accuracy);
        if let Some(pair) = found.pair {
            println!("pair loss          {:.4}", pair.loss);
            println!("pair accuracy      {:.2} %", 100.0 * pair.accuracy);
        }
        Ok(())
    }
}

fn write_lines(file: &Path, documents: &[DocumentEvaluation]) -> Result<()> {
    let unwritten = || format!("cannot write `{}`", file.display());
    let lines = documents.iter().map(serde_json::to_string).collect::<std::result::Result<Vec<_>, _>>();
    let text = lines.map_err(|error| Error::failed(unwritten()).caused_by(error))?.join("\n") + "\n";
    fs::write(file, text).map_err(|error| Error::failed(unwritten()).caused_by(error))
}
