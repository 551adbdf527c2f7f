"""Counts: a folder of GLUE or SQuAD in, a line a file out, compared with the table. Reads each file once.

Rows are lines: quotes in the official TSV files are literal characters, so a CSV reader that honours them miscounts.
"""

import json
import os

from fetch import RecipeError
from sources import GLUE_ROWS, SQUAD_FILES, WITHOUT_HEADER


def check(kind, folder):
    """Prints the counts of `folder`; returns how many are wrong. Nothing to count at all is an error."""
    if not os.path.isdir(folder):
        raise RecipeError(f"`{folder}` is not a folder", "name the folder that the download made")
    found, wrong = (glue if kind == "glue" else squad)(folder)
    if found == 0:
        names = "TASK/train.tsv" if kind == "glue" else "train-v1.1.json"
        raise RecipeError(f"no {kind} files in `{folder}`, expected files such as `{names}`", code=3)
    print(f"{found} files counted, {wrong} differ from the table")
    return wrong


def glue(folder):
    found = wrong = 0
    for task, splits in GLUE_ROWS.items():
        if not os.path.isdir(os.path.join(folder, task)):
            print(f"{task}: not there")
            continue
        for split, expected in splits.items():
            path = os.path.join(folder, task, split + ".tsv")
            if not os.path.exists(path):
                print(f"{task}/{split}: MISSING, expected {either(expected)} rows")
                wrong += 1
                continue
            rows = lines(path) - (0 if (task, split) in WITHOUT_HEADER else 1)
            found += 1
            wrong += report(f"{task}/{split}", rows, expected, "rows")
    return found, wrong


def squad(folder):
    found = wrong = 0
    for name, (_, _, expected) in SQUAD_FILES.items():
        path = os.path.join(folder, name)
        if os.path.exists(path):
            found += 1
            wrong += report(name, questions(path), [expected], "questions")
        else:
            print(f"{name}: not there")
    for name in sorted(os.listdir(folder)):
        if name.startswith("sample-") and name.endswith(".json"):
            found += 1
            wrong += 1
            full = SQUAD_FILES.get(name[len("sample-") :])
            of = f" of {full[2]}" if full else ""
            print(f"{name}: a sample: {questions(os.path.join(folder, name))}{of} questions")
    return found, wrong


def report(name, count, expected, unit):
    if count in expected:
        print(f"{name}: {count} {unit}, as expected")
        return 0
    kind = "fewer than" if count < min(expected) else "not"
    print(f"{name}: {count} {unit}, {kind} the expected {either(expected)}")
    return 1


def either(numbers):
    return " or ".join(map(str, numbers))


def lines(path):
    """Lines of a file, a last one without a newline included."""
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def questions(path):
    try:
        with open(path, encoding="utf-8") as file:
            articles = json.load(file)["data"]
        return sum(len(paragraph["qas"]) for article in articles for paragraph in article["paragraphs"])
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"`{path}` is not a SQuAD file: {error!r}", code=3) from error
