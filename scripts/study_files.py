"""Small helpers of the study's scripts: messages, hashes, files that are whole, programs with a log, rows."""

import hashlib
import json
import os
import subprocess
import sys

from wheels import stop


def say(text):
    print(f"study: {text}", file=sys.stderr, flush=True)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write(path, text):
    """Writes a file that is never seen half written."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


def called(command, log):
    """The standard output of a program whose messages go to `log`; libtorch computes on one thread."""
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with open(log, "a") as messages:
        result = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=messages, text=True, env=environment)
    if result.returncode != 0:
        stop(f"`{' '.join(map(str, command[:2]))}` failed", f"`{log}` has its messages")
    return result.stdout


def key(row):
    return row["arm"], row["rate"]


def books(path):
    """`[targets, loss, correct]` of each held-out document, from the file of `untie eval --by-document`."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [[line["targets"], line["loss"], line["correct"]] for line in lines]


def read(path, runs=None):
    """The rows of a file; `documents` that are missing come from `documents.jsonl` in the folders of runs below `runs`."""
    rows, known = [], {}
    for file in sorted(runs.rglob("row.json")) if runs else []:
        row, documents = json.loads(file.read_text()), file.with_name("documents.jsonl")
        if documents.exists():
            known[key(row), row["seed"]] = books(documents)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            row.setdefault("documents", known.get((key(row), row["seed"])))
        except (ValueError, KeyError, TypeError):
            stop(f"`{path}`: line {number} is not a row of the study", "rows come from `scripts/study.py run --rows FILE`")
        rows.append(row)
    if not rows:
        stop(f"`{path}` has no rows", "rows come from `scripts/study.py run --rows FILE`")
    return rows
