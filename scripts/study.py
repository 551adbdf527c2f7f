#!/usr/bin/env python3
"""Runs the study of docs/study/protocol.md: trains what is missing, measures it, and keeps one row a run.

    python scripts/study.py tune --corpus FILE.. --tuning-text FILE..     # the rates of protocol.md, seed 0
    python scripts/study.py run --corpus FILE.. --rates swe-f=1e-3 ..     # arms over --seeds; the protocol's three by default
    python scripts/study.py measure | zorro | finetune                    # what finished runs still lack
    python scripts/study.py report --rows FILE                            # every number of docs/study.md
    python scripts/study.py all                                           # gets the corpus, then run, zorro and report

Out:  one folder a run below --out; rows of JSON in --rows. A run that is there is not trained again, one that was stopped goes on:
      the same command after an interruption.
Cost: one CPU core a run, --jobs runs at a time; about an hour for 24,000 steps.
"""

import argparse
import json
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import study_figure
import study_measures
import study_report
from study_files import called, read, sha256, say, write
from wheels import ROOT, stop

CONFIGS = Path("configs/study")
RATES = {"cpu": ["baseline-half=5e-4", "baseline-half=1e-3", "swe-f=1e-3", "baseline=5e-4"]}
SEEDS = [1, 2, 3, 4, 5, 6]
TUNED = ["baseline-half", "swe-f"]
TUNED_RATES = ["2.5e-4", "5e-4", "1e-3", "2e-3"]
VOCAB_SIZE = 4096
VALID_FRACTION = 0.03
# The tuning runs: 6,000 of 24,000 steps, with the same shares for the warm-up and the untying point. The border of the phases stays
# at step 4,000.
TUNING = {"train.steps": 6000, "optim.warmup": 120}
TUNING_OF = {"swe-f": {"sharing.untie_at": 600}, "swe-units": {"sharing.untie_at": 600}, "swe-f-late": {"sharing.untie_at": 2400}}
# What one run of `--quick` takes, to see that everything works.
QUICK_PHASES = "[{ until = 100, sequence_length = 16, global_batch = 64, micro_batch = 64 }, { sequence_length = 64 }]"
QUICK = {"train.steps": 200, "optim.warmup": 4, "eval.every": 50, "eval.sequences": 256, "train.precision": "auto",
         "data.phase": QUICK_PHASES}
QUICK_OF = {"swe-f": {"sharing.untie_at": 100}, "swe-units": {"sharing.untie_at": 100}, "swe-f-late": {"sharing.untie_at": 150},
            "baseline": {"train.steps": 400, "optim.warmup": 8}, "swe-a": {"sharing.check_every": 10},
            "swe-m": {"sharing.check_every": 10}}


def cpu_name():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def shards(arguments, name, corpus, *options):
    folder = arguments.out / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    inputs = [word for path in corpus for word in ("--input", path)]
    called([arguments.untie, "prepare", *inputs, "--out", folder, *options], arguments.out / f"{name}.log")
    return folder


def trained(arguments, arm, seed, rate, changes, data, evaluation_data, name):
    """The row of one run, which is trained unless it is there."""
    run, row_file = arguments.out / name, arguments.out / name / "row.json"
    if row_file.exists():
        row = json.loads(row_file.read_text())
        if (row["rate"], row["data"]) != (float(rate), arguments.data_hash):
            stop(f"`{run}` was trained with another rate or on other data", "move it away, or choose another `--out`")
        return row
    run.parent.mkdir(parents=True, exist_ok=True)
    log = run.parent / f"{run.name}.log"
    changes = {"data.dir": data, "train.seed": seed, "optim.lr": rate, **changes}
    sets = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    config = CONFIGS / arguments.scale / f"{arm}.toml"
    say(f"{name}: training")
    called([arguments.untie, "train", "--config", config, "--run-dir", run, "--resume", *sets], log)
    measured = study_measures.evaluated(arguments, run, evaluation_data, log)
    row = {"arm": arm, "seed": seed, "rate": float(rate), "scale": kind(arguments), **measured,
           "config": (run / "config.toml").read_text(), "binary": arguments.binary, "data": arguments.data_hash,
           "cpu": cpu_name(), "curve": study_measures.curve(run)}
    if "sharing.threshold" in changes:
        row["threshold"] = float(changes["sharing.threshold"])
    write(row_file, json.dumps(row))
    say(f"{name}: loss {measured['loss']:.4f}, accuracy {measured['accuracy']:.2f} %")
    return row


def kind(arguments):
    """The folder and the scale of rows."""
    return "quick" if arguments.quick else arguments.scale


