//! SQuAD v1.1 and v2.0: questions about paragraphs, answered by a span of the paragraph.
//!
//! In: JSON files as the official ones, or Hugging Face's Parquet. Out: windows of tokens with the answer's two positions for training, and from a model's
//! start and end logits the answers' texts, the official prediction files and the official scores. One file a station:
//! [`mod@read`] (files → questions), [`mod@windows`] (questions → windows of tokens), [`mod@answers`] (logits → texts),
//! [`score`] (texts → exact match and F1). Nothing here knows a model or a tensor. The cost is that of
//! tokenising, each paragraph once.

pub mod answers;
mod files;
mod find;
mod gather;
mod json;
mod paragraph;
mod parquet;
mod python;
mod question;
pub mod read;
pub mod score;
mod sequence_template;
mod skipped;
mod window_config;
pub mod windows;

pub use answers::{answers, AnswerConfig, Candidate, Prediction, SpanLogits};
pub use files::write_predictions;
pub use find::find;
pub use gather::Dataset;
pub use question::{Answer, Question, Split, Version, NOWHERE};
pub use read::{read, read_all};
pub use score::{evaluate, Scores};
pub use skipped::{Skip, Skipped};
pub use window_config::WindowConfig;
pub use windows::{windows, Label, Span, Window, CLS};
