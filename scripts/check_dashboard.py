"""Trains short runs and asks the real TensorBoard, over HTTP, for what it makes of them: charts, settings, ends. Exit 1 when one is wrong.

    python scripts/check_dashboard.py [--untie target/release/untie] [--work DIR]

`make parity` runs it. Needs tensorboard 2.x from PyPI. The runs are: two that differ in two settings, one of which ends, goes on, fails and goes on
again; one that fails; and a fine-tuning with two learning rates. Both of TensorBoard's readers are asked. It takes about a minute.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tensorboard_server import serve

CONFIG = """
[model]
hidden_size = 32
num_hidden_layers = 3
num_attention_heads = 2
max_position_embeddings = 32
[data]
dir = "data"
sequence_length = 32
[train]
steps = 40
global_batch = 8
micro_batch = 8
precision = "fp32"
threads = 1
log_every = 5
device = "cpu"
[sharing]
untie_at = 20
check_every = 5
monitor = true
[checkpoint]
every = 20
[eval]
every = 20
sequences = 16
"""
STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
failures = []


def check(what, found, expected):
    good = found == expected
    print(f"  {what}: {'as expected' if good else f'expected {expected}, got {found}  <-- FAILED'}")
    if not good:
        failures.append(what)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--untie", type=Path, default=Path("target/release/untie"))
    parser.add_argument("--work", type=Path, help="keep the runs in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        train_all(arguments.untie.resolve(), work)
        # The reader that TensorBoard prefers, in Rust, and the one in Python.
        for flags in ([], ["--load_fast=false"]):
            print(f"TensorBoard {' '.join(flags)}".rstrip())
            with serve(work / "runs", *flags) as server:
                compare(server, work / "runs")
    sys.exit(f"error: {len(failures)} of TensorBoard's answers are wrong" if failures else 0)


def train_all(untie, work):
    def run(code, *command):
        done = subprocess.run([untie, *command], cwd=work, capture_output=True, text=True)
        if done.returncode != code:
            sys.exit(f"error: `untie {' '.join(command)}`: expected exit code {code}, got {done.returncode}\n{done.stderr}")

    def train(code, name, *settings, flags=()):
        run(code, "train", "--config", "run.toml", "--run-dir", f"runs/{name}", "--resume", *flags,
            *(word for setting in settings for word in ("--set", setting)))

    subjects, verbs = ["the miller", "a captain", "the queen", "our cook"], ["counted", "carried", "painted", "forgot"]
    sentences = [f"{subject} {verb} the {thing} ." for subject in subjects for verb in verbs for thing in ("boat", "clock", "bell")]
    texts = [" ".join(sentences[(at * step + step) % len(sentences)] for at in range(20)) for step in range(1, 61)]
    (work / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (work / "run.toml").write_text(CONFIG)
    rows = [f"{sentence}\t{'person' if 'queen' in sentence else 'other'}" for sentence in sentences]
    (work / "task").mkdir(exist_ok=True)
    for name in ("train", "dev"):
        (work / "task" / f"{name}.tsv").write_text("text\tlabel\n" + "".join(f"{row}\n" for row in rows))
    run(0, "prepare", "--input", "corpus.jsonl", "--out", "data", "--vocab-size", "150", "--valid-fraction", "0.1")
    train(0, "fixed")
    long = ("sharing.rule=adaptive", "optim.lr=2e-4")
    broken = ("optim.lr=1e30", "optim.clip_norm=0", "guard.max_skipped=5")
    train(0, "adaptive", *long, "train.steps=20")
    train(1, "adaptive", *long, *broken, flags=["--allow-changes"])
    train(0, "adaptive", *long, flags=["--allow-changes"])
    train(1, "failed", *broken)
    run(0, "finetune", "--task", "text-classification", "--model", "runs/fixed", "--data", "task", "--run-dir", "runs/task", "--max-length", "32",
        "--set", "optim.lr=[1e-4, 1e-3]", "--set", "train.epochs=2", "--set", "train.threads=1", "--set", "train.device=cpu",
        "--set", "train.log_every=1")


def compare(server, folder):
    tasks = [f"task/text-classification-lr{rate}-seed1" for rate in ("1e-4", "1e-3")]
    names = ["fixed", "adaptive", "failed", *tasks]
    server.wait_for_runs(f"{name}/tb" for name in names)

    layout = server.get("plugin/custom_scalars/layout")
    check("the charts' categories", [category["title"] for category in layout["category"]],
          ["Loss", "Accuracy and scores", "Untying", "Speed", "Optimizer"])
    tags = {tag for of_run in server.get("plugin/scalars/tags").values() for tag in of_run}
    charts = [chart for category in layout["category"] for chart in category["chart"]]
    check("charts without a curve", [chart["title"] for chart in charts
                                     if not any(re.match(pattern, tag) for pattern in chart["multiline"]["tag"] for tag in tags)], [])
    titles = [(category["title"], chart["title"]) for category in layout["category"] for chart in category["chart"]]
    check("charts that are there twice", [title for title in set(titles) if titles.count(title) > 1], [])
    scores = server.get("plugin/custom_scalars/scalars", run=f"{tasks[0]}/tb",
                        tag=next(chart["multiline"]["tag"][0] for chart in charts if chart["title"] == "Scores on dev"))
    check("curves of the scores", sorted(scores["tag_to_events"]), ["dev/accuracy", "dev/macro_f1", "dev/matthews"])

    experiment = server.get("plugin/hparams/experiment", request={"experimentName": "untie"})
    differs = {info["name"] for info in experiment["hparamInfos"] if info.get("differs")}
    check("settings that differ", sorted(differs & {"sharing.rule", "optim.lr", "train.steps", "sharing.untie_at"}),
          ["optim.lr", "sharing.rule"])
    metrics = [info["name"]["tag"] for info in experiment["metricInfos"]]
    check("metrics to compare", [tag for tag in ("eval/loss", "eval/mlm_accuracy", "eval/perplexity", "dev/accuracy", "train/flops")
                                 if tag not in metrics], [])

    request = {"experimentName": "untie", "allowedStatuses": STATUSES, "colParams": [], "startIndex": 0, "sliceSize": 100}
    groups = server.get("plugin/hparams/session_groups", request=request)["sessionGroups"]
    sessions = {group["sessions"][0]["name"]: group for group in groups}
    check("sessions", sorted(sessions), sorted(f"{name}/tb" for name in names))
    status = {name: sessions[f"{name}/tb"]["sessions"][0].get("status") for name in names}
    check("how they ended", status, {name: "STATUS_FAILURE" if name == "failed" else "STATUS_SUCCESS" for name in names})
    for name, settings in {
        "fixed": {"sharing.rule": "fixed", "optim.lr": 1e-4, "train.seed": 42, "model.num_hidden_layers": 3, "train.tf32": False},
        "adaptive": {"sharing.rule": "adaptive", "optim.lr": 2e-4, "train.steps": 40, "data.sequence_length": 32},
        tasks[0]: {"optim.lr": 1e-4, "train.seed": 1, "task.name": "text-classification", "model.hidden_size": 32},
    }.items():
        found = sessions[f"{name}/tb"]["hparams"]
        check(f"settings of {name}", {key: found.get(key) for key in settings}, settings)
    for name, tag in (("fixed", "eval/loss"), ("adaptive", "eval/perplexity"), (tasks[1], "dev/accuracy")):
        lines = map(json.loads, (folder / name / "metrics.jsonl").read_text().splitlines())
        expected = [line[tag] for line in lines if tag in line][-1]
        values = {value["name"]["tag"]: value["value"] for value in sessions[f"{name}/tb"]["sessions"][0]["metricValues"]}
        # Scalars are single precision there.
        check(f"the last {tag} of {name}", abs(values[tag] / expected - 1) < 1e-6, True)
    steps = [event[1] for event in server.get("plugin/scalars/scalars", run="adaptive/tb", tag="eval/loss")]
    check("steps of the resumed run", steps, sorted(set(steps)))


if __name__ == "__main__":
    main()
