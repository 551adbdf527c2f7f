#!/usr/bin/env python3
"""Trains short runs on the CPU and on an NVIDIA GPU, compares them and measures steps; what `make gpu-check` runs.

In:   an `untie` binary that is linked to the cuda flavour of libtorch, and a folder of shards. If the Python that runs this has
      torch, attention's dropout is measured; if it has transformers, its steps are. What is left out is named.
Out:  on stdout a section for docs/gpu.md; with --out JSON of the same. Exit 1 when a comparison fails or the GPU is not there.
      What must be right comes first, then speed. What has not begun after --minutes is left out, and named.
      --dry-run prints the commands instead. --device cpu checks this script: what needs a GPU is left out.
Cost: seven minutes on one GPU (--minutes), and the rest of the check that runs then. Standard library only: it also runs where there is neither Rust nor a network.
"""

import argparse
import datetime
import importlib.util
import json
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
# fp32 on CPU and GPU: products are summed in another order, and training amplifies the difference.
LOSS_TOLERANCE = 1e-4
# Factors of 8 or 10 bits of mantissa, in bf16, fp16 and TF32, and 40 steps that amplify the difference.
SHORT_TOLERANCE = 2e-2
DROPPED_TOLERANCE = 2e-3
# Seconds of one command, most of which take a few.
PATIENCE = 150
NO_DROPOUT = ["model.hidden_dropout_prob=0.0", "model.attention_probs_dropout_prob=0.0"]
# The masks of hidden dropout are the same on both devices, those of attention are not.
HIDDEN_DROPOUT = ["model.hidden_dropout_prob=0.1", "model.attention_probs_dropout_prob=0.0"]
BASE = {"hidden-size": 768, "layers": 12, "heads": 12, "intermediate-size": 3072, "vocab-size": 30522}
LARGE = {"hidden-size": 1024, "layers": 24, "heads": 16, "intermediate-size": 4096, "vocab-size": 30522}
SMALL = {"hidden-size": 256, "layers": 4, "heads": 4, "intermediate-size": 1024, "vocab-size": 8192}
MASK_RATE, MASK_TOKEN = 0.15, 4


class Failure(Exception):
    """A command that did not work."""


def is_installed(*packages):
    return all(importlib.util.find_spec(package) for package in packages)


class Anything(float):
    """Stands for every result in a dry run."""

    def __getitem__(self, _):
        return self

    def __contains__(self, _):
        return True

    def __iter__(self):
        return iter((1,))

    def items(self):
        return ()


