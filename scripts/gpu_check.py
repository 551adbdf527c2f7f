#!/usr/bin/env python3
"""Trains a short run on the CPU and on an NVIDIA GPU and compares them; what `make gpu-check` runs.

In:   an `untie` binary that is linked to the cuda flavour of libtorch, and a folder of shards.
Out:  on stdout, a section for docs/gpu.md: the largest difference of the loss (fp32, dropout 0, tied and untied steps),
      whether a run that is stopped and resumed on the GPU ends as one that was not, whether measuring correlations leaves
      a run as it is, whether reading a step's numbers late changes them, fp16 with its loss scale beside fp32, TF32 beside
      fp32, and tokens a second of bert-base.
      Exit 1 when a comparison fails or the GPU is not there.
      With `--device cpu` steps on the CPU are read as late as on a GPU; fp16 and TF32, which it lacks, are left out.
Cost: about five minutes on one GPU. Standard library only: it also runs where there is neither Rust nor a network.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# fp32 on CPU and GPU: products are summed in another order, and training amplifies the difference.
LOSS_TOLERANCE = 1e-4
# Factors of 10 bits of mantissa, in TF32 as in fp16, and 40 steps that amplify the difference.
SHORT_TOLERANCE = 2e-2
# Seconds of one run, which takes a few.
PATIENCE = 120
NO_DROPOUT = ["model.hidden_dropout_prob=0.0", "model.attention_probs_dropout_prob=0.0"]


class Failure(Exception):
    """A run that did not work."""


def train(arguments, run, settings, resume=False):
    """One run; its metrics by step."""
    command = [str(arguments.untie), "train", "--config", str(ROOT / "configs/quickstart.toml"), "--run-dir", str(run)]
    for setting in [f"data.dir={arguments.data}", *settings]:
        command += ["--set", setting]
    command += ["--resume"] if resume else []
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as expired:
        raise Failure(f"error: {' '.join(command)}\nnot done after {PATIENCE} s:\n{(expired.stderr or b'').decode()}") from None
    if result.returncode != 0:
        raise Failure(f"error: {' '.join(command)}\n{result.stderr}")
    rows = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row["step"], {}).update(row)
    return rows


def compare_devices(arguments, work):
    settings = NO_DROPOUT + ["train.steps=40", "train.precision=fp32", "train.log_every=1", "sharing.untie_at=20"]
    cpu = train(arguments, work / "cpu", settings + ["train.device=cpu"])
    gpu = train(arguments, work / "gpu", settings + [f"train.device={arguments.device}"])
    worst = max(abs(cpu[step]["train/loss"] / gpu[step]["train/loss"] - 1) for step in range(1, 41))
    print(f"| loss, fp32, 40 steps, untied at 20: largest relative difference to the CPU | {worst:.1e} |")
    return worst <= LOSS_TOLERANCE


def compare_resume(arguments, work):
    """Longer by a resume: with a constant schedule and steps in integers, more steps change none before."""
    settings = ["train.precision=bf16", "train.log_every=1", "train.deterministic=true", "optim.schedule=constant",
                "optim.warmup=10", "sharing.untie_at=30", f"train.device={arguments.device}"]
    whole = train(arguments, work / "whole", settings + ["train.steps=60"])
    train(arguments, work / "halves", settings + ["train.steps=45"])
    halves = train(arguments, work / "halves", settings + ["train.steps=60"], resume=True)
    equal = all(whole[step]["train/loss"] == halves[step]["train/loss"] for step in range(1, 61))
    print(f"| bf16, dropout 0, deterministic: stopped at 45, resumed to 60, equal bit for bit | {'yes' if equal else 'NO'} |")
    return equal


def compare_probe(arguments, work):
    """A threshold of -1 is never crossed, so both runs stay tied; one of them measures correlations all the time."""
    settings = ["train.precision=bf16", "train.log_every=1", "train.deterministic=true", "train.steps=40",
                f"train.device={arguments.device}"]
    plain = train(arguments, work / "plain", settings + ["sharing.rule=never"])
    watching = ["sharing.rule=multi_step", "sharing.threshold=-1.0", "sharing.check_every=1"]
    probed = train(arguments, work / "probed", settings + watching)
    correlations = [value for name, value in probed[40].items() if name.startswith("sharing/correlation/")]
    equal = len(correlations) == 5 and all(plain[at]["train/loss"] == probed[at]["train/loss"] for at in range(1, 41))
    print(f"| bf16, deterministic: correlations measured at every step or at none, equal bit for bit | {'yes' if equal else 'NO'} |")
    return equal


def worst_loss(one, other):
    """Largest relative difference of the losses at the steps that both have."""
    steps = [step for step in one if step in other and "train/loss" in one[step] and "train/loss" in other[step]]
    return max(abs(one[step]["train/loss"] / other[step]["train/loss"] - 1) for step in steps)


def compare_late_reads(arguments, work):
    """Every step read, or every 10th: the numbers of a step that is read later must be its own."""
    settings = ["train.deterministic=true", "train.precision=fp32", "train.steps=40", "sharing.untie_at=20",
                f"train.device={arguments.device}"]
    every = train(arguments, work / "every", settings + ["train.log_every=1"])
    some = train(arguments, work / "some", settings + ["train.log_every=10"])
    tags = ("train/loss", "train/grad_norm", "train/mlm_accuracy")
    equal = all(every[step][tag] == some[step][tag] for step in (10, 20, 30, 40) for tag in tags)
    print(f"| fp32, deterministic: numbers read at every step or every 10th, equal bit for bit | {'yes' if equal else 'NO'} |")
    return equal


def compare_fp16(arguments, work):
    """From the scale of a new run, 2^16; overflows may halve it, and 40 steps are too few for it to grow."""
    settings = NO_DROPOUT + ["train.steps=40", "train.log_every=1", "sharing.untie_at=20", f"train.device={arguments.device}"]
    full = train(arguments, work / "full", settings + ["train.precision=fp32"])
    half = train(arguments, work / "fp16", settings + ["train.precision=fp16", "checkpoint.every=40"])
    state = json.loads((work / "fp16/checkpoints/step-00000040/state.json").read_text())
    scales = [half[step]["train/loss_scale"] for step in range(1, 41)]
    skipped = state["totals"]["skipped_steps"]
    # The scale is that of the step; each skipped one halves the next.
    halved = state["scaler"]["scale"] == 65536.0 / 2**skipped and scales[0] == 65536.0
    counted = state["num_updates"] == 40 - skipped
    worst = worst_loss(full, half)
    print(f"| fp16, 40 steps: largest relative difference of the loss to fp32; skipped steps; last scale "
          f"| {worst:.1e}; {skipped}; {state['scaler']['scale']:g} |")
    return halved and counted and skipped < 20 and (worst <= SHORT_TOLERANCE or skipped > 0)


def compare_tf32(arguments, work):
    settings = NO_DROPOUT + ["train.steps=40", "train.precision=fp32", "train.log_every=1", "sharing.untie_at=20",
                             f"train.device={arguments.device}"]
    exact = train(arguments, work / "ieee", settings + ["train.tf32=false"])
    short = train(arguments, work / "tf32", settings + ["train.tf32=true"])
    worst = worst_loss(exact, short)
    print(f"| TF32, 40 steps: largest relative difference of the loss to fp32 (0: this GPU has none) | {worst:.1e} |")
    return worst <= SHORT_TOLERANCE


def measure(arguments, work):
    sizes = ["model.hidden_size=768", "model.num_hidden_layers=12", "model.num_attention_heads=12",
             "model.intermediate_size=3072", "train.global_batch=256", "train.micro_batch=256", "train.precision=bf16",
             "train.steps=60", "optim.warmup=10", "sharing.untie_at=30", "eval.sequences=32",
             f"train.device={arguments.device}"]
    rows = train(arguments, work / "speed", sizes)
    for name, steps in (("tied", (20, 30)), ("untied", (50, 60))):
        rate = sum(rows[step]["train/tokens_per_second"] for step in steps) / len(steps)
        mfu = sum(rows[step]["train/mfu"] for step in steps) / len(steps)
        print(f"| 12 layers of hidden 768, T 128, batch 256, bf16, {name}: tokens/s (part of the product rate) | {rate:,.0f} ({mfu:.0%}) |")
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--untie", type=Path, required=True, help="the binary")
    parser.add_argument("--data", type=Path, default=ROOT / "data/sample", help="folder of shards")
    parser.add_argument("--device", default="cuda", help="as `train.device`; `cpu` checks this script")
    arguments = parser.parse_args()
    arguments.untie, arguments.data = arguments.untie.resolve(), arguments.data.resolve()
    probe = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        device = subprocess.run(probe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        if arguments.device != "cpu":
            sys.exit("error: `nvidia-smi` finds no GPU\nhint: run this on a machine with an NVIDIA driver")
        device = "no GPU"
    print(f"## {datetime.date.today()}, {device}\n\n| check | result |\n|---|---|")
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        checks = [compare_devices, compare_resume, compare_probe, compare_late_reads]
        if arguments.device != "cpu":
            checks += [compare_fp16, compare_tf32, measure]
        fine = True
        for check in checks:
            try:
                fine &= check(arguments, work)
            except Failure as failure:
                # The others may still say something.
                fine = False
                print(f"| {check.__name__} | FAILED |", flush=True)
                print(failure, file=sys.stderr, flush=True)
    return 0 if fine else 1


sys.exit(main())
