//! What comes after a run: pictures of it.
//!
//! In: run folders, read through their `metrics.jsonl` ([`run`]). Out: figures ([`figure`], of [`chart`]s) as SVG or PNG: losses,
//! accuracies, untying points and correlations of one run or several ([`curves`]); and what they cost ([`run_table`]). Cost: the metrics are read as a
//! stream, a figure is drawn in well under a second, and what a picture cannot show is thinned first, so that files stay
//! small however long a run was.

mod axis;
mod canvas;
pub mod chart;
pub mod curves;
pub mod figure;
mod heat_map;
mod lines;
pub mod run;
pub mod run_table;
pub mod tables;
