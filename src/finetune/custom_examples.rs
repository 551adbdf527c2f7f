//! A person's own files and a tokenizer in, examples out.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::error::Result;
use crate::finetune::batch::Example;
use crate::finetune::config::{FinetuneConfig, TaskConfig};
use crate::finetune::custom::{self, Outputs, TaggedWords};
use crate::finetune::data_files::DataFiles;
use crate::finetune::eval_set::{EvalSet, Source};
use crate::finetune::features::features;
use crate::finetune::glue::RawExample;
use crate::finetune::task::Task;
use crate::finetune::word_features::word_features;
use crate::model::TaskHead;

/// The name of the set that a model is only asked about.
const INPUT: &str = "input";

/// What a task of one's own files has.
#[derive(Debug)]
pub(super) struct CustomExamples {
    pub(super) head: TaskHead,
    pub(super) labels: Vec<String>,
    pub(super) train: Vec<Example>,
    pub(super) sets: Vec<EvalSet>,
    pub(super) notes: Vec<String>,
}

/// Reads and tokenises the files of `config`'s task. A finished model that is only evaluated has `known` words for its outputs.
pub(super) fn custom_examples(
    config: &FinetuneConfig,
    files: &DataFiles,
    tokenizer: &Tokenizer,
    known: Option<&[String]>,
) -> Result<CustomExamples> {
    let TaskConfig { text, text_pair, label, .. } = config.task.clone();
    let files = custom::Files {
        dir: &files.dir,
        train: files.train.as_deref(),
        dev: files.dev.as_deref(),
        test: files.test.as_deref(),
    };
    let (names, longest) = (custom::Names { text, text_pair, label }, config.max_length());
    let mut sets = Vec::new();
    if config.task.name == Task::TokenClassification {
        let custom::TaggedSets { tags, train, others, mut notes } = custom::read_tagged_sets(files, &names, known)?;
        let (examples, cut) = word_features(tokenizer, &train, longest)?;
        note_cut("train", cut, examples.len(), longest, &mut notes);
        for (name, sentences) in &others {
            sets.push(tagged_set(name, &tags, sentences, tokenizer, longest, &mut notes)?);
        }
        let train = examples.into_iter().map(|tagged| tagged.example).collect();
        return Ok(CustomExamples {
            head: TaskHead::Token { num_labels: tags.len() },
            labels: tags,
            train,
            sets,
            notes,
        });
    }
    let custom::Sets { outputs, train, others, mut notes } = custom::read_sets(config.task.name, files, &names, known)?;
    let train = tokenised("train", &train, tokenizer, longest, &mut notes)?;
    for (name, examples) in &others {
        sets.push(set_of(name, &outputs, examples, tokenizer, longest, &mut notes)?);
    }
    let head = TaskHead::Sequence { num_labels: outputs.count() };
    Ok(CustomExamples { head, labels: outputs.words(), train, sets, notes })
}

/// Texts that a model is asked about, and a note of those that are cut.
///
/// # Errors
/// A tokenizer that fails.
pub fn texts_to_ask(
    records: &[custom::Record],
    of: &Outputs,
    tokenizer: &Tokenizer,
    max_length: usize,
) -> Result<(EvalSet, Vec<String>)> {
    let unlabelled = |record: &custom::Record| {
        let record = custom::Record { label: None, ..record.clone() };
        of.example(&record, Path::new(""))
    };
    let examples = records.iter().map(unlabelled).collect::<Result<Vec<_>>>()?;
    let mut notes = Vec::new();
    Ok((set_of(INPUT, of, &examples, tokenizer, max_length, &mut notes)?, notes))
}

/// The same of sentences, whose words get one of `tags` each.
///
/// # Errors
/// A tokenizer that fails.
pub fn sentences_to_ask(
    sentences: &[custom::Sentence],
    tags: &[String],
    tokenizer: &Tokenizer,
    max_length: usize,
) -> Result<(EvalSet, Vec<String>)> {
    let words = |sentence: &custom::Sentence| TaggedWords { words: sentence.words.clone(), tags: None };
    let sentences: Vec<TaggedWords> = sentences.iter().map(words).collect();
    let mut notes = Vec::new();
    Ok((tagged_set(INPUT, tags, &sentences, tokenizer, max_length, &mut notes)?, notes))
}

fn set_of(
    name: &'static str,
    of: &Outputs,
    examples: &[RawExample],
    tokenizer: &Tokenizer,
    max_length: usize,
    notes: &mut Vec<String>,
) -> Result<EvalSet> {
    let labels = examples.iter().map(|example| example.label).collect();
    let source = Source::Custom { of: of.clone(), labels };
    Ok(EvalSet { name, examples: tokenised(name, examples, tokenizer, max_length, notes)?, source })
}

fn tagged_set(
    name: &'static str,
    tags: &[String],
    sentences: &[TaggedWords],
    tokenizer: &Tokenizer,
    max_length: usize,
    notes: &mut Vec<String>,
) -> Result<EvalSet> {
    let (found, cut) = word_features(tokenizer, sentences, max_length)?;
    note_cut(name, cut, found.len(), max_length, notes);
    let expected = sentences.iter().map(|sentence| sentence.tags.clone()).collect();
    let (examples, firsts) = found.into_iter().map(|tagged| (tagged.example, tagged.firsts)).unzip();
    Ok(EvalSet { name, examples, source: Source::Tagged { tags: tags.to_vec(), firsts, expected } })
}

/// The examples of a set, with a note of those that are cut.
pub(super) fn tokenised(
    name: &str,
    examples: &[RawExample],
    tokenizer: &Tokenizer,
    max_length: usize,
    notes: &mut Vec<String>,
) -> Result<Vec<Example>> {
    let found = features(tokenizer, examples, max_length)?;
    note_cut(name, found.num_cut, found.examples.len(), max_length, notes);
    Ok(found.examples)
}

fn note_cut(name: &str, cut: usize, of: usize, max_length: usize, notes: &mut Vec<String>) {
    if cut > 0 {
        notes.push(format!("{name}: {cut} of {of} examples are cut at {max_length} tokens"));
    }
}
