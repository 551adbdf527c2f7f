//! Questions as the files have them in, questions that were checked out: what is wrong and what is skipped.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::paragraph::Paragraph;
use super::python;
use super::question::{Answer, Question, Split, Version, NOWHERE};
use super::skipped::Skipped;
use crate::error::{Error, Result};

/// A file's questions.
#[derive(Debug)]
pub struct Dataset {
    /// In the file's order.
    pub questions: Vec<Question>,
    /// What is missing from them.
    pub skipped: Skipped,
}

/// A question's place in its file.
#[derive(Clone, Copy)]
pub(super) enum SourceLocation {
    /// Numbers of the article, the paragraph in it, the question in that.
    Question(usize, usize, usize),
    /// Number of a question that has its context beside it.
    Flat(usize),
    /// Number of the row, from 1.
    Row(usize),
}

impl fmt::Display for SourceLocation {
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
    seen: HashMap<String, SourceLocation>,
    questions: Vec<Question>,
    skipped: Skipped,
}

impl Gatherer<'_> {
    pub(super) fn new(version: Version, split: Split) -> Self {
        let (seen, questions, skipped) = (HashMap::new(), Vec::new(), Skipped::default());
        Self { path: Path::new(""), version, split, seen, questions, skipped }
    }

    pub(super) fn error(&self, problem: impl fmt::Display) -> Error {
        Error::data(format!("`{}` {problem}", self.path.display()))
    }

    pub(super) fn need<T>(&self, value: Option<T>, place: impl fmt::Display, key: &str) -> Result<T> {
        value.ok_or_else(|| self.error(format_args!("has no `{key}` in `{place}`: expected a value, got none or null")))
    }

    pub(super) fn finish(self) -> Result<Dataset> {
        if self.questions.is_empty() {
            return Err(match self.skipped.count() {
                0 => self.error("holds no question"),
                _ => self.error(format_args!("holds no question to train on: {}", self.skipped)),
            });
        }
        Ok(Dataset { questions: self.questions, skipped: self.skipped })
    }

    pub(super) fn push(&mut self, place: SourceLocation, paragraph: &Paragraph, raw: Raw) -> Result<()> {
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
