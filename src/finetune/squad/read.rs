//! SQuAD's JSON → questions.
//!
//! In: `train-v1.1.json`, `dev-v1.1.json`, `train-v2.0.json` or `dev-v2.0.json`, or a file in their layout. Out: the
//! [`Question`]s in the file's order, those of one paragraph sharing its text, and [`Skipped`]. Cost: the file in
//! memory once as bytes and once as strings.
//!
//! A file is not trusted. What makes it another file than the task asks for, or one that is broken, is an error that
//! names the place (`data[0].paragraphs[2].qas[1]`, counted from 0) and the question's id:
//!
//! - empty, not JSON, or a value of the wrong type (line and column); another `version`, or none;
//! - a missing or null key (`title` may be absent, keys of no use are ignored); no question at all;
//! - an id that an earlier question has;
//! - `answer_start` missing, null, negative, or beyond the context, in any answer;
//! - an impossible question with answers, any other question without, `is_impossible` missing in v2.0 or true in v1.1.
//!
//! What is merely of no use for training is left out of a training file and counted: an answer that is not at its
//! offset, an empty answer, an empty question. Only the first answer counts, the one that labels. As in Google's BERT
//! and in transformers' `squad.py`, an answer is at its offset when the words which it touches contain it once runs of
//! white space are one space. A dev file keeps all its questions: its score counts them, and its offsets are not used.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::paragraph::Paragraph;
use super::python;
use super::skipped::Skipped;
use crate::error::{io, Error, Result};

/// Which SQuAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// v1.1: every question has an answer.
    V1,
    /// v2.0: some questions are impossible.
    V2,
}

impl Version {
    /// What the official files say.
    fn name(self) -> &'static str {
        match self {
            Self::V1 => "1.1",
            Self::V2 => "v2.0",
        }
    }
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
    /// Where it begins, in characters (Unicode code points) of the context.
    pub start: usize,
}

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

/// Reads the questions of `path`.
///
/// # Errors
/// When the file cannot be read, or is none of this version; the module's page lists what is wrong with a file.
pub fn read(path: &Path, version: Version, split: Split) -> Result<Dataset> {
    let bytes = fs::read(path).map_err(|error| io("read", path, error))?;
    let mut reader =
        Reader { path, version, split, seen: HashMap::new(), questions: Vec::new(), skipped: Skipped::default() };
    reader.file(&bytes)?;
    Ok(Dataset { questions: reader.questions, skipped: reader.skipped })
}

/// The layout, every key of which may be missing or null.
#[derive(Deserialize)]
struct FileLayout {
    version: Option<String>,
    data: Option<Vec<ArticleLayout>>,
}

#[derive(Deserialize)]
struct ArticleLayout {
    title: Option<String>,
    paragraphs: Option<Vec<ParagraphLayout>>,
}

#[derive(Deserialize)]
struct ParagraphLayout {
    context: Option<String>,
    qas: Option<Vec<QuestionLayout>>,
}

#[derive(Deserialize)]
struct QuestionLayout {
    id: Option<String>,
    question: Option<String>,
    answers: Option<Vec<AnswerLayout>>,
    is_impossible: Option<bool>,
}

#[derive(Deserialize)]
struct AnswerLayout {
    text: Option<String>,
    answer_start: Option<i64>,
}

/// A question's place in the file.
#[derive(Clone, Copy)]
struct Place {
    article: usize,
    paragraph: usize,
    question: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "data[{}].paragraphs[{}].qas[{}]", self.article, self.paragraph, self.question)
    }
}

struct Reader<'a> {
    path: &'a Path,
    version: Version,
    split: Split,
    seen: HashMap<String, Place>,
    questions: Vec<Question>,
    skipped: Skipped,
}

