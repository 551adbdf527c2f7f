//! SQuAD as Hugging Face keeps it: a row a question.
//!
//! Columns `id`, `title`, `context`, `question` and `answers`, a struct of the lists `text` and `answer_start` or a list of such
//! structs; a question without answers is impossible. Rows of one context that follow one another share it. Cost: the columns of
//! one file in memory beside the questions.

use std::sync::Arc;

use untie_data::table::Column;

use super::gather::{Gatherer, Raw, SourceLocation};
use super::paragraph::Paragraph;
use crate::error::{quoted, Result};
use crate::finetune::shards;

const COLUMNS: [&str; 6] = ["id", "title", "context", "question", "answers.text", "answers.answer_start"];

/// Takes the questions of the gatherer's file.
pub(super) fn read(gatherer: &mut Gatherer<'_>) -> Result<()> {
    let path = gatherer.path;
    let table = shards::columns(path, &COLUMNS)?;
    let names = quoted(&table.names);
    let mut columns = COLUMNS.into_iter().zip(table.columns);
    let mut next = || columns.next().unwrap_or(("", None));
    let wrong = |(name, column): (&str, Option<Column>), expected: &str| match column {
        Some(column) => gatherer.error(format_args!("holds {} in column `{name}`: expected {expected}", column.kind())),
        None => gatherer.error(format_args!("has no column `{name}`: found {names}")),
    };
    let ids: Vec<Option<String>> = match next() {
        (_, Some(Column::Text(ids))) => ids,
        (_, Some(Column::Integer(ids))) => ids.into_iter().map(|id| Some(id?.to_string())).collect(),
        other => return Err(wrong(other, "texts or integers")),
    };
    let titles = match next() {
        (_, Some(Column::Text(titles))) => titles,
        _ => vec![None; table.num_rows],
    };
    let mut text = || match next() {
        (_, Some(Column::Text(texts))) => Ok(texts),
        other => Err(wrong(other, "texts")),
    };
    let (contexts, questions) = (text()?, text()?);
    let answers = match next() {
        (_, Some(Column::Texts(answers))) => answers,
        other => return Err(wrong(other, "lists of texts")),
    };
    let starts = match next() {
        (_, Some(Column::Integers(starts))) => starts,
        other => return Err(wrong(other, "lists of integers")),
    };

    let mut shared: Option<Paragraph> = None;
    let rows = ids.into_iter().zip(titles).zip(contexts).zip(questions).zip(answers).zip(starts);
    for (row, (((((id, title), context), question), texts), starts)) in rows.enumerate() {
        let place = SourceLocation::Row(row + 1);
        let context = gatherer.need(context, place, "context")?;
        let title = title.unwrap_or_default();
        if texts.len() != starts.len() {
            let (expected, got) = (texts.len(), starts.len());
            return Err(gatherer.error(format_args!(
                "has other numbers of texts and places in `{place}`: expected {expected} `answer_start`, got {got}"
            )));
        }
        let paragraph = match shared.take() {
            Some(before) if *before.context == *context && *before.title == *title => before,
            _ => Paragraph::new(Arc::from(title), context),
        };
        let answers = texts.into_iter().zip(starts).map(|(text, start)| (Some(text), Some(start))).collect();
        let raw = Raw { id, question, answers: Some(answers), is_impossible: None };
        gatherer.push(place, &paragraph, raw)?;
        shared = Some(paragraph);
    }
    Ok(())
}
