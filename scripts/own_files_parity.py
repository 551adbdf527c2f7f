#!/usr/bin/env python3
"""Fine-tunes on one's own files beside transformers' Trainer: classes of sentences, and tags of words.

    python scripts/own_files_parity.py make    --corpus king-james.jsonl --data DIR
    python scripts/own_files_parity.py trainer --task text-classification|token-classification --model DIR --data DIR [--seeds 3]
        [--first-seed 1] [--lr 1e-4] [--epochs 3] [--out FILE.jsonl]
    python scripts/finetune_parity.py compare RESULTS.jsonl .. --with FILE.jsonl

make:     two data sets from the sample text of `make data`. DIR/classes has sentences with the part of the Bible that they are
          from (six classes), as CSV; DIR/tags has sentences with their names tagged, as CoNLL. Every tenth chapter is for dev.
trainer:  transformers' Trainer with the settings of `untie finetune` (batch 32, 10 % warm-up, linear decay, AdamW with weight
          decay 0.01 and epsilon 1e-6, clipping at 1), labels as run_glue.py and run_ner.py prepare them, in fp32 on the CPU; one
          JSON line a seed with the dev scores of scikit-learn and seqeval. DIR is the folder of one data set.

Needs torch, transformers, accelerate, scikit-learn and seqeval.
"""

import argparse
import csv
import json
import os
import random
import re
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

CLASSES = {  # The first book of each part, in the order of the Bible.
    "Genesis": "law", "Joshua": "history", "Job": "poetry", "Isaiah": "prophets", "Matthew": "gospels", "Romans": "letters",
}
TRAIN, DEV, SHORTEST, LONGEST = 1500, 600, 6, 40
WORD = re.compile(r"\w+|[^\w\s]")


def sentences(corpus):
    """Sets of (class, words) by split. A chapter is in one of them as a whole."""
    sets, part = {"train": [], "dev": []}, None
    for number, line in enumerate(Path(corpus).read_text(encoding="utf-8").splitlines()):
        chapter = json.loads(line)
        part = CLASSES.get(chapter["id"].rsplit(" ", 1)[0], part)
        for sentence in re.split(r"(?<=[.?!]) (?=[A-Z])", chapter["text"]):
            words = WORD.findall(sentence)
            if SHORTEST <= len(words) <= LONGEST:
                sets["dev" if number % 10 == 9 else "train"].append((part, words))
    draw = random.Random(1)
    return {split: draw.sample(rows, size) for (split, rows), size in zip(sets.items(), (TRAIN, DEV))}


def tags(words):
    """`B-NAME` and `I-NAME` for capitalised words that do not begin the sentence."""
    found = []
    for at, word in enumerate(words):
        is_name = at > 0 and word[0].isupper() and word not in ("I", "O")
        found.append("O" if not is_name else "I-NAME" if found[-1] != "O" else "B-NAME")
    return found


def make(arguments):
    for split, rows in sentences(arguments.corpus).items():
        classes, tagged = Path(arguments.data) / "classes", Path(arguments.data) / "tags"
        classes.mkdir(parents=True, exist_ok=True)
        tagged.mkdir(exist_ok=True)
        with open(classes / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *((" ".join(words), part) for part, words in rows)])
        text = "\n".join("".join(f"{word} {tag}\n" for word, tag in zip(words, tags(words))) for _, words in rows)
        (tagged / f"{split}.conll").write_text(text, encoding="utf-8")
    return 0


def of_classes(folder, tokenizer):
    """Examples of both sets, and the labels in run_glue.py's order."""
    rows = {}
    for split in ("train", "dev"):
        with open(folder / f"{split}.csv", encoding="utf-8", newline="") as file:
            rows[split] = list(csv.DictReader(file))
    labels = sorted({row["label"] for row in rows["train"]})
    encode = lambda row: {**tokenizer(row["text"], truncation=True, max_length=128), "labels": labels.index(row["label"])}
    return {split: [encode(row) for row in of] for split, of in rows.items()}, labels


