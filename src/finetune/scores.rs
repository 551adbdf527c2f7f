//! Predictions and labels in, one number out: the scores of GLUE.
//!
//! Each is what scikit-learn or scipy gives, also at the edges: F1 without a positive anywhere and Matthews with one class
//! are 0, a correlation with a constant is NaN. Cost: O(n), and O(n log n) for ranks.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};

/// A score, a fraction: higher is better, 1 is best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// [`accuracy`].
    Accuracy,
    /// [`f1`].
    F1,
    /// [`macro_f1`].
    MacroF1,
    /// [`matthews`].
    Matthews,
    /// [`pearson`].
    Pearson,
    /// [`spearman`].
    Spearman,
    /// The mean of a task's two scores, as GLUE counts such a task.
    Mean,
}

impl Metric {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 => "f1",
            Self::MacroF1 => "macro_f1",
            Self::Matthews => "matthews",
            Self::Pearson => "pearson",
            Self::Spearman => "spearman",
            Self::Mean => "mean",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The share of predictions that are right.
///
/// # Errors
/// No predictions, or not one for each label.
pub fn accuracy(predictions: &[usize], labels: &[usize]) -> Result<f64> {
    check_lengths(predictions.len(), labels.len(), 1)?;
    Ok(num_right(predictions, labels) as f64 / labels.len() as f64)
}

/// F1 = 2·precision·recall / (precision + recall) of class 1; 0 if that class is neither predicted nor there.
///
/// # Errors
/// No predictions, or not one for each label.
pub fn f1(predictions: &[usize], labels: &[usize]) -> Result<f64> {
    check_lengths(predictions.len(), labels.len(), 1)?;
    let both = predictions.iter().zip(labels).filter(|&pair| pair == (&1, &1)).count();
    let either = [predictions, labels].concat().iter().filter(|&&class| class == 1).count();
    Ok(if either == 0 { 0.0 } else { 2.0 * both as f64 / either as f64 })
}

/// The mean of the F1 of every class that is predicted or there, as scikit-learn's `f1_score(average="macro")`.
///
/// # Errors
/// No predictions, or not one for each label.
pub fn macro_f1(predictions: &[usize], labels: &[usize]) -> Result<f64> {
    check_lengths(predictions.len(), labels.len(), 1)?;
    // Of each class: how often it is predicted or there, and how often both at once.
    let mut counts: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (&prediction, &label) in predictions.iter().zip(labels) {
        counts.entry(prediction).or_default().0 += 1;
        counts.entry(label).or_default().0 += 1;
        counts.entry(label).or_default().1 += usize::from(prediction == label);
    }
    let scores = counts.values().map(|&(either, both)| 2.0 * both as f64 / either as f64);
    Ok(scores.sum::<f64>() / counts.len() as f64)
}

/// Matthews' correlation of any number of classes, Gorodkin's R_K: with t_k labels and p_k predictions of class k, c
/// right ones and n in all, (c·n − Σ t_k·p_k) / √((n² − Σ p_k²)(n² − Σ t_k²)); 0 if that is 0/0, when predictions or
/// labels are all of one class.
///
/// # Errors
/// No predictions, or not one for each label.
pub fn matthews(predictions: &[usize], labels: &[usize]) -> Result<f64> {
    check_lengths(predictions.len(), labels.len(), 1)?;
    // In whole numbers, which are exact: 2^63 squared still fits.
    let mut counts: BTreeMap<usize, (i128, i128)> = BTreeMap::new();
    for (&prediction, &label) in predictions.iter().zip(labels) {
        counts.entry(prediction).or_default().0 += 1;
        counts.entry(label).or_default().1 += 1;
    }
    let (num, num_right) = (labels.len() as i128, num_right(predictions, labels) as i128);
    let sum = |product: fn(&(i128, i128)) -> i128| counts.values().map(product).sum::<i128>();
    let between = num_right * num - sum(|(predicted, labelled)| predicted * labelled);
    let of_predictions = num * num - sum(|(predicted, _)| predicted * predicted);
    let of_labels = num * num - sum(|(_, labelled)| labelled * labelled);
    if of_predictions == 0 || of_labels == 0 {
        return Ok(0.0);
    }
    Ok(between as f64 / ((of_predictions as f64).sqrt() * (of_labels as f64).sqrt()))
}

/// Pearson's correlation, within [-1, 1]; NaN if predictions or labels are constant.
///
/// # Errors
/// Less than two predictions, not one for each label, or a number that is not finite.
pub fn pearson(predictions: &[f64], labels: &[f64]) -> Result<f64> {
    check_numbers(predictions, labels)?;
    Ok(correlation(predictions, labels))
}

/// Spearman's correlation: Pearson's of the ranks, where equal numbers share the mean of their ranks; NaN if predictions
/// or labels are constant.
///
/// # Errors
/// Less than two predictions, not one for each label, or a number that is not finite.
pub fn spearman(predictions: &[f64], labels: &[f64]) -> Result<f64> {
    check_numbers(predictions, labels)?;
    Ok(correlation(&ranks(predictions), &ranks(labels)))
}

fn num_right(predictions: &[usize], labels: &[usize]) -> usize {
    predictions.iter().zip(labels).filter(|(prediction, label)| prediction == label).count()
}

fn check_lengths(num_predictions: usize, num_labels: usize, least: usize) -> Result<()> {
    if num_predictions != num_labels {
        let message = format!("expected as many predictions as labels, {num_labels}, got {num_predictions}");
        return Err(Error::data(message));
    }
    if num_labels < least {
        return Err(Error::data(format!("too few predictions: expected at least {least}, got {num_labels}")));
    }
    Ok(())
}

fn check_numbers(predictions: &[f64], labels: &[f64]) -> Result<()> {
    check_lengths(predictions.len(), labels.len(), 2)?;
    for (what, numbers) in [("prediction", predictions), ("label", labels)] {
        if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
            return Err(Error::data(format!("{what} {at} is {}: expected a finite number", numbers[at])));
        }
    }
    Ok(())
}

