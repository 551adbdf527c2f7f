"""Tests of the study's scripts: the statistics against known values, the report and the figure of made-up rows."""

import math
import sys
import tempfile
import unittest
import xml.dom.minidom
from pathlib import Path
from statistics import mean, stdev

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts"))

import study_figure  # noqa: E402
import study_measures  # noqa: E402
import study_report  # noqa: E402
import study_stats as stats  # noqa: E402
from study_files import read  # noqa: E402

SECONDARY = [study_measures.zorro_text, study_measures.finetune_text]
BOOKS = [0.3, -0.2, 0.1, -0.4, 0.2]


def row(arm, rate, seed, loss, **more):
    """A run whose books have losses around `loss`; its steps take twice as long in the arm of all steps."""
    documents = [[1000, 1000 * (loss + book), 400.0 - 100 * (loss - 3.0)] for book in BOOKS]
    length = 2 if arm == "baseline" else 1
    curve = [{"step": 500 * at * length, "train/tokens": 512e3 * at * length, "train/flops": 1e13 * at * length, "eval/loss": 6.0 - at / 2,
              "train/hours": 0.1 * at * length, "eval/mlm_accuracy": 0.05 * at} for at in range(1, 5)]
    return {"arm": arm, "rate": rate, "seed": seed, "scale": "cpu", "loss": loss, "accuracy": 40.0 - 10 * (loss - 3.0), "targets": 5000,
            "documents": documents, "curve": curve, "config": "", "binary": "b" * 64, "data": "d" * 64, "cpu": "a CPU", **more}


def rows_of(seeds):
    """B(T/2) at two rates, SWE-F 0.04 better than the first, B(T) 0.1 better."""
    for seed in seeds:
        noise = 0.002 * math.sin(7 * seed)
        yield row("baseline-half", 5e-4, seed, 3.4 + 0.01 * math.cos(seed))
        yield row("baseline-half", 1e-3, seed, 3.5 + 0.01 * math.cos(seed))
        yield row("swe-f", 1e-3, seed, 3.36 + 0.01 * math.cos(seed) + noise)
        yield row("baseline", 5e-4, seed, 3.3 + 0.01 * math.cos(seed) - noise)


def report(rows, seeds=(1, 2, 3, 4, 5, 6)):
    return study_report.report(list(rows), "cpu", list(seeds), SECONDARY)


def line_of(text, start):
    return next(line for line in text.splitlines() if line.startswith(start))


