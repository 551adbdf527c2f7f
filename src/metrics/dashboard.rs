//! What TensorBoard shows of a run besides its curves: charts in groups (the tab CUSTOM SCALARS), and the run's settings beside those of
//! other runs (the tab HPARAMS).
//!
//! In: charts and settings. Out: the summary values that TensorBoard's plugins `custom_scalars` and `hparams` read
//! (tensorboard/plugins/custom_scalar/layout.proto, tensorboard/plugins/hparams/plugin_data.proto).
//!
//! There is no summary `_hparams_/experiment`, which would list the settings and the metrics. TensorBoard reads that of one run only, in no
//! certain order, so it would hide what other runs have. Without it TensorBoard collects the settings and metrics of all runs, and shows
//! first the settings that differ.

use std::collections::BTreeMap;

use serde_json::Value;

use super::protobuf::{message_of, put_bytes, put_double, put_number};

/// What TensorBoard shows of a run besides its curves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dashboard {
    /// The charts; those of a category in their order.
    pub charts: Vec<Chart>,
    /// What the run was told, by key. A null is left out; a list is shown as its JSON text.
    pub settings: BTreeMap<String, Value>,
}

/// Curves in one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    /// The group that it is in.
    pub category: Category,
    /// What is above it.
    pub title: String,
    /// Regular expressions (Python's, matched from the beginning): a curve for each tag that one of them matches.
    pub tags: Vec<String>,
}

/// Groups of charts, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// Losses.
    Loss,
    /// Accuracies, and the scores of tasks.
    Accuracy,
    /// How layers share their weights, and how alike their gradients are.
    Untying,
    /// How fast it is.
    Speed,
    /// Learning rate and gradients.
    Optimizer,
}

/// How a run ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// All steps are done.
    Finished,
    /// An error ended it.
    Failed,
}

impl Category {
    fn title(self) -> &'static str {
        match self {
            Self::Loss => "Loss",
            Self::Accuracy => "Accuracy and scores",
            Self::Untying => "Untying",
            Self::Speed => "Speed",
            Self::Optimizer => "Optimizer",
        }
    }
}

impl Chart {
    /// A chart of exactly these tags.
    pub fn of(category: Category, title: &str, tags: &[&str]) -> Self {
        Self { category, title: title.into(), tags: tags.iter().map(|tag| format!("^{tag}$")).collect() }
    }
}

/// The value for the plugin `custom_scalars`: a tensor of one string, a `Layout`.
pub(super) fn layout(charts: &[Chart]) -> Vec<u8> {
    let mut categories: BTreeMap<Category, Vec<u8>> = BTreeMap::new();
    for Chart { category, title, tags } in charts {
        let mut lines = Vec::new();
        tags.iter().for_each(|tag| put_bytes(&mut lines, 1, tag.as_bytes()));
        let mut chart = message_of(1, title.as_bytes());
        put_bytes(&mut chart, 2, &lines);
        let content = categories.entry(*category).or_insert_with(|| message_of(1, category.title().as_bytes()));
        put_bytes(content, 2, &chart);
    }
    let mut layout = Vec::new();
    categories.values().for_each(|category| put_bytes(&mut layout, 2, category));
    // 7: strings; a shape without dimensions.
    let mut tensor = vec![1 << 3, 7];
    put_bytes(&mut tensor, 2, &[]);
    put_bytes(&mut tensor, 8, &layout);
    value("custom_scalars__config__", &tensor, "custom_scalars", &[])
}

/// The value for the plugin `hparams` that begins a session, at `begin` seconds since 1970.
pub(super) fn session_start(settings: &BTreeMap<String, Value>, begin: f64) -> Vec<u8> {
    let mut start = Vec::new();
    for (key, setting) in settings {
        let mut content = Vec::new();
        match setting {
            Value::Null => continue,
            Value::Number(number) => put_double(&mut content, 2, number.as_f64().unwrap_or(f64::NAN)),
            Value::String(text) => put_bytes(&mut content, 3, text.as_bytes()),
            Value::Bool(is_set) => put_number(&mut content, 4, u64::from(*is_set)),
            Value::Array(_) | Value::Object(_) => put_bytes(&mut content, 3, setting.to_string().as_bytes()),
        }
        let mut entry = message_of(1, key.as_bytes());
        put_bytes(&mut entry, 2, &content);
        put_bytes(&mut start, 1, &entry);
    }
    put_double(&mut start, 5, begin);
    session("_hparams_/session_start_info", 3, &start)
}

/// The value for the plugin `hparams` that ends a session, at `end` seconds since 1970.
pub(super) fn session_end(how: RunEnd, end: f64) -> Vec<u8> {
    let mut status = Vec::new();
    put_number(&mut status, 1, if how == RunEnd::Finished { 1 } else { 2 });
    put_double(&mut status, 2, end);
    session("_hparams_/session_end_info", 4, &status)
}

/// A value that holds `info` as `field` of the plugin's data. Its tensor is what TensorBoard itself writes there: no floats.
fn session(tag: &str, field: u8, info: &[u8]) -> Vec<u8> {
    const NO_FLOATS: [u8; 6] = [1 << 3, 1, 2 << 3 | 2, 2, 2 << 3 | 2, 0];
    value(tag, &NO_FLOATS, "hparams", &message_of(field, info))
}

/// A `Summary.Value`: tag 1, tensor 8, metadata 9.
fn value(tag: &str, tensor: &[u8], plugin: &str, data: &[u8]) -> Vec<u8> {
    let mut plugin_data = message_of(1, plugin.as_bytes());
    if !data.is_empty() {
        put_bytes(&mut plugin_data, 2, data);
    }
    let mut value = message_of(1, tag.as_bytes());
    put_bytes(&mut value, 8, tensor);
    put_bytes(&mut value, 9, &message_of(1, &plugin_data));
    value
}
