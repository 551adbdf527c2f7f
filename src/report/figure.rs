//! Figures of line charts and heat maps, written as SVG or PNG.
//!
//! In: a [`Figure`], plain numbers and names. Out: a file. Numbers that are not finite, and those that are not positive
//! on a logarithmic axis, are left out: they break a line and grey a cell. Nothing about the numbers is an error: a chart
//! without any says `no data`. Texts may use what Noto Sans has: Latin, Greek, Cyrillic, arrows, − and ≈, but no ∇.

use std::path::Path;

use super::canvas::{Canvas, Rect};
use super::chart::{HeatMap, Lines};
use super::{heat_map, lines};
use crate::error::{Error, Result};
use crate::files::write_aside;

/// One chart of a figure.
#[derive(Clone, Debug, PartialEq)]
pub enum Panel {
    /// A line chart.
    Lines(Lines),
    /// A heat map.
    HeatMap(HeatMap),
}

/// A picture of one or several charts, below each other; in two columns when there are more than three.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// The charts, row by row.
    pub panels: Vec<Panel>,
}

/// A picture's file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Scales to any size; text in the reader's own sans-serif font.
    Svg,
    /// Pixels, twice as many each way as an SVG's nominal size.
    Png,
}

impl Format {
    /// The format that a path's extension names.
    ///
    /// # Errors
    /// Any other extension than `svg` and `png`, and none.
    pub fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase).as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(Error::config(format!("expected a picture's name in `.svg` or `.png`, got `{}`", path.display()))),
        }
    }
}

/// Space around and between charts.
const MARGIN: f64 = 36.0;

impl Figure {
    /// Writes the figure to `path` in the format of its extension, 900 pixels wide (PNG: 1800). A file that is there is
    /// replaced at once, never half.
    ///
    /// # Errors
    /// An extension other than `svg` and `png`; when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_aside(path, self.bytes(Format::of(path)?)?)
    }

    /// The content of a file of the figure.
    ///
    /// # Errors
    /// A picture that cannot be made.
    pub fn bytes(&self, format: Format) -> Result<Vec<u8>> {
        let canvas = self.draw()?;
        match format {
            Format::Svg => canvas.to_svg().map(String::into_bytes),
            Format::Png => canvas.to_png(),
        }
    }

    /// Lays the charts out.
    fn draw(&self) -> Result<Canvas> {
        let mut canvas = Canvas::new()?;
        let num_columns = if self.panels.len() > 3 { 2 } else { 1 };
        let width = (canvas.width() - MARGIN) / num_columns as f64 - MARGIN;
        let mut y = MARGIN;
        for row in self.panels.chunks(num_columns) {
            let height = row.iter().map(|panel| panel.height(&canvas, width)).fold(0.0, f64::max);
            for (column, panel) in row.iter().enumerate() {
                let x = MARGIN + column as f64 * (width + MARGIN);
                let rect = Rect { left: x, top: y, right: x + width, bottom: y + height };
                match panel {
                    Panel::Lines(lines) => lines::draw(&mut canvas, rect, lines),
                    Panel::HeatMap(map) => heat_map::draw(&mut canvas, rect, map),
                }
            }
            y += height + MARGIN;
        }
        canvas.set_height(y);
        Ok(canvas)
    }
}