class Statistics(unittest.TestCase):
    def test_student_t_has_the_values_of_tables(self):
        # Printed tables; the last ones are scipy's.
        for probability, freedom, t in [(0.975, 1, 12.7062), (0.975, 5, 2.5706), (0.95, 9, 1.8331), (0.995, 2, 9.9248), (0.975, 30, 2.0423)]:
            self.assertAlmostEqual(stats.t_quantile(probability, freedom), t, places=4)
            self.assertAlmostEqual(stats.t_below(t, freedom), probability, places=5)
            self.assertAlmostEqual(stats.t_below(-t, freedom), 1 - probability, places=5)
        for t, freedom, below in SCIPY_T:
            self.assertLess(abs(stats.t_below(t, freedom) / below - 1), 1e-11, (t, freedom))
        self.assertEqual(stats.t_below(0.0, 5), 0.5)

    def test_the_incomplete_beta_function_is_that_of_scipy(self):
        for a, b, x, value in SCIPY_BETA:
            self.assertLess(abs(stats.incomplete_beta(a, b, x) / value - 1), 1e-11, (a, b, x))

    def test_paired_differences_are_those_of_students_own_paper(self):
        # Hours of sleep gained by ten patients, Student 1908; R's t.test prints these numbers.
        first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
        second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
        found = stats.paired([one - other for one, other in zip(first, second)])
        self.assertAlmostEqual(found["t"], -4.0621, places=4)
        self.assertAlmostEqual(found["p"], 0.002833, places=6)
        self.assertAlmostEqual(found["interval"][0], -2.4598858, places=7)
        self.assertAlmostEqual(found["interval"][1], -0.7001142, places=7)
        # Against a margin, one-sided: scipy's ttest_1samp(.., -0.5, alternative="less").
        found = stats.paired([one - other for one, other in zip(first, second)], -0.5)
        self.assertAlmostEqual(found["p_below"], 0.010759243378387, places=12)
        self.assertIsNone(stats.paired([0.1])["t"])

    def test_the_gap_is_shared_out(self):
        self.assertAlmostEqual(stats.gap_closed(3.4, 3.36, 3.3), 0.4)
        self.assertAlmostEqual(stats.gap_closed(36.0, 36.4, 37.0), 0.4)
        # A tenth of the way from T/2 to T.
        self.assertAlmostEqual(stats.at_cost(3.4, 3.3, 1.0, 2.0, 1.1), 3.39)
        self.assertTrue(math.isnan(stats.gap_closed(3.4, 3.3, 3.4)))

    def test_a_bootstrap_draws_seeds_and_books_in_pairs(self):
        runs = lambda arm, rate: [{"loss": row["loss"], "accuracy": row["accuracy"], "books": row["documents"]}
                                  for row in rows_of(range(1, 7)) if (row["arm"], row["rate"]) == (arm, rate)]
        half = runs("baseline-half", 5e-4)
        shifted = [{**run, "books": [[targets, loss + 0.1 * targets, right] for targets, loss, right in run["books"]]} for run in half]
        draws = stats.bootstrap([half, shifted], draws=2000)
        # The same seeds and books in both arms: their difference is the same in every draw.
        self.assertTrue(all(abs(draw[1][0] - draw[0][0] - 0.1) < 1e-9 for draw in draws))
        # Both seeds and books scatter, as the mean of n drawn values does.
        spread = lambda values: stdev(values) * math.sqrt((len(values) - 1) / len(values)) / math.sqrt(len(values))
        expected = math.hypot(spread([run["loss"] for run in half]), spread(BOOKS))
        self.assertLess(abs(stdev(draw[0][0] for draw in draws) / expected - 1), 0.1)
        without = [{**run, "books": None} for run in half]
        draws = stats.bootstrap([without], draws=2000)
        self.assertLess(abs(stdev(draw[0][0] for draw in draws) / spread([run["loss"] for run in half]) - 1), 0.1)
        self.assertEqual(draws, stats.bootstrap([without], draws=2000))
        self.assertAlmostEqual(mean(draw[0][0] for draw in draws), mean(run["loss"] for run in half), places=3)


