//! Runs as a figure: loss, accuracy and untying points of all of them, then each one's correlations over time.

use super::chart::{HeatMap, Lines, Mark, Series};
use super::figure::{Figure, Panel};
use super::run::{Run, XAxis, EVAL_ACCURACY, EVAL_LOSS, TRAIN_ACCURACY, TRAIN_LOSS};

/// The curves of `runs`, which are already [`Run::along`] `x`: training as a mean of `smooth` logged points around each,
/// evaluations dashed in the same colour, and untying points as vertical lines.
///
/// `smooth = None` takes a fiftieth of each run's points, at most 1000. The heat maps of all runs have one range of
/// colours. Where no correlation is negative it ends at 1 and starts at the first of 0.9, 0.8, 0.5 and 0 that holds the
/// lowest one; else it is symmetric, white for no correlation, up to the first of 0.1, 0.2, 0.5 and 1 that holds all.
pub fn curves(runs: &[Run], smooth: Option<usize>, x: XAxis) -> Figure {
    let panel = |title: &str, y_label: &str, factor: f64, train: &str, eval: &str| {
        let (mut series, mut marks) = (Vec::new(), Vec::new());
        for run in runs {
            let scaled = |points: &[(f64, f64)]| points.iter().map(|(step, value)| (*step, factor * value)).collect();
            let line = |points, dashed| Series { name: run.name.clone(), points, dashed };
            let points = run.series(train);
            let window = smooth.unwrap_or_else(|| (points.len() / 50).clamp(1, 1000));
            let own = Some(series.len());
            series.push(line(scaled(&smoothed(points, window)), false));
            series.push(line(scaled(run.series(eval)), true));
            marks.extend(run.untyings().iter().map(|untying| Mark {
                x: untying.at,
                label: format!("{} → {}", untying.from, untying.to),
                series: own,
            }));
        }
        let (title, x_label, y_label) = (title.into(), x.label().into(), y_label.into());
        Panel::Lines(Lines { title, x_label, y_label, series, marks, ..Default::default() })
    };
    let mut panels = vec![
        panel("Loss (dashed: held out)", "loss", 1.0, TRAIN_LOSS, EVAL_LOSS),
        panel("Masked tokens predicted right (dashed: held out)", "accuracy, %", 100.0, TRAIN_ACCURACY, EVAL_ACCURACY),
    ];
    let range = range(runs);
    panels.extend(runs.iter().filter_map(|run| correlations(run, range, x)).map(Panel::HeatMap));
    Figure { panels }
}

/// Correlations of the gradients of neighbouring layers, or units, over time; `None` if the run recorded none. A pair is
/// named by its lower layer, as in the metrics.
fn correlations(run: &Run, range: (f64, f64), x: XAxis) -> Option<HeatMap> {
    let pairs = run.correlations();
    let mut columns: Vec<f64> = pairs.values().flat_map(|points| points.iter().map(|(step, _)| *step)).collect();
    columns.sort_by(f64::total_cmp);
    columns.dedup();
    let row = |(layer, points): (usize, &[(f64, f64)])| {
        let mut cells = vec![None; columns.len()];
        for (step, value) in points {
            if let Ok(column) = columns.binary_search_by(|other| other.total_cmp(step)) {
                cells[column] = Some(*value).filter(|value| value.is_finite());
            }
        }
        (layer.to_string(), cells)
    };
    let rows: Vec<_> = pairs.into_iter().map(row).collect();
    let title = format!("Gradient correlation, {}", run.name);
    let (x_label, y_label) = (x.label().into(), "lower layer".into());
    (!rows.is_empty()).then_some(HeatMap { title, x_label, y_label, columns, rows, range })
}

/// One range for all heat maps, so that colours compare between runs, and no wider than it must be: the correlations of a
/// young model are all near 1, those of an old deep one all near 0.
fn range(runs: &[Run]) -> (f64, f64) {
    let values = runs.iter().flat_map(|run| run.correlations().into_values().flatten().map(|(_, value)| *value));
    let (lowest, size) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, 0.0), |(lowest, size): (f64, f64), value| (lowest.min(value), size.max(value.abs())));
    match [0.9, 0.8, 0.5, 0.0].into_iter().find(|low| lowest >= *low) {
        Some(low) if lowest.is_finite() => (low, 1.0),
        _ => {
            let limit = [0.1, 0.2, 0.5].into_iter().find(|limit| size <= *limit).unwrap_or(1.0);
            (-limit, limit)
        }
    }
}

/// The mean of `window` points around each, an even number counting as the next odd one; towards the ends as many as
/// there are on both sides. A number that is not finite stays a gap and has no part in a mean.
fn smoothed(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let mean = |at: usize| {
        let reach = (window / 2).min(at).min(points.len() - 1 - at);
        let near = points[at - reach..=at + reach].iter().map(|(_, value)| *value).filter(|value| value.is_finite());
        let (sum, count) = near.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
        sum / f64::from(count)
    };
    let point =
        |(at, (step, value)): (usize, &(f64, f64))| (*step, if value.is_finite() { mean(at) } else { f64::NAN });
    points.iter().enumerate().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_correlations(values: &[f64]) -> Run {
        let folder = tempfile::tempdir().unwrap();
        let line = |(at, value): (usize, &f64)| {
            format!("{{\"step\":{at},\"sharing/correlation/02\":{value},\"sharing/correlation/00\":{value}}}\n")
        };
        std::fs::write(folder.path().join("metrics.jsonl"), values.iter().enumerate().map(line).collect::<String>())
            .unwrap();
        Run::read(folder.path()).unwrap()
    }

    #[test]
    fn colours_reach_as_far_as_the_correlations() {
        for (values, expected) in [
            (&[0.97, 0.91][..], (0.9, 1.0)),
            (&[0.97, 0.51], (0.5, 1.0)),
            (&[0.3, 0.0], (0.0, 1.0)),
            (&[0.05, -0.01], (-0.1, 0.1)),
            (&[0.9, -0.01], (-1.0, 1.0)),
        ] {
            assert_eq!(range(&[with_correlations(values)]), expected);
        }
        assert_eq!(range(&[Run::default()]), (-0.1, 0.1));
    }

    #[test]
    fn pairs_are_named_by_their_lower_layer() {
        let map = correlations(&with_correlations(&[0.5, 0.25]), (0.0, 1.0), XAxis::Steps).unwrap();
        let cells = vec![Some(0.5), Some(0.25)];
        assert_eq!(map.rows, [("0".into(), cells.clone()), ("2".into(), cells)]);
        assert!(correlations(&Run::default(), (0.0, 1.0), XAxis::Steps).is_none());
    }

    #[test]
    fn a_mean_is_centred_and_leaves_gaps() {
        let points: Vec<_> = [1.0, 2.0, 6.0, f64::NAN, 4.0, 8.0].iter().map(|value| (0.0, *value)).collect();
        let values = |window| smoothed(&points, window).iter().map(|(_, value)| *value).collect::<Vec<_>>();
        // (1+2+6)/3; (2+6)/2, the gap apart; (4+8)/2; the ends alone.
        for window in [2, 3] {
            let found = values(window);
            assert_eq!((&found[..3], &found[4..]), (&[1.0, 3.0, 4.0][..], &[6.0, 8.0][..]));
            assert!(found[3].is_nan());
        }
        assert_eq!(values(1)[..3], [1.0, 2.0, 6.0]);
        assert_eq!(smoothed(&[], 5), []);
    }
}
