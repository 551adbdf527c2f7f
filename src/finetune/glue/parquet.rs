//! A set in the layout of Hugging Face in, rows out.
//!
//! Columns as in the data set `glue`: one text or two, `label` (an integer, -1 where it is secret, or a floating point
//! number for STS-B) and `idx`. Shards follow one another. Cost: the columns of one shard in memory beside the rows.

use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use untie_data::table::Column;

use super::examples::Rows;
use super::glue_task::{GlueSet, GlueTask, Split};
use super::rows::{Gatherer, Raw};
use crate::error::{quoted, Error, Result};
use crate::finetune::shards::columns;

const LABEL: &str = "label";
const INDEX: &str = "idx";

pub(super) fn read(task: &GlueTask, set: &GlueSet, paths: &[PathBuf]) -> Result<Rows> {
    let mut rows = Gatherer::new(task, set, "row", &paths[0]);
    for path in paths {
        rows.of_file(path);
        let mut shard = Shard::open(task, set, path)?;
        for row in 1..=shard.num_rows {
            let null = |name: &str| rows.wrong(row, &format!("`{name}` is null"));
            let (name, texts) = &mut shard.first;
            let first = texts.next().flatten().ok_or_else(|| null(name))?;
            let second = match &mut shard.second {
                Some((name, texts)) => Some(texts.next().flatten().ok_or_else(|| null(name))?),
                None => None,
            };
            let id = shard.ids.as_mut().and_then(|ids| ids.next().flatten()).map(|id| id.to_string());
            rows.push(row, id, first, second, shard.labels.next())?;
        }
    }
    rows.finish()
}

/// The columns of a file.
struct Shard {
    num_rows: usize,
    first: Texts,
    second: Option<Texts>,
    labels: Labels,
    ids: Option<IntoIter<Option<i64>>>,
}

/// A column of texts with its name.
type Texts = (&'static str, IntoIter<Option<String>>);

/// The column of labels.
enum Labels {
    None,
    Integers(IntoIter<Option<i64>>),
    Reals(IntoIter<Option<f64>>),
}

impl Labels {
    fn next(&mut self) -> Raw<'static> {
        match self {
            Self::None => Raw::NoColumn,
            Self::Integers(numbers) => Raw::Integer(numbers.next().flatten()),
            Self::Reals(numbers) => Raw::Real(numbers.next().flatten()),
        }
    }
}

impl Shard {
    fn open(task: &GlueTask, set: &GlueSet, path: &Path) -> Result<Self> {
        let (first, second) = task.hub_columns;
        let wanted: Vec<&str> = [LABEL, INDEX, first].into_iter().chain(second).collect();
        let table = columns(path, &wanted)?;
        let missing = |name: &str| {
            Error::data(format!("`{}` has no column `{name}`: found {}", path.display(), quoted(&table.names)))
                .hint("`--data` is the folder of this task's own files")
        };
        let other = |name: &str, column: &Column, expected: &str| {
            let kind = column.kind();
            Error::data(format!("`{}`: column `{name}` holds {kind}: expected {expected}", path.display()))
        };
        let texts = |name: &'static str, column: Option<Column>| match column {
            Some(Column::Text(texts)) => Ok((name, texts.into_iter())),
            Some(column) => Err(other(name, &column, "text")),
            None => Err(missing(name)),
        };
        let mut columns = table.columns.into_iter();
        let mut next = || columns.next().flatten();
        let labels = match next() {
            Some(Column::Integer(numbers)) => Labels::Integers(numbers.into_iter()),
            Some(Column::Real(numbers)) => Labels::Reals(numbers.into_iter()),
            Some(column) => return Err(other(LABEL, &column, "numbers")),
            None if set.split == Split::Test => Labels::None,
            None => return Err(missing(LABEL)),
        };
        let ids = match next() {
            Some(Column::Integer(numbers)) => Some(numbers.into_iter()),
            Some(column) => return Err(other(INDEX, &column, "integers")),
            None => None,
        };
        Ok(Self {
            num_rows: table.num_rows,
            first: texts(first, next())?,
            second: second.map(|name| texts(name, next())).transpose()?,
            labels,
            ids,
        })
    }
}
