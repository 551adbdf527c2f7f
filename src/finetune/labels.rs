//! The words that a finished model has for its outputs, held against those of a task.
//!
//! As in transformers' run_glue.py: words in another order say which output stands for which label, case and separators apart.
//! Words that say nothing (`LABEL_0`) stand for the order of the task. There, other words are ignored with a warning; here
//! they are an error, for the scores would be those of labels that were mixed up.

use crate::error::{quoted, Error, Result};
use crate::finetune::glue::{self, Labels};
use crate::finetune::task::Task;

/// For each label of the task, which output of a model with these words stands for it; none where they have the same order, or
/// are no classes.
///
/// # Errors
/// When the words are not those of the task.
pub fn label_outputs(task: Task, words: &[String]) -> Result<Option<Vec<usize>>> {
    let Some(row) = glue::row(task) else { return Ok(None) };
    let Labels::Classes(own) = row.labels else { return Ok(None) };
    let say_nothing = words.iter().enumerate().all(|(at, word)| {
        word.strip_prefix("LABEL_").is_some_and(|number| number.parse::<usize>().is_ok()) || *word == at.to_string()
    });
    if say_nothing && words.len() == own.len() {
        return Ok(None);
    }
    let order = |known: &[&str]| -> Option<Vec<usize>> {
        let at = |label: &&str| words.iter().position(|word| plain(word) == plain(label));
        let order: Vec<usize> = known.iter().map(at).collect::<Option<_>>()?;
        (order.len() == words.len()).then_some(order)
    };
    match [own, row.names].into_iter().filter(|known| !known.is_empty()).find_map(order) {
        Some(order) => Ok((!order.is_sorted()).then_some(order)),
        None => {
            let known: Vec<String> =
                [own, row.names].into_iter().filter(|known| !known.is_empty()).map(quoted).collect();
            Err(Error::data(format!(
                "the model has other labels than `{task}`: expected {} in any order, got {}",
                known.join(" or "),
                quoted(words)
            ))
            .hint(
                "name them so in `id2label` and `label2id` of the model's config.json; `LABEL_0`, `LABEL_1`, … stand for the \
                 order of the task",
            ))
        }
    }
}

/// A word without what differs between files: case, `_` and spaces.
fn plain(word: &str) -> String {
    word.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(task: Task, words: &[&str]) -> Result<Option<Vec<usize>>> {
        label_outputs(task, &words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>())
    }

    /// The words of `datasets` (glue.py), as run_glue.py compares them.
    #[test]
    fn words_say_which_output_is_which_label() {
        for (task, words, expected) in [
            (Task::Mnli, &["contradiction", "entailment", "neutral"][..], Some(vec![1, 2, 0])),
            (Task::Mnli, &["ENTAILMENT", "NEUTRAL", "CONTRADICTION"], None),
            (Task::Mnli, &["LABEL_0", "LABEL_1", "LABEL_2"], None),
            (Task::Mnli, &["0", "1", "2"], None),
            (Task::Ax, &["Contradiction", "Neutral", "Entailment"], Some(vec![2, 1, 0])),
            (Task::Rte, &["not entailment", "entailment"], Some(vec![1, 0])),
            (Task::Qnli, &["NOT_ENTAILMENT", "ENTAILMENT"], Some(vec![1, 0])),
            (Task::Sst2, &["POSITIVE", "NEGATIVE"], Some(vec![1, 0])),
            (Task::Sst2, &["1", "0"], Some(vec![1, 0])),
            (Task::Cola, &["unacceptable", "acceptable"], None),
            (Task::Mrpc, &["equivalent", "not_equivalent"], Some(vec![1, 0])),
            (Task::Qqp, &["duplicate", "not_duplicate"], Some(vec![1, 0])),
            (Task::Wnli, &["entailment", "not_entailment"], Some(vec![1, 0])),
            (Task::Stsb, &["anything"], None),
        ] {
            assert_eq!(order(task, words).unwrap(), expected, "{task}: {words:?}");
        }
        for (task, words) in [
            (Task::Mnli, &["a", "b", "c"][..]),
            (Task::Mnli, &["entailment", "neutral", "neutral"]),
            (Task::Sst2, &["negative", "neutral"]),
            (Task::Rte, &["entailment", "neutral", "not_entailment"]),
        ] {
            assert!(order(task, words).is_err(), "{task}: {words:?}");
        }
        let report = order(Task::Sst2, &["bad", "good"]).unwrap_err().report();
        let expected =
            "error: the model has other labels than `sst2`: expected `0`, `1` or `negative`, `positive` in any order, \
                        got `bad`, `good`\nhint: name them so";
        assert!(report.starts_with(expected), "{report}");
    }
}
