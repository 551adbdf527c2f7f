//! What a fine-tuning run starts from, for scripts/finetune_parity.py: the model with its new head as a Hugging Face directory,
//! and the examples of the first steps.
//!
//!     cargo run --release --example finetune_start -- TASK MODEL DATA SEED BATCH STEPS MAX_LENGTH OUT

use std::path::{Path, PathBuf};

use tch::{Device, Kind};
use tokenizers::Tokenizer;
use untie::finetune::batch::Target;
use untie::finetune::order::examples_of;
use untie::finetune::{DataFiles, FinetuneConfig, Task, TaskData};
use untie::hub;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [task, model, data, seed, batch, steps, max_length, out] = arguments.as_slice() else {
        return Err("expected TASK MODEL DATA SEED BATCH STEPS MAX_LENGTH OUT".into());
    };
    let (seed, batch, steps): (u64, usize, u64) = (seed.parse()?, batch.parse()?, steps.parse()?);
    let (model, out) = (Path::new(model), Path::new(out));
    let mut config = FinetuneConfig::of_task(task.parse::<Task>()?);
    config.task.max_length = Some(max_length.parse()?);
    let tokenizer = Tokenizer::from_file(model.join("tokenizer.json")).map_err(|error| error.to_string())?;
    let files = DataFiles { dir: PathBuf::from(data), train: None, dev: None, test: None };
    let task_data = TaskData::open(&config, &files, &tokenizer, None)?;
    let start = hub::load_for_task(model, task_data.head, seed, Kind::Float, Device::Cpu)?;
    let tokenizer_json = model.join("tokenizer.json");
    let map = start.layer_map();
    hub::export_labelled(&out.join("start"), &start.config, &map, &start.weights, &tokenizer_json, &task_data.labels)?;
    let examples: Vec<_> = task_data
        .train
        .iter()
        .map(|example| {
            let target = match example.target {
                Target::Class(class) => class as f64,
                Target::Score(score) => score,
                Target::Unknown | Target::Span { .. } | Target::Tags(_) => f64::NAN,
            };
            serde_json::json!({ "ids": example.token_ids, "types": example.token_types, "target": target })
        })
        .collect();
    let steps: Vec<Vec<u64>> = (0..steps).map(|step| examples_of(step, batch, examples.len(), seed)).collect();
    std::fs::write(out.join("train.json"), serde_json::json!({ "items": examples, "steps": steps }).to_string())?;
    Ok(())
}
