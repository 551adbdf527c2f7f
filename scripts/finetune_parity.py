#!/usr/bin/env python3
"""Fine-tunes beside transformers on the same data: the first losses of a run, and whole runs of its Trainer.

    python scripts/finetune_parity.py losses  --model DIR --glue DIR [--tasks rte ..] [--work DIR]
    python scripts/finetune_parity.py trainer --model DIR --glue DIR --task rte [--seeds 3] [--first-seed 1] [--lr 5e-5] [--epochs 3]
        [--bf16] [--group-by-length] [--cpu] [--out FILE.jsonl]
    python scripts/finetune_parity.py compare RESULTS.jsonl .. --with FILE.jsonl

losses:   one epoch of `untie finetune` in fp32 without dropout on the first 1,000 examples, of which the first 20 losses must be
          those of transformers' BertForSequenceClassification with the same weights, head and batches and torch.optim.AdamW with
          the same learning rates, within 1e-4; also the tokens of all examples must be those of transformers' tokenizer. Exit 1
          where they are not.
trainer:  transformers' own Trainer on the official TSV files with the settings of `untie finetune` (batch 32, 10 % warm-up,
          linear decay, AdamW with weight decay 0.01 and epsilon 1e-6, clipping at 1), its own head, order and dropout; one JSON
          line a seed with the dev scores of scikit-learn and scipy.
compare:  the results.jsonl of sweeps of `untie finetune` against the lines of `trainer`, a Markdown table; exit 1 where means over
          seeds differ by more than 1 point or 2 pooled standard deviations, the larger.

Needs torch, transformers, accelerate, scikit-learn and scipy.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import AutoTokenizer, BertForSequenceClassification

ROOT = Path(__file__).resolve().parent.parent
STEPS, LIMIT, EXAMPLES = 20, 1e-4, 1000
# Folder, columns of the texts, column of the label, names of the columns where the file has none, words of the labels.
TASKS = {
    "cola": ("CoLA", [3], 1, False, None),
    "sst2": ("SST-2", ["sentence"], "label", True, None),
    "mrpc": ("MRPC", ["#1 String", "#2 String"], "Quality", True, None),
    "stsb": ("STS-B", ["sentence1", "sentence2"], "score", True, None),
    "rte": ("RTE", ["sentence1", "sentence2"], "label", True, ["entailment", "not_entailment"]),
}


def read(glue, task, split):
    """Texts and labels of a set, from the official unquoted TSV file."""
    folder, columns, label, has_header, words = TASKS[task]
    lines = (Path(glue) / folder / f"{split}.tsv").read_text(encoding="utf-8-sig").split("\n")
    rows = [line.rstrip("\r").split("\t") for line in lines if line]
    if has_header:
        names, rows = rows[0], rows[1:]
        columns, label = [names.index(name) for name in columns], names.index(label)
    texts = [[row[column] for column in columns] for row in rows]
    labels = [row[label] for row in rows]
    if words:
        labels = [words.index(word) for word in labels]
    return texts, [float(one) if task == "stsb" else int(one) for one in labels]


def pad(items, pad_id):
    longest = max(len(item["ids"]) for item in items)
    rows = lambda key, rest: torch.tensor([item[key] + [rest] * (longest - len(item[key])) for item in items])
    mask = torch.tensor([[1] * len(item["ids"]) + [0] * (longest - len(item["ids"])) for item in items])
    return {"input_ids": rows("ids", pad_id), "token_type_ids": rows("types", 0), "attention_mask": mask}


def losses(arguments):
    failed = False
    for task in arguments.tasks:
        with tempfile.TemporaryDirectory(dir=arguments.work) as work:
            failed |= not first_losses(task, arguments, Path(work))
    return int(failed)


def start(task, arguments, data, out):
    """The model that a run starts from in `out`, with its examples and batches."""
    out.mkdir()
    subprocess.run(["cargo", "run", "--quiet", "--release", "--locked", "--example", "finetune_start", "--", task,
                    Path(arguments.model).resolve(), data.resolve(), "1", "32", str(STEPS), "128", out], check=True, cwd=ROOT)
    return json.loads((out / "train.json").read_text())


def first_losses(task, arguments, work):
    whole, data = Path(arguments.glue) / TASKS[task][0], work / "data"
    data.mkdir()
    lines = (whole / "train.tsv").read_text(encoding="utf-8").split("\n")
    (data / "train.tsv").write_text("\n".join(lines[:EXAMPLES + TASKS[task][3]]) + "\n", encoding="utf-8")
    (data / "dev.tsv").write_bytes((whole / "dev.tsv").read_bytes())
    everything, train = start(task, arguments, whole, work / "all"), start(task, arguments, data, work / "some")
    subprocess.run([arguments.untie, "finetune", "--task", task, "--model", arguments.model, "--data", data, "--lr", "5e-5",
                    "--seeds", "1", "--epochs", "1", "--precision", "fp32", "--set", "train.hidden_dropout_prob=0.0", "--set",
                    "train.attention_probs_dropout_prob=0.0", "--set", "train.log_every=1", "--run-dir", work / "run"],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    records = [json.loads(line) for line in next((work / "run").glob("*/metrics.jsonl")).read_text().splitlines()]
    ours = [record for record in records if "train/loss" in record][:STEPS]
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    texts, labels = read(arguments.glue, task, "train")
    encoded = tokenizer(*[list(column) for column in zip(*texts)], truncation=True, max_length=128)
    wrong = sum(ids != item["ids"] or types != item["types"] or label != item["target"] for ids, types, label, item in
                zip(encoded["input_ids"], encoded["token_type_ids"], labels, everything["items"]))
    wrong += abs(len(texts) - len(everything["items"]))

    model = BertForSequenceClassification.from_pretrained(work / "some/start", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model.train()
    decayed = [p for n, p in model.named_parameters() if not (n.endswith(".bias") or "LayerNorm" in n)]
    plain = [p for n, p in model.named_parameters() if n.endswith(".bias") or "LayerNorm" in n]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}], eps=1e-6)
    worst = 0.0
    for record, examples in zip(ours, train["steps"]):
        items = [train["items"][at] for at in examples]
        targets = torch.tensor([item["target"] for item in items])
        targets = targets if task == "stsb" else targets.long()
        loss = model(**pad(items, tokenizer.pad_token_id), labels=targets).loss
        worst = max(worst, abs(loss.item() - record["train/loss"]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = record["train/lr"]
        optimizer.step()
    fine = wrong == 0 and len(ours) == STEPS and worst <= LIMIT
    print(f"{task:5} {len(texts)} examples, {wrong} with other tokens or label; {len(ours)} losses, largest difference {worst:.1e}"
          f"{'' if fine else '  <-- FAILED'}", flush=True)
    return fine


def scores(task, outputs, labels):
    import scipy.stats
    import sklearn.metrics
    if task == "stsb":
        found = {"dev/pearson": scipy.stats.pearsonr(outputs, labels).statistic,
                 "dev/spearman": scipy.stats.spearmanr(outputs, labels).statistic}
        return {**found, "dev/mean": sum(found.values()) / 2}
    if task == "cola":
        return {"dev/matthews": sklearn.metrics.matthews_corrcoef(labels, outputs)}
    found = {"dev/accuracy": sklearn.metrics.accuracy_score(labels, outputs)}
    if task == "mrpc":
        found["dev/f1"] = sklearn.metrics.f1_score(labels, outputs)
    return found


def trainer(arguments):
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments
    task = arguments.task
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    sets = {}
    for split in ("train", "dev"):
        texts, labels = read(arguments.glue, task, split)
        encoded = tokenizer(*[list(column) for column in zip(*texts)], truncation=True, max_length=128)
        sets[split] = [{**{key: encoded[key][at] for key in encoded}, "labels": label} for at, label in enumerate(labels)]
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        torch.manual_seed(seed)
        model = BertForSequenceClassification.from_pretrained(arguments.model, num_labels=1 if task == "stsb" else 2)
        with tempfile.TemporaryDirectory() as work:
            settings = TrainingArguments(
                output_dir=work, num_train_epochs=arguments.epochs, per_device_train_batch_size=32, per_device_eval_batch_size=64,
                learning_rate=arguments.lr, lr_scheduler_type="linear", warmup_steps=0.1, weight_decay=0.01, adam_epsilon=1e-6,
                max_grad_norm=1.0, seed=seed, bf16=arguments.bf16, use_cpu=arguments.cpu,
                train_sampling_strategy="group_by_length" if arguments.group_by_length else "random", save_strategy="no", report_to=[],
                disable_tqdm=True, logging_steps=1000000)
            run = Trainer(model=model, args=settings, train_dataset=sets["train"], data_collator=DataCollatorWithPadding(tokenizer))
            start = time.monotonic()
            run.train()
            seconds = time.monotonic() - start
            # In the sampler's order, which grouping by length changes, with the labels in the same.
            found = run.predict(sets["dev"])
        outputs, labels = torch.tensor(found.predictions), found.label_ids.tolist()
        outputs = outputs.squeeze(1).tolist() if task == "stsb" else outputs.argmax(1).tolist()
        row = {"task": task, "seed": seed, "lr": arguments.lr, "epochs": arguments.epochs, "seconds": round(seconds, 1),
               "scores": scores(task, outputs, labels)}
        print(json.dumps(row), flush=True)
        if arguments.out:
            with open(arguments.out, "a") as file:
                file.write(json.dumps(row) + "\n")
    return 0


def compare(arguments):
    ours, theirs = ([json.loads(line) for file in files for line in Path(file).read_text().splitlines()]
                    for files in (arguments.results, [arguments.with_]))
    far = False
    print("| task | epochs | learning rate | score | `untie finetune` | transformers' Trainer | difference | limit |")
    print("|---|--:|--:|---|--:|--:|--:|--:|")
    for task in sorted({row["task"] for row in theirs}):
        sides = [[row for row in rows if row["task"] == task] for rows in (ours, theirs)]
        settings = [{(row["lr"], row["epochs"]) for row in rows} for rows in sides]
        seeds = [sorted(row["seed"] for row in rows) for rows in sides]
        if settings[0] != settings[1] or len(settings[0]) != 1 or seeds[0] != seeds[1]:
            sys.exit(f"error: {task}: expected the same learning rate, epochs and seeds, got {settings} and {seeds}")
        (rate, epochs), = settings[0]
        for score in sides[1][0]["scores"]:
            values = [[100 * row["scores"][score] for row in rows] for rows in sides]
            (mean, other), deviations = map(statistics.mean, values), [statistics.stdev(one) for one in values]
            limit = max(1.0, 2 * (sum(one * one for one in deviations) / 2) ** 0.5)
            far |= (failed := not abs(mean - other) <= limit)
            print(f"| {task} | {epochs:g} | {rate:g} | {score.removeprefix('dev/')} | {mean:.2f} ± {deviations[0]:.2f} | "
                  f"{other:.2f} ± {deviations[1]:.2f} | {mean - other:+.2f}{' FAILED' if failed else ''} | {limit:.2f} |")
    return int(far)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["losses", "trainer", "compare"])
    parser.add_argument("results", nargs="*", help="for compare")
    parser.add_argument("--with", dest="with_", metavar="FILE")
    parser.add_argument("--model")
    parser.add_argument("--glue")
    parser.add_argument("--untie", default=ROOT / "target/release/untie")
    parser.add_argument("--work")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--task", choices=TASKS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--bf16", action="store_true", help="autocast")
    parser.add_argument("--group-by-length", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="also where there is a GPU")
    parser.add_argument("--out")
    arguments = parser.parse_args()
    needed = {"losses": "model glue", "trainer": "model glue task", "compare": "results with_"}[arguments.what].split()
    missing = [name for name in needed if not getattr(arguments, name)]
    if missing:
        parser.error(f"{arguments.what} needs {', '.join(name.rstrip('_') for name in missing)}")
    return {"losses": losses, "trainer": trainer, "compare": compare}[arguments.what](arguments)


if __name__ == "__main__":
    sys.exit(main())
