#!/usr/bin/env python3
"""Runs the study of docs/study/protocol.md: trains what is missing, measures it, and keeps one row a run.

    python scripts/study.py tune --corpus FILE.. --tuning-text FILE..     # the rates of protocol.md, seed 0
    python scripts/study.py run --corpus FILE.. --rates swe-f=1e-3 ..     # the arms over --seeds

Out:  one folder a run below --out; rows of JSON on stdout and in --rows. A run that is there is not trained again, one that was
      stopped goes on: the same command after an interruption.
Cost: one CPU core a run, --jobs runs at a time; about an hour for 24,000 steps.
"""

import argparse
import hashlib
import json
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wheels import stop

CONFIGS = Path("configs/study")
ARMS = {"cpu": ["baseline-half", "swe-f", "baseline"]}
TUNED = ["baseline-half", "swe-f"]
RATES = ["2.5e-4", "5e-4", "1e-3", "2e-3"]
VOCAB_SIZE = 4096
VALID_FRACTION = 0.03
# The tuning runs: 6,000 of 24,000 steps, with the same shares for the warm-up and the untying point. The border of the phases stays
# at step 4,000.
TUNING = {"train.steps": 6000, "optim.warmup": 120}
TUNING_OF = {"swe-f": {"sharing.untie_at": 600}}
# What one run of `--quick` takes, to see that everything works.
QUICK_PHASES = "[{ until = 100, sequence_length = 16, global_batch = 64, micro_batch = 64 }, { sequence_length = 64 }]"
QUICK = {"train.steps": 200, "optim.warmup": 4, "eval.every": 100, "train.precision": "auto", "data.phase": QUICK_PHASES}
QUICK_OF = {"swe-f": {"sharing.untie_at": 100}}
SEQUENCE_LENGTH = 64
SEQUENCES = 20000
NUM_CURVE_ROWS = 300


def say(text):
    print(f"study: {text}", file=sys.stderr, flush=True)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cpu_name():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def called(command, log):
    """The standard output of a program whose messages go to `log`."""
    with open(log, "a") as messages:
        result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=messages, text=True)
    if result.returncode != 0:
        stop(f"`{' '.join(map(str, command[:2]))}` failed", f"`{log}` has its messages")
    return result.stdout


def shards(arguments, name, corpus, *options):
    folder = arguments.out / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    inputs = [word for path in corpus for word in ("--input", path)]
    called([arguments.untie, "prepare", *inputs, "--out", folder, *options], arguments.out / f"{name}.log")
    return folder


def evaluated(arguments, run, data, log):
    """Held-out loss and accuracy of a run's exported model in fp32."""
    command = [arguments.untie, "eval", "--model", run / "export", "--data", data, "--device", "cpu"]
    lines = called([*command, "--sequence-length", SEQUENCE_LENGTH, "--sequences", SEQUENCES], log).splitlines()
    values = dict(line.rsplit("  ", 1) for line in lines)
    number = {name.strip(): value.strip().removesuffix(" %") for name, value in values.items()}
    return {"loss": float(number["loss"]), "accuracy": float(number["accuracy"]), "targets": int(number["masked tokens"])}


def curve(run):
    """The run's evaluations, and of its steps as many as make `NUM_CURVE_ROWS` rows."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    every = max(1, len(rows) // NUM_CURVE_ROWS)
    kept = [row for at, row in enumerate(rows) if at % every == 0 or any(tag.startswith("eval/") for tag in row)]
    tags = ("step", "train/loss", "eval/loss", "eval/mlm_accuracy", "sharing/groups", "train/tokens_per_second", "train/flops",
            "train/hours")
    return [{tag: row[tag] for tag in tags if tag in row} for row in kept]


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
    measured = evaluated(arguments, run, evaluation_data, log)
    row = {"arm": arm, "seed": seed, "rate": float(rate), "scale": arguments.scale, **measured,
           "config": (run / "config.toml").read_text(), "binary": arguments.binary, "data": arguments.data_hash,
           "cpu": cpu_name(), "curve": curve(run)}
    row_file.write_text(json.dumps(row))
    say(f"{name}: loss {measured['loss']:.4f}, accuracy {measured['accuracy']:.2f} %")
    return row


def all_of(arguments, jobs):
    with ThreadPoolExecutor(arguments.jobs) as pool:
        rows = list(pool.map(lambda job: trained(arguments, *job), jobs))
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if arguments.rows:
        arguments.rows.write_text(text)
    for row in rows:
        print(json.dumps({name: row[name] for name in ("arm", "seed", "rate", "loss", "accuracy", "targets")}))


def tune(arguments):
    data = shards(arguments, "data", arguments.corpus, "--vocab-size", VOCAB_SIZE, "--valid-fraction", VALID_FRACTION)
    # Most of the other text is measured on; nothing is trained on it.
    other = shards(arguments, "tuning-data", arguments.tuning_text, "--tokenizer", data, "--valid-fraction", 0.8)
    arguments.data_hash = sha256(data / "manifest.json")
    jobs = [(arm, 0, rate, {**TUNING, **TUNING_OF.get(arm, {})}, data, other, f"tuning/{arm}-{rate}")
            for rate in arguments.rates or RATES for arm in TUNED]
    all_of(arguments, jobs)


def run(arguments):
    data = shards(arguments, "data", arguments.corpus, "--vocab-size", VOCAB_SIZE, "--valid-fraction", VALID_FRACTION)
    arguments.data_hash = sha256(data / "manifest.json")
    pairs = [pair.split("=", 1) for pair in arguments.rates]
    arms = arguments.arms or ARMS[arguments.scale]
    for arm in arms:
        if arm not in (pair[0] for pair in pairs):
            stop(f"`--rates` has no rate for `{arm}`", "give one for each arm, as docs/study/protocol.md says")
    base, of_arm = (QUICK, QUICK_OF) if arguments.quick else ({}, {})
    kind = "quick" if arguments.quick else arguments.scale
    jobs = [(arm, seed, rate, {**base, **of_arm.get(arm, {})}, data, data, f"{kind}/{arm}-{rate}-{seed}")
            for seed in arguments.seeds for arm, rate in pairs if arm in arms]
    all_of(arguments, jobs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tune", "run"])
    parser.add_argument("--untie", type=Path, default=Path("target/release/untie"))
    parser.add_argument("--scale", choices=list(ARMS), default="cpu")
    parser.add_argument("--corpus", type=Path, nargs="+", required=True, help="the text of the study")
    parser.add_argument("--tuning-text", type=Path, nargs="+", help="tune: other text, on which rates are chosen")
    parser.add_argument("--rates", nargs="+", default=[], help="tune: rates to try; run: ARM=RATE of each arm, one or more")
    parser.add_argument("--arms", nargs="+", help="run: some of the arms")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each [%(default)s]")
    parser.add_argument("--quick", action="store_true", help="run: 200 steps an arm, to see that everything works")
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--rows", type=Path, help="also write all rows, with their curves, to this file")
    arguments = parser.parse_args()
    if arguments.what == "tune" and not arguments.tuning_text:
        stop("`tune` needs `--tuning-text`", "give text that is not in the study")
    arguments.untie = arguments.untie.resolve()
    arguments.binary = sha256(arguments.untie)
    {"tune": tune, "run": run}[arguments.what](arguments)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("error: interrupted\nhint: the same command goes on where it was", file=sys.stderr)
        sys.exit(130)
