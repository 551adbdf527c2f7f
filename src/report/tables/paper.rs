//! The paper's numbers, and which of `configs/paper/` each row is.

/// One of the paper's tables.
#[derive(Clone, Copy, Debug)]
pub struct PaperTable {
    /// 1 to 4.
    pub number: u8,
    /// What it is about.
    pub title: &'static str,
    /// Its rows, in the paper's order.
    pub rows: &'static [PaperRow],
}

/// One row of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperRow {
    /// As the paper calls it.
    pub label: &'static str,
    /// The run that it is: the name of its configuration and of its folder.
    pub run: &'static str,
    /// Steps of pre-training.
    pub steps: u64,
    /// The paper's numbers, in the order of [`super::PAPER_COLUMNS`].
    pub scores: [f64; 9],
}

/// Tokens of each of the paper's steps: 512 sequences of 512.
pub const TOKENS_PER_STEP: u64 = 512 * 512;

const fn row(label: &'static str, run: &'static str, steps: u64, scores: [f64; 9]) -> PaperRow {
    PaperRow { label, run, steps, scores }
}

/// Several rows stand in more than one table, under labels of their own: they are one run.
const HALF: [f64; 9] = [73.21, 91.19, 82.52, 34.4, 84.8, 84.5, 82.7, 70.2, 94.5];
const SWE_F: [f64; 9] = [73.72, 92.24, 83.71, 40.4, 86.6, 85.9, 92.0, 70.5, 94.2];
const SWE_M: [f64; 9] = [73.73, 91.88, 83.93, 38.2, 86.6, 85.7, 91.9, 70.7, 94.6];

const TABLE_1: &[PaperRow] = &[
    row("baseline 1M", "baseline", 1_000_000, [74.42, 92.24, 84.01, 38.0, 86.4, 85.6, 91.7, 71.4, 94.6]),
    row("baseline 500k", "baseline-half", 500_000, HALF),
    row("SWE-F 500k", "swe-f", 500_000, SWE_F),
    row("SWE-A 500k", "swe-a", 500_000, [73.86, 92.25, 84.60, 37.4, 86.9, 86.6, 92.5, 71.5, 94.9]),
    row("SWE-M 500k", "swe-m", 500_000, SWE_M),
];

const TABLE_2: &[PaperRow] = &[
    row("baseline 2M", "xlnet-baseline", 2_000_000, [72.85, 93.16, 86.90, 40.8, 89.5, 88.9, 94.3, 73.1, 96.3]),
    row("baseline 1M", "xlnet-baseline-half", 1_000_000, [70.54, 92.96, 85.45, 40.1, 88.7, 88.0, 93.2, 72.9, 96.1]),
    row("SWE-F 1M", "xlnet-swe-f", 1_000_000, [71.38, 93.76, 86.86, 40.2, 89.5, 88.8, 93.6, 72.3, 96.6]),
    row("SWE-M 1M", "xlnet-swe-m", 1_000_000, [71.37, 93.44, 86.62, 40.4, 89.3, 88.5, 93.9, 72.5, 96.8]),
];

const TABLE_3: &[PaperRow] = &[
    row("SWE-F τ=50k", "swe-f", 500_000, SWE_F),
    row("SWE-F τ=200k", "swe-f-tau-200k", 500_000, [72.27, 91.05, 83.30, 38.2, 85.9, 85.1, 91.7, 70.7, 94.0]),
    row("SWE-M ρ=0.1", "swe-m-rho-0.1", 500_000, [73.40, 92.04, 84.54, 37.3, 86.6, 85.9, 92.6, 71.2, 94.6]),
    row("SWE-M ρ=0.3", "swe-m-rho-0.3", 500_000, [74.16, 92.19, 84.25, 38.5, 85.5, 84.4, 91.1, 70.4, 94.2]),
    row("SWE-M ρ=0.5", "swe-m", 500_000, SWE_M),
    row("SWE-M ρ=0.7", "swe-m-rho-0.7", 500_000, [73.90, 92.04, 85.04, 37.0, 86.1, 85.9, 91.5, 70.7, 94.8]),
    row("SWE-M ρ=0.9", "swe-m-rho-0.9", 500_000, [73.62, 91.15, 82.24, 37.0, 85.9, 85.5, 90.2, 70.0, 94.5]),
];

const TABLE_4: &[PaperRow] = &[
    row("24×1 (baseline)", "baseline-half", 500_000, HALF),
    row("12×2", "swe-f-unit-12x2", 500_000, [73.39, 92.31, 84.25, 37.0, 86.0, 86.2, 91.5, 71.4, 93.8]),
    row("6×4", "swe-f-unit-6x4", 500_000, [73.88, 92.40, 84.88, 40.2, 86.7, 86.4, 92.9, 71.7, 94.8]),
    row("4×6", "swe-f-unit-4x6", 500_000, [73.88, 92.34, 85.31, 38.2, 87.0, 86.0, 91.8, 71.3, 94.8]),
    row("2×12", "swe-f-unit-2x12", 500_000, [73.82, 91.93, 84.47, 37.8, 86.4, 85.8, 92.8, 70.8, 94.6]),
    row("1×24", "swe-f", 500_000, SWE_F),
];

/// All of them.
pub const TABLES: [PaperTable; 4] = [
    PaperTable { number: 1, title: "Wikipedia + BookCorpus", rows: TABLE_1 },
    PaperTable { number: 2, title: "XLNet data", rows: TABLE_2 },
    PaperTable { number: 3, title: "untying point τ and threshold ρ", rows: TABLE_3 },
    PaperTable { number: 4, title: "sharing units, SWE-F", rows: TABLE_4 },
];
