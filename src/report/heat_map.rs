//! A heat map: title, cells, row names on the left, a colour bar with its values on the right.

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, Rect, Stroke, GREY, INK};
use super::chart::HeatMap;
use super::lines::{draw_title, draw_x_axis, LABEL, ROW, TICK, TITLE_ROW, X_AXIS};
use plotters::style::RGBColor as Color;

/// More columns than this are averaged in neighbours: a picture has no room for them.
const MOST_COLUMNS: usize = 400;
/// Height of the cells, together.
const CELLS: (f64, f64) = (200.0, 560.0);
/// From blue to red in equal steps of lightness (ColorBrewer's RdBu).
const COLORS: [Color; 9] = [
    Color(33, 102, 172),
    Color(67, 147, 195),
    Color(146, 197, 222),
    Color(209, 229, 240),
    Color(255, 255, 255),
    Color(253, 219, 199),
    Color(244, 165, 130),
    Color(214, 96, 77),
    Color(178, 24, 43),
];
/// A cell without a number; darker than the palest colours, so that it is not taken for one.
const EMPTY: Color = Color(205, 205, 205);

/// The height that the heat map needs.
pub(super) fn height(map: &HeatMap) -> f64 {
    TITLE_ROW + (44.0 * map.rows.len() as f64).clamp(CELLS.0, CELLS.1) + X_AXIS
}

/// Draws the heat map into a rectangle of at least that height.
pub(super) fn draw(canvas: &mut Canvas, rect: Rect, map: &HeatMap) {
    draw_title(canvas, rect, &map.title);
    let bar_ticks = Axis::exact(map.range.0, map.range.1).map_or(Vec::new(), |axis| axis.ticks(4));
    let widest = |canvas: &Canvas, labels: &mut dyn Iterator<Item = &String>| {
        labels.map(|label| canvas.text_width(label, TICK)).fold(0.0, f64::max)
    };
    let names = widest(canvas, &mut map.rows.iter().map(|(name, _)| name)).min(rect.width() / 3.0);
    let values = widest(canvas, &mut bar_ticks.iter().map(|(_, label)| label));
    let bar_right = rect.right - values - 16.0;
    let plot = Rect {
        left: rect.left + ROW + names + 16.0,
        top: rect.top + TITLE_ROW,
        right: bar_right - 52.0,
        bottom: rect.bottom - X_AXIS,
    };
    let bar = Rect { left: bar_right - 26.0, right: bar_right, ..plot };

    draw_bar(canvas, bar, bar_ticks);
    draw_names(canvas, plot, map, names);
    let middle = (plot.top + plot.bottom) / 2.0;
    canvas.text((rect.left + 16.0, middle), map.y_label.as_str(), LABEL, INK, Anchor::Upwards);

    let columns = columns(&map.columns);
    let edges = columns.first().zip(columns.last()).and_then(|(first, last)| Axis::exact(first.left, last.right));
    draw_x_axis(canvas, plot, edges, &map.x_label);
    let border = Stroke { color: GREY, width: 2.0, dashed: false };
    if let (Some(axis), false) = (edges, map.rows.is_empty()) {
        canvas.fill(plot, EMPTY);
        for (row, (_, cells)) in map.rows.iter().enumerate() {
            let y = |row: usize| plot.y(row as f64 / map.rows.len() as f64).round();
            for column in &columns {
                let x = |value: f64| axis.at(value).map(|at| plot.x(at).round());
                let (Some(left), Some(right)) = (x(column.left), x(column.right)) else { continue };
                if let Some(value) = mean(column.indices.iter().filter_map(|index| *cells.get(*index)?)) {
                    // One unit over the cells beside and below, so that no seam shows.
                    let (right, bottom) = ((right + 1.0).min(plot.right), (y(row) + 1.0).min(plot.bottom));
                    canvas.fill(Rect { left, top: y(row + 1), right, bottom }, color_of(value, map.range));
                }
            }
        }
    } else {
        canvas.text((plot.x(0.5), plot.y(0.5)), "no data", LABEL, GREY, Anchor::Centre);
    }
    canvas.outline(plot, border);
}

/// The names of as many rows as there is room for.
fn draw_names(canvas: &mut Canvas, plot: Rect, map: &HeatMap, width: f64) {
    let height = (plot.bottom - plot.top) / map.rows.len().max(1) as f64;
    let stride = (34.0 / height).ceil() as usize;
    for (row, (name, _)) in map.rows.iter().enumerate().step_by(stride.max(1)) {
        let y = plot.bottom - (row as f64 + 0.5) * height;
        let name = canvas.fit(name, TICK, width);
        canvas.text((plot.left - 12.0, y), name, TICK, INK, Anchor::Right);
    }
}