fn correlation(left: &[f64], right: &[f64]) -> f64 {
    match (direction(left), direction(right)) {
        (Some(left), Some(right)) => left.iter().zip(&right).map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0),
        _ => f64::NAN,
    }
}

/// The numbers without their mean, at length 1; nothing if they are all equal.
fn direction(numbers: &[f64]) -> Option<Vec<f64>> {
    let first = numbers.first()?;
    if numbers.iter().all(|number| number == first) {
        return None;
    }
    // Scaled first, so that nothing overflows. The mean is taken twice: what rounding left of it the first time is as
    // large as the numbers' spread when they are far from 0.
    let largest = numbers.iter().fold(0.0_f64, |largest, number| largest.max(number.abs()));
    let mut centred: Vec<f64> = numbers.iter().map(|number| number / largest).collect();
    for _ in 0..2 {
        let mean = centred.iter().sum::<f64>() / centred.len() as f64;
        centred.iter_mut().for_each(|number| *number -= mean);
    }
    let spread = centred.iter().fold(0.0_f64, |spread, number| spread.max(number.abs()));
    if spread == 0.0 {
        return None;
    }
    centred.iter_mut().for_each(|number| *number /= spread);
    let length = centred.iter().map(|number| number * number).sum::<f64>().sqrt();
    centred.iter_mut().for_each(|number| *number /= length);
    Some(centred)
}

