//! A line chart: title, legend, labels of the marks, then the plot. Nothing is written over the data.

use super::axis::Axis;
use super::canvas::{pale, Anchor, Canvas, Rect, Stroke, FAINT, GREY, INK};
use super::chart::{Lines, Mark};
use plotters::style::RGBColor as Color;

/// Sizes of text.
pub(super) const TITLE: f64 = 42.0;
pub(super) const LABEL: f64 = 34.0;
pub(super) const TICK: f64 = 32.0;
/// Height of a line of text.
pub(super) const ROW: f64 = 44.0;
/// Height of the title.
pub(super) const TITLE_ROW: f64 = 60.0;
/// Height of the ticks and the name of an x axis.
pub(super) const X_AXIS: f64 = 90.0;
/// Height of the plot.
const PLOT: f64 = 500.0;
/// Between the legend and the plot, whose highest tick may have its label there.
const GAP: f64 = 16.0;
/// Rows for labels of marks.
const MARK_ROWS: usize = 4;
/// Length of a legend's sample of a line.
const SAMPLE: f64 = 52.0;

/// Okabe and Ito's colours, which the colour-blind tell apart, without black; yellow, faint on white, comes last and
/// darkened.
const PALETTE: [Color; 8] = [
    Color(0, 114, 178),
    Color(213, 94, 0),
    Color(0, 158, 115),
    Color(204, 121, 167),
    Color(86, 180, 233),
    Color(230, 159, 0),
    Color(90, 90, 90),
    Color(170, 155, 20),
];

/// The height that a chart of this width needs.
pub(super) fn height(canvas: &Canvas, chart: &Lines, width: f64) -> f64 {
    let rows = legend(canvas, chart, width).last().map_or(0, |entry| entry.row + 1);
    TITLE_ROW + (rows + mark_rows(chart)) as f64 * ROW + GAP + PLOT + X_AXIS
}

/// Draws the chart into a rectangle of at least that height.
pub(super) fn draw(canvas: &mut Canvas, rect: Rect, chart: &Lines) {
    draw_title(canvas, rect, &chart.title);
    let entries = legend(canvas, chart, rect.width());
    let rows = entries.last().map_or(0, |entry| entry.row + 1);
    for entry in entries {
        let y = rect.top + TITLE_ROW + (entry.row as f64 + 0.5) * ROW;
        let x = rect.left + entry.x;
        let stroke = Stroke { color: entry.color, width: 5.0, dashed: entry.dashed };
        canvas.line(vec![(x, y), (x + SAMPLE, y)], stroke);
        canvas.text((x + SAMPLE + 14.0, y), entry.name, LABEL, INK, Anchor::Left);
    }
    let top = rect.top + TITLE_ROW + (rows + mark_rows(chart)) as f64 * ROW + GAP;
    let bottom = rect.bottom - X_AXIS;

    let points = || chart.series.iter().flat_map(|series| &series.points).copied();
    let marks = chart.marks.iter().map(|mark| mark.x);
    let x_axis = Axis::around(points().map(|(x, _)| x).chain(marks), chart.x_scale, 0.0);
    // A point that is missing on one axis has no say on the other.
    let drawable = |x: f64| x_axis.is_some_and(|axis| axis.at(x).is_some());
    let y_axis = Axis::around(points().filter(|(x, _)| drawable(*x)).map(|(_, y)| y), chart.y_scale, 0.05);

    let y_ticks = y_axis.map_or(Vec::new(), |axis| axis.ticks(6));
    let widest = y_ticks.iter().map(|(_, label)| canvas.text_width(label, TICK)).fold(0.0, f64::max);
    let plot = Rect { left: rect.left + ROW + widest + 16.0, top, right: rect.right - 24.0, bottom };
    for (at, label) in y_ticks {
        let y = plot.y(at);
        canvas.line(vec![(plot.left, y), (plot.right, y)], Stroke { color: FAINT, width: 2.0, dashed: false });
        canvas.text((plot.left - 12.0, y), label, TICK, INK, Anchor::Right);
    }
    let middle = (plot.top + plot.bottom) / 2.0;
    canvas.text((rect.left + 16.0, middle), chart.y_label.as_str(), LABEL, INK, Anchor::Upwards);
    draw_x_axis(canvas, plot, x_axis, &chart.x_label);

    if let (Some(x_axis), Some(y_axis)) = (x_axis, y_axis) {
        draw_marks(canvas, plot, chart, x_axis);
        for (index, series) in chart.series.iter().enumerate() {
            let stroke = Stroke { color: color_of(chart, index), width: 4.0, dashed: series.dashed };
            for run in unbroken(&series.points, plot, x_axis, y_axis) {
                match run[..] {
                    [point] => canvas.dot(point, 6.0, stroke.color),
                    _ => canvas.line(thinned(run), stroke),
                }
            }
        }
    } else {
        canvas.text((plot.x(0.5), plot.y(0.5)), "no data", LABEL, GREY, Anchor::Centre);
    }
    canvas.outline(plot, Stroke { color: GREY, width: 2.0, dashed: false });
}