fn draw_bar(canvas: &mut Canvas, bar: Rect, ticks: Vec<(f64, String)>) {
    const STEPS: usize = 64;
    for step in 0..STEPS {
        let at = |step: usize| bar.y(step as f64 / STEPS as f64).round();
        let color = color_of((step as f64 + 0.5) / STEPS as f64, (0.0, 1.0));
        canvas.fill(Rect { top: at(step + 1), bottom: (at(step) + 1.0).min(bar.bottom), ..bar }, color);
    }
    canvas.outline(bar, Stroke { color: GREY, width: 2.0, dashed: false });
    for (at, label) in ticks {
        canvas.text((bar.right + 12.0, bar.y(at)), label, TICK, INK, Anchor::Left);
    }
}

/// A column as it is drawn: where it reaches, and which columns of the map it shows.
#[derive(Debug, PartialEq)]
struct Column {
    left: f64,
    right: f64,
    indices: Vec<usize>,
}

/// Columns reach half-way to their neighbours, the outer ones as far outwards as inwards. Those whose x is not finite or
/// does not grow are left out.
fn columns(places: &[f64]) -> Vec<Column> {
    let mut kept: Vec<(usize, f64)> = Vec::new();
    for (index, x) in places.iter().copied().enumerate() {
        if x.is_finite() && kept.last().is_none_or(|(_, last)| x > *last) {
            kept.push((index, x));
        }
    }
    let half = |from: usize, to: usize| (kept[to].1 - kept[from].1) / 2.0;
    let reach = |at: usize| {
        let before = at.checked_sub(1).map(|before| half(before, at));
        let after = (at + 1 < kept.len()).then(|| half(at, at + 1));
        (before.or(after).unwrap_or(0.5), after.or(before).unwrap_or(0.5))
    };
    let each = (0..kept.len()).map(|at| {
        let ((index, x), (before, after)) = (kept[at], reach(at));
        Column { left: x - before, right: x + after, indices: vec![index] }
    });
    let each: Vec<Column> = each.collect();
    let size = each.len().div_ceil(MOST_COLUMNS).max(1);
    let merged = each.chunks(size).filter_map(|chunk| {
        let indices = chunk.iter().flat_map(|column| column.indices.iter().copied()).collect();
        Some(Column { left: chunk.first()?.left, right: chunk.last()?.right, indices })
    });
    merged.collect()
}

/// `None` if there is nothing, or nothing finite.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.filter(|value| value.is_finite()).fold((0.0, 0), |(sum, n), value| (sum + value, n + 1));
    Some(sum / f64::from(count)).filter(|mean: &f64| mean.is_finite())
}

fn color_of(value: f64, (low, high): (f64, f64)) -> Color {
    let at = (value - low) / (high - low);
    let at = if at.is_nan() { 0.5 } else { at.clamp(0.0, 1.0) } * (COLORS.len() - 1) as f64;
    let (lower, upper) = (COLORS[at.floor() as usize], COLORS[at.ceil() as usize]);
    let mix = |one: u8, other: u8| (f64::from(one) + at.fract() * (f64::from(other) - f64::from(one))).round() as u8;
    Color(mix(lower.0, upper.0), mix(lower.1, upper.1), mix(lower.2, upper.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_reach_half_way_to_their_neighbours() {
        let edges = |places: &[f64]| columns(places).iter().map(|c| (c.left, c.right)).collect::<Vec<_>>();
        assert_eq!(edges(&[10.0, 20.0, 40.0]), [(5.0, 15.0), (15.0, 30.0), (30.0, 50.0)]);
        assert_eq!(edges(&[7.0]), [(6.5, 7.5)]);
        assert_eq!(edges(&[]), []);
        assert_eq!(edges(&[1.0, f64::NAN, 1.0, 3.0]), [(0.0, 2.0), (2.0, 4.0)]);
    }

    #[test]
    fn many_columns_are_averaged_in_neighbours() {
        let places: Vec<f64> = (0..1000).map(f64::from).collect();
        let columns = columns(&places);
        assert_eq!(columns.len(), 334);
        assert_eq!(columns[1], Column { left: 2.5, right: 5.5, indices: vec![3, 4, 5] });
        assert_eq!(columns[333], Column { left: 998.5, right: 999.5, indices: vec![999] });
        assert_eq!(mean([1.0, f64::NAN, 2.0].into_iter()), Some(1.5));
        assert_eq!(mean([f64::NAN].into_iter()), None);
    }

    #[test]
    fn colours_diverge_from_white() {
        assert_eq!(color_of(0.0, (-1.0, 1.0)), Color(255, 255, 255));
        assert_eq!(color_of(-5.0, (-1.0, 1.0)), COLORS[0]);
        assert_eq!(color_of(1.0, (-1.0, 1.0)), COLORS[8]);
        // Half-way between white and the next colour of the table.
        assert_eq!(color_of(0.125, (-1.0, 1.0)), Color(254, 237, 227));
        assert_eq!(color_of(1.0, (1.0, 1.0)), COLORS[4]);
    }
}
