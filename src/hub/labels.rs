//! The part of config.json that says what a sequence head's logits mean: `id2label`, `label2id`, `problem_type`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};

use crate::error::{Error, Result};
use crate::model::TaskHead;

/// Labels of a head that config.json says nothing about; transformers' default.
const DEFAULT_LABELS: u64 = 2;

/// As in the file; encoders carry these keys too, with anything in them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Labels {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id2label: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label2id: Option<Value>,
    #[serde(default, skip_serializing)]
    num_labels: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem_type: Option<Value>,
}

/// transformers' words for labels that have none.
pub(super) fn default_labels(head: Option<TaskHead>) -> Vec<String> {
    match head {
        Some(TaskHead::Sequence { num_labels } | TaskHead::Token { num_labels }) => {
            (0..num_labels).map(|label| format!("LABEL_{label}")).collect()
        }
        Some(TaskHead::Span) | None => Vec::new(),
    }
}

/// What transformers calls the reading of `num_labels` logits.
pub(super) fn problem_type(num_labels: usize) -> &'static str {
    if num_labels == 1 {
        "regression"
    } else {
        "single_label_classification"
    }
}

impl Labels {
    /// Those of a model with this head, named by `words`. A number of labels is not written: transformers counts the words.
    ///
    /// # Errors
    /// When there are not as many different words as labels.
    pub(super) fn new(head: Option<TaskHead>, words: &[String]) -> Result<Self> {
        let expected = default_labels(head).len();
        if words.len() != expected {
            return Err(Error::config(format!("expected words for {expected} labels, got {}", words.len())));
        }
        if words.iter().collect::<BTreeSet<_>>().len() != words.len() {
            return Err(Error::config(format!("expected different words for the labels, got {words:?}")));
        }
        if words.is_empty() {
            return Ok(Self::default());
        }
        let numbered = || words.iter().enumerate();
        Ok(Self {
            id2label: Some(numbered().map(|(id, word)| (id.to_string(), json!(word))).collect::<Map<_, _>>().into()),
            label2id: Some(numbered().map(|(id, word)| (word.clone(), json!(id))).collect::<Map<_, _>>().into()),
            num_labels: None,
            problem_type: matches!(head, Some(TaskHead::Sequence { .. })).then(|| json!(problem_type(words.len()))),
        })
    }

    /// The words, by label.
    ///
    /// # Errors
    /// When the labels are not 0, 1, 2, …, each with a word.
    pub(super) fn words(&self) -> Result<Vec<String>> {
        if let Some(words) = self.words_by_number() {
            return Ok(words);
        }
        let Some(found) = &self.id2label else {
            let count = match &self.num_labels {
                None => DEFAULT_LABELS,
                Some(count) => count
                    .as_u64()
                    .ok_or_else(|| Error::data(format!("`num_labels`: expected a number of labels, got `{count}`")))?,
            };
            // A nonsensical number is left for the tensors to refuse, without as many words.
            let num_labels = usize::try_from(count.min(1 << 20)).unwrap_or(0);
            return Ok(default_labels(Some(TaskHead::Sequence { num_labels })));
        };
        let words = found.as_object().and_then(|words| {
            (0..words.len()).map(|id| Some(words.get(&id.to_string())?.as_str()?.to_owned())).collect()
        });
        words.ok_or_else(|| Error::data(format!("`id2label`: expected words for the labels 0, 1, 2, …, got `{found}`")))
    }

    /// The words of `label2id`, by which run_glue.py goes, unless they say nothing or do not number 0, 1, 2, …
    fn words_by_number(&self) -> Option<Vec<String>> {
        let numbers = self.label2id.as_ref()?.as_object()?;
        let mut words = vec![None; numbers.len()];
        for (word, number) in numbers {
            let number = number.as_u64().or_else(|| number.as_str()?.parse().ok())?;
            *words.get_mut(usize::try_from(number).ok()?)? = Some(word.clone());
        }
        let words: Vec<String> = words.into_iter().collect::<Option<_>>()?;
        let same_count =
            self.id2label.as_ref().and_then(Value::as_object).is_none_or(|found| found.len() == words.len());
        (same_count && !words.is_empty() && !words.iter().all(|word| word.starts_with("LABEL_"))).then_some(words)
    }

    /// What the file calls the reading of the logits.
    pub(super) fn problem_type(&self) -> Option<String> {
        self.problem_type.as_ref().map(|found| found.as_str().map_or_else(|| found.to_string(), str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> Labels {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn words_come_from_the_file_or_are_those_of_transformers() {
        let default = ["LABEL_0", "LABEL_1"];
        assert_eq!(read(json!({})).words().unwrap(), default);
        assert_eq!(read(json!({"num_labels": 2, "id2label": null})).words().unwrap(), default);
        assert_eq!(read(json!({"num_labels": 1})).words().unwrap(), ["LABEL_0"]);
        // transformers' run_glue.py goes by `label2id`.
        let both = json!({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"b": "0", "a": 1}});
        assert_eq!(read(both).words().unwrap(), ["b", "a"]);
        let stale = json!({"id2label": {"0": "a", "1": "b"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}});
        assert_eq!(read(stale).words().unwrap(), ["a", "b"]);
        assert_eq!(read(json!({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0}})).words().unwrap(), ["a", "b"]);
        let eleven: Vec<String> = (0..11).map(|label| format!("word {label}")).collect();
        let json = serde_json::to_value(Labels::new(Some(TaskHead::Sequence { num_labels: 11 }), &eleven).unwrap());
        let json = json.unwrap();
        assert_eq!(json["label2id"]["word 10"], 10);
        assert_eq!(json["problem_type"], "single_label_classification");
        assert_eq!(read(json).words().unwrap(), eleven);
    }

    #[test]
    fn what_is_no_list_of_words_is_refused() {
        for (json, message) in [
            (json!({"id2label": ["a", "b"]}), "expected words for the labels 0, 1, 2, …, got `[\"a\",\"b\"]`"),
            (json!({"id2label": {"0": "a", "2": "b"}}), "expected words for the labels"),
            (json!({"id2label": {"0": 1}}), "expected words for the labels"),
            (json!({"num_labels": "two"}), "`num_labels`: expected a number of labels, got `\"two\"`"),
        ] {
            let found = read(json).words().unwrap_err().to_string();
            assert!(found.contains(message), "{found}");
        }
        let refused = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Labels::new(Some(TaskHead::Sequence { num_labels: 2 }), &words).unwrap_err().to_string()
        };
        assert!(refused(&["a"]).contains("expected words for 2 labels, got 1"));
        assert!(refused(&["a", "a"]).contains("expected different words"));
        assert!(Labels::new(Some(TaskHead::Span), &["a".to_owned()]).is_err());
    }
}
