//! Hugging Face directories in and out.
//!
//! In: a directory that transformers wrote (weights as safetensors, in one file or several), or weights of our own. Out: a
//! [`HubModel`], or a directory that transformers reads: config.json, model.safetensors, tokenizer.json, tokenizer_config.json, vocab.txt. Post-LN models
//! are `BertForMaskedLM` (`BertForPreTraining` with a head for pairs; fine-tuned `BertForSequenceClassification` or
//! `BertForQuestionAnswering`); Pre-LN models are the same with `Megatron` before, which has no LayerNorm on the embeddings
//! and one after the last layer; Pre-LN models can be written as `EsmForMaskedLM` too, which is not read back. Files know neither
//! sharing nor padding: every layer has its tensors, with query, key and value apart. Cost: one copy of the file in host memory while it is read, one copy of the unique weights while it is
//! written. A run's export has a model card, README.md with a picture.

mod card;
mod config;
mod convert;
mod esm;
mod export;
mod family;
mod folder;
mod labels;
mod load;
mod names;
mod tokenizer;

pub use card::{Card, CARD_MARK};
pub use config::load_config;
pub use export::{export, export_labelled, Export};
pub use family::Family;
pub use folder::{model_folder, weight_files};
pub use load::{load, load_finetuned, load_for_task, HubModel};
pub use tokenizer::open_tokenizer;

/// Sizes and kind of the model.
const CONFIG_FILE: &str = "config.json";
/// The tensors.
const MODEL_FILE: &str = "model.safetensors";
/// The tokenizer, whole.
const TOKENIZER_FILE: &str = "tokenizer.json";
/// Which class of transformers wraps the tokenizer.
const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
/// One token a line, in id order, for tools without tokenizer.json.
const VOCAB_FILE: &str = "vocab.txt";
/// The model card.
const CARD_FILE: &str = "README.md";
/// The picture in the model card.
pub const PICTURE_FILE: &str = "curves.png";
