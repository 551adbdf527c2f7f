//! A task's files and a tokenizer in; what a run learns from, and sets that it is scored on and predicts for, out.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;
use untie_data::wordpiece::Role;
use xxhash_rust::xxh3::Xxh3Default;

use crate::error::{Error, Result};
use crate::finetune::batch::{Example, Target};
use crate::finetune::config::FinetuneConfig;
use crate::finetune::custom_examples::{custom_examples, tokenised};
use crate::finetune::data_files::DataFiles;
use crate::finetune::entities::are_of_entities;
use crate::finetune::eval_set::{EvalSet, Source};
use crate::finetune::glue::{self, GlueTask, Labels, Split};
use crate::finetune::loss::Output;
use crate::finetune::scores::Metric;
use crate::finetune::squad::{self, Version, Window, WindowConfig};
use crate::finetune::task::Task;
use crate::model::TaskHead;

/// A task, ready for a model.
#[derive(Debug)]
pub struct TaskData {
    /// Which task.
    pub task: Task,
    /// The head that it needs.
    pub head: TaskHead,
    /// The words for the labels of that head.
    pub labels: Vec<String>,
    /// For each label, which output of the model stands for it; none where they have the same order.
    pub outputs: Option<Vec<usize>>,
    /// What is learnt from; empty where a model is only evaluated.
    pub train: Vec<Example>,
    /// Hash of the training examples, as hexadecimal digits.
    pub train_hash: String,
    /// What is scored, `dev` first, and what is predicted for.
    pub sets: Vec<EvalSet>,
    /// What a person should know: rows that were left out, examples that were cut, files that are missing.
    pub notes: Vec<String>,
    /// The token that shorter examples are padded with.
    pub padding: u32,
}

impl TaskData {
    /// Reads and tokenises the files of `config`'s task. A finished model that is only evaluated has `known` words for its outputs.
    ///
    /// # Errors
    /// A file that is missing or wrong, and a tokenizer that does not fit.
    pub fn open(
        config: &FinetuneConfig,
        files: &DataFiles,
        tokenizer: &Tokenizer,
        known: Option<&[String]>,
    ) -> Result<Self> {
        let task = config.task.name;
        let mut data = Self::without_examples(task, tokenizer);
        match glue::row(task) {
            Some(row) => data.add_glue(row, config, files, tokenizer)?,
            None if task.is_custom() => {
                let found = custom_examples(config, files, tokenizer, known)?;
                (data.head, data.labels) = (found.head, found.labels);
                (data.train, data.sets, data.notes) = (found.train, found.sets, found.notes);
            }
            None => data.add_squad(config, files, tokenizer)?,
        }
        data.train_hash = hash(&data.train);
        Ok(data)
    }

    fn without_examples(task: Task, tokenizer: &Tokenizer) -> Self {
        Self {
            task,
            head: task_head(task),
            labels: labels_of(task),
            outputs: None,
            train: Vec::new(),
            train_hash: String::new(),
            sets: Vec::new(),
            notes: Vec::new(),
            padding: Role::Pad.token(tokenizer).map_or(0, |(_, id)| id),
        }
    }

    /// A set that a finished model with `head` is asked about.
    pub fn of_set(task: Task, head: TaskHead, set: EvalSet, tokenizer: &Tokenizer) -> Self {
        Self { head, sets: vec![set], ..Self::without_examples(task, tokenizer) }
    }

    /// The largest number of a segment in the examples.
    pub fn last_segment(&self) -> Option<u32> {
        let sets = self.sets.iter().map(|set| &set.examples).chain([&self.train]);
        sets.flatten().flat_map(|example| &example.token_types).max().copied()
    }

    /// What a model puts out for an example, in the order of the task's labels.
    pub(super) fn ordered(&self, output: Output) -> Output {
        match (output, &self.outputs) {
            (Output::Logits(logits), Some(order)) => Output::Logits(order.iter().map(|&at| logits[at]).collect()),
            (output, _) => output,
        }
    }

    /// The score that picks the best run, e.g. `dev/accuracy`.
    pub fn selection(&self) -> String {
        let metric = match (glue::row(self.task), self.task) {
            (Some(row), _) => row.selection.name(),
            (None, Task::TextClassification) => Metric::Accuracy.name(),
            (None, Task::Regression) => Metric::Pearson.name(),
            (None, Task::TokenClassification) if !are_of_entities(&self.labels) => Metric::Accuracy.name(),
            (None, _) => "f1",
        };
        format!("{}/{metric}", self.sets.first().map_or("dev", |set| set.name))
    }

