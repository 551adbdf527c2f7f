#!/usr/bin/env python3
"""Compares training steps of `untie` with transformers' BertForMaskedLM on this machine; what `make bench` runs.

    python scripts/bench.py [--only mini ..] [--quick] [--out FILE.json] [--markdown FILE.md]

In:   the release binary, and a Python with torch and transformers (the one that runs this script).
Out:  on stdout a Markdown table; with --out JSON with every measurement; with --markdown the table between the two marks of
      that file. With data/sample (`make data`) also what a step waits for its batch, and what a checkpoint takes.
Cost: about an hour for everything on two cores, minutes with --quick. Standard library only, the peer runs in its own process.

Both sides start from the same weights and read the same batch. Each measurement is a process of its own; they take turns, A B C
A B C, and the table has the medians over the rounds. Without dropout the losses of the first three steps must agree (0.5 % in
bf16, 0.01 % in fp32; of tied layers, which are another model from the second step on, that of the first); where they do not, no
ratio is printed and the exit code is 1.
"""

import argparse
import datetime
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_table import COMPILED, EAGER, markdown, write_aside, write_markdown

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / "scripts" / "bench_peer.py"
TOLERANCE = {"bf16": 5e-3, "fp32": 1e-4}
MASK_RATE = 0.15
FIRST_TOKEN, MASK_TOKEN = 5, 4
OURS = {"untie tied": ["--start", "tied"], "untie untied": ["--start", "untied"],
        "untie untied plain": ["--start", "untied", "--kernels", "plain"]}

MINI = dict(hidden_size=256, layers=12, heads=4, intermediate_size=1024, vocab_size=8192)
SIZES = {
    "mini": dict(MINI, shapes=[(32, 128), (8, 512)], dropouts=[0.0, 0.1], peers=[EAGER, COMPILED]),
    "bert-base": dict(hidden_size=768, layers=12, heads=12, intermediate_size=3072, vocab_size=30522,
                      shapes=[(8, 128), (2, 512)], dropouts=[0.0, 0.1], peers=[EAGER, COMPILED]),
    "bert-large": dict(hidden_size=1024, layers=24, heads=16, intermediate_size=4096, vocab_size=30522,
                       shapes=[(4, 128)], dropouts=[0.1], peers=[EAGER]),
    "mini-24": dict(MINI, layers=24, shapes=[(32, 128)], dropouts=[0.1], peers=[]),
    # Steps that fill a GPU.
    "bert-base-gpu": dict(hidden_size=768, layers=12, heads=12, intermediate_size=3072, vocab_size=30522,
                          shapes=[(256, 128), (64, 512)], dropouts=[0.1], peers=[EAGER, COMPILED]),
    "bert-large-gpu": dict(hidden_size=1024, layers=24, heads=16, intermediate_size=4096, vocab_size=30522,
                           shapes=[(128, 128)], dropouts=[0.1], peers=[EAGER, COMPILED]),
    # Not in the table: checks this script in a minute.
    "tiny": dict(hidden_size=64, layers=3, heads=2, intermediate_size=256, vocab_size=500, shapes=[(4, 32)],
                 dropouts=[0.0, 0.1], peers=[EAGER, COMPILED]),
}
DEFAULT_SIZES = ["mini", "bert-base", "bert-large", "mini-24"]


def say(text):
    print(text, file=sys.stderr, flush=True)


class Failure(Exception):
    """A measurement that did not work."""


def measure(command):
    """The JSON object that `command` prints."""
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT)
    if result.returncode != 0:
        raise Failure((result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1])
    return json.loads(result.stdout)