pub(super) fn draw_title(canvas: &mut Canvas, rect: Rect, title: &str) {
    let title = canvas.fit(title, TITLE, rect.width());
    canvas.text((rect.left, rect.top + TITLE_ROW / 2.0 - 4.0), title, TITLE, INK, Anchor::Left);
}

/// Ticks and name below a plot.
pub(super) fn draw_x_axis(canvas: &mut Canvas, plot: Rect, axis: Option<Axis>, label: &str) {
    for (at, label) in axis.map_or(Vec::new(), |axis| axis.ticks((plot.width() / 130.0) as usize)) {
        let x = plot.x(at);
        canvas.line(vec![(x, plot.bottom), (x, plot.bottom + 9.0)], Stroke { color: GREY, width: 2.0, dashed: false });
        canvas.text((x, plot.bottom + 30.0), label, TICK, INK, Anchor::Centre);
    }
    canvas.text((plot.x(0.5), plot.bottom + 70.0), label, LABEL, INK, Anchor::Centre);
}

/// The colour of a series: that of the first one with its name.
fn color_of(chart: &Lines, series: usize) -> Color {
    let mut names: Vec<&str> = Vec::new();
    for series in &chart.series[..=series] {
        if !names.contains(&series.name.as_str()) {
            names.push(&series.name);
        }
    }
    let name = names.iter().position(|name| *name == chart.series[series].name);
    PALETTE[name.unwrap_or(0) % PALETTE.len()]
}

struct Entry {
    name: String,
    color: Color,
    dashed: bool,
    row: usize,
    x: f64,
}

/// The entries of the legend, side by side for as long as there is room, then in the next row.
fn legend(canvas: &Canvas, chart: &Lines, width: f64) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut row, mut x) = (0, 0.0);
    for (index, series) in chart.series.iter().enumerate() {
        let same = |other: &&super::chart::Series| other.name == series.name;
        if series.name.is_empty() || chart.series[..index].iter().any(|other| same(&other)) {
            continue;
        }
        let name = canvas.fit(&series.name, LABEL, width - SAMPLE - 14.0);
        let size = SAMPLE + 14.0 + canvas.text_width(&name, LABEL);
        if x > 0.0 && x + size > width {
            (row, x) = (row + 1, 0.0);
        }
        let dashed = chart.series.iter().filter(same).all(|series| series.dashed);
        entries.push(Entry { name, color: color_of(chart, index), dashed, row, x });
        x += size + 40.0;
    }
    entries
}

/// Marks of one series each.
fn mark_groups(chart: &Lines) -> Vec<(Option<usize>, Vec<&Mark>)> {
    let mut groups: Vec<(Option<usize>, Vec<&Mark>)> = Vec::new();
    for mark in &chart.marks {
        match groups.iter_mut().find(|(series, _)| *series == mark.series) {
            Some((_, marks)) => marks.push(mark),
            None => groups.push((mark.series, vec![mark])),
        }
    }
    groups
}

/// Rows for the labels of marks: one a series, up to a limit.
fn mark_rows(chart: &Lines) -> usize {
    let labelled = |marks: &[&Mark]| marks.iter().any(|mark| !mark.label.is_empty());
    mark_groups(chart).iter().filter(|(_, marks)| labelled(marks)).count().min(MARK_ROWS)
}

fn draw_marks(canvas: &mut Canvas, plot: Rect, chart: &Lines, x_axis: Axis) {
    let rows = mark_rows(chart);
    let mut taken: Vec<Vec<(f64, f64)>> = vec![Vec::new(); rows];
    for (group, (series, marks)) in mark_groups(chart).into_iter().enumerate() {
        let known = series.filter(|series| *series < chart.series.len());
        let color = known.map_or(GREY, |series| color_of(chart, series));
        let stroke = Stroke { color: pale(color), width: 3.0, dashed: true };
        // Where marks of two series coincide, one shows in the gaps of the other.
        let start = plot.bottom - if group % 2 == 0 { 0.0 } else { 12.0 };
        let mut places = Vec::new();
        for mark in marks {
            let Some(x) = x_axis.at(mark.x).map(|at| plot.x(at)) else { continue };
            canvas.line(vec![(x, start), (x, plot.top)], stroke);
            if !mark.label.is_empty() {
                let half = canvas.text_width(&mark.label, TICK) / 2.0;
                let middle = x.min(plot.right - half).max(plot.left + half);
                places.push((middle - half - 10.0, middle + half + 10.0, mark.label.as_str()));
            }
        }
        // A row of its own if there is one where all labels fit that would fit alone, else what fits into the last.
        let alone = fitting(&places, &[]);
        let row = taken.iter().position(|row| fitting(&places, row) == alone);
        let Some(row) = row.or(rows.checked_sub(1)) else { continue };
        for (left, right, label) in fitting(&places, &taken[row]) {
            taken[row].push((left, right));
            let y = plot.top - (rows - row) as f64 * ROW + ROW / 2.0 - 2.0;
            canvas.text(((left + right) / 2.0, y), label, TICK, color, Anchor::Centre);
        }
    }
}

