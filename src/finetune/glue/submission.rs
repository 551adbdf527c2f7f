//! Predictions for a test set in, the file that the GLUE site takes out.
//!
//! A line `index<TAB>prediction`, then one line an example, in order, numbered from 0. A prediction is the label word of the
//! official files (`entailment`, or `1` where those have numbers), for STS-B a number from 0 to 5 with three decimals. A
//! submission is a zip of eleven such files without folders; scripts/check_glue_submission.py checks it.
//!
//! The site's own rules (gluebenchmark.com/faq) were not at hand. Names and form are those of the two programs of the
//! site's makers: `_write_glue_preds` and `GLUE_NAME_MAP` in jiant 1 (nyu-mll/jiant 00b121b, jiant/evaluate.py; the same
//! in jiant 2, jiant/scripts/benchmarks/benchmarks.py) and src/main.py of nyu-mll/GLUE-baselines (b1c8239).

use std::path::{Path, PathBuf};

use super::{row, Label, Labels, Set};
use crate::error::{Error, Result};
use crate::files::write_aside;
use crate::finetune::task::Task;

/// Writes the predictions for `set` into the folder `dir`, which must exist, and returns the file.
///
/// # Errors
/// A set that the site does not take; examples that are not numbered 0, 1, 2, …, for then some are missing; not one
/// prediction for each; a prediction that is not finite or not of the task; a file that cannot be written.
pub fn write(dir: &Path, task: Task, set: &Set, predictions: &[Label]) -> Result<PathBuf> {
    let row = row(task).and_then(|row| Some((row, row.sets.iter().find(|known| known.name == set.name)?)));
    let Some((row, name)) = row.and_then(|(row, known)| Some((row, known.submission?))) else {
        return Err(Error::config(format!("the GLUE site takes no predictions for `{}` of `{task}`", set.name)));
    };
    let examples = &set.rows.examples;
    if predictions.len() != examples.len() {
        let (expected, got) = (examples.len(), predictions.len());
        return Err(Error::failed(format!("`{name}`: expected {expected} predictions, got {got}")));
    }
    let mut text = String::from("index\tprediction\n");
    for (index, (example, &prediction)) in examples.iter().zip(predictions).enumerate() {
        if example.id != index.to_string() {
            return Err(Error::data(format!("`{name}`: expected example {index}, got `{}`", example.id))
                .hint("the GLUE site wants a prediction for each example of the official test set, in its order"));
        }
        let written = written(row.labels, prediction)
            .map_err(|what| Error::failed(format!("`{name}`: prediction {index} is {what}")))?;
        text.push_str(&format!("{index}\t{written}\n"));
    }
    let path = dir.join(name);
    write_aside(&path, text)?;
    Ok(path)
}

/// A prediction as it stands in the file, or what is wrong with it.
fn written(labels: Labels, prediction: Label) -> std::result::Result<String, String> {
    match (labels, prediction) {
        (Labels::Classes(words), Label::Class(class)) => match words.get(class) {
            Some(word) => Ok((*word).to_owned()),
            None => Err(format!("class {class}: expected 0 to {}", words.len() - 1)),
        },
        (Labels::Score, Label::Score(score)) if score.is_finite() => {
            // `+ 0.0` makes a plain zero of a negative one.
            Ok(format!("{:.3}", score.clamp(0.0, Labels::MOST) + 0.0))
        }
        (Labels::Score, Label::Score(score)) => Err(format!("{score}: expected a finite number")),
        (Labels::Classes(_), Label::Score(score)) => Err(format!("the score {score}: expected a class")),
        (Labels::Score, Label::Class(class)) => Err(format!("the class {class}: expected a score")),
    }
}