class Bench:
    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        self.facts = measure([arguments.untie, "bench", "--hidden-size", 64, "--layers", 1, "--vocab-size", 64, "--batch", 1,
                              "--seconds", 0, *self.common()])
        self.precision = self.facts["precision"] if arguments.precision == "auto" else arguments.precision
        self.peer_versions = None
        self.failed = False

    def common(self):
        return ["--threads", self.arguments.threads, "--device", self.arguments.device]

    def command(self, who, start, batch, dropout, seconds, warmup_steps):
        shared = ["--init", start, "--batch-file", batch, "--dropout", dropout, "--precision", self.precision,
                  "--seconds", seconds, "--warmup-steps", warmup_steps, *self.common()]
        if who in OURS:
            return [self.arguments.untie, "bench", *OURS[who], *shared]
        return [sys.executable, PEER, "measure", *shared, *(["--compile"] if who == COMPILED else [])]

    def size(self, name, write):
        """Every case of one size; `write` is called after each."""
        size = SIZES[name]
        start = self.work / name
        sizes = {key: size[key] for key in ("hidden_size", "layers", "heads", "intermediate_size", "vocab_size")}
        options = [word for key, value in sizes.items() for word in (f"--{key.replace('_', '-')}", value)]
        say(f"{name}: making the weights that all start from")
        subprocess.run([str(word) for word in [sys.executable, PEER, "start", "--out", start, *options]], check=True,
                       stdout=sys.stderr)
        ours = [one for one in OURS if self.arguments.plain or "plain" not in one]
        who = [*ours, *(peer for peer in size["peers"] if not (self.arguments.quick and peer == COMPILED))]
        shapes = size["shapes"][:1] if self.arguments.quick else size["shapes"]
        cases = []
        for sequences, length in shapes:
            if length not in (self.arguments.lengths or [length]):
                continue
            batch = self.work / f"{name}-{sequences}x{length}.json"
            batch.write_text(json.dumps(make_batch(sequences, length, size["vocab_size"])))
            agrees = None
            if 0.0 not in size["dropouts"]:
                losses = {one: self.losses(one, start, batch) for one in who}
                agrees = self.agree(f"{name} {sequences}x{length}", losses)
            for dropout in size["dropouts"]:
                case = self.case(who, start, batch, dropout)
                case.update(size=name, sizes=sizes, batch=sequences, sequence_length=length, dropout=dropout)
                if dropout == 0.0:
                    losses = {one: found["losses"] for one, found in case["results"].items() if found}
                    agrees = self.agree(f"{name} {sequences}x{length}", losses)
                case["losses_without_dropout"], case["losses_agree"] = losses, agrees
                cases.append(case)
                write(cases)
        return cases

    def losses(self, who, start, batch):
        say(f"  losses without dropout: {who}")
        try:
            return measure(self.command(who, start, batch, 0.0, 0, 0))["losses"]
        except Failure as failure:
            say(f"  {who} failed: {failure}")
            self.failed = True
            return []

    def agree(self, what, losses):
        """Whether each one's losses are those of eager transformers, or of our untied model where there is no peer."""
        expected = losses.get(EAGER) or losses.get("untie untied") or []
        agrees = {}
        for who, found in losses.items():
            steps = 1 if who == "untie tied" else len(expected)
            pairs = list(zip(found, expected))[:steps]
            near = [abs(loss / other - 1) <= TOLERANCE[self.precision] for loss, other in pairs]
            agrees[who] = bool(expected) and len(near) == steps and all(near)
            if not agrees[who]:
                say(f"  {what}: losses of {who} are {found}, expected {expected}: no ratio is printed")
                self.failed = True
        return agrees

    def case(self, who, start, batch, dropout):
        """All contestants in turn, round after round."""
        seconds = self.arguments.seconds
        found = {one: [] for one in who}
        errors = {}
        for turn in range(1, self.arguments.rounds + 1):
            for one in who:
                if one in errors:
                    continue
                say(f"  {batch.stem} dropout {dropout:g}, round {turn}: {one}")
                try:
                    run = measure(self.command(one, start, batch, dropout, seconds, self.arguments.warmup_steps))
                except Failure as failure:
                    say(f"  {one} failed: {failure}")
                    errors[one], self.failed = str(failure), True
                    continue
                if run["precision"] != self.precision or run["threads"] != self.facts["threads"]:
                    raise SystemExit(f"error: {one} ran with {run['threads']} threads in {run['precision']}, expected "
                                     f"{self.facts['threads']} in {self.precision}")
                if run["side"] == "transformers":
                    self.peer_versions = run["versions"]
                found[one].append(run)
        # One rate for all: the best that any process of the case saw.
        ours = [run for one in who if one in OURS for run in found[one]]
        rate = max((run["product_tflops"] for run in ours), default=None)
        work = ours[0]["product_tflop"] if ours else None
        results = {one: summary(runs, work, rate) for one, runs in found.items()}
        return {"product_tflops": rate, "product_tflop": work, "results": results, "errors": errors, "runs": found}

    def run_of_data(self):
        """Waiting for batches and checkpoints of a real run, if its data are there."""
        data = self.arguments.data
        if not (data / "manifest.json").exists():
            say(f"no shards in {data.name}: loader and checkpoint are left out (`make data` makes some)")
            return None
        say("loader and checkpoint: configs/mini.toml on the sample data")
        config = ["--config", "configs/mini.toml", "--set", f"data.dir={data}", "--set", "sharing.rule=never",
                  "--set", f"train.threads={self.arguments.threads}", "--set", f"train.device={self.arguments.device}"]
        self.arguments.runs.mkdir(parents=True, exist_ok=True)
        found = measure([self.arguments.untie, "bench", *config, "--seconds", self.arguments.seconds, "--warmup-steps",
                         self.arguments.warmup_steps, "--save-in", self.arguments.runs])
        phase = found["phases"][0]
        # Not all of a step's micro-batches are measured.
        part = phase["global_batch"] / phase["micro_batch"] / phase["at_start"]["measured_micro_batches"]
        return {"config": "configs/mini.toml", "global_batch": phase["global_batch"],
                "step_seconds": {name: phase[name]["step_seconds"] for name in ("at_start", "untied")},
                "loader_wait_seconds": {name: part * phase[name]["loader_wait_seconds"]["median"]
                                        for name in ("at_start", "untied")},
                "checkpoint_seconds": found["checkpoint_seconds"],
                "checkpoint_stall_seconds": found["checkpoint_stall_seconds"]}


