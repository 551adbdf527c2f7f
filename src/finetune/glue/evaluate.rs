//! Predictions and labels of a set in, the scores of its task out.

use std::collections::BTreeMap;

use super::examples::Label;
use super::glue_task::GlueTask;
use crate::error::{Error, Result};
use crate::finetune::scores::{accuracy, f1, macro_f1, matthews, pearson, spearman, Metric};

/// All scores of the task by their names, and `mean` if it has two.
///
/// # Errors
/// No predictions, not one for each label, a class where there should be a score or the other way round, and predictions
/// that are not finite.
pub fn evaluate(task: &GlueTask, predictions: &[Label], labels: &[Label]) -> Result<BTreeMap<&'static str, f64>> {
    let mut scores = measure_all(task.metrics, predictions, labels)?;
    if task.metrics.len() > 1 {
        let mean = scores.values().sum::<f64>() / scores.len() as f64;
        scores.insert(Metric::Mean.name(), mean);
    }
    Ok(scores)
}

/// The scores `metrics` by their names.
///
/// # Errors
/// As [`evaluate`].
pub fn measure_all(metrics: &[Metric], predictions: &[Label], labels: &[Label]) -> Result<BTreeMap<&'static str, f64>> {
    metrics.iter().map(|&metric| Ok((metric.name(), measure(metric, predictions, labels)?))).collect()
}

fn measure(metric: Metric, predictions: &[Label], labels: &[Label]) -> Result<f64> {
    let on_classes = |score: fn(&[usize], &[usize]) -> Result<f64>| score(&classes(predictions)?, &classes(labels)?);
    let on_scores = |score: fn(&[f64], &[f64]) -> Result<f64>| score(&numbers(predictions)?, &numbers(labels)?);
    match metric {
        Metric::Accuracy => on_classes(accuracy),
        Metric::F1 => on_classes(f1),
        Metric::MacroF1 => on_classes(macro_f1),
        Metric::Matthews => on_classes(matthews),
        Metric::Pearson => on_scores(pearson),
        Metric::Spearman => on_scores(spearman),
        Metric::Mean => Err(Error::failed("`mean` is not a score of its own")),
    }
}

fn classes(labels: &[Label]) -> Result<Vec<usize>> {
    let class = |label: &Label| match *label {
        Label::Class(class) => Ok(class),
        Label::Score(score) => Err(Error::data(format!("expected a class, got the score {score}"))),
    };
    labels.iter().map(class).collect()
}

fn numbers(labels: &[Label]) -> Result<Vec<f64>> {
    let number = |label: &Label| match *label {
        Label::Score(score) => Ok(score),
        Label::Class(class) => Err(Error::data(format!("expected a score, got the class {class}"))),
    };
    labels.iter().map(number).collect()
}
