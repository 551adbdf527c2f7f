//! SQuAD's files → questions.
//!
//! In: `train-v1.1.json`, `dev-v1.1.json`, `train-v2.0.json` or `dev-v2.0.json`, or a file in their layout, as SQuADs in other
//! languages have it (`json`); or the Parquet files of Hugging Face (`parquet`). Out: the
//! [`Question`]s in the files' order, those of one paragraph sharing its text, and [`Skipped`]. Cost: a file in memory once as
//! bytes and once as strings.
//!
//! What the file calls its version is no matter: the questions tell. A file is not trusted. What is broken is an error that
//! names the place (`data[0].paragraphs[2].qas[1]`, counted from 0, or `row 7`, from 1) and the question's id:
//!
//! - empty, not JSON, or a value of the wrong type (line and column);
//! - a missing or null key (`title` and `is_impossible` may be absent, keys of no use are ignored); no question at all;
//! - an id that an earlier question has;
//! - for training, an `answer_start` that is missing;
//! - an impossible question with answers, one that is said to be possible without, any impossible one for `squad1`.
//!
//! What is merely of no use for training is left out of a training file and counted: an answer that is not at its
//! offset, an empty answer, an empty question. Only the first answer counts, the one that labels. As in Google's BERT
//! and in transformers' `squad.py`, an answer is at its offset when the words which it touches contain it once runs of
//! white space are one space. A dev file keeps all its questions: its score counts them, and its offsets are not used.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::paragraph::Paragraph;
use super::skipped::Skipped;
use super::{json, parquet, python};
use crate::error::{Error, Result};

/// Which SQuAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// v1.1: every question has an answer.
    V1,
    /// v2.0: some questions are impossible.
    V2,
}

/// What the questions are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To learn from: questions that cannot be learned from are skipped and counted.
    Train,
    /// To be scored: every question stays.
    Dev,
}

/// One reference answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The answer, as it stands in the context.
    pub text: String,
    /// Where it begins, in characters (Unicode code points) of the context; [`NOWHERE`] where the file says no place in it.
    pub start: usize,
}

/// No place in a context.
pub const NOWHERE: usize = usize::MAX;

/// One question about one paragraph.
#[derive(Clone, Debug)]
pub struct Question {
    /// Unique in its file.
    pub id: String,
    /// The article's title; empty when the file has none.
    pub title: Arc<str>,
    /// The question as in the file, with its white space.
    pub question: String,
    /// The paragraph, shared by its questions.
    pub context: Arc<str>,
    /// The reference answers; the first one labels. Empty for an impossible question.
    pub answers: Vec<Answer>,
    /// Whether the context does not answer it.
    pub is_impossible: bool,
}

/// A file's questions.
#[derive(Debug)]
pub struct Dataset {
    /// In the file's order.
    pub questions: Vec<Question>,
    /// What is missing from them.
    pub skipped: Skipped,
}

/// Reads the questions of `path`, JSON or, by its name, Parquet.
///
/// # Errors
/// When the file cannot be read, or its questions are not of this version; the module's page lists what is wrong with a file.
pub fn read(path: &Path, version: Version, split: Split) -> Result<Dataset> {
    read_all(&[path.to_owned()], version, split)
}

/// Reads the questions of files that follow one another.
///
/// # Errors
/// As [`read`].
pub fn read_all(paths: &[PathBuf], version: Version, split: Split) -> Result<Dataset> {
    let mut gatherer = Gatherer {
        path: Path::new(""),
        version,
        split,
        seen: HashMap::new(),
        questions: Vec::new(),
        skipped: Skipped::default(),
    };
    for path in paths {
        gatherer.path = path;
        match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")) {
            true => parquet::read(&mut gatherer)?,
            false => json::read(&mut gatherer)?,
        }
    }
    gatherer.finish()
}

/// A question's place in its file.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// Numbers of the article, the paragraph in it, the question in that.
    Question(usize, usize, usize),
    /// Number of a question that has its context beside it.
    Flat(usize),
    /// Number of the row, from 1.
    Row(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Question(article, paragraph, question) => {
                write!(formatter, "data[{article}].paragraphs[{paragraph}].qas[{question}]")
            }
            Self::Flat(question) => write!(formatter, "data[{question}]"),
            Self::Row(row) => write!(formatter, "row {row}"),
        }
    }
}

/// A question as a file has it, every part of which may be missing.
pub(super) struct Raw {
    pub(super) id: Option<String>,
    pub(super) question: Option<String>,
    /// Text and place in characters of each.
    pub(super) answers: Option<Vec<(Option<String>, Option<i64>)>>,
    pub(super) is_impossible: Option<bool>,
}

