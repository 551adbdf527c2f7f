//! The paper's Tables 1 to 4 (arXiv 2110.03848), with our numbers beside the paper's.
//!
//! In: the paper's numbers and which run each row is ([`paper`]), and what is known of those runs ([`RunFacts`]): their
//! pre-training and the rows of their fine-tuning sweeps. Out: a [`Table`], in which every cell is a number or a reason,
//! and its text as Markdown, CSV or LaTeX ([`Format`]). Nothing is read and nothing written here.
//!
//! **What is shown.** Pre-training: one run, its MLM accuracy on held-out text after the last step. Fine-tuning: the dev
//! set; of the learning rates of a sweep the one whose mean over seeds is best, and of that rate the mean and the sample
//! standard deviation over the seeds. The paper's GLUE scores are of the test sets instead, for the best of four seeds on
//! dev; its SQuAD scores are means of five runs on dev.
//!
//! **What is not.** No number of a run that is missing, unfinished or of another configuration than its row's; none of a
//! run that has other data, another vocabulary or another precision than the others of its table; none of a fine-tuning
//! sweep that is damaged, incomplete, of another model, or of other settings than the others of its column. The cell is a
//! dash and a footnote says why.

mod assemble;
mod columns;
mod facts;
mod format;
pub mod paper;
mod sweep;

pub use assemble::{assemble, Cell, Row, Table};
pub use columns::{Column, EXTRA_COLUMNS, PAPER_COLUMNS};
pub use facts::{Finished, Pretraining, RunFacts, Sweeps};
pub use format::Format;
pub use sweep::Score;
