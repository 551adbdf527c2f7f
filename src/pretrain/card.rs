//! The model card of a run's export: README.md as the Hugging Face Hub shows it.
//!
//! In: where a run stands, its configuration, its `metrics.jsonl`, the manifests of its data. Out: a [`Card`]. What cannot be found,
//! as data that has been moved, is left out. Cost: the metrics are read once, and one picture is drawn.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;
use untie_data::manifest::{Counts, Manifest};

use crate::checkpoint::{Totals, Untying};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::hub::{Card, Family, CARD_MARK, PICTURE_FILE};
use crate::layer_map::LayerMap;
use crate::metrics::human::{human_count, human_duration, human_integer};
use crate::model::{BertConfig, Norm, Weights};
use crate::report::curves::curves;
use crate::report::figure::Format;
use crate::report::run::{Run, XAxis, EVAL_ACCURACY, EVAL_LOSS};

/// The keys of config.toml that the card shows.
const SETTINGS: [(&str, &[&str]); 5] = [
    (
        "data",
        &[
            "objective",
            "packing",
            "sequence_length",
            "mask_rate",
            "mask_token_rate",
            "random_token_rate",
            "whole_word",
            "span_length",
            "phase",
        ],
    ),
    ("train", &["steps", "steps_from", "global_batch", "precision", "seed"]),
    ("optim", &["lr", "warmup", "schedule", "weight_decay", "betas", "eps", "clip_norm"]),
    ("sharing", &["start", "groups", "rule", "untie_at", "threshold", "splits", "moments", "gradient"]),
    ("growth", &["rule"]),
];
/// Rows of the table of evaluations.
const MOST_ROWS: usize = 12;

/// What the card of a model tells.
#[derive(Clone, Copy, Debug)]
pub struct CardFacts<'a> {
    /// The run's folder.
    pub run_dir: &'a Path,
    /// Steps that the model was trained for.
    pub step: u64,
    /// Sizes of the model.
    pub bert: &'a BertConfig,
    /// Which layers share weights.
    pub map: &'a LayerMap,
    /// The weights.
    pub weights: &'a Weights,
    /// The run's configuration.
    pub config: &'a RunConfig,
    /// The classes that the export is for.
    pub family: Family,
    /// Tokens and time so far.
    pub totals: Totals,
    /// Every transition so far.
    pub untying: &'a [Untying],
    /// Versions and device.
    pub environment: &'a BTreeMap<String, String>,
}