/// The rank of each number, from 1; equal numbers have the mean of theirs.
fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    // 0.0 and -0.0 are equal, so not by `total_cmp`; what cannot be compared was refused.
    order.sort_by(|&a, &b| numbers[a].partial_cmp(&numbers[b]).unwrap_or(std::cmp::Ordering::Equal));
    let mut ranks = vec![0.0; numbers.len()];
    let mut before = 0;
    for ties in order.chunk_by(|&a, &b| numbers[a] == numbers[b]) {
        // The mean of before + 1, …, before + ties.
        let rank = before as f64 + (ties.len() + 1) as f64 / 2.0;
        ties.iter().for_each(|&place| ranks[place] = rank);
        before += ties.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 3 true positives, 1 false positive, 2 false negatives, 4 true negatives.
    #[test]
    fn two_classes_in_closed_form() {
        let predictions = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0];
        let labels = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0];
        assert_eq!(accuracy(&predictions, &labels).unwrap(), 0.7);
        assert_eq!(f1(&predictions, &labels).unwrap(), 2.0 * 3.0 / (2.0 * 3.0 + 1.0 + 2.0));
        // (tp·tn − fp·fn) / √((tp+fp)(tp+fn)(tn+fp)(tn+fn))
        let expected = (3.0 * 4.0 - 1.0 * 2.0) / (4.0 * 5.0 * 5.0 * 6.0_f64).sqrt();
        assert!((matthews(&predictions, &labels).unwrap() - expected).abs() < 1e-15);
        // Renaming the classes changes nothing but F1.
        let swap = |classes: &[usize]| classes.iter().map(|class| 7 - 5 * class).collect::<Vec<_>>();
        assert!((matthews(&swap(&predictions), &swap(&labels)).unwrap() - expected).abs() < 1e-15);
    }

    /// x = 1, 2, 3 against y = 1, 3, 2: covariance 1/2·1, variances 2 and 2, so 1/2; a line gives 1.
    #[test]
    fn correlations_in_closed_form() {
        let x = [1.0, 2.0, 3.0];
        assert!((pearson(&x, &[1.0, 3.0, 2.0]).unwrap() - 0.5).abs() < 1e-15);
        assert!((pearson(&x, &[-1e300, -2e300, -3e300]).unwrap() + 1.0).abs() < 1e-15);
        // Curved but rising: the ranks are on a line.
        assert!((spearman(&x, &[1.0, 10.0, 100.0]).unwrap() - 1.0).abs() < 1e-15);
        // Ranks 1.5, 1.5, 3 against 1, 2, 3: covariance 1.5, variances 1.5 and 2.
        assert!((spearman(&[0.0, -0.0, 9.0], &x).unwrap() - 1.5 / 3.0_f64.sqrt()).abs() < 1e-15);
        assert_eq!(ranks(&[2.0, 1.0, 2.0, 2.0]), [3.0, 1.0, 3.0, 3.0]);
    }

    #[test]
    fn edges_are_those_of_scikit_learn_and_scipy() {
        assert_eq!(f1(&[0, 0], &[0, 0]).unwrap(), 0.0);
        assert_eq!(matthews(&[1, 1], &[0, 1]).unwrap(), 0.0);
        assert_eq!(matthews(&[2, 2], &[2, 2]).unwrap(), 0.0);
        assert!(pearson(&[2.0, 2.0], &[0.0, 1.0]).unwrap().is_nan());
        assert!(spearman(&[0.0, 1.0], &[0.1, 0.1]).unwrap().is_nan());
    }

    #[test]
    fn bad_input_is_named() {
        let text = |result: Result<f64>| result.unwrap_err().to_string();
        assert_eq!(text(accuracy(&[], &[])), "too few predictions: expected at least 1, got 0");
        assert_eq!(text(f1(&[1], &[])), "expected as many predictions as labels, 0, got 1");
        assert_eq!(text(pearson(&[1.0], &[1.0])), "too few predictions: expected at least 2, got 1");
        assert_eq!(text(pearson(&[1.0, f64::NAN], &[1.0, 2.0])), "prediction 1 is NaN: expected a finite number");
        let infinite = spearman(&[1.0, 2.0], &[f64::INFINITY, 2.0]);
        assert_eq!(text(infinite), "label 0 is inf: expected a finite number");
    }
}
