//! What a chart shows: plain numbers and names.

/// How an axis grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// By factors; numbers that are not positive have no place on it.
    Log,
}

/// One line of a chart. Series with equal names share a colour and one entry of the legend, e.g. a measurement and,
/// dashed, its prediction; a series without a name has no entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// (x, y), in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
    /// Whether the line is dashed.
    pub dashed: bool,
}

/// A vertical line where something happened. Of labels that would cover each other some are left out, the first and
/// the last of a series stay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mark {
    /// Where it stands.
    pub x: f64,
    /// What is written over it.
    pub label: String,
    /// The series whose colour it has, by its index; grey if none.
    pub series: Option<usize>,
}

/// A line chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lines {
    /// What is shown.
    pub title: String,
    /// What x is, with its unit.
    pub x_label: String,
    /// What y is, with its unit.
    pub y_label: String,
    /// The x axis.
    pub x_scale: Scale,
    /// The y axis.
    pub y_scale: Scale,
    /// The lines; colours follow the order of their names and repeat after eight.
    pub series: Vec<Series>,
    /// Vertical lines.
    pub marks: Vec<Mark>,
}

/// Numbers as colours: blue below the middle of the range, white there, red above.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatMap {
    /// What is shown.
    pub title: String,
    /// What x is, with its unit.
    pub x_label: String,
    /// What the rows are.
    pub y_label: String,
    /// The x of each column, ascending; a column reaches half-way to its neighbours.
    pub columns: Vec<f64>,
    /// Name and cells of each row, the first row at the bottom; a cell without a number is grey.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
    /// The numbers of the bluest blue and the reddest red; what is beyond has these colours too.
    pub range: (f64, f64),
}