impl Panel {
    fn height(&self, canvas: &Canvas, width: f64) -> f64 {
        match self {
            Self::Lines(lines) => lines::height(canvas, lines, width),
            Self::HeatMap(map) => heat_map::height(map),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::report::chart::{Mark, Scale, Series};

    fn written(figure: &Figure, name: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        figure.write(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left beside the picture");
        fs::read(&path).unwrap()
    }

    fn svg(panels: Vec<Panel>) -> String {
        String::from_utf8(written(&Figure { panels }, "a.svg")).unwrap()
    }

    #[test]
    fn no_numbers_stop_a_picture() {
        let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 0.0, -1.0, 1e-320, 1.0];
        let pairs: Vec<_> = values.iter().flat_map(|x| values.iter().map(|y| (*x, *y))).collect();
        let cases = [vec![], vec![(1.0, 1.0)], vec![(0.0, 3.0), (1.0, 3.0)], vec![(f64::NAN, f64::NAN)], pairs];
        for scales in [(Scale::Linear, Scale::Linear), (Scale::Log, Scale::Linear), (Scale::Linear, Scale::Log)] {
            for points in &cases {
                let series = vec![Series { name: "a".into(), points: points.clone(), dashed: true }];
                let marks = points.iter().map(|(x, _)| Mark { x: *x, label: "m".into(), series: Some(7) }).collect();
                let lines = Lines { x_scale: scales.0, y_scale: scales.1, series, marks, ..Default::default() };
                let figure = Figure { panels: vec![Panel::Lines(lines)] };
                written(&figure, "a.svg");
                written(&figure, "a.png");
            }
        }
        for columns in [vec![], vec![1.0], values.to_vec()] {
            for cells in [vec![], vec![None, Some(0.5)], values.iter().map(|value| Some(*value)).collect()] {
                for range in [(-1.0, 1.0), (1.0, 1.0), (1.0, -1.0), (f64::NAN, 1.0), (f64::MIN, f64::MAX)] {
                    let rows = vec![("a".into(), cells.clone()), ("b".into(), vec![])];
                    let map = HeatMap { columns: columns.clone(), rows, range, ..Default::default() };
                    written(&Figure { panels: vec![Panel::HeatMap(map)] }, "a.svg");
                }
            }
        }
        written(&Figure::default(), "a.png");
    }

    #[test]
    fn texts_are_escaped_and_empty_charts_say_so() {
        let text = svg(vec![
            Panel::Lines(Lines { title: "a < b & c".into(), ..Default::default() }),
            Panel::HeatMap(HeatMap::default()),
        ]);
        assert!(text.contains("a &lt; b &amp; c"), "{text}");
        assert_eq!(text.matches("no data").count(), 2);
    }

    #[test]
    fn more_than_three_charts_stand_in_two_columns() {
        let size = |count: usize| {
            let png = written(&Figure { panels: vec![Panel::Lines(Lines::default()); count] }, "a.png");
            let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
            (number(16), number(20))
        };
        let (width, one) = size(1);
        assert_eq!(width, 1800);
        assert_eq!(size(3), (1800, 3 * one - 2 * MARGIN as u32));
        assert_eq!(size(4), (1800, 2 * one - MARGIN as u32));
        let text = svg(vec![Panel::Lines(Lines::default())]);
        assert!(text.contains(&format!("width=\"900\" height=\"{}\" viewBox=\"0 0 1800 {one}\"", one / 2)), "{text}");
    }

    #[test]
    fn only_svg_and_png_are_pictures_and_a_bad_folder_leaves_nothing() {
        for name in ["a.pdf", "a", ".svg"] {
            let error = Figure::default().write(Path::new(name)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{}", error.report());
        }
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/a.svg");
        let report = Figure::default().write(&missing).unwrap_err().report();
        assert!(report.contains("cannot write") && report.contains("missing/a.svg"), "{report}");
        fs::create_dir(folder.path().join("b.svg")).unwrap();
        assert_eq!(Figure::default().write(&folder.path().join("b.svg")).unwrap_err().exit_code(), 1);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_file_does_not_grow_with_the_run() {
        let chart = |count: u32| {
            let points = (0..count).map(|at| (f64::from(at), f64::from(at * 7919 % 1000))).collect();
            let lines = Lines { series: vec![Series { points, ..Default::default() }], ..Default::default() };
            let columns = (0..count).map(f64::from).collect();
            let rows = vec![("a".into(), vec![Some(0.5); count as usize])];
            let map = HeatMap { columns, rows, range: (0.0, 1.0), ..Default::default() };
            svg(vec![Panel::Lines(lines), Panel::HeatMap(map)]).len()
        };
        assert!(chart(200_000) < 2 * chart(10_000), "{} {}", chart(200_000), chart(10_000));
    }
}