impl Reader<'_> {
    fn error(&self, problem: impl fmt::Display) -> Error {
        Error::data(format!("`{}` {problem}", self.path.display()))
    }

    fn need<T>(&self, value: Option<T>, place: impl fmt::Display, key: &str) -> Result<T> {
        value.ok_or_else(|| self.error(format_args!("has no `{key}` in `{place}`: expected a value, got none or null")))
    }

    fn file(&mut self, bytes: &[u8]) -> Result<()> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes); // a byte order mark
        if bytes.trim_ascii().is_empty() {
            return Err(self.error("is empty: expected SQuAD's JSON"));
        }
        let file: FileLayout = serde_json::from_slice(bytes)
            .map_err(|error| self.error("is not in SQuAD's JSON layout").caused_by(error))?;
        self.check_version(file.version)?;
        for (article, layout) in self.need(file.data, "the file", "data")?.into_iter().enumerate() {
            let title: Arc<str> = layout.title.unwrap_or_default().into();
            let paragraphs = self.need(layout.paragraphs, format_args!("data[{article}]"), "paragraphs")?;
            for (paragraph, layout) in paragraphs.into_iter().enumerate() {
                let place = format!("data[{article}].paragraphs[{paragraph}]");
                let questions = self.need(layout.qas, &place, "qas")?;
                let shared = Paragraph::new(Arc::clone(&title), self.need(layout.context, &place, "context")?);
                for (question, layout) in questions.into_iter().enumerate() {
                    self.question(Place { article, paragraph, question }, &shared, layout)?;
                }
            }
        }
        if self.questions.is_empty() {
            return Err(match self.skipped.count() {
                0 => self.error("holds no question"),
                _ => self.error(format_args!("holds no question to train on: {}", self.skipped)),
            });
        }
        Ok(())
    }

    fn check_version(&self, found: Option<String>) -> Result<()> {
        let expected = self.version.name();
        let found = self.need(found, "the file", "version")?;
        if found.trim_start_matches('v') == expected.trim_start_matches('v') {
            return Ok(());
        }
        Err(self
            .error(format_args!("is another version of SQuAD: expected `{expected}`, got `{found}`"))
            .hint("`squad1` reads v1.1, `squad2` reads v2.0"))
    }

    fn question(&mut self, place: Place, paragraph: &Paragraph, layout: QuestionLayout) -> Result<()> {
        let id = self.need(layout.id, place, "id")?;
        let here = format!("{place}` (id `{id}`)");
        let question = self.need(layout.question, place, "question")?;
        let is_impossible = match (self.version, layout.is_impossible) {
            (Version::V1, flag) => flag.unwrap_or(false),
            (Version::V2, flag) => self.need(flag, place, "is_impossible")?,
        };
        let layouts = self.need(layout.answers, place, "answers")?;
        self.check_answers(&here, is_impossible, layouts.len())?;
        let answers = layouts
            .into_iter()
            .enumerate()
            .map(|(number, layout)| self.answer(&here, number, paragraph, layout))
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

    /// Whether so many answers fit what the question says of itself.
    fn check_answers(&self, here: &str, is_impossible: bool, count: usize) -> Result<()> {
        match (is_impossible, count) {
            (true, _) if self.version == Version::V1 => {
                Err(self.error(format_args!("has an impossible question in `{here}: v1.1 has none")))
            }
            (true, 1..) => Err(self
                .error(format_args!("has an impossible question with answers in `{here}: expected none, got {count}"))),
            (false, 0) => Err(self
                .error(format_args!("has a question without answers in `{here}: expected at least one, got none"))
                .hint("in v2.0 a question that the context does not answer says `\"is_impossible\": true`")),
            _ => Ok(()),
        }
    }

    fn answer(&self, here: &str, number: usize, paragraph: &Paragraph, layout: AnswerLayout) -> Result<Answer> {
        let problem = |what: String| self.error(format_args!("has a bad answer {number} in `{here}: {what}"));
        let text = layout.text.ok_or_else(|| problem("expected `text`, got none or null".into()))?;
        let start = layout
            .answer_start
            .ok_or_else(|| problem(format!("expected `answer_start` of `{text}` in characters, got none or null")))?;
        let characters = paragraph.characters();
        match usize::try_from(start) {
            Ok(start) if start < characters => Ok(Answer { text, start }),
            _ => Err(problem(format!(
                "expected `answer_start` within the context's {characters} characters, got {start}"
            ))),
        }
    }
}
