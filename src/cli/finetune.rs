//! `untie finetune`: a pre-trained model learns a task, with every learning rate and seed that is asked for.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use tch::{Device, Kind};
use untie_data::wordpiece::Pretrained;
use xxhash_rust::xxh3::xxh3_128;

use crate::cli::console::Console;
use crate::cli::{check_same_parts, named, warn, warn_of, with_processes};
use crate::config::tables;
use crate::error::Result;
use crate::finetune::{
    check_finetuned, check_model, check_segments, evaluate, label_outputs, sweep, task_head, DataFiles, Event,
    FinetuneConfig, SweepContext, SweepOutcome, Task, TaskData,
};
use crate::hub;
use crate::metrics::results::file_hash;
use crate::model::Bert;
use crate::parallel::{LaunchEnv, World};
use crate::step::Precision;
use crate::train::{prepare_cuda_kernels, prepare_process, StopFlag};

/// Arguments of `untie finetune`. Those that are given replace the configuration's.
#[derive(Debug, Args)]
pub struct FinetuneArgs {
    /// cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, squad1, squad2, or ax (only prediction, with a model for mnli); for your
    /// own files text-classification, regression or token-classification
    #[arg(long, value_name = "NAME", value_parser = named::<Task>, required_unless_present = "config")]
    task: Option<Task>,
    /// A Hugging Face directory, or the folder of a finished run
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The folder of the task: the official files, or Hugging Face's Parquet files. Your own files: train, dev and test, each .csv, .tsv,
    /// .jsonl, .json or .parquet, with the columns `text` and `label` (`task.text`, `task.text_pair` and `task.label` name others); for
    /// token-classification .conll with a word and its tag a line, or .jsonl, .json or .parquet with lists in `tokens` and `tags`
    #[arg(long, value_name = "DIR", required_unless_present_any = ["train_file", "dev_file"])]
    data: Option<PathBuf>,
    /// SQuAD and your own files: train on this file instead of the folder's
    #[arg(long, value_name = "FILE")]
    train_file: Option<PathBuf>,
    /// SQuAD and your own files: score on this file instead of the folder's; without any, a tenth of your own training file
    #[arg(long, value_name = "FILE")]
    dev_file: Option<PathBuf>,
    /// Your own files: predict for this file instead of the folder's
    #[arg(long, value_name = "FILE")]
    test_file: Option<PathBuf>,
    /// A TOML file with settings [default: the paper's protocol]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Replace a setting, e.g. `--set train.batch=16`; can be repeated
    #[arg(long = "set", value_name = "TABLE.KEY=VALUE")]
    settings: Vec<String>,
    /// Peak learning rates, e.g. `2e-5,5e-5` [default: the nine of the paper; for your own files 2e-5,5e-5,1e-4]
    #[arg(long, value_name = "LR,..", value_delimiter = ',')]
    lr: Vec<f64>,
    /// Seeds 1 to N [default: 4, for SQuAD 5, for your own files 1]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Passes over the training set; 0: score a fine-tuned model without training [default: 3]
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Examples of a step [default: 32]
    #[arg(long, value_name = "B")]
    batch: Option<usize>,
    /// Longest sequence in tokens [default: 128, for SQuAD 384]
    #[arg(long, value_name = "T")]
    max_length: Option<usize>,
    /// auto, fp32, bf16, fp16 (only CUDA) or fp64 [default: auto; with `--epochs 0` that is fp32]
    #[arg(long, value_name = "NAME")]
    precision: Option<String>,
    /// MNLI: also predict and score the diagnostic set in this folder
    #[arg(long, value_name = "DIR")]
    ax: Option<PathBuf>,
    /// The folder of the sweep [default: runs/finetune/MODEL-TASK]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Continue a sweep with the runs that are missing
    #[arg(long)]
    resume: bool,
}

impl FinetuneArgs {
    /// Prints the table of the sweep to stdout; the exit code is 0, or that of the signal that stopped it.
    ///
    /// # Errors
    /// Everything that can be wrong with settings, data, model or folder.
    pub fn run(&self) -> Result<u8> {
        let mut config: FinetuneConfig = tables(self.config.as_deref(), &self.all_settings())?;
        if config.task.name == Task::Ax {
            config.train.epochs = 0;
        }
        config.validate()?;
        let env = LaunchEnv::from_environment()?;
        let device = prepare_process(config.train.process(), env.as_ref())?;
        let parallel = config.parallel.clone();
        with_processes(env, &parallel, device, |world| self.run_in(config, device, world))
    }

