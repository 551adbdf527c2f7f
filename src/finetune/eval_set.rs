//! Examples that a model is asked about, and what becomes of its answers: scores and files of predictions.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::{io, Error, Result};
use crate::finetune::batch::Example;
use crate::finetune::custom;
use crate::finetune::entities::{are_of_entities, tag_scores};
use crate::finetune::glue::{self, submission, GlueTask, Labels};
use crate::finetune::loss::{best_class, Output};
use crate::finetune::scores::Metric;
use crate::finetune::squad::{self, AnswerConfig, Question, SpanLogits, Version, Window};

/// Examples that a model is asked about.
#[derive(Debug)]
pub struct EvalSet {
    /// `dev`, `dev_mismatched`, `test`, `test_mismatched` or `ax`; `input` where a model is only asked.
    pub name: &'static str,
    /// Tokenised.
    pub examples: Vec<Example>,
    pub(super) source: Source,
}

#[derive(Debug)]
pub(super) enum Source {
    Glue(&'static GlueTask, glue::Set),
    Squad { questions: Vec<Question>, windows: Vec<Window>, version: Version, config: AnswerConfig },
    Custom { of: custom::Outputs, labels: Option<Vec<glue::Label>> },
    Tagged { tags: Vec<String>, firsts: Vec<Vec<Option<usize>>>, expected: Option<Vec<Vec<usize>>> },
}

impl EvalSet {
    /// The scores, as fractions: `dev/accuracy` and so on; none for a set without labels.
    ///
    /// # Errors
    /// Outputs that are not finite.
    pub fn scores(&self, outputs: &[Output]) -> Result<BTreeMap<String, f64>> {
        match &self.source {
            Source::Glue(row, set) => {
                let predictions = predictions(row, outputs)?;
                let Some(labels) = set.rows.labels() else { return Ok(BTreeMap::new()) };
                Ok(self.named(glue::evaluate(row, &predictions, &labels)?))
            }
            Source::Squad { questions, version, .. } => {
                // The answers are chosen already: no threshold on top.
                let scores = squad::evaluate(questions, &self.answers(outputs)?, f64::INFINITY)?;
                let mut named = BTreeMap::from([("exact", scores.all.exact), ("f1", scores.all.f1)]);
                if *version == Version::V2 {
                    named.extend([("best_exact", scores.best_exact.score), ("best_f1", scores.best_f1.score)]);
                    named.extend([("best_f1_threshold", scores.best_f1.threshold)]);
                    let groups = [("has_answer_f1", scores.has_answer), ("no_answer_f1", scores.no_answer)];
                    named.extend(groups.into_iter().filter_map(|(name, mean)| Some((name, mean?.f1))));
                }
                Ok(named.into_iter().map(|(name, score)| (format!("dev/{name}"), score)).collect())
            }
            Source::Custom { of, labels } => {
                let found = custom::predictions(of, outputs)?;
                let Some(labels) = labels else { return Ok(BTreeMap::new()) };
                let metrics: &[Metric] = match of {
                    custom::Outputs::Classes(_) => &[Metric::Accuracy, Metric::MacroF1, Metric::Matthews],
                    custom::Outputs::Number => &[Metric::Pearson, Metric::Spearman],
                };
                let found: Vec<glue::Label> = found.iter().map(custom::Prediction::as_label).collect();
                let scores = glue::measure_all(metrics, &found, labels)?;
                Ok(self.named(scores))
            }
            Source::Tagged { tags, firsts, expected } => {
                let found = custom::tagged(tags, firsts, outputs)?;
                let Some(expected) = expected else { return Ok(BTreeMap::new()) };
                let (mut predicted, mut there) = (Vec::new(), Vec::new());
                for (sentence, expected) in found.iter().zip(expected) {
                    // Words that are cut off count nowhere, as in run_ner.py.
                    let seen = sentence
                        .tags
                        .iter()
                        .zip(expected)
                        .filter_map(|(tag, at)| Some((tag.as_deref()?, tags[*at].as_str())));
                    let (one, other): (Vec<&str>, Vec<&str>) = seen.unzip();
                    predicted.push(one);
                    there.push(other);
                }
                let mut scores = tag_scores(&predicted, &there)?;
                if !are_of_entities(tags) {
                    scores.retain(|name, _| *name == Metric::Accuracy.name());
                }
                Ok(self.named(scores))
            }
        }
    }

    /// Whether its examples have labels, so that it has scores.
    pub(super) fn has_labels(&self) -> bool {
        match &self.source {
            Source::Glue(_, set) => set.rows.labels().is_some(),
            Source::Squad { .. } => true,
            Source::Custom { labels, .. } => labels.is_some(),
            Source::Tagged { expected, .. } => expected.is_some(),
        }
    }

    fn named(&self, scores: BTreeMap<&'static str, f64>) -> BTreeMap<String, f64> {
        scores.into_iter().map(|(name, score)| (format!("{}/{name}", self.name), score)).collect()
    }

    /// What a model predicts, a line of JSON for each example; nothing for sets of GLUE and SQuAD.
    ///
    /// # Errors
    /// Outputs that are not finite.
    pub fn lines(&self, outputs: &[Output]) -> Result<Vec<String>> {
        match &self.source {
            Source::Glue(..) | Source::Squad { .. } => Ok(Vec::new()),
            Source::Custom { of, .. } => custom::lines(&custom::predictions(of, outputs)?),
            Source::Tagged { tags, firsts, .. } => custom::lines(&custom::tagged(tags, firsts, outputs)?),
        }
    }

    /// Writes the predictions into `dir`, in the forms that the GLUE site and the SQuAD scripts take; those for own files as lines of
    /// JSON; nothing for dev sets of GLUE.
    ///
    /// # Errors
    /// Outputs that are not finite, and a file that cannot be written.
    pub fn write(&self, dir: &Path, outputs: &[Output]) -> Result<()> {
        match &self.source {
            Source::Glue(row, set)
                if row.sets.iter().any(|known| known.name == set.name && known.submission.is_some()) =>
            {
                submission::write(dir, row.task, set, &predictions(row, outputs)?).map(|_| ())
            }
            Source::Glue(..) => Ok(()),
            Source::Squad { .. } => squad::write_predictions(dir, &self.answers(outputs)?),
            Source::Custom { .. } | Source::Tagged { .. } => {
                let path = dir.join(format!("{}.jsonl", self.name));
                let text = self.lines(outputs)?.join("\n") + "\n";
                fs::write(&path, text).map_err(|error| io("write", &path, error))
            }
        }
    }

    fn answers(&self, outputs: &[Output]) -> Result<Vec<squad::Prediction>> {
        let Source::Squad { questions, windows, version, config } = &self.source else {
            return Err(Error::failed("expected a set of questions"));
        };
        let logits: Vec<SpanLogits<'_>> = outputs
            .iter()
            .filter_map(|output| match output {
                Output::Span { start, end } => Some(SpanLogits { start, end }),
                Output::Logits(_) | Output::Tags(_) => None,
            })
            .collect();
        squad::answers(questions, windows, &logits, *version, config)
    }
}

/// The class with the highest logit, the first of equals; or the number.
fn predictions(row: &GlueTask, outputs: &[Output]) -> Result<Vec<glue::Label>> {
    let prediction = |(at, output): (usize, &Output)| {
        let logits = output.sequence_logits(at)?;
        Ok(match row.labels {
            Labels::Score => glue::Label::Score(f64::from(logits[0])),
            Labels::Classes(_) => glue::Label::Class(best_class(logits)),
        })
    };
    outputs.iter().enumerate().map(prediction).collect()
}