/// Those of the labels that cover neither each other nor what is there: the first, the last, then from the left.
fn fitting<'a>(places: &[(f64, f64, &'a str)], taken: &[(f64, f64)]) -> Vec<(f64, f64, &'a str)> {
    let mut kept: Vec<(f64, f64, &str)> = Vec::new();
    let order = places.first().into_iter().chain(places.last()).chain(places.iter().skip(1));
    for place in order {
        let free = |left: f64, right: f64| place.1 <= left || place.0 >= right;
        if taken.iter().all(|(l, r)| free(*l, *r)) && kept.iter().all(|(l, r, _)| free(*l, *r)) {
            kept.push(*place);
        }
    }
    kept
}

/// The points on the canvas, a new run of them after each that has no place.
fn unbroken(points: &[(f64, f64)], plot: Rect, x_axis: Axis, y_axis: Axis) -> Vec<Vec<(f64, f64)>> {
    let mut runs = vec![Vec::new()];
    for (x, y) in points {
        match (x_axis.at(*x), y_axis.at(*y), runs.last_mut()) {
            (Some(x), Some(y), Some(run)) => run.push((plot.x(x), plot.y(y))),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// Of the consecutive points above one unit of the x axis the first, the lowest, the highest and the last: the line
/// looks the same, and its length is bounded by the width of the plot.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut kept = Vec::new();
    for column in points.chunk_by(|one, other| one.0.round() == other.0.round()) {
        let by_y = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let extremes = [column.iter().min_by(by_y), column.iter().max_by(by_y)];
        let mut chosen: Vec<&(f64, f64)> = column.first().into_iter().chain(extremes.into_iter().flatten()).collect();
        chosen.extend(column.last());
        // In the order in which they came; `column` is one slice, so addresses are positions.
        chosen.sort_by_key(|point| std::ptr::from_ref(*point));
        chosen.dedup_by_key(|point| std::ptr::from_ref(*point));
        kept.extend(chosen.into_iter().copied());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::chart::Series;

    #[test]
    fn a_column_keeps_its_ends_and_its_extremes() {
        let column: Vec<_> = [5.0, 7.0, 9.0, 1.0, 3.0].into_iter().map(|y| (10.2, y)).collect();
        let kept: Vec<_> = thinned(column).into_iter().map(|(_, y)| y).collect();
        assert_eq!(kept, [5.0, 9.0, 1.0, 3.0]);
        let spread = vec![(1.0, 1.0), (2.0, 5.0), (3.0, 2.0)];
        assert_eq!(thinned(spread.clone()), spread);
        let long = (0..100_000).map(|at| (at as f64 / 1000.0, (at % 17) as f64)).collect();
        assert!(thinned(long).len() <= 4 * 101);
    }

    #[test]
    fn lines_break_where_a_point_has_no_place() {
        let axis = Axis::exact(0.0, 10.0).unwrap();
        let plot = Rect { left: 0.0, top: 0.0, right: 100.0, bottom: 100.0 };
        let points = [(0.0, 0.0), (5.0, 10.0), (6.0, f64::NAN), (f64::INFINITY, 1.0), (10.0, 0.0)];
        let runs = unbroken(&points, plot, axis, axis);
        assert_eq!(runs, [vec![(0.0, 100.0), (50.0, 0.0)], vec![(100.0, 100.0)]]);
    }

    #[test]
    fn labels_that_would_cover_each_other_are_left_out_but_not_the_ends() {
        let places: Vec<_> = (0..23).map(|at| (10.0 * f64::from(at), 10.0 * f64::from(at) + 25.0, "x")).collect();
        let mut kept: Vec<_> = fitting(&places, &[]).iter().map(|place| place.0).collect();
        kept.sort_by(f64::total_cmp);
        // 25 wide and 10 apart: every third one, and the last in place of its neighbour.
        assert_eq!(kept, [0.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0, 220.0]);
        assert_eq!(fitting(&places[..1], &[(20.0, 30.0)]), []);
    }

    #[test]
    fn names_decide_colours_and_entries() {
        let series = |name: &str, dashed| Series { name: name.into(), points: Vec::new(), dashed };
        let all = vec![series("a", false), series("a", true), series("b", true), series("", false)];
        let chart = Lines { series: all, ..Default::default() };
        assert_eq!(color_of(&chart, 0), color_of(&chart, 1));
        assert_ne!(color_of(&chart, 0), color_of(&chart, 2));
        let entries = legend(&Canvas::new().unwrap(), &chart, 1000.0);
        let shown: Vec<_> = entries.iter().map(|entry| (entry.name.as_str(), entry.dashed, entry.row)).collect();
        assert_eq!(shown, [("a", false, 0), ("b", true, 0)]);
    }
}
