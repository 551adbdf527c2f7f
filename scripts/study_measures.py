"""What the study measures of a finished run: held-out loss, minimal pairs, fine-tuning on SST-2 and STS-B.

In:  a run's folder and its row. Out: parts of the row, or None where they are there; tables of the secondary ones for the report.
"""

import json
from statistics import mean

from study_files import books, called, say
from study_report import name, table, with_sd

# Folder, and the scores of which the mean counts.
TASKS = {"sst2": ("SST-2", ["dev/accuracy"]), "stsb": ("STS-B", ["dev/pearson", "dev/spearman"])}
EPOCHS = 3
SEQUENCE_LENGTH = 64
SEQUENCES, QUICK_SEQUENCES = 20000, 512
NUM_CURVE_ROWS = 300
CURVE_TAGS = ("step", "train/loss", "train/tokens", "train/flops", "train/hours", "train/tokens_per_second", "train/mlm_accuracy",
              "eval/loss", "eval/mlm_accuracy", "sharing/groups")
MADE_UP = ["the man was here .", "the man here was .", "he said unto them .", "he unto said them ."]


def evaluated(arguments, run, data, log):
    """Held-out loss and accuracy of a run's exported model in fp32, and the part of each held-out document."""
    documents = run / "documents.jsonl"
    command = [arguments.untie, "eval", "--model", run / "export", "--data", data, "--device", "cpu", "--by-document", documents]
    sequences = QUICK_SEQUENCES if arguments.quick else SEQUENCES
    lines = called([*command, "--sequence-length", SEQUENCE_LENGTH, "--sequences", sequences], log).splitlines()
    values = dict(line.rsplit("  ", 1) for line in lines)
    number = {name.strip(): value.strip().removesuffix(" %") for name, value in values.items()}
    return {"loss": float(number["loss"]), "accuracy": float(number["accuracy"]), "targets": int(number["masked tokens"]),
            "documents": books(documents)}


def curve(run):
    """The run's evaluations, and of its steps as many as make `NUM_CURVE_ROWS` rows."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    every = max(1, len(rows) // NUM_CURVE_ROWS)
    kept = [row for at, row in enumerate(rows) if at % every == 0 or any(tag.startswith("eval/") for tag in row)]
    return [{tag: row[tag] for tag in CURVE_TAGS if tag in row} for row in kept]


def zorro(arguments, folder, row, log):
    """Share of right pairs in % by file."""
    if row.get("zorro") and row["zorro_limit"] in (None, arguments.limit):
        return None
    say(f"{folder.name}: minimal pairs")
    limit = ["--limit", arguments.limit] if arguments.limit else []
    command = [arguments.untie, "pairs", "--model", folder / "export", "--device", "cpu", *limit, "--pairs", *arguments.pairs]
    lines = [line.rsplit(None, 3) for line in called(command, log).splitlines()[1:]]
    # The last line is the mean, which the report makes itself.
    return {"zorro": {file: float(accuracy) for file, accuracy, _, _ in lines[:-1]}, "zorro_limit": arguments.limit}


def made_up_pairs(folder):
    """A file of two pairs, to see that `untie pairs` works; an ungrammatical sentence comes first."""
    path = folder / "pairs.txt"
    path.write_text("".join(f"{wrong}\n{right}\n" for right, wrong in zip(MADE_UP[::2], MADE_UP[1::2])))
    return path


def finetune(arguments, folder, row, log):
    """Scores of each task over the fine-tuning seeds."""
    found = dict(row.get("finetune") or {})
    rate, seeds = float(arguments.finetune_rate), arguments.finetune_seeds
    for task, (data, scores) in TASKS.items():
        old = found.get(task)
        if old and old["rate"] == rate and len(old["values"]) >= seeds:
            continue
        say(f"{folder.name}: fine-tuning on {task}")
        out = folder / "finetune" / task
        command = [arguments.untie, "finetune", "--task", task, "--model", folder / "export", "--data", arguments.glue / data]
        command += ["--lr", arguments.finetune_rate, "--seeds", seeds, "--epochs", EPOCHS, "--set", "train.group_by_length=true"]
        called([*command, "--run-dir", out, "--resume"], log)
        runs = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        runs = sorted((run for run in runs if run["lr"] == rate), key=lambda run: run["seed"])
        # The correlation of a constant is not defined: such a run has learnt nothing, and counts as 0.
        values = [mean(run["scores"][score] or 0.0 for score in scores) for run in runs]
        found[task] = {"rate": rate, "epochs": EPOCHS, "score": "mean of " * (len(scores) > 1) + " and ".join(scores), "values": values}
    return {"finetune": found} if found != row.get("finetune") else None


def zorro_text(groups):
    found = {arm: [row["zorro"] for row in runs.values() if row.get("zorro")] for arm, runs in groups.items()}
    found = {arm: runs for arm, runs in found.items() if runs}
    if not found:
        return []
    files = sorted({file for runs in found.values() for run in runs for file in run})
    means = {arm: [mean(run.values()) for run in runs] for arm, runs in found.items()}
    rows = [["**mean over files**", *(f"{with_sd(means[arm], '.2f')} ({len(runs)})" for arm, runs in found.items())]]
    rows += [[file, *(f"{mean(run[file] for run in runs):.1f}" for runs in found.values())] for file in files]
    return ["### Minimal pairs", "Right pairs in %, by pseudo-log-likelihood: mean ± sd over seeds (their number). Chance is 50 %.",
            table(["file", *map(name, found)], rows)]


def finetune_text(groups):
    cells = {}
    for arm, runs in groups.items():
        for row in runs.values():
            for task, found in (row.get("finetune") or {}).items():
                cells.setdefault((task, found["score"]), {}).setdefault(arm, []).append(found["values"])
    if not cells:
        return []
    rows = [[f"{task}, {score}", name(arm), str(len(runs)), str(sum(map(len, runs))),
             with_sd([100 * value for run in runs for value in run], ".2f")]
            for (task, score), arms in sorted(cells.items()) for arm, runs in arms.items()]
    return ["### Fine-tuning", "Scores on the dev set in points: mean ± sd over all fine-tuning runs of an arm.",
            table(["task", "arm", "pre-training seeds", "runs", "score"], rows)]