    fn add_glue(
        &mut self,
        row: &'static GlueTask,
        config: &FinetuneConfig,
        files: &DataFiles,
        tokenizer: &Tokenizer,
    ) -> Result<()> {
        if files.train.is_some() || files.dev.is_some() || files.test.is_some() {
            return Err(Error::config("`--train-file`, `--dev-file` and `--test-file` are for SQuAD and own files")
                .hint("give the task's folder with `--data`"));
        }
        let longest = config.max_length();
        let mut read = |row: &'static GlueTask, dir: &Path, split: Split| -> Result<Vec<EvalSet>> {
            let mut sets = Vec::new();
            for set in glue::read(row.task, dir, split)? {
                self.notes.extend(set.rows.skipped.iter().map(|skip| format!("{}: {skip}", set.name)));
                let examples = tokenised(set.name, &set.rows.examples, tokenizer, longest, &mut self.notes)?;
                sets.push(EvalSet { name: set.name, examples, source: Source::Glue(row, set) });
            }
            Ok(sets)
        };
        let (mut train, mut sets, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        if row.sets(Split::Train).next().is_some() {
            if config.train.epochs > 0 {
                train = read(row, &files.dir, Split::Train)?;
            }
            sets = read(row, &files.dir, Split::Dev)?;
        }
        // Test sets have no labels: who has none of them can still train.
        match glue::is_there(row.task, &files.dir, Split::Test) {
            true => sets.extend(read(row, &files.dir, Split::Test)?),
            false if sets.is_empty() => return glue::read(row.task, &files.dir, Split::Test).map(|_| ()),
            false => {
                missing.push(format!("there is no test set in `{}`: nothing is predicted for it", files.dir.display()))
            }
        }
        if let (Some(dir), Some(ax)) = (&config.task.diagnostics, glue::row(Task::Ax)) {
            if row.task != Task::Mnli {
                return Err(Error::config(format!("`task.diagnostics` is for `mnli`, got `{}`", row.task)));
            }
            sets.extend(read(ax, dir, Split::Test)?);
        }
        self.notes.extend(missing);
        (self.sets, self.train) = (sets, train.into_iter().flat_map(|set| set.examples).collect());
        Ok(())
    }

    fn add_squad(&mut self, config: &FinetuneConfig, files: &DataFiles, tokenizer: &Tokenizer) -> Result<()> {
        let version = if self.task == Task::Squad1 { Version::V1 } else { Version::V2 };
        let window = WindowConfig { max_length: config.max_length(), stride: config.task.stride };
        let read = |given: &Option<PathBuf>, split| {
            let paths = match given {
                Some(path) => vec![path.clone()],
                None => squad::find(&files.dir, version, split)?,
            };
            squad::read_all(&paths, version, split)
        };
        if config.train.epochs > 0 {
            let data = read(&files.train, squad::Split::Train)?;
            if data.skipped.count() > 0 {
                self.notes.push(format!("train: {}", data.skipped));
            }
            if version == Version::V2 && !data.questions.iter().any(|question| question.is_impossible) {
                self.notes.push("train: no question is impossible; `squad1` is the task of such files".into());
            }
            let windows = squad::windows(tokenizer, &data.questions, &window, true)?;
            self.train = windows.iter().map(example).collect();
        }
        let data = read(&files.dev, squad::Split::Dev)?;
        let windows = squad::windows(tokenizer, &data.questions, &window, false)?;
        let examples = windows.iter().map(example).collect();
        let source = Source::Squad { questions: data.questions, windows, version, config: config.task.answers };
        self.sets.push(EvalSet { name: "dev", examples, source });
        Ok(())
    }
}

/// The head that a task needs. For classes of own files it has as many labels as the files, at least two.
pub fn task_head(task: Task) -> TaskHead {
    match (glue::row(task), task) {
        (Some(row), _) => TaskHead::Sequence { num_labels: row.labels.num_outputs() },
        (None, Task::TextClassification) => TaskHead::Sequence { num_labels: 2 },
        (None, Task::Regression) => TaskHead::Sequence { num_labels: 1 },
        (None, Task::TokenClassification) => TaskHead::Token { num_labels: 2 },
        (None, _) => TaskHead::Span,
    }
}

/// The words for the labels of a task's head.
fn labels_of(task: Task) -> Vec<String> {
    match glue::row(task).map(|row| row.labels) {
        Some(Labels::Classes(words)) => words.iter().map(|&word| word.to_owned()).collect(),
        Some(Labels::Score) => vec!["LABEL_0".to_owned()],
        None => Vec::new(),
    }
}

fn example(window: &Window) -> Example {
    Example {
        token_ids: window.ids.clone(),
        token_types: window.token_types.iter().map(|&of| u32::from(of)).collect(),
        target: window.label.map_or(Target::Unknown, |label| Target::Span { start: label.start, end: label.end }),
    }
}

/// What the order of a run's examples means.
fn hash(examples: &[Example]) -> String {
    let mut hasher = Xxh3Default::new();
    for example in examples {
        hasher.update(&(example.token_ids.len() as u64).to_le_bytes());
        example.token_ids.iter().chain(&example.token_types).for_each(|value| hasher.update(&value.to_le_bytes()));
        let (kind, first, second) = match &example.target {
            Target::Unknown => (0_u64, 0, 0),
            Target::Class(class) => (1, *class as u64, 0),
            Target::Score(score) => (2, score.to_bits(), 0),
            Target::Span { start, end } => (3, *start as u64, *end as u64),
            Target::Tags(tags) => {
                tags.iter().for_each(|tag| hasher.update(&tag.map_or(u64::MAX, |tag| tag as u64).to_le_bytes()));
                (4, tags.len() as u64, 0)
            }
        };
        [kind, first, second].iter().for_each(|value| hasher.update(&value.to_le_bytes()));
    }
    format!("{:032x}", hasher.digest128())
}