class Checks:
    """Every check returns whether it passed, and adds its rows."""

    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        self.rows, self.speeds, self.left_out = [], [], []

    def row(self, what, result):
        self.rows.append({"check": what, "result": result})

    def call(self, command):
        """What `command` prints, None in a dry run."""
        words = [str(word) for word in command]
        if self.arguments.dry_run:
            print(shlex.join(words))
            return None
        try:
            result = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired as expired:
            told = (expired.stderr or b"").decode(errors="replace")
            raise Failure(f"error: {shlex.join(words)}\nnot done after {PATIENCE} s:\n{told}") from None
        if result.returncode != 0:
            raise Failure(f"error: {shlex.join(words)}\n{result.stderr}")
        # An unused kernel is a warning, not an error: all warnings are shown.
        for line in result.stderr.splitlines():
            if line.startswith("warning"):
                print(line, file=sys.stderr)
        self.warnings = [line for line in result.stderr.splitlines() if line.startswith("warning")]
        return result.stdout

    def call_json(self, command):
        out = self.call(command)
        return Anything(1) if out is None else json.loads(out)

    def train(self, name, settings, resume=False, device=None):
        """One run; its metrics by step."""
        run, self.warnings = self.work / name, []
        command = [self.arguments.untie, "train", "--config", ROOT / "configs/quickstart.toml", "--run-dir", run]
        settings = [f"data.dir={self.arguments.data}", *settings, f"train.device={device or self.arguments.device}"]
        if self.call(command + [word for setting in settings for word in ("--set", setting)] + ["--resume"] * resume) is None:
            return Anything(1)
        if any("CUDA kernels" in warning for warning in self.warnings) and "train.kernels=plain" not in settings:
            raise Failure(f"{name}: libtorch's operations computed it instead of the CUDA kernels")
        return read_metrics(run / "metrics.jsonl")

    # What must be right.

    def self_check(self):
        """The program compares its kernels with libtorch's operations at the start, and warns where it does not use them."""
        sizes = options(SMALL) + ["--batch", 8, "--warmup-steps", 1, "--seconds", 0]
        passed = True
        for precision in ("bf16", "fp16"):
            self.warnings = []
            self.call([self.arguments.untie, "bench", *sizes, "--precision", precision, "--device", self.arguments.device, "--kernels", "fused"])
            self.row(f"the kernels agree with libtorch's operations at the start, {precision}", "; ".join(self.warnings) or "yes")
            passed &= not self.warnings
        return passed

    def attention_dropout(self):
        """cuDNN may know sixteenths only: then our code does not use it, and the row is a fact, not a failure."""
        if not is_installed("torch"):
            self.left_out.append("attention_dropout (this Python has no torch)")
            return True
        shares = self.call_json([sys.executable, SCRIPTS / "attention_dropout.py", "--dropout", 0.1])
        self.row("share that attention drops at 0.1", ", ".join(f"{name} {value if isinstance(value, str) else round(value, 4)}"
                                                               for name, value in shares.items()))
        used = [value for name, value in shares.items() if name in ("flash", "memory-efficient") and not isinstance(value, str)]
        return all(abs(value - 0.1) < DROPPED_TOLERANCE for value in used)

    def devices(self):
        settings = NO_DROPOUT + ["train.steps=40", "train.precision=fp32", "train.log_every=1", "sharing.untie_at=20"]
        worst = worst_loss(self.train("cpu", settings, device="cpu"), self.train("gpu", settings))
        self.row("loss, fp32, 40 steps, untied at 20: largest relative difference to the CPU", f"{worst:.1e}")
        return worst <= LOSS_TOLERANCE

    def kernels(self):
        """Fused against plain, fp32 and the CPU's fused layers, which have the same masks of hidden dropout."""
        settings = ["train.steps=40", "train.log_every=1", "sharing.untie_at=20"]
        fused, plain = (["train.precision=bf16", f"train.kernels={kernels}"] for kernels in ("fused", "plain"))
        ours = self.train("fused", settings + NO_DROPOUT + fused)
        of_plain = worst_loss(ours, self.train("plain", settings + NO_DROPOUT + plain))
        of_full = worst_loss(ours, self.train("full", settings + NO_DROPOUT + ["train.precision=fp32"]))
        dropped = [self.train(f"dropped-{device}", settings + HIDDEN_DROPOUT + ["train.kernels=fused", f"train.precision={kind}"], device=device)
                   for device, kind in ((self.arguments.device, "bf16"), ("cpu", "fp32"))]
        of_cpu = worst_loss(*dropped)
        self.row("loss, bf16, 40 steps, fused: largest relative difference to plain; to fp32; to the CPU's fp32 with hidden dropout",
                 f"{of_plain:.1e}; {of_full:.1e}; {of_cpu:.1e}")
        return max(of_plain, of_full, of_cpu) <= SHORT_TOLERANCE

    def resume(self):
        """Longer by a resume: with a constant schedule and steps in integers, more steps change none before."""
        passed = True
        for deterministic in (True, False):
            settings = ["train.precision=bf16", "train.log_every=1", "optim.schedule=constant", "optim.warmup=10", "sharing.untie_at=30",
                        f"train.deterministic={str(deterministic).lower()}"]
            names = [f"{name}-{deterministic}" for name in ("whole", "halves")]
            whole = self.train(names[0], settings + ["train.steps=60"])
            self.train(names[1], settings + ["train.steps=45"])
            halves = self.train(names[1], settings + ["train.steps=60"], resume=True)
            worst = worst_loss(whole, halves)
            if deterministic:
                self.row("bf16, deterministic: stopped at 45, resumed to 60, equal bit for bit", "NO" if worst else "yes")
                passed = worst == 0
            else:
                self.row("the same, not deterministic: largest relative difference of the loss", f"{worst:.1e}")
                passed &= worst <= SHORT_TOLERANCE
        return passed

    def probe(self):
        """A threshold of -1 is never crossed, so both runs stay tied; one of them measures correlations all the time."""
        passed = True
        for deterministic in (True, False):
            settings = ["train.precision=bf16", "train.log_every=1", "train.steps=40", f"train.deterministic={str(deterministic).lower()}"]
            never = self.train(f"never-{deterministic}", settings + ["sharing.rule=never"])
            watching = ["sharing.rule=multi_step", "sharing.threshold=-1.0", "sharing.check_every=1"]
            probed = self.train(f"probed-{deterministic}", settings + watching)
            correlations = [name for name, _ in probed[40].items() if name.startswith("sharing/correlation/")]
            worst = worst_loss(never, probed)
            if deterministic:
                equal = len(correlations) > 0 and worst == 0
                self.row("bf16, deterministic: correlations measured at every step or at none, equal bit for bit", "yes" if equal else "NO")
                passed = equal
            else:
                self.row("the same, not deterministic: largest relative difference of the loss", f"{worst:.1e}")
                passed &= worst <= SHORT_TOLERANCE
        return passed

    def late_reads(self):
        """Every step read, or every 10th: the numbers of a step that is read later must be its own."""
        settings = ["train.deterministic=true", "train.precision=fp32", "train.steps=40", "sharing.untie_at=20"]
        every = self.train("every", settings + ["train.log_every=1"])
        some = self.train("some", settings + ["train.log_every=10"])
        tags = ("train/loss", "train/grad_norm", "train/mlm_accuracy")
        equal = all(every[step][tag] == some[step][tag] for step in (10, 20, 30, 40) for tag in tags)
        self.row("fp32, deterministic: numbers read at every step or every 10th, equal bit for bit", "yes" if equal else "NO")
        return equal

    def fp16(self):
        """From the scale of a new run, 2^16; overflows may halve it, and 40 steps are too few for it to grow."""
        settings = NO_DROPOUT + ["train.steps=40", "train.log_every=1", "sharing.untie_at=20"]
        full = self.train("of-fp16", settings + ["train.precision=fp32"])
        half = self.train("fp16", settings + ["train.precision=fp16", "checkpoint.every=40"])
        if self.arguments.dry_run:
            return True
        state = json.loads((self.work / "fp16/checkpoints/step-00000040/state.json").read_text())
        skipped, scale, worst = state["totals"]["skipped_steps"], state["scaler"]["scale"], worst_loss(full, half)
        # The scale is that of the step; each skipped one halves the next.
        halved = scale == 65536.0 / 2**skipped and half[1]["train/loss_scale"] == 65536.0
        self.row("fp16, 40 steps: largest relative difference of the loss to fp32; skipped steps; last scale", f"{worst:.1e}; {skipped}; {scale:g}")
        counted = state["num_updates"] == 40 - skipped
        return halved and counted and skipped < 20 and (worst <= SHORT_TOLERANCE or skipped > 0)

    def tf32(self):
        settings = NO_DROPOUT + ["train.steps=40", "train.precision=fp32", "train.log_every=1", "sharing.untie_at=20"]
        worst = worst_loss(self.train("ieee", settings + ["train.tf32=false"]), self.train("tf32", settings + ["train.tf32=true"]))
        self.row("TF32, 40 steps: largest relative difference of the loss to fp32 (0: this GPU has none)", f"{worst:.1e}")
        return worst <= SHORT_TOLERANCE

    # Speed.

    def speed(self, model, sizes, batch, length, peer):
        """Plain and fused by turns, twice, and transformers compiled once; all of the same batch, untied, with dropout 0.1."""
        name = f"{model} {batch} x {length}"
        batch_file = self.work / f"{model}-{batch}x{length}.json"
        batch_file.write_text(json.dumps(make_batch(batch, length, sizes["vocab-size"])))
        common = ["--batch-file", batch_file, "--dropout", 0.1, "--precision", "bf16", "--seconds", 3, "--warmup-steps", 5, "--device",
                  self.arguments.device]
        for kernels in ("plain", "fused") * 2:
            found = self.call_json([self.arguments.untie, "bench", *options(sizes), "--start", "untied", "--kernels", kernels, *common])
            self.speeds.append({"case": name, "who": kernels, "result": found})
        if peer and not is_installed("torch", "transformers"):
            self.left_out.append(f"transformers at {name} (this Python has no torch or no transformers)")
        elif peer:
            try:
                start = self.work / model
                if not start.exists():
                    self.call([sys.executable, SCRIPTS / "bench_peer.py", "start", "--out", start, *options(sizes)])
                found = self.call_json([sys.executable, SCRIPTS / "bench_peer.py", "measure", "--init", start, "--compile", *common])
                self.speeds.append({"case": name, "who": "transformers compiled", "result": found})
            except Failure as failure:
                # A peer that fails says nothing about our steps.
                self.left_out.append(f"transformers at {name} (it failed)")
                print(failure, file=sys.stderr, flush=True)
        return True

    def base(self):
        return all(self.speed("bert-base", BASE, batch, length, peer=True) for batch, length in ((256, 128), (64, 512)))

    def large(self):
        return self.speed("bert-large", LARGE, 64, 512, peer=False)

    def small(self):
        return self.speed("4 x 256", SMALL, 32, 128, peer=False)


