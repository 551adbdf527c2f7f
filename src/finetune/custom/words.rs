//! Sentences of words with a tag each, from a file in the format of the CoNLL shared tasks, or from lines of JSON or a Parquet file with
//! lists of words and of tags.

use std::path::Path;

use serde_json::Value;
use untie_data::table::Column;

use super::records::{objects_of, text_of};
use super::{Names, Row};
use crate::error::{quoted, Error, Result};
use crate::finetune::shards::columns;

/// Endings of file names that are read; the first three are in CoNLL's format.
pub const TAGGED: [&str; 6] = ["conll", "bio", "txt", "jsonl", "json", "parquet"];

const WORDS: [&str; 3] = ["tokens", "words", "text"];
const TAGS: [&str; 4] = ["tags", "ner_tags", "labels", "label"];

/// A sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentence {
    /// Its first line, or its row, in the file, from 1.
    pub place: usize,
    /// Its words.
    pub words: Vec<String>,
    /// A tag for each word; none where the file has none.
    pub tags: Option<Vec<String>>,
}

impl Row for Sentence {
    fn place(&self) -> usize {
        self.place
    }

    fn text(&self) -> String {
        self.words.join(" ")
    }

    fn is_labelled(&self) -> bool {
        self.tags.is_some()
    }
}

/// The sentences of a file.
///
/// # Errors
/// A file that cannot be read or has no sentences, and a sentence with another number of tags than of words.
pub fn read_sentences(path: &Path, names: &Names) -> Result<Vec<Sentence>> {
    let sentences = match path.extension().and_then(|extension| extension.to_str()) {
        Some("conll" | "bio" | "txt") => conll(path)?,
        Some("jsonl" | "json") => json(path, names)?,
        Some("parquet") => parquet(path, names)?,
        _ => {
            return Err(Error::data(format!("`{}`: expected a file of one of {}", path.display(), quoted(TAGGED)))
                .hint("the end of its name says which"))
        }
    };
    for Sentence { place, words, tags } in &sentences {
        let count = tags.as_ref().map_or(words.len(), Vec::len);
        if count != words.len() || words.is_empty() {
            let message = format!("`{}` row {place}: {} words and {count} tags", path.display(), words.len());
            return Err(Error::data(message));
        }
    }
    match sentences.is_empty() {
        true => Err(Error::data(format!("`{}` has no sentences", path.display()))),
        false => Ok(sentences),
    }
}

/// A word a line with its tag in the last column; an empty line ends a sentence. Lines of one column have no tag.
fn conll(path: &Path) -> Result<Vec<Sentence>> {
    let text = text_of(path)?;
    let mut all: Vec<Sentence> = Vec::new();
    let mut is_open = false;
    for (place, line) in (1..).zip(text.lines()) {
        let mut columns = line.split_whitespace();
        let Some(word) = columns.next().filter(|word| *word != "-DOCSTART-") else {
            is_open = false;
            continue;
        };
        if !is_open {
            all.push(Sentence { place, words: Vec::new(), tags: None });
            is_open = true;
        }
        let Some(sentence) = all.last_mut() else { continue };
        match (columns.last(), sentence.tags.is_some(), sentence.words.is_empty()) {
            (Some(tag), true, _) | (Some(tag), _, true) => {
                sentence.tags.get_or_insert_default().push(tag.to_owned());
            }
            (None, false, _) => {}
            (Some(_), false, false) | (None, true, _) => {
                return Err(Error::data(format!(
                    "`{}` line {place}: some words of a sentence have a tag and others not",
                    path.display()
                ))
                .hint("a line has a word and its tag, separated by spaces or a tab; an empty line ends a sentence"))
            }
        }
        sentence.words.push(word.to_owned());
    }
    Ok(all)
}

/// The first of `known` that `has`, or the one that is named.
fn column<'a>(
    path: &Path,
    key: &str,
    named: Option<&'a str>,
    known: &[&'a str],
    has: impl Fn(&str) -> bool,
) -> Result<Option<&'a str>> {
    match named {
        Some(name) if !has(name) => {
            Err(Error::data(format!("`{}` has no column `{name}` (`task.{key}`)", path.display())))
        }
        Some(name) => Ok(Some(name)),
        None => Ok(known.iter().copied().find(|name| has(name))),
    }
}

fn json(path: &Path, names: &Names) -> Result<Vec<Sentence>> {
    let objects = objects_of(path)?;
    let Some((_, first)) = objects.first() else { return Ok(Vec::new()) };
    let has = |name: &str| first.get(name).is_some();
    let of_words = column(path, "text", names.text.as_deref(), &WORDS, has)?.ok_or_else(|| no_words(path))?;
    let of_tags = column(path, "label", names.label.as_deref(), &TAGS, has)?;
    let list = |place: usize, value: Option<&Value>, what: &str| {
        let list = value.and_then(Value::as_array);
        let list =
            list.ok_or_else(|| Error::data(format!("`{}` row {place}: expected a list of {what}", path.display())))?;
        let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok::<_, Error>(list.iter().map(word).collect::<Vec<_>>())
    };
    let sentence = |(place, object): &(usize, Value)| {
        let words = list(*place, object.get(of_words), "words")?;
        let tags = of_tags.map(|name| list(*place, object.get(name), "tags")).transpose()?;
        Ok(Sentence { place: *place, words, tags })
    };
    objects.iter().map(sentence).collect()
}

fn parquet(path: &Path, names: &Names) -> Result<Vec<Sentence>> {
    let header = columns(path, &[])?.names;
    // A list's column is called `tokens.list.element`, or the like.
    let has = |name: &str| header.iter().any(|found| found.split('.').next() == Some(name));
    let of_words = column(path, "text", names.text.as_deref(), &WORDS, has)?.ok_or_else(|| no_words(path))?;
    let of_tags = column(path, "label", names.label.as_deref(), &TAGS, has)?;
    let table = columns(path, &[Some(of_words), of_tags].into_iter().flatten().collect::<Vec<_>>())?;
    let lists = |column: Option<&Option<Column>>| match column {
        Some(Some(Column::Texts(lists))) => Some(lists.clone()),
        Some(Some(Column::Integers(lists))) => {
            Some(lists.iter().map(|list| list.iter().map(i64::to_string).collect()).collect())
        }
        _ => None,
    };
    let words = lists(table.columns.first()).ok_or_else(|| no_words(path))?;
    let tags = lists(table.columns.get(1));
    let sentence = |(at, words): (usize, Vec<String>)| {
        let tags = tags.as_ref().and_then(|tags| tags.get(at).cloned());
        Sentence { place: at + 1, words, tags }
    };
    Ok(words.into_iter().enumerate().map(sentence).collect())
}

fn no_words(path: &Path) -> Error {
    Error::data(format!("`{}` has no column with lists of words, one of {}", path.display(), quoted(WORDS)))
        .hint("name the column with `--set task.text=NAME`")
}