def make_batch(sequences, length, vocab_size):
    """Random tokens, of which BERT's 15 % are targets: 80 % [MASK], 10 % random, 10 % as they are."""
    draw = random.Random(f"{sequences} {length} {vocab_size}")
    token = lambda: draw.randrange(FIRST_TOKEN, vocab_size)
    token_ids = [[token() for _ in range(length)] for _ in range(sequences)]
    positions, labels = [], []
    for row, sequence in enumerate(token_ids):
        for at in sorted(draw.sample(range(length), max(1, round(MASK_RATE * length)))):
            positions.append(row * length + at)
            labels.append(sequence[at])
            kind = draw.random()
            sequence[at] = MASK_TOKEN if kind < 0.8 else token() if kind < 0.9 else sequence[at]
    return {"token_ids": token_ids, "positions": positions, "labels": labels}


def summary(runs, work, rate):
    if not runs:
        return None
    median = lambda values: statistics.median(values) if all(value is not None for value in values) else None
    speed = median([run["tokens_per_second"] for run in runs])
    seconds = median([run["step_seconds"]["median"] for run in runs])
    return {"tokens_per_second": speed, "step_seconds": seconds, "peak_mib": median([run["peak_mib"] for run in runs]),
            "baseline_mib": median([run["baseline_mib"] for run in runs]),
            "utilisation": work / rate / seconds if rate else None,
            # How far the rounds are apart, (largest - smallest) / median.
            "spread": (max(run["tokens_per_second"] for run in runs) - min(run["tokens_per_second"] for run in runs)) / speed,
            "losses": runs[0]["losses"]}


def memory_gib():
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--untie", type=Path, default=ROOT / "target/release/untie", help="the binary")
    parser.add_argument("--only", nargs="+", choices=list(SIZES), default=DEFAULT_SIZES, metavar="SIZE",
                        help=f"of {', '.join(SIZES)} (default: {', '.join(DEFAULT_SIZES)})")
    parser.add_argument("--quick", action="store_true", help="first shapes only, nothing compiled, short measurements")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="least time of a measurement (default: 20; quick: 3)")
    parser.add_argument("--warmup-steps", type=int, help="(default: 3; quick: 1)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="of both sides (default: auto)")
    parser.add_argument("--lengths", type=int, nargs="+", metavar="T", help="only these sequence lengths")
    parser.add_argument("--plain", action="store_true", help="also our untied step composed of libtorch's operations")
    parser.add_argument("--data", type=Path, default=ROOT / "data/sample", help="shards for loader and checkpoint")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder on the disk that checkpoints go to")
    parser.add_argument("--out", type=Path, help="JSON with every measurement")
    parser.add_argument("--markdown", type=Path, help="file whose block between the marks is replaced")
    arguments = parser.parse_args()
    for name, normal, quick in (("seconds", 20.0, 3.0), ("warmup_steps", 3, 1)):
        if getattr(arguments, name) is None:
            setattr(arguments, name, quick if arguments.quick else normal)
    if arguments.rounds < 1 or arguments.seconds < 0 or arguments.warmup_steps < 0:
        parser.error("--rounds must be at least 1, --seconds and --warmup-steps at least 0")
    for name in ("untie", "data", "runs"):
        setattr(arguments, name, getattr(arguments, name).resolve())

    with tempfile.TemporaryDirectory() as work:
        bench = Bench(arguments, Path(work))
        facts = bench.facts
        report = {"date": datetime.date.today().isoformat(), "system": f"{platform.system()} {platform.machine()}",
                  "memory_gib": memory_gib(), **{key: facts[key] for key in ("cpu", "threads", "device")},
                  "precision": bench.precision, "cpu_capability": facts["versions"].get("cpu_capability"),
                  "versions": facts["versions"], "peer_versions": None, "rounds": arguments.rounds,
                  "seconds": arguments.seconds, "warmup_steps": arguments.warmup_steps, "cases": [], "data": None}
        done = []

        def write(cases):
            report.update(cases=done + cases, peer_versions=bench.peer_versions)
            if arguments.out:
                write_aside(arguments.out, json.dumps(report, indent=1) + "\n")

        for name in arguments.only:
            done += bench.size(name, write)
        report["data"] = bench.run_of_data()
        write([])
    text = markdown(report)
    print(text, end="")
    if arguments.markdown:
        write_markdown(arguments.markdown, text)
    return 1 if bench.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"error: {failure}")