def read_metrics(path):
    rows = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row["step"], {}).update(row)
    return rows


def worst_loss(one, other):
    """Largest relative difference of the losses at the steps that both have."""
    steps = [step for step in one if step in other and "train/loss" in one[step] and "train/loss" in other[step]]
    return max(abs(one[step]["train/loss"] / other[step]["train/loss"] - 1) for step in steps)


def options(sizes):
    return [word for name, value in sizes.items() for word in (f"--{name}", value)]


def make_batch(sequences, length, vocabulary):
    """Random tokens, 15 % of them masked."""
    source = random.Random(1)
    tokens = [[source.randrange(5, vocabulary) for _ in range(length)] for _ in range(sequences)]
    positions = sorted(source.sample(range(sequences * length), int(MASK_RATE * sequences * length)))
    labels = [tokens[at // length][at % length] for at in positions]
    for at in positions:
        tokens[at // length][at % length] = MASK_TOKEN
    return {"token_ids": tokens, "positions": positions, "labels": labels}


def section(device, checks):
    """Markdown for docs/gpu.md."""
    lines = [f"## {datetime.date.today()}, {device}", "", "| check | result |", "|---|---|"]
    lines += [f"| {row['check']} | {row['result']} |" for row in checks.rows]
    if checks.speeds:
        lines += ["", "| model, B x T | who | tokens/s | step, ms | peak MiB | utilisation |", "|---|---|--:|--:|--:|--:|"]
    for speed in checks.speeds:
        found = speed["result"]
        used = "" if found["utilisation"] is None else f"{found['utilisation']:.0%}"
        peak = "" if found["peak_mib"] is None else f"{found['peak_mib']:,.0f}"
        lines.append(f"| {speed['case']} | {speed['who']} | {found['tokens_per_second']:,.0f} "
                     f"| {1e3 * found['step_seconds']['median']:.1f} | {peak} | {used} |")
    lines += ["", f"Left out: {', '.join(checks.left_out)}."] if checks.left_out else []
    return "\n".join(lines)


def find_device(arguments):
    probe = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(probe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        if arguments.device != "cpu" and not arguments.dry_run:
            sys.exit("error: `nvidia-smi` finds no GPU\nhint: run this on a machine with an NVIDIA driver")
        return "no GPU"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--untie", type=Path, required=True, help="the binary")
    parser.add_argument("--data", type=Path, default=ROOT / "data/sample", help="folder of shards")
    parser.add_argument("--device", default="cuda", help="as `train.device`; `cpu` checks this script")
    parser.add_argument("--out", type=Path, help="JSON of all results")
    parser.add_argument("--minutes", type=float, default=7.0, help="no check begins later")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these checks, e.g. devices kernels base")
    parser.add_argument("--dry-run", action="store_true", help="print the commands")
    arguments = parser.parse_args()
    arguments.untie, arguments.data = arguments.untie.resolve(), arguments.data.resolve()
    device = find_device(arguments)
    begin, fine, seconds = time.monotonic(), True, {}
    names = ["self_check", "attention_dropout", "devices", "kernels", "resume", "probe", "late_reads", "base", "large", "small", "fp16", "tf32"]
    if arguments.device == "cpu":
        names = ["devices", "resume", "probe", "late_reads"]
    with tempfile.TemporaryDirectory() as work:
        checks = Checks(arguments, Path(work))
        for name in arguments.only or names:
            if time.monotonic() - begin > 60 * arguments.minutes:
                checks.left_out.append(f"{name} (no time)")
                continue
            started = time.monotonic()
            try:
                passed = getattr(checks, name)()
            except Failure as failure:
                # The others may still say something.
                passed = False
                checks.row(name, "FAILED")
                print(failure, file=sys.stderr, flush=True)
            fine &= passed
            seconds[name] = round(time.monotonic() - started, 1)
            if not arguments.dry_run:
                print(f"{name}: {'passed' if passed else 'NOT passed'}, {seconds[name]} s", file=sys.stderr, flush=True)
    if arguments.dry_run:
        return 0
    print(section(device, checks))
    if arguments.out:
        result = {"device": device, "date": str(datetime.date.today()), "passed": fine, "checks": checks.rows, "speeds": checks.speeds,
                  "left_out": checks.left_out, "seconds": seconds}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
