//! A task's files and a tokenizer in; what a run learns from, and sets that it is scored on and predicts for, out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;
use untie_data::wordpiece::Role;
use xxhash_rust::xxh3::Xxh3Default;

use crate::error::{Error, Result};
use crate::finetune::batch::{Example, Target};
use crate::finetune::config::{FinetuneConfig, TaskConfig};
use crate::finetune::custom;
use crate::finetune::features::features;
use crate::finetune::glue::{self, submission, GlueTask, Labels, Split};
use crate::finetune::loss::Output;
use crate::finetune::scores::Metric;
use crate::finetune::squad::{self, AnswerConfig, Question, SpanLogits, Version, Window, WindowConfig};
use crate::finetune::task::Task;
use crate::model::TaskHead;

/// Where a task's files are.
#[derive(Clone, Debug)]
pub struct DataFiles {
    /// The task's own folder, with the official names.
    pub dir: PathBuf,
    /// SQuAD and own files: another file to train on.
    pub train: Option<PathBuf>,
    /// SQuAD and own files: another file to be scored on.
    pub dev: Option<PathBuf>,
    /// Own files: another file to be predicted for.
    pub test: Option<PathBuf>,
}

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

/// Examples that a model is asked about.
#[derive(Debug)]
pub struct EvalSet {
    /// `dev`, `dev_mismatched`, `test`, `test_mismatched` or `ax`; `input` where a model is only asked.
    pub name: &'static str,
    /// Tokenised.
    pub examples: Vec<Example>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Glue(&'static GlueTask, glue::Set),
    Squad { questions: Vec<Question>, windows: Vec<Window>, version: Version, config: AnswerConfig },
    Custom { of: custom::Outputs, labels: Option<Vec<glue::Label>> },
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
            None if task.is_custom() => data.add_custom(config, files, tokenizer, known)?,
            None => data.add_squad(config, files, tokenizer)?,
        }
        data.train_hash = hash(&data.train);
        Ok(data)
    }

    /// Texts of one's own that a finished model with `words` for its outputs is asked about.
    ///
    /// # Errors
    /// A tokenizer that fails.
    pub fn of_texts(
        records: &[custom::Record],
        head: TaskHead,
        words: &[String],
        tokenizer: &Tokenizer,
        max_length: usize,
    ) -> Result<(Self, custom::Outputs)> {
        let (task, of) = match head {
            TaskHead::Sequence { num_labels: 1 } => (Task::Regression, custom::Outputs::Number),
            _ => (Task::TextClassification, custom::Outputs::Classes(words.to_vec())),
        };
        let mut data = Self { head, ..Self::without_examples(task, tokenizer) };
        let unlabelled = |record: &custom::Record| {
            let record = custom::Record { label: None, ..record.clone() };
            of.example(&record, Path::new(""))
        };
        let examples = records.iter().map(unlabelled).collect::<Result<Vec<_>>>()?;
        data.add_custom_set("input", &of, &examples, tokenizer, max_length)?;
        Ok((data, of))
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
                let examples = self.tokenised(set.name, &set.rows.examples, tokenizer, longest)?;
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

    fn add_custom(
        &mut self,
        config: &FinetuneConfig,
        files: &DataFiles,
        tokenizer: &Tokenizer,
        known: Option<&[String]>,
    ) -> Result<()> {
        let TaskConfig { text, text_pair, label, .. } = config.task.clone();
        let files = custom::Files {
            dir: &files.dir,
            train: files.train.as_deref(),
            dev: files.dev.as_deref(),
            test: files.test.as_deref(),
        };
        let names = custom::Names { text, text_pair, label };
        let found = custom::read_sets(self.task, files, &names, known)?;
        self.notes.extend(found.notes);
        self.head = TaskHead::Sequence { num_labels: found.outputs.count() };
        self.labels = found.outputs.words();
        let longest = config.max_length();
        self.train = self.tokenised("train", &found.train, tokenizer, longest)?;
        for (name, examples) in &found.others {
            self.add_custom_set(name, &found.outputs, examples, tokenizer, longest)?;
        }
        Ok(())
    }

    fn add_custom_set(
        &mut self,
        name: &'static str,
        of: &custom::Outputs,
        examples: &[glue::RawExample],
        tokenizer: &Tokenizer,
        max_length: usize,
    ) -> Result<()> {
        let labels = examples.iter().map(|example| example.label).collect();
        let source = Source::Custom { of: of.clone(), labels };
        let examples = self.tokenised(name, examples, tokenizer, max_length)?;
        self.sets.push(EvalSet { name, examples, source });
        Ok(())
    }

    /// The examples of a set, with a note of those that are cut.
    fn tokenised(
        &mut self,
        name: &str,
        examples: &[glue::RawExample],
        tokenizer: &Tokenizer,
        max_length: usize,
    ) -> Result<Vec<Example>> {
        let found = features(tokenizer, examples, max_length)?;
        if found.num_cut > 0 {
            let (cut, of) = (found.num_cut, found.examples.len());
            self.notes.push(format!("{name}: {cut} of {of} examples are cut at {max_length} tokens"));
        }
        Ok(found.examples)
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

impl EvalSet {
    /// The scores, as fractions: `dev/accuracy` and so on; none for a set without labels.
    ///
    /// # Errors
    /// Outputs that are not finite.
    pub fn scores(&self, outputs: &[Output]) -> Result<BTreeMap<String, f64>> {
        match &self.source {
            Source::Glue(row, set) => {
                let predictions = predictions(row, outputs)?;
                let Some(labels) = set.rows.labels() else { return Ok(BTreeMap::new()) };
                let scores = glue::evaluate(row, &predictions, &labels)?;
                Ok(scores.into_iter().map(|(name, score)| (format!("{}/{name}", self.name), score)).collect())
            }
            Source::Squad { questions, version, .. } => {
                // The answers are chosen already: no threshold on top.
                let scores = squad::evaluate(questions, &self.answers(outputs)?, f64::INFINITY)?;
                let mut named = BTreeMap::from([("exact", scores.all.exact), ("f1", scores.all.f1)]);
                if *version == Version::V2 {
                    named.extend([("best_exact", scores.best_exact.score), ("best_f1", scores.best_f1.score)]);
                    named.extend([("best_f1_threshold", scores.best_f1.threshold)]);
                    let groups = [("has_answer_f1", scores.has_answer), ("no_answer_f1", scores.no_answer)];
                    named.extend(groups.into_iter().filter_map(|(name, mean)| Some((name, mean?.f1))));
                }
                Ok(named.into_iter().map(|(name, score)| (format!("dev/{name}"), score)).collect())
            }
            Source::Custom { of, labels } => {
                let found = custom::predictions(of, outputs)?;
                let Some(labels) = labels else { return Ok(BTreeMap::new()) };
                let metrics: &[Metric] = match of {
                    custom::Outputs::Classes(_) => &[Metric::Accuracy, Metric::MacroF1, Metric::Matthews],
                    custom::Outputs::Number => &[Metric::Pearson, Metric::Spearman],
                };
                let found: Vec<glue::Label> = found.iter().map(custom::Prediction::as_label).collect();
                let scores = glue::measure_all(metrics, &found, labels)?;
                Ok(scores.into_iter().map(|(name, score)| (format!("{}/{name}", self.name), score)).collect())
            }
        }
    }

    /// Writes the predictions into `dir`, in the forms that the GLUE site and the SQuAD scripts take; those for own files as lines of
    /// JSON; nothing for dev sets of GLUE.
    ///
    /// # Errors
    /// Outputs that are not finite, and a file that cannot be written.
    pub fn write(&self, dir: &Path, outputs: &[Output]) -> Result<()> {
        match &self.source {
            Source::Glue(row, set)
                if row.sets.iter().any(|known| known.name == set.name && known.submission.is_some()) =>
            {
                submission::write(dir, row.task, set, &predictions(row, outputs)?).map(|_| ())
            }
            Source::Glue(..) => Ok(()),
            Source::Squad { .. } => squad::write_predictions(dir, &self.answers(outputs)?),
            Source::Custom { of, .. } => {
                custom::write(&dir.join(format!("{}.jsonl", self.name)), &custom::predictions(of, outputs)?)
            }
        }
    }

    fn answers(&self, outputs: &[Output]) -> Result<Vec<squad::Prediction>> {
        let Source::Squad { questions, windows, version, config } = &self.source else {
            return Err(Error::failed("expected a set of questions"));
        };
        let logits: Vec<SpanLogits<'_>> = outputs
            .iter()
            .filter_map(|output| match output {
                Output::Span { start, end } => Some(SpanLogits { start, end }),
                Output::Logits(_) => None,
            })
            .collect();
        squad::answers(questions, windows, &logits, *version, config)
    }
}

/// The head that a task needs. For text classification it has as many labels as the files, at least two.
pub fn task_head(task: Task) -> TaskHead {
    match (glue::row(task), task) {
        (Some(row), _) => TaskHead::Sequence { num_labels: row.labels.num_outputs() },
        (None, Task::TextClassification) => TaskHead::Sequence { num_labels: 2 },
        (None, Task::Regression) => TaskHead::Sequence { num_labels: 1 },
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

/// The class with the highest logit, the first of equals; or the number.
fn predictions(row: &GlueTask, outputs: &[Output]) -> Result<Vec<glue::Label>> {
    let prediction = |(at, output): (usize, &Output)| {
        let Output::Logits(logits) = output else { return Err(Error::failed("expected logits of classes")) };
        if let Some(wrong) = logits.iter().find(|logit| !logit.is_finite()) {
            return Err(Error::not_finite(format!("the model's output for example {at} is {wrong}"))
                .hint("the run has diverged: take a lower learning rate"));
        }
        Ok(match row.labels {
            Labels::Score => glue::Label::Score(f64::from(logits[0])),
            Labels::Classes(_) => {
                let best = (0..logits.len()).rev().max_by(|&one, &other| logits[one].total_cmp(&logits[other]));
                glue::Label::Class(best.unwrap_or(0))
            }
        })
    };
    outputs.iter().enumerate().map(prediction).collect()
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
        let (kind, first, second) = match example.target {
            Target::Unknown => (0_u64, 0, 0),
            Target::Class(class) => (1, class as u64, 0),
            Target::Score(score) => (2, score.to_bits(), 0),
            Target::Span { start, end } => (3, start as u64, end as u64),
        };
        [kind, first, second].iter().for_each(|value| hasher.update(&value.to_le_bytes()));
    }
    format!("{:032x}", hasher.digest128())
}
