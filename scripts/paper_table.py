#!/usr/bin/env python3
"""Makes one of the paper's tables: what `make table1` to `make table4` run.

In:   the number of the table, the scale (mini: two CPU cores; paper: its own sizes), raw text, GLUE and SQuAD.
Out:  shards, one folder a run with its fine-tuning inside, and the table: on stdout, and beside the runs as table1.md,
      .csv and .tex.
      Whatever is there already is kept: a run or a sweep that was killed goes on, a finished one is not trained again. So
      after an interruption the same command goes on where it was, and a second table reuses the runs that it shares.
Cost: at mini about an hour of two cores for table 1; at paper's, see the heads of configs/paper/large.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

from wheels import stop

GLUE_FOLDERS = {
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "stsb": "STS-B",
    "qqp": "QQP",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
    "wnli": "WNLI",
}
SQUAD_FILES = {
    "squad1": ["train-v1.1.json", "dev-v1.1.json"],
    "squad2": ["train-v2.0.json", "dev-v2.0.json"],
}
# A small model wants a larger rate than the paper's; one of them and one seed are what the time allows.
MINI_FINETUNING = "--lr 3e-4 --seeds 1 --set train.group_by_length=true"
TASKS = {"mini": "sst2 rte", "paper": "squad1 squad2 mnli qnli qqp sst2"}
CONFIGS = {"mini": Path("configs/paper/mini"), "paper": Path("configs/paper/large")}


def call(command, **options):
    """Runs a program whose messages speak for themselves: its failure is ours."""
    code = subprocess.run([str(word) for word in command], **options).returncode
    if code != 0:
        # The shell's number for a signal.
        sys.exit(code if code > 0 else 128 - code)


def output(command):
    result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        sys.exit(result.returncode)
    return result.stdout


def say(text):
    print(f"table: {text}", file=sys.stderr, flush=True)


def shards(arguments):
    """The folder of shards, made if it is not there."""
    scale, corpus = arguments.scale, arguments.corpus
    if scale == "paper" and not corpus:
        folder = Path("data/xlnet" if arguments.table == 2 else "data/bert")
        if not (folder / "manifest.json").exists():
            stop(
                f"there are no shards in `{folder}`, and CORPUS is not set",
                "give raw text with CORPUS=FILE or CORPUS=FOLDER, or make the shards yourself: `python3 "
                f"data-prep/recipes/get.py wikipedia`, the same with `books`, `untie prepare --out {folder} --input ..`",
            )
        return folder
    folder = Path(f"data/paper-{scale}-{name_of(corpus) or 'sample'}")
    if not corpus:
        corpus = output([sys.executable, "scripts/sample_corpus.py"]).strip()
        say("CORPUS is not set: the sample of 1 M tokens is read over and over, which makes poor models; give more text")
    # One in twenty of the sample's chapters is enough held-out text to measure on.
    fraction = 0.02 if arguments.corpus else 0.05
    sizes = ["--vocab-size", arguments.vocab_size or (2048 if scale == "mini" else 30522), "--valid-fraction", fraction]
    call([arguments.untie, "prepare", "--input", corpus, "--out", folder, *sizes], stdout=sys.stderr)
    return folder


def name_of(corpus):
    return Path(corpus).name if corpus else ""


def task_folders(arguments):
    """The folder of each task; fetched where it is missing, before anything is trained."""
    folders = {}
    for task in arguments.tasks.split():
        if task in GLUE_FOLDERS:
            kind, root = "glue", arguments.glue
            folder = root / GLUE_FOLDERS[task]
            is_there = folder.is_dir()
        elif task in SQUAD_FILES:
            kind, root = "squad", arguments.squad
            folder = root
            is_there = all((root / name).exists() for name in SQUAD_FILES[task])
        else:
            stop(f"TASKS: there is no task `{task}`", f"choose from {' '.join([*GLUE_FOLDERS, *SQUAD_FILES])}")
        if not is_there:
            say(f"`{folder}` has no data of {task}: fetching {kind} into `{root}`")
            result = subprocess.run([sys.executable, "data-prep/recipes/get.py", kind, "--out", str(root)], stdout=sys.stderr)
            if result.returncode != 0 or not folder.is_dir():
                stop(
                    f"the data of `{task}` are not in `{folder}` and cannot be fetched",
                    f"put them there, name their folder with {kind.upper()}=DIR, or leave the task out with TASKS=\"..\"",
                )
        folders[task] = folder
    return folders


def tuning_of(arguments):
    if arguments.finetune_args is not None:
        return shlex.split(arguments.finetune_args)
    return shlex.split(MINI_FINETUNING) if arguments.scale == "mini" else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--untie", type=Path, default=Path("target/release/untie"))
    parser.add_argument("--table", type=int, required=True, choices=[1, 2, 3, 4])
    parser.add_argument("--scale", default="mini", help="mini or paper [%(default)s]")
    parser.add_argument("--corpus", help="raw text [mini: the sample corpus; paper: shards in data/bert or data/xlnet]")
    parser.add_argument("--vocab-size", type=int, help="[mini: 2048, paper: 30522]")
    parser.add_argument("--tasks", help=f"[mini: {TASKS['mini']}; paper: {TASKS['paper']}]")
    parser.add_argument("--glue", type=Path, default=Path("data/raw/glue"), help="GLUE's folders [%(default)s]")
    parser.add_argument("--squad", type=Path, default=Path("data/raw/squad"), help="SQuAD's files [%(default)s]")
    parser.add_argument("--finetune-args", help=f"for `untie finetune` [mini: {MINI_FINETUNING}; paper: its defaults]")
    parser.add_argument("--train-args", default="", help="for `untie train`, e.g. \"--set train.threads=2\"")
    arguments = parser.parse_args()
    if arguments.scale not in CONFIGS:
        stop(f"SCALE must be mini or paper, got `{arguments.scale}`", "leave it out for mini")
    if arguments.tasks is None:
        arguments.tasks = TASKS[arguments.scale]

    configs = CONFIGS[arguments.scale]
    root = Path("-".join(["runs/paper", arguments.scale, *filter(None, [name_of(arguments.corpus)])]))
    names = output([arguments.untie, "table", arguments.table, "--list"]).split()
    seconds = {}

    begin = time.monotonic()
    folders = task_folders(arguments)
    data = shards(arguments)
    seconds["data"] = time.monotonic() - begin

    begin = time.monotonic()
    for name in names:
        say(f"pre-training `{name}`")
        command = [arguments.untie, "train", "--config", configs / f"{name}.toml", "--set", f"data.dir={data}"]
        command += [*shlex.split(arguments.train_args), "--run-dir", root / name, "--resume"]
        call(command, stdout=sys.stderr)
    seconds["pre-training"] = time.monotonic() - begin

    begin = time.monotonic()
    for name in names:
        for task, folder in folders.items():
            say(f"fine-tuning `{name}` on {task}")
            command = [arguments.untie, "finetune", "--task", task, "--model", root / name / "export", "--data", folder]
            command += ["--run-dir", root / name / "finetune" / task, "--resume", *tuning_of(arguments)]
            if task == "mnli" and (arguments.glue / "AX").is_dir():
                command += ["--ax", arguments.glue / "AX"]
            call(command, stdout=sys.stderr)
    seconds["fine-tuning"] = time.monotonic() - begin

    table = [arguments.untie, "table", arguments.table, "--runs", root, "--configs", configs]
    for kind, ending in (("markdown", "md"), ("csv", "csv"), ("latex", "tex")):
        out = root / f"table{arguments.table}.{ending}"
        call([*table, "--format", kind, "--out", out], stdout=subprocess.DEVNULL)
    say(", ".join(f"{part} {taken / 60:.1f} min" for part, taken in seconds.items()))
    say(f"written as {root}/table{arguments.table}.md, .csv and .tex")
    call(table)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("error: interrupted\nhint: the same command goes on where it was", file=sys.stderr)
        sys.exit(130)