    fn run_in(&self, mut config: FinetuneConfig, device: Device, world: &Rc<World>) -> Result<u8> {
        // A finished model is scored as exactly as it was written.
        config.train.precision = match (config.train.precision, config.train.epochs) {
            (Precision::Auto, 0) => Precision::Fp32,
            (precision, _) => precision.resolve(device)?,
        };
        let tell = |words: &str| {
            if world.is_first() {
                eprintln!("{words}");
            }
        };
        if world.is_first() {
            warn_of(config.train.precision, device);
        }
        if let Some(warning) = prepare_cuda_kernels(device, config.train.compute(), world)? {
            tell(&warning);
        }
        let model = hub::model_folder(&self.model)?;
        let bert = hub::load_config(&model)?;
        let Pretrained { tokenizer, notes, .. } = hub::open_tokenizer(&model, bert.vocab_size)?;
        if world.is_first() {
            warn(&notes);
        }
        check_model(&config, &bert, &tokenizer, &model)?;
        let files = DataFiles {
            dir: self.data.clone().unwrap_or_default(),
            train: self.train_file.clone(),
            dev: self.dev_file.clone(),
            test: self.test_file.clone(),
        };
        let folder = self.run_dir.clone().unwrap_or_else(|| default_folder(&self.model, config.task.name));
        let open = |known: Option<&[String]>| -> Result<TaskData> {
            let data = TaskData::open(&config, &files, &tokenizer, known)?;
            data.notes.iter().for_each(|note| tell(note));
            check_segments(data.last_segment(), config.task.name, &bert, &model)?;
            Ok(data)
        };
        if config.train.epochs == 0 {
            return score(&config, open, &model, &folder, device, world).map(|()| 0);
        }
        // A model that is damaged or another one is told before the task is read, which may take minutes.
        hub::load_for_task(&model, task_head(config.task.name), 0, Kind::Float, Device::Cpu)?;
        let data = open(None)?;
        let sizes = data.sets.iter().map(|set| format!("{} {}", set.name, set.examples.len())).collect::<Vec<_>>();
        tell(&format!("{}: train {}, {}", config.task.name, data.train.len(), sizes.join(", ")));
        let context = SweepContext {
            config: &config,
            data: &data,
            model: &model,
            model_hash: &weights_hash(&hub::weight_files(&model)?)?,
            device,
            world: world.clone(),
            stop: &StopFlag::on_signals()?,
        };
        // What decides which way a process goes.
        let parts = [
            ("`--resume`", self.resume.to_string()),
            ("configuration", config.hash()?),
            ("learning rates", format!("{:?}", config.rates())),
            ("number of seeds", config.num_seeds().to_string()),
            ("model", context.model_hash.into()),
            ("training examples", data.train_hash.clone()),
        ];
        check_same_parts(world, &parts.map(|(name, value)| (name.to_owned(), value)))?;
        let (name, mut console) = (self.model.display().to_string(), Console::for_process(world));
        let mut show = |event| match event {
            Event::Run { number, of, lr, seed } => {
                tell(&format!("run {number} of {of}: learning rate {lr:e}, seed {seed}"));
            }
            Event::Train(event) => console.show(event),
        };
        match sweep(&context, &folder, &name, self.resume, &mut show)? {
            SweepOutcome::Finished(table) => {
                if world.is_first() {
                    println!("{table}");
                }
                Ok(0)
            }
            SweepOutcome::Stopped(code) => Ok(code),
        }
    }

    /// The flags as settings, behind those of `--set`.
    fn all_settings(&self) -> Vec<String> {
        let quoted = |text: String| toml::Value::String(text).to_string();
        let rates = (!self.lr.is_empty()).then(|| format!("{:?}", self.lr));
        let ax = self.ax.as_ref().map(|dir| quoted(dir.display().to_string()));
        let flags = [
            ("task.name", self.task.map(|task| quoted(task.to_string()))),
            ("task.max_length", self.max_length.map(|length| length.to_string())),
            ("task.diagnostics", ax),
            ("train.epochs", self.epochs.map(|epochs| epochs.to_string())),
            ("train.batch", self.batch.map(|batch| batch.to_string())),
            ("train.seeds", self.seeds.map(|seeds| seeds.to_string())),
            ("train.precision", self.precision.clone().map(quoted)),
            ("optim.lr", rates),
        ];
        let given = flags.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?)));
        self.settings.iter().cloned().chain(given).collect()
    }
}

/// The hash of the file that holds a model's weights, or one of the hashes of several.
fn weights_hash(files: &[PathBuf]) -> Result<String> {
    let hashes = files.iter().map(|file| file_hash(file)).collect::<Result<Vec<_>>>()?;
    Ok(match &hashes[..] {
        [hash] => hash.clone(),
        _ => format!("{:032x}", xxh3_128(hashes.concat().as_bytes())),
    })
}

/// runs/finetune/MODEL-TASK, where an `export` is called like its run.
fn default_folder(model: &Path, task: Task) -> PathBuf {
    let named = model.file_name().filter(|name| *name != "export");
    let name = named.or_else(|| model.parent()?.file_name()).map(|name| name.to_string_lossy().into_owned());
    Path::new("runs/finetune").join(format!("{}-{task}", name.unwrap_or_else(|| "model".into())))
}

/// Scores the fine-tuned model in `model` as it is on the task that `open` reads, and writes its predictions.
fn score(
    config: &FinetuneConfig,
    open: impl FnOnce(Option<&[String]>) -> Result<TaskData>,
    model: &Path,
    folder: &Path,
    device: Device,
    world: &World,
) -> Result<()> {
    let precision = config.train.precision;
    let loaded = hub::load_finetuned(model, precision.weight_kind(), device)?;
    check_finetuned(config.task.name, loaded.config.task_head, model)?;
    let outputs = label_outputs(config.task.name, &loaded.labels)?;
    let data = TaskData { outputs, ..open(Some(&loaded.labels))? };
    let bert = Bert::new(&loaded.config, &loaded.layer_map(), &loaded.weights, config.train.compute())?;
    let predictions = folder.join("predictions");
    let scores = evaluate(&bert, &data, &predictions, device, world)?;
    if world.is_first() {
        scores.iter().for_each(|(name, score)| println!("{name:<28} {score:.4}"));
        println!("predictions                  {}", predictions.display());
    }
    Ok(())
}
