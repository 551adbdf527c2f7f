//! Whether a model can do a task: told before anything is read that takes time.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::error::{Error, Result};
use crate::finetune::config::FinetuneConfig;
use crate::finetune::glue;
use crate::finetune::task::Task;
use crate::finetune::task_data::task_head;
use crate::model::{BertConfig, TaskHead};

/// Checks the sizes of the model in `dir` against a task.
///
/// # Errors
/// Too few positions for the longest sequence, and too few segments for pairs of texts.
pub fn check_model(config: &FinetuneConfig, bert: &BertConfig, tokenizer: &Tokenizer, dir: &Path) -> Result<()> {
    let (longest, positions) = (config.max_length(), bert.max_position_embeddings);
    if longest as i64 > positions {
        return Err(Error::config(format!(
            "`task.max_length` = {longest} is longer than the model's {positions} positions"
        ))
        .hint("lower it with `--max-length`"));
    }
    if is_of_pairs(config.task.name) {
        let failed = |error: tokenizers::Error| Error::failed("the tokenizer fails").caused_by(error);
        let pair = tokenizer.encode(("a", "a"), true).map_err(failed)?;
        check_segments(pair.get_type_ids().iter().max().copied(), config.task.name, bert, dir)?;
    }
    Ok(())
}

/// Checks the largest number of a segment in a task's examples against the model in `dir`.
///
/// # Errors
/// A segment that the model does not know.
pub fn check_segments(last: Option<u32>, task: Task, bert: &BertConfig, dir: &Path) -> Result<()> {
    let segments = last.map_or(1, |last| i64::from(last) + 1);
    if segments > bert.type_vocab_size {
        return Err(Error::config(format!(
            "`{}` cannot do `{task}`: a pair of texts has {segments} segments, the model knows {} (`type_vocab_size`)",
            dir.display(),
            bert.type_vocab_size
        ))
        .hint(
            "take a model with two segments, or leave `token_type_ids` out of `model_input_names` in its \
             tokenizer_config.json",
        ));
    }
    Ok(())
}

/// Checks the head of the fine-tuned model in `dir` against a task.
///
/// # Errors
/// A head of another kind, or with another number of outputs.
pub fn check_finetuned(task: Task, found: Option<TaskHead>, dir: &Path) -> Result<()> {
    let expected = task_head(task);
    let fits = match (task, found) {
        // As many as the files have labels.
        (Task::TextClassification, Some(TaskHead::Sequence { num_labels })) => num_labels > 1,
        (Task::TokenClassification, Some(TaskHead::Token { .. })) => true,
        (_, found) => found == Some(expected),
    };
    if fits {
        return Ok(());
    }
    let words = |head: Option<TaskHead>| match head {
        Some(TaskHead::Sequence { num_labels: 1 }) => "a head of one number".to_owned(),
        Some(TaskHead::Sequence { num_labels }) => format!("a head of {num_labels} labels"),
        Some(TaskHead::Span) => "a head for the first and the last token of an answer".to_owned(),
        Some(TaskHead::Token { .. }) => "a head for every token".to_owned(),
        None => "none".to_owned(),
    };
    Err(Error::data(format!(
        "`{}` is fine-tuned for another task: `{task}` needs {}, got {}",
        dir.display(),
        words(Some(expected)),
        words(found)
    ))
    .hint(format!("give a model that was fine-tuned for `{task}`, or fine-tune this one's encoder with `--epochs 3`")))
}

fn is_of_pairs(task: Task) -> bool {
    match glue::row(task) {
        Some(row) => row.hub_columns.1.is_some(),
        // One's own files say it when they are read.
        None => !task.is_custom(),
    }
}