/// Gathers the questions of files in either layout: the one place that decides what is wrong and what is skipped.
pub(super) struct Gatherer<'a> {
    pub(super) path: &'a Path,
    version: Version,
    split: Split,
    seen: HashMap<String, Place>,
    questions: Vec<Question>,
    skipped: Skipped,
}

impl Gatherer<'_> {
    pub(super) fn error(&self, problem: impl fmt::Display) -> Error {
        Error::data(format!("`{}` {problem}", self.path.display()))
    }

    pub(super) fn need<T>(&self, value: Option<T>, place: impl fmt::Display, key: &str) -> Result<T> {
        value.ok_or_else(|| self.error(format_args!("has no `{key}` in `{place}`: expected a value, got none or null")))
    }

    fn finish(self) -> Result<Dataset> {
        if self.questions.is_empty() {
            return Err(match self.skipped.count() {
                0 => self.error("holds no question"),
                _ => self.error(format_args!("holds no question to train on: {}", self.skipped)),
            });
        }
        Ok(Dataset { questions: self.questions, skipped: self.skipped })
    }

    pub(super) fn push(&mut self, place: Place, paragraph: &Paragraph, raw: Raw) -> Result<()> {
        let id = self.need(raw.id, place, "id")?;
        let here = format!("{place}` (id `{id}`)");
        let question = self.need(raw.question, place, "question")?;
        let answers = self.need(raw.answers, place, "answers")?;
        let is_impossible = self.is_impossible(&here, raw.is_impossible, answers.len())?;
        let answers = answers
            .into_iter()
            .enumerate()
            .map(|(number, answer)| self.answer(&here, number, paragraph, answer))
            .collect::<Result<Vec<_>>>()?;
        if let Some(earlier) = self.seen.insert(id.clone(), place) {
            return Err(self.error(format_args!("has the id `{id}` twice: in `{earlier}` and in `{place}`")));
        }
        if self.split == Split::Train {
            let skip = match answers.first() {
                _ if question.chars().all(python::is_space) => Some(&mut self.skipped.empty_question),
                Some(answer) if answer.text.is_empty() => Some(&mut self.skipped.empty_answer),
                Some(answer) if !paragraph.holds(answer) => Some(&mut self.skipped.answer_not_at_offset),
                _ => None,
            };
            if let Some(skip) = skip {
                skip.add(id);
                return Ok(());
            }
        }
        let (title, context) = (Arc::clone(&paragraph.title), Arc::clone(&paragraph.context));
        self.questions.push(Question { id, title, question, context, answers, is_impossible });
        Ok(())
    }

    /// Whether a question is impossible, by what it says of itself or by its answers, if the two agree.
    fn is_impossible(&self, here: &str, said: Option<bool>, count: usize) -> Result<bool> {
        match (self.version, said, count) {
            (Version::V1, Some(true), _) => Err(self
                .error(format_args!("has an impossible question in `{here}: v1.1 has none"))
                .hint("`squad2` is the task of files with such questions")),
            (_, Some(true), 1..) => Err(self
                .error(format_args!("has an impossible question with answers in `{here}: expected none, got {count}"))),
            (Version::V1, _, 0) => Err(self
                .error(format_args!("has a question without answers in `{here}: expected at least one, got none"))
                .hint("`squad2` is the task of files with questions that the context does not answer")),
            (Version::V2, Some(false), 0) => Err(self
                .error(format_args!("has a question without answers in `{here}: expected at least one, got none"))
                .hint("in v2.0 a question that the context does not answer says `\"is_impossible\": true`")),
            (_, said, count) => Ok(said.unwrap_or(count == 0)),
        }
    }

    fn answer(
        &self,
        here: &str,
        number: usize,
        paragraph: &Paragraph,
        (text, start): (Option<String>, Option<i64>),
    ) -> Result<Answer> {
        let problem = |what: String| self.error(format_args!("has a bad answer {number} in `{here}: {what}"));
        let text = text.ok_or_else(|| problem("expected `text`, got none or null".into()))?;
        if start.is_none() && self.split == Split::Train {
            return Err(problem(format!("expected `answer_start` of `{text}` in characters, got none or null")));
        }
        let start = start.and_then(|start| usize::try_from(start).ok());
        let start = start.filter(|&start| start < paragraph.characters()).unwrap_or(NOWHERE);
        Ok(Answer { text, start })
    }
}
