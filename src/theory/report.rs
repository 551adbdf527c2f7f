//! All measurements, what does not hold of them, and the files that show them.

use std::fs;
use std::path::Path;

use super::dynamics::Start;
use super::study::{self, Row};
use super::target::perturbed;
use super::unsharing::{self, Run, Way};
use super::{csv, picture, tables, Options};
use crate::error::{io, Result};

/// All that was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// How.
    pub options: Options,
    /// Sharing and ZAS on positive definite targets.
    pub rows: Vec<Row>,
    /// Sharing, unsharing, never sharing and ZAS on perturbed targets.
    pub runs: Vec<Run>,
}

impl Report {
    /// Measures; `progress` hears what comes next.
    ///
    /// # Errors
    /// Options that are out of range; a run that does not end as the theorems say.
    pub fn measure(options: &Options, progress: impl Fn(&str)) -> Result<Self> {
        options.validate()?;
        progress("sharing and ZAS on positive definite targets");
        let rows = study::measure(options)?;
        progress("sharing, unsharing, never sharing and ZAS on perturbed targets");
        let runs = unsharing::measure(&options.perturbed_layers, options.epsilon);
        Ok(Self { options: options.clone(), rows, runs })
    }

    /// One sentence for each bound, ratio or floor that does not hold.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for row in &self.rows {
            let place = format!("{}, {} layers, {}", row.case, row.layers, row.start.name());
            for check in row.checks.iter().filter(|check| !check.holds()) {
                found.push(format!("theorem {}: {place}: R is {} of its bound", check.theorem, check.largest));
            }
            let slope = if row.start == Start::Tied { -2.0 * row.layers as f64 } else { -2.0 };
            // The difference quotient's own error is of order 1e-8.
            if (row.slope / slope - 1.0).abs() > 1e-6 {
                found.push(format!("remark 1: {place}: R'(0)/R(0) is {}, derived {slope}", row.slope));
            }
        }
        for target in perturbed() {
            let floor = target.block.tied_floor();
            for run in self.runs.iter().filter(|run| run.way == Way::Shared && run.target == target.name) {
                if run.loss < floor {
                    let Run { target, layers, loss, .. } = run;
                    found.push(format!("floor: {target}, {layers} layers: sharing alone got to {loss}, below {floor}"));
                }
            }
        }
        found
    }

    /// All tables, as Markdown.
    pub fn markdown(&self) -> String {
        let Options { epsilon, literal_steps, .. } = &self.options;
        [
            "## Bounds\n\n".to_string(),
            tables::bounds(&self.rows),
            "\n## Remark 1: R'(0)/R(0) of the flow, on matrices, least and greatest over the targets\n\n".into(),
            tables::slopes(&self.rows),
            format!(
                "\n## Steps to R ≤ {epsilon:e}\n\n≈: more than {literal_steps:e} steps, time of the flow over η\n\n"
            ),
            tables::steps(&self.rows),
            "\n## Exponents in L: least-squares slope ± standard error (upper half of the depths)\n\n".into(),
            tables::exponents(&self.rows),
            "\n## Perturbed targets Φ = P + E\n\n".into(),
            tables::targets(),
            "\n### Steps to ε at the common η, and fewest at a way's own η\n\n".into(),
            format!(
                "In brackets: R after {} steps, where ε was not reached; @: tied steps before SWE-A untied.\n\n",
                unsharing::LIMIT
            ),
            tables::unsharing(&self.runs),
            "\n### Sharing alone: cosine of adjacent layers' gradients, median over the pairs\n\n".into(),
            tables::correlations(&self.runs),
            "\n### Sharing alone: R − infimum ∝ step^p\n\n".into(),
            tables::approaches(&self.runs),
        ]
        .concat()
    }

    /// Writes theory.md, theory.svg, theory.png and the CSV files into `folder`, which is made if need be.
    ///
    /// # Errors
    /// A folder or file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(|error| io("create", folder, error))?;
        let files = [
            ("theory.md", self.markdown()),
            ("steps.csv", csv::steps(&self.rows)),
            ("exponents.csv", csv::exponents(&self.rows)),
            ("unsharing.csv", csv::unsharing(&self.runs)),
            ("unsharing-trace.csv", csv::trace(&self.runs)),
        ];
        for (name, text) in files {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| io("write", &path, error))?;
        }
        let figure = picture::figure(&self.rows, &self.runs, self.options.epsilon);
        ["theory.svg", "theory.png"].into_iter().try_for_each(|name| figure.write(&folder.join(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `untie theory` fails on: a bound, a ratio and a floor, each bent by a little.
    #[test]
    fn what_does_not_hold_is_named() {
        let options = Options { layers: vec![2, 3], perturbed_layers: vec![4], epsilon: 1e-3, literal_steps: 1000 };
        let mut report = Report::measure(&options, |_| ()).unwrap();
        assert!(report.violations().is_empty(), "{:?}", report.violations());
        report.rows[0].checks[1].largest = 1.0 + 1e-9;
        report.rows[1].slope = -4.001;
        let shared = |run: &&mut Run| run.way == Way::Shared && run.target == "pair";
        report.runs.iter_mut().find(shared).unwrap().loss = 0.0199;
        let found = report.violations();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("theorem 3: ") && found[1].starts_with("remark 1: "), "{found:?}");
        assert!(found[2].starts_with("floor: pair, 4 layers"), "{found:?}");
    }
}