impl CardFacts<'_> {
    /// The card.
    ///
    /// # Errors
    /// A family without this model, numbers that JSON does not have, and a picture that cannot be drawn.
    pub fn card(&self) -> Result<Card> {
        // Without metrics there are no results to show.
        let run = Run::read(self.run_dir).ok().map(|run| run.until(self.step as f64));
        let run = run.filter(|run| !run.series(EVAL_LOSS).is_empty());
        let picture = run.as_ref().map(|run| {
            let mut run = run.clone();
            run.name = "this model".into();
            curves(&[run], None, XAxis::Steps).bytes(Format::Png)
        });
        let parts = [
            self.front_matter()?,
            self.model()?,
            self.history(),
            self.data(),
            self.settings()?,
            results(run.as_ref()),
            self.usage()?,
            self.versions(),
        ];
        Ok(Card { text: parts.join("\n"), picture: picture.transpose()? })
    }

    /// What the Hub reads.
    fn front_matter(&self) -> Result<String> {
        let model = self.family.of(self.bert)?.model_type();
        Ok(format!(
            "---\n{CARD_MARK}\n\
             # The licence and the language are yours to state:\n\
             # license: apache-2.0\n\
             # language: en\n\
             library_name: transformers\n\
             pipeline_tag: fill-mask\n\
             tags:\n- {model}\n- fill-mask\n- pre-trained\n- untie\n\
             ---\n"
        ))
    }

    fn model(&self) -> Result<String> {
        let (bert, layers) = (self.bert, self.map.num_layers());
        let norm = match bert.norm {
            Norm::Post => "LayerNorm after each residual sum (Post-LN), as in the original BERT",
            Norm::Pre => "LayerNorm before attention and feed-forward (Pre-LN), as in Megatron-LM",
        };
        let mut files = 0;
        for weight in self.weights.entries() {
            let copies = weight.spec.group.map_or(1, |group| self.map.members(group).len() as i64);
            files += copies * weight.spec.shape.iter().product::<i64>();
        }
        let heads = if bert.pair_head { "masked tokens, and pairs of segments" } else { "masked tokens" };
        let rows = [
            ("Class", format!("`{}`", self.family.class(bert)?)),
            ("Layers", layers.to_string()),
            ("Hidden size", bert.hidden_size.to_string()),
            ("Attention heads", bert.num_attention_heads.to_string()),
            ("Feed-forward size", bert.intermediate_size.to_string()),
            ("Longest sequence", format!("{} tokens", bert.max_position_embeddings)),
            ("Vocabulary", format!("{} tokens", human_integer(bert.vocab_size as u64))),
            ("Norm", norm.into()),
            ("Predicts", heads.into()),
            ("Parameters", human_integer(files as u64)),
            ("Parameters, shared ones once", human_integer(self.weights.num_parameters() as u64)),
        ];
        let mut text = format!(
            "# BERT, {layers} layers, hidden size {}\n\n\
             This BERT was pre-trained with untie. untie can train layers that share their weights, and untie them later \
             ([arXiv 2110.03848](https://arxiv.org/abs/2110.03848)); the section on training says what was done here.\n\n\
             | | |\n|---|---|\n",
            bert.hidden_size
        );
        rows.iter().for_each(|(name, value)| line(&mut text, &format!("| {name} | {value} |")));
        Ok(text)
    }

    fn history(&self) -> String {
        let mut text = "## Training\n\n".to_owned();
        let Totals { tokens, wall_seconds, skipped_steps, .. } = self.totals;
        line(
            &mut text,
            &format!(
                "{} steps, {} tokens, {}.{}",
                human_integer(self.step),
                human_count(tokens.into()),
                human_duration(wall_seconds),
                if skipped_steps > 0 { format!(" {skipped_steps} updates were skipped.") } else { String::new() }
            ),
        );
        let init = self.config.model.init.as_ref().and_then(|dir| dir.file_name());
        if let Some(name) = init {
            line(&mut text, &format!("The weights began as those of `{}`.", name.to_string_lossy()));
        }
        text.push_str("\n| after step | layers |\n|---|---|\n");
        let begin = self.config.rule(self.bert.num_hidden_layers).map(|rule| rule.course(self.config.train.steps));
        if let Some((_, map)) = begin.ok().and_then(|course| course.into_iter().next()) {
            line(&mut text, &format!("| 0 | {} |", sharing(map.num_layers(), map.num_groups())));
        }
        for Untying { step, groups, mlm_accuracy, layers } in self.untying {
            let change = match layers {
                Some(layers) => format!("now {layers} layers in {groups} groups"),
                None => format!("untied: {groups} groups"),
            };
            line(&mut text, &format!("| {step} | {change}; held-out accuracy {} before |", percent(*mlm_accuracy)));
        }
        line(&mut text, &format!("| {} | {} |", self.step, sharing(self.map.num_layers(), self.map.num_groups())));
        text
    }

    fn data(&self) -> String {
        let config = &self.config.data;
        let mut text = "## Data\n\n| corpus | share | documents | tokens | held-out documents | held-out tokens | source files |\n\
                        |---|---|---|---|---|---|---|\n"
            .to_owned();
        let dirs = config.dirs();
        let (mut tokenizer, weights) = (None, config.weights());
        let sum: f64 = weights.iter().sum();
        for (dir, weight) in dirs.iter().zip(weights) {
            let name = dir.file_name().map_or("data".into(), |name| name.to_string_lossy());
            let found = Manifest::load(dir).ok();
            let counts = |of: Option<Counts>| match of {
                Some(Counts { documents, tokens, .. }) => {
                    format!("{} | {}", human_integer(documents), human_integer(tokens))
                }
                None => "? | ?".into(),
            };
            let (train, valid) = (found.as_ref().map(|of| of.train), found.as_ref().map(|of| of.valid));
            let sources = found.as_ref().map_or("?".into(), |of| of.sources.len().to_string());
            let share = 100.0 * weight / sum;
            line(&mut text, &format!("| {name} | {share:.0} % | {} | {} | {sources} |", counts(train), counts(valid)));
            tokenizer = tokenizer.or(found.map(|of| of.tokenizer));
        }
        if let Some(tokenizer) = tokenizer {
            let case = match tokenizer.lowercase {
                Some(true) => ", lower-cased",
                Some(false) => ", case kept",
                None => "",
            };
            line(&mut text, &format!("\nVocabulary: {} tokens{case}.", human_integer(tokenizer.vocab_size.into())));
        }
        text
    }

    fn settings(&self) -> Result<String> {
        let tables = serde_json::to_value(self.config)
            .map_err(|error| Error::failed("the configuration has no JSON form").caused_by(error))?;
        let mut text = "## Settings\n\n| key | value |\n|---|---|\n".to_owned();
        for (table, keys) in SETTINGS {
            for key in keys {
                let value = match &tables[table][key] {
                    Value::Null => continue,
                    Value::String(value) => value.clone(),
                    value => value.to_string(),
                };
                line(&mut text, &format!("| `{table}.{key}` | `{value}` |"));
            }
        }
        Ok(text)
    }

    fn usage(&self) -> Result<String> {
        let class = self.family.class(self.bert)?;
        let logits = if self.bert.pair_head { "prediction_logits" } else { "logits" };
        Ok(format!(
            "## How to load it\n\n\
             With transformers; `.` is this folder, and the name of a repository on the Hub works too.\n\n\
             ```python\n\
             import torch\n\
             from transformers import AutoTokenizer, {class}\n\n\
             tokenizer = AutoTokenizer.from_pretrained(\".\")\n\
             model = {class}.from_pretrained(\".\").eval()\n\
             text = f\"the {{tokenizer.mask_token}} is here .\"\n\
             inputs = tokenizer(text, return_tensors=\"pt\")\n\
             with torch.no_grad():\n    \
                 logits = model(**inputs).{logits}\n\
             masked = inputs.input_ids == tokenizer.mask_token_id\n\
             print(tokenizer.convert_ids_to_tokens(logits[masked][0].topk(5).indices))\n\
             ```\n\n\
             For another task, as classification: `AutoModelForSequenceClassification.from_pretrained(\".\")`, which adds a new head.\n"
        ))
    }

    fn versions(&self) -> String {
        let fact = |name: &str| self.environment.get(name).map_or("?", String::as_str);
        format!("## Versions\n\nuntie {}, libtorch {}, on {}.\n", fact("untie"), fact("libtorch"), fact("device"))
    }
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// How many groups of weights `layers` layers have, in words.
fn sharing(layers: usize, groups: usize) -> String {
    match groups {
        1 => format!("{layers} layers, all tied: one group of weights"),
        _ if groups == layers => format!("{layers} layers, each with its own weights"),
        _ => format!("{layers} layers in {groups} groups of equal weights"),
    }
}

/// The evaluations, thinned, the last one kept.
fn results(run: Option<&Run>) -> String {
    let mut text = "## Results on held-out text\n\n".to_owned();
    let Some(run) = run else { return text + "There are no recorded evaluations.\n" };
    let (losses, accuracies) = (run.series(EVAL_LOSS), run.series(EVAL_ACCURACY));
    line(&mut text, &format!("![Loss and accuracy by step]({PICTURE_FILE})\n"));
    text.push_str("| step | loss | masked tokens predicted right |\n|---|---|---|\n");
    let every = losses.len().div_ceil(MOST_ROWS).max(1);
    for (step, loss) in losses.iter().rev().step_by(every).collect::<Vec<_>>().into_iter().rev() {
        let accuracy = accuracies.iter().find(|(at, _)| at == step);
        let accuracy = accuracy.map_or("?".into(), |(_, value)| percent(*value));
        line(&mut text, &format!("| {step} | {loss:.4} | {accuracy} |"));
    }
    text
}
