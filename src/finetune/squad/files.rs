//! The prediction files that the official scripts of SQuAD take, named as transformers names them.

use std::path::Path;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::answers::{Candidate, Prediction};
use crate::error::{Error, Result};
use crate::files::write_aside;

const PREDICTIONS_FILE: &str = "predictions.json";
const NBEST_FILE: &str = "nbest_predictions.json";
const NULL_ODDS_FILE: &str = "null_odds.json";

/// Writes `predictions.json` (id → text), `nbest_predictions.json` (id → candidates) and, where there are odds,
/// `null_odds.json` (id → odds) into the folder `dir`, each aside first and then renamed.
///
/// # Errors
/// When a file cannot be written.
pub fn write_predictions(dir: &Path, predictions: &[Prediction]) -> Result<()> {
    let texts: Vec<_> = predictions.iter().map(|one| (one.id.as_str(), one.text.as_str())).collect();
    write_json(&dir.join(PREDICTIONS_FILE), &InOrder(texts))?;
    let candidates =
        predictions.iter().map(|one| (one.id.as_str(), one.candidates.iter().map(NBestLine::new).collect()));
    write_json(&dir.join(NBEST_FILE), &InOrder(candidates.collect::<Vec<(_, Vec<_>)>>()))?;
    let odds: Vec<_> = predictions.iter().filter_map(|one| Some((one.id.as_str(), one.null_odds?))).collect();
    if odds.is_empty() {
        return Ok(());
    }
    write_json(&dir.join(NULL_ODDS_FILE), &InOrder(odds))
}

fn write_json(path: &Path, content: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(content)
        .map_err(|error| Error::failed(format!("cannot write `{}`", path.display())).caused_by(error))?;
    bytes.push(b'\n');
    write_aside(path, bytes)
}

/// A JSON object whose keys keep their order.
struct InOrder<'a, T>(Vec<(&'a str, T)>);

impl<T: Serialize> Serialize for InOrder<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// A candidate with the keys of `nbest_predictions.json`; logits as fp64, as Python writes them.
#[derive(Serialize)]
struct NBestLine<'a> {
    start_logit: f64,
    end_logit: f64,
    text: &'a str,
    probability: f64,
}

impl<'a> NBestLine<'a> {
    fn new(candidate: &'a Candidate) -> Self {
        Self {
            start_logit: candidate.start_logit.into(),
            end_logit: candidate.end_logit.into(),
            text: &candidate.text,
            probability: candidate.probability,
        }
    }
}