def jobs_of(arguments, pairs, seeds, base, of_arm, data, other, folder):
    """A run for each arm, rate, threshold and seed; a threshold is a part of the run's name."""
    thresholds = [pair.split("=", 1) for pair in arguments.thresholds]
    for seed in seeds:
        for arm, rate in pairs:
            changes = {**base, **of_arm.get(arm, {})}
            for threshold in [value for of, value in thresholds if of == arm] or [None]:
                chosen = {"sharing.threshold": threshold} if threshold else {}
                name = "-".join([arm, *([threshold] if threshold else []), rate, *([str(seed)] if seed else [])])
                yield arm, seed, rate, {**changes, **chosen}, data, other, f"{folder}/{name}"


def train_all(arguments, jobs):
    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(lambda job: trained(arguments, *job), jobs))
    for row in rows:
        print(json.dumps({name: row[name] for name in ("arm", "seed", "rate", "loss", "accuracy", "targets")}))
    merge(arguments, rows)


def merge(arguments, rows):
    """Puts rows into the file `--rows`, in the place of those of the same runs; the other rows stay."""
    if not arguments.rows:
        return
    known = {}
    lines = arguments.rows.read_text().splitlines() if arguments.rows.exists() else []
    for row in [*map(json.loads, lines), *rows]:
        known[row["scale"], row["arm"], row["rate"], row["seed"], row.get("threshold")] = row
    arguments.rows.parent.mkdir(parents=True, exist_ok=True)
    write(arguments.rows, "".join(json.dumps(row) + "\n" for row in known.values()))


def tune(arguments):
    if not arguments.tuning_text:
        stop("`tune` needs `--tuning-text`", "give text that is not in the study")
    data = shards(arguments, "data", arguments.corpus, "--vocab-size", VOCAB_SIZE, "--valid-fraction", VALID_FRACTION)
    # Most of the other text is measured on; nothing is trained on it.
    other = shards(arguments, "tuning-data", arguments.tuning_text, "--tokenizer", data, "--valid-fraction", 0.8)
    arguments.data_hash = sha256(data / "manifest.json")
    pairs = [(arm, rate) for rate in arguments.rates or TUNED_RATES for arm in arguments.arms or TUNED]
    train_all(arguments, jobs_of(arguments, pairs, [0], TUNING, TUNING_OF, data, other, "tuning"))


def run(arguments):
    prefix = "quick-" if arguments.quick else ""
    data = shards(arguments, f"{prefix}data", arguments.corpus, "--vocab-size", VOCAB_SIZE, "--valid-fraction", VALID_FRACTION)
    arguments.data_hash = sha256(data / "manifest.json")
    pairs = [pair.split("=", 1) for pair in arguments.rates or RATES[arguments.scale]]
    arms = arguments.arms or [pair[0] for pair in pairs]
    for arm in arms:
        if arm not in (pair[0] for pair in pairs):
            stop(f"`--rates` has no rate for `{arm}`", "give one for each arm, as docs/study/protocol.md says")
    pairs = [pair for pair in pairs if pair[0] in arms]
    base, of_arm = (QUICK, QUICK_OF) if arguments.quick else ({}, {})
    train_all(arguments, jobs_of(arguments, pairs, arguments.seeds, base, of_arm, data, data, kind(arguments)))


def finished(arguments, act):
    """Calls `act` with the folder, the row and the log of each finished run; it gives the row's new parts, or nothing."""
    folders = sorted(file.parent for file in (arguments.out / kind(arguments)).glob("*/row.json"))
    if not folders:
        stop(f"`{arguments.out / kind(arguments)}` has no finished runs",
             "`scripts/study.py run` makes them; name their folder with `--out`")

    def one(folder):
        row = json.loads((folder / "row.json").read_text())
        if row["seed"] in arguments.seeds and row["arm"] in (arguments.arms or [row["arm"]]):
            new = act(folder, row, folder.parent / f"{folder.name}.log")
            if new:
                row.update(new)
                write(folder / "row.json", json.dumps(row))
        return row

    with ThreadPoolExecutor(arguments.jobs) as pool:
        merge(arguments, list(pool.map(one, folders)))


def measure(arguments):
    """The parts of held-out documents, and curves with tokens, for runs that were made without them."""
    data = arguments.out / ("quick-data" if arguments.quick else "data")

    def act(folder, row, log):
        if row.get("documents"):
            return None
        say(f"{folder.name}: measuring each held-out document")
        return {"documents": study_measures.evaluated(arguments, folder, data, log)["documents"], "curve": study_measures.curve(folder)}

    finished(arguments, act)


def zorro(arguments):
    if not arguments.pairs:
        stop("`zorro` needs `--pairs`", "name the folder of minimal pairs")
    finished(arguments, lambda folder, row, log: study_measures.zorro(arguments, folder, row, log))


def finetune(arguments):
    if not arguments.glue:
        stop("`finetune` needs `--glue`", "`python3 data-prep/recipes/get.py glue` gets the tasks")
    finished(arguments, lambda folder, row, log: study_measures.finetune(arguments, folder, row, log))


