//! SQuAD's JSON, as it came first and as other languages have it.
//!
//! `data` holds articles of `paragraphs` with `qas`, or, as Hugging Face's scripts write it, questions with their `context` beside
//! them. Ids are texts or numbers; `answers` are objects of `text` and `answer_start`, or one object of two lists.

use std::fmt;
use std::fs;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::gather::{Gatherer, Raw, SourceLocation};
use super::paragraph::Paragraph;
use crate::error::{io, Result};

/// The layout, every key of which may be missing or null.
#[derive(Deserialize)]
struct FileLayout {
    data: Option<Vec<ArticleLayout>>,
}

#[derive(Deserialize)]
struct ArticleLayout {
    title: Option<Value>,
    paragraphs: Option<Vec<ParagraphLayout>>,
    // Of a question that has its context beside it.
    context: Option<String>,
    id: Option<Value>,
    question: Option<String>,
    answers: Option<Answers>,
    is_impossible: Option<bool>,
}

#[derive(Deserialize)]
struct ParagraphLayout {
    context: Option<String>,
    qas: Option<Vec<QuestionLayout>>,
}

#[derive(Deserialize)]
struct QuestionLayout {
    id: Option<Value>,
    question: Option<String>,
    answers: Option<Answers>,
    is_impossible: Option<bool>,
}

impl QuestionLayout {
    fn raw(self) -> Raw {
        Raw {
            id: self.id.and_then(plain),
            question: self.question,
            answers: self.answers.map(|answers| answers.0),
            is_impossible: self.is_impossible,
        }
    }
}

/// A text or a number, as a text.
fn plain(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[derive(Deserialize)]
struct AnswerLayout {
    text: Option<String>,
    answer_start: Option<i64>,
}

#[derive(Deserialize)]
struct AnswerColumns {
    text: Vec<Option<String>>,
    answer_start: Vec<Option<i64>>,
}

/// Text and place of each, from either layout.
struct Answers(Vec<(Option<String>, Option<i64>)>);

impl<'de> Deserialize<'de> for Answers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Answers;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of answers, or lists of `text` and `answer_start`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> std::result::Result<Answers, A::Error> {
                let answers = Vec::<AnswerLayout>::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(Answers(answers.into_iter().map(|answer| (answer.text, answer.answer_start)).collect()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Answers, A::Error> {
                let columns = AnswerColumns::deserialize(MapAccessDeserializer::new(map))?;
                let mut starts = columns.answer_start.into_iter();
                Ok(Answers(columns.text.into_iter().map(|text| (text, starts.next().flatten())).collect()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Takes the questions of the gatherer's file.
pub(super) fn read(gatherer: &mut Gatherer<'_>) -> Result<()> {
    let bytes = fs::read(gatherer.path).map_err(|error| io("read", gatherer.path, error))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes); // a byte order mark
    if bytes.trim_ascii().is_empty() {
        return Err(gatherer.error("is empty: expected SQuAD's JSON"));
    }
    let file: FileLayout = serde_json::from_slice(bytes)
        .map_err(|error| gatherer.error("is not in SQuAD's JSON layout").caused_by(error))?;
    for (number, article) in gatherer.need(file.data, "the file", "data")?.into_iter().enumerate() {
        let title: Arc<str> = article.title.and_then(plain).unwrap_or_default().into();
        if let (None, Some(question)) = (&article.paragraphs, article.question) {
            let place = SourceLocation::Flat(number);
            let paragraph = Paragraph::new(title, gatherer.need(article.context, place, "context")?);
            let question = QuestionLayout {
                id: article.id,
                question: Some(question),
                answers: article.answers,
                is_impossible: article.is_impossible,
            };
            gatherer.push(place, &paragraph, question.raw())?;
            continue;
        }
        let paragraphs = gatherer.need(article.paragraphs, format_args!("data[{number}]"), "paragraphs")?;
        for (paragraph, layout) in paragraphs.into_iter().enumerate() {
            let place = format!("data[{number}].paragraphs[{paragraph}]");
            let questions = gatherer.need(layout.qas, &place, "qas")?;
            let shared = Paragraph::new(Arc::clone(&title), gatherer.need(layout.context, &place, "context")?);
            for (question, layout) in questions.into_iter().enumerate() {
                gatherer.push(SourceLocation::Question(number, paragraph, question), &shared, layout.raw())?;
            }
        }
    }
    Ok(())
}
