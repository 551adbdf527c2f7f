//! Questions about paragraphs, with their answers.

use std::sync::Arc;

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