class Report(unittest.TestCase):
    def test_a_finished_study_is_tested_and_judged(self):
        text = report(rows_of(range(1, 7)))
        self.assertIn("All runs of the main arms are here", text)
        self.assertIn("| B(T/2) at 5e-4 | 6 | ", text)
        self.assertIn("1.02 M", line_of(text, "| B(T/2) at 5e-4"))
        first = line_of(text, "- **H1**, the loss of SWE-F(T/2) at 1e-3 is below that of B(T/2) at 5e-4: **holds**")
        self.assertIn("t(5) = −", first)
        # 0.06 behind B(T) is more than a quarter of 0.1.
        self.assertIn("a quarter of the gap: **does not hold**", text)
        phi = line_of(text, "| SWE-F(T/2) at 1e-3, against B(T/2) at 5e-4 | loss | 6 | ")
        self.assertAlmostEqual(float(phi.split(" | ")[3].split()[0]), 0.4, delta=0.02)
        self.assertIn("| in line with the paper |", phi)
        self.assertIn("seeds and held-out books", text)

    def test_what_is_missing_is_said(self):
        text = report(row for row in rows_of([1, 2]) if row["arm"] != "baseline")
        self.assertIn("**The study is not finished.** Missing seeds: B(T/2) at 5e-4: 3, 4, 5, 6;", text)
        self.assertIn("B(T): all", text)
        self.assertIn("These are 2 of 6 seeds, so this is not the study's answer.", text)
        self.assertNotIn("The gap that is closed", text)
        self.assertIn("not tested, 1 pair so far", report(rows_of([1])))
        text = report({**row, "documents": None} for row in rows_of([1, 2, 3]))
        self.assertIn("seeds, and over held-out books where all rows have `documents`", text)
        self.assertIn("| too few seeds |", text)

    def test_rows_that_contradict_each_other_are_refused(self):
        rows = list(rows_of([1]))
        with self.assertRaises(SystemExit) as stopped:
            report([*rows, rows[0]])
        self.assertIn("error: two rows of `baseline-half` at 5e-4 have the seed 1", str(stopped.exception))
        with self.assertRaises(SystemExit) as stopped:
            report([{**rows[0], "loss": 3.6}])
        self.assertIn("do not add up to its loss", str(stopped.exception))

    def test_secondary_measures_have_tables(self):
        more = {"zorro": {"one": 60.0, "two": 70.0}, "finetune": {"sst2": {"score": "dev/accuracy", "values": [0.79, 0.81]}}}
        text = report([row("swe-f", 1e-3, 1, 3.4, **more)])
        self.assertIn("| **mean over files** | 65.00 (1) |", text)
        self.assertIn("| sst2, dev/accuracy | SWE-F(T/2) at 1e-3 | 1 | 2 | 80.00 ± 1.41 |", text)

    def test_a_page_is_filled_between_its_marks(self):
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.md"
            page.write_text("before\n\n<!-- report -->\nold\n<!-- /report -->\n\nafter\n")
            study_report.fill(page, "new\n")
            study_report.fill(page, "new\n")
            self.assertEqual(page.read_text(), "before\n\n<!-- report -->\n\nnew\n\n<!-- /report -->\n\nafter\n")
            page.write_text("no marks\n")
            with self.assertRaises(SystemExit):
                study_report.fill(page, "new\n")

    def test_the_page_has_the_numbers_of_the_rows(self):
        rows = ROOT / "docs/study/results.jsonl"
        if not rows.exists():
            self.skipTest("no rows of the study yet")
        text = report(read(rows))
        self.assertIn(f"<!-- report -->\n\n{text}\n<!-- /report -->", (ROOT / "docs/study.md").read_text(),
                      "run `python3 scripts/study.py report --rows docs/study/results.jsonl --page docs/study.md --figure docs/study.svg`")


class Figure(unittest.TestCase):
    def test_all_arms_are_drawn_in_three_panels(self):
        groups = study_report.grouped(list(rows_of([1, 2, 3])), "cpu")
        text = study_figure.figure(groups)
        picture = xml.dom.minidom.parseString(text)
        self.assertEqual(len(picture.getElementsByTagName("clipPath")), 3)
        self.assertEqual(len(picture.getElementsByTagName("polygon")), 3 * 4)
        self.assertIn("SWE-F(T/2) at 1e-3 (n = 3)", text)
        self.assertNotIn("nan", text)

    def test_ticks_are_round(self):
        self.assertEqual(study_figure.ticks(0.0, 48.0, 4), [0.0, 20.0, 40.0])
        self.assertEqual([round(at, 9) for at in study_figure.ticks(3.2, 4.1, 5)], [3.2, 3.4, 3.6, 3.8, 4.0])


# scipy.stats.t.cdf and scipy.special.betainc of scipy 1.17.1.
SCIPY_T = [(-8.0, 5, 0.0002464533302862221), (-2.5, 5, 0.02724504967118813), (0.3, 1, 0.5927735790777423), (1.7, 11, 0.9414017906765614), (-30.0, 2, 0.0005546313409798295), (4.0, 200, 0.999955434523907)]
SCIPY_BETA = [(2.5, 0.5, 0.3, 0.018927124071945658), (0.5, 0.5, 0.01, 0.06376856085851985), (50.0, 3.0, 0.99, 0.9846473742663409), (1.0, 20.0, 0.05, 0.6415140775914578)]

if __name__ == "__main__":
    unittest.main()