def report(arguments):
    if not arguments.rows:
        stop("`report` needs `--rows`", "name the file of rows, e.g. docs/study/results.jsonl")
    rows = read(arguments.rows, arguments.documents)
    secondary = [study_measures.zorro_text, study_measures.finetune_text]
    text = study_report.report(rows, kind(arguments), arguments.seeds, secondary)
    print(text, end="")
    if arguments.figure:
        write(arguments.figure, study_figure.figure(study_report.grouped(rows, kind(arguments))))
        say(f"the figure is `{arguments.figure}`")
    if arguments.page:
        study_report.fill(arguments.page, text)


def corpus(arguments):
    """The text of the study: named, the sample for `--quick`, else fetched."""
    if arguments.corpus:
        return arguments.corpus
    if arguments.quick:
        return [ROOT / output([sys.executable, ROOT / "scripts/sample_corpus.py"]).strip()]
    folder = ROOT / "data/raw/simple-books"
    output([sys.executable, ROOT / "data-prep/recipes/get.py", "simple-books", "--out", folder])
    return sorted(folder.glob("*.jsonl"))


def output(command):
    result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(result.returncode)
    return result.stdout


def everything(arguments):
    folder = arguments.out / kind(arguments)
    arguments.corpus = corpus(arguments)
    arguments.rows = arguments.rows or folder / "results.jsonl"
    arguments.figure = arguments.figure or folder / "study.svg"
    run(arguments)
    measure(arguments)
    if arguments.quick and not arguments.pairs:
        arguments.pairs = [study_measures.made_up_pairs(folder)]
    if arguments.pairs:
        zorro(arguments)
    if not arguments.quick:
        # A part of the seeds is no answer.
        arguments.seeds = SEEDS
    report(arguments)
    if arguments.quick:
        print("\nThis was a quick look: a few hundred steps an arm on a small text. It shows that each part works. These numbers mean "
              "nothing:\nno model has learnt more than how frequent words are, and no arm can be better than another.")


ACTIONS = {"tune": tune, "run": run, "measure": measure, "zorro": zorro, "finetune": finetune, "report": report, "all": everything}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(ACTIONS))
    parser.add_argument("--untie", type=Path, default=Path("target/release/untie"))
    parser.add_argument("--scale", choices=list(RATES), default="cpu")
    parser.add_argument("--corpus", type=Path, nargs="+", help="tune, run: the text of the study")
    parser.add_argument("--tuning-text", type=Path, nargs="+", help="tune: other text, on which rates are chosen")
    parser.add_argument("--rates", nargs="+", default=[], help="tune: rates to try; run: ARM=RATE of each arm, one or more")
    parser.add_argument("--thresholds", nargs="+", default=[], help="tune, run: ARM=THRESHOLD for swe-a and swe-m [their files']")
    parser.add_argument("--arms", nargs="+", help="some of the arms")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each [%(default)s]")
    parser.add_argument("--quick", action="store_true", help="200 steps an arm, 400 for `baseline`, to see that everything works")
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--rows", type=Path, help="the file of all rows, with their curves; rows of other runs in it stay")
    parser.add_argument("--documents", type=Path, help="report: a folder of runs with what rows lack of held-out documents")
    parser.add_argument("--figure", type=Path, help="report: also draw the curves into this SVG")
    parser.add_argument("--page", type=Path, help="report: also put it into this page, between its two marks")
    parser.add_argument("--pairs", type=Path, nargs="+", help="zorro: files or folders of minimal pairs")
    parser.add_argument("--limit", type=int, help="zorro: pairs of each file [all]")
    parser.add_argument("--glue", type=Path, help="finetune: GLUE's folders")
    parser.add_argument("--finetune-rate", default="3e-4", help="finetune: the learning rate [%(default)s]")
    parser.add_argument("--finetune-seeds", type=int, default=5, help="finetune: seeds 1 to this [%(default)s]")
    arguments = parser.parse_args()
    if arguments.what in ("tune", "run") and not arguments.corpus:
        stop(f"`{arguments.what}` needs `--corpus`", "`python3 data-prep/recipes/get.py simple-books` gets the study's text")
    if arguments.what != "report":
        arguments.untie = arguments.untie.resolve()
        if not arguments.untie.exists():
            stop(f"`{arguments.untie}` is not there", "`make build` makes it; or name the binary with `--untie`")
        arguments.binary = sha256(arguments.untie)
    ACTIONS[arguments.what](arguments)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        stop(f"cannot use `{error.filename}`: {(error.strerror or str(error)).lower()}",
             "check the path and the permissions; what is done is kept")
    except KeyboardInterrupt:
        print("error: interrupted\nhint: the same command goes on where it was", file=sys.stderr)
        sys.exit(130)
