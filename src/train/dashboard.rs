//! What TensorBoard is told of every run: the charts of the loop's own metrics, and the sizes of the model.

use crate::error::{Error, Result};
use crate::keys::flatten;
use crate::metrics::{Category, Chart, Dashboard};
use crate::train::state::TrainState;

/// `dashboard` of a task, with what the loop adds. The first chart has the losses of training and of held-out text.
pub(super) fn with_loop(dashboard: Dashboard, state: &TrainState) -> Result<Dashboard> {
    let mut charts = vec![
        Chart::of(Category::Loss, "Training, held-out text", &["train/loss", "eval/loss"]),
        Chart::of(Category::Speed, "Tokens a second", &["train/tokens_per_second"]),
        Chart::of(Category::Optimizer, "Learning rate", &["train/lr"]),
        Chart::of(Category::Optimizer, "Norm of the gradient, before clipping", &["train/grad_norm"]),
    ];
    if state.scaler()?.is_some() {
        charts.push(Chart::of(Category::Optimizer, "Loss scale of fp16", &["train/loss_scale"]));
    }
    charts.extend(dashboard.charts);
    let bert = serde_json::to_value(&state.spec().bert)
        .map_err(|error| Error::failed("the sizes of the model have no JSON form").caused_by(error))?;
    let sizes = flatten(&bert).into_iter().map(|(key, size)| (format!("model.{key}"), size));
    let settings = dashboard.settings.into_iter().chain(sizes).collect();
    Ok(Dashboard { charts, settings })
}