def of_tags(folder, tokenizer):
    """As run_ner.py does: a word's label is on its first token, the others have -100."""
    rows = {}
    for split in ("train", "dev"):
        blocks = (folder / f"{split}.conll").read_text(encoding="utf-8").strip().split("\n\n")
        rows[split] = [[line.split(" ") for line in block.split("\n")] for block in blocks]
    labels = sorted({tag for row in rows["train"] for _, tag in row})

    def encode(row):
        found = tokenizer([word for word, _ in row], is_split_into_words=True, truncation=True, max_length=128)
        words = found.word_ids()
        first = [word is not None and word != before for word, before in zip(words, [None, *words])]
        found["labels"] = [labels.index(row[word][1]) if is_first else -100 for word, is_first in zip(words, first)]
        return dict(found)

    return {split: [encode(row) for row in of] for split, of in rows.items()}, labels


def score_classes(outputs, expected, _):
    from sklearn.metrics import accuracy_score, f1_score
    guessed = outputs.argmax(-1)
    return {"dev/accuracy": accuracy_score(expected, guessed), "dev/macro_f1": f1_score(expected, guessed, average="macro")}


def score_tags(outputs, expected, labels):
    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
    pairs = [[(labels[guess], labels[tag]) for guess, tag in zip(*row) if tag != -100] for row in zip(outputs.argmax(-1), expected)]
    guessed, right = ([[pair[side] for pair in row] for row in pairs] for side in (0, 1))
    scores = {"accuracy": accuracy_score, "precision": precision_score, "recall": recall_score, "f1": f1_score}
    return {f"dev/{name}": float(score(right, guessed)) for name, score in scores.items()}


def trainer(arguments):
    import torch
    import transformers as hf
    tokenizer = hf.AutoTokenizer.from_pretrained(arguments.model)
    is_of_tags = arguments.task == "token-classification"
    sets, labels = (of_tags if is_of_tags else of_classes)(Path(arguments.data), tokenizer)
    kind = hf.BertForTokenClassification if is_of_tags else hf.BertForSequenceClassification
    collator = hf.DataCollatorForTokenClassification if is_of_tags else hf.DataCollatorWithPadding
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        torch.manual_seed(seed)
        model = kind.from_pretrained(arguments.model, num_labels=len(labels))
        with tempfile.TemporaryDirectory() as work:
            settings = hf.TrainingArguments(
                output_dir=work, num_train_epochs=arguments.epochs, per_device_train_batch_size=32, per_device_eval_batch_size=64,
                learning_rate=arguments.lr, lr_scheduler_type="linear", warmup_steps=0.1, weight_decay=0.01, adam_epsilon=1e-6,
                max_grad_norm=1.0, seed=seed, use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, logging_steps=1000000)
            run = hf.Trainer(model=model, args=settings, train_dataset=sets["train"], data_collator=collator(tokenizer))
            start = time.monotonic()
            run.train()
            seconds = time.monotonic() - start
            found = run.predict(sets["dev"])
        scores = (score_tags if is_of_tags else score_classes)(found.predictions, found.label_ids, labels)
        row = {"task": arguments.task, "seed": seed, "lr": arguments.lr, "epochs": arguments.epochs, "seconds": round(seconds, 1),
               "scores": scores}
        print(json.dumps(row), flush=True)
        if arguments.out:
            with open(arguments.out, "a") as file:
                file.write(json.dumps(row) + "\n")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "trainer"])
    parser.add_argument("--corpus")
    parser.add_argument("--task", choices=["text-classification", "token-classification"])
    parser.add_argument("--model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    missing = [name for name in {"make": ["corpus"], "trainer": ["task", "model"]}[arguments.what] if not getattr(arguments, name)]
    if missing:
        parser.error(f"{arguments.what} needs {', '.join(missing)}")
    return {"make": make, "trainer": trainer}[arguments.what](arguments)


if __name__ == "__main__":
    sys.exit(main())
