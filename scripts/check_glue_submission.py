"""Checks files of predictions against what the GLUE site (gluebenchmark.com) takes.

    python scripts/check_glue_submission.py PATH [--only TASK,TASK..]

PATH is a folder, or the zip that is to be sent. Without --only, all eleven files must be there; with it, those of the named
tasks (cola sst2 mrpc stsb qqp mnli qnli rte wnli ax; mnli has two). Checked: file names, no folders in the zip, the header
`index<TAB>prediction`, one row for each example of the official test set, numbered from 0 in order, and predictions that the
task has. Prints a line a file; exit 1 if one is wrong, with what was expected and what was found, 2 for wrong usage.
Standard library only.

Names, header, words and order are those of the programs of the site's makers (nyu-mll/jiant: jiant/evaluate.py of version 1,
jiant/scripts/benchmarks/benchmarks.py of version 2; nyu-mll/GLUE-baselines: src/main.py); numbers of rows those of the test
sets of the official download (data-prep/recipes/sources.py).
"""

import argparse
import pathlib
import re
import sys
import zipfile

BINARY = ("0", "1")
ENTAILMENT = ("entailment", "not_entailment")
INFERENCE = ("entailment", "neutral", "contradiction")
SCORE = None  # a number from 0 to 5
# file: (task, rows, allowed predictions)
FILES = {
    "CoLA.tsv": ("cola", 1063, BINARY),
    "SST-2.tsv": ("sst2", 1821, BINARY),
    "MRPC.tsv": ("mrpc", 1725, BINARY),
    "STS-B.tsv": ("stsb", 1379, SCORE),
    "QQP.tsv": ("qqp", 390965, BINARY),
    "MNLI-m.tsv": ("mnli", 9796, INFERENCE),
    "MNLI-mm.tsv": ("mnli", 9847, INFERENCE),
    "QNLI.tsv": ("qnli", 5463, ENTAILMENT),
    "RTE.tsv": ("rte", 3000, ENTAILMENT),
    "WNLI.tsv": ("wnli", 146, BINARY),
    "AX.tsv": ("ax", 1104, INFERENCE),
}
HEADER = ["index", "prediction"]
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


class Fault(Exception):
    """What is wrong with a file."""


def contents(path):
    """File name -> bytes of the TSV files of a folder, or of everything in a zip."""
    if path.is_dir():
        return {file.name: file.read_bytes() for file in sorted(path.iterdir()) if file.suffix == ".tsv"}
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise Fault("the zip has a file twice")
            return {name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise Fault(f"expected a folder or a zip, cannot read it: {error}") from error


def check(data, num_rows, allowed):
    """Raises a Fault unless `data` is a file of `num_rows` allowed predictions."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Fault(f"not UTF-8: {error}") from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    # jiant 2 ends its lines with \r\n, and the site takes those.
    rows = [line.removesuffix("\r").split("\t") for line in lines]
    if not rows or rows[0] != HEADER:
        got = repr(lines[0][:60]) if lines else "an empty file"
        raise Fault(f"line 1: expected the header {chr(9).join(HEADER)!r}, got {got}")
    for at, row in enumerate(rows[1:]):
        place = f"line {at + 2}"
        if len(row) != 2:
            raise Fault(f"{place}: expected 2 fields, got {len(row)}")
        index, prediction = row
        if index != str(at):
            raise Fault(f"{place}: expected index {at}, got {index[:60]!r}")
        if allowed is SCORE:
            if not NUMBER.fullmatch(prediction) or float(prediction) > 5:
                raise Fault(f"{place}: expected a number from 0 to 5, got {prediction[:60]!r}")
        elif prediction not in allowed:
            raise Fault(f"{place}: expected {' or '.join(allowed)}, got {prediction[:60]!r}")
    if len(rows) - 1 != num_rows:
        raise Fault(f"expected {num_rows} predictions, got {len(rows) - 1}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=pathlib.Path)
    parser.add_argument("--only", metavar="TASK,TASK..", help="tasks whose files are checked")
    arguments = parser.parse_args()
    tasks = {task for task, _, _ in FILES.values()}
    only = set(arguments.only.split(",")) if arguments.only is not None else tasks
    if only - tasks:
        parser.error(f"unknown task {', '.join(sorted(only - tasks))!r}: expected some of {' '.join(sorted(tasks))}")

    try:
        found = contents(arguments.path)
    except Fault as fault:
        sys.exit(f"error: `{arguments.path}`: {fault}")
    faults = [f"{name}: expected none of this name" for name in found if name not in FILES]
    num_right = 0
    for name, (task, num_rows, allowed) in FILES.items():
        if task not in only:
            continue
        try:
            if name not in found:
                raise Fault("missing")
            check(found[name], num_rows, allowed)
            print(f"{name:<11} {num_rows:>6} predictions, as the site takes them")
            num_right += 1
        except Fault as fault:
            faults.append(f"{name}: {fault}")
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    print(f"files right: {num_right}, faults: {len(faults)}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
