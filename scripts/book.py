#!/usr/bin/env python3
"""Copies the pages of docs/SUMMARY.md, and the files that they link to, into target/book/src for mdBook.

In:   docs/SUMMARY.md, whose links are relative to docs/.
Out:  target/book/src with the same folders as the repository, so that every link works as it stands. A link to a page that is not in
      the book, or to a file that does not exist, is an error.
Cost: some megabytes, less than a second.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "target" / "book" / "src"
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(page):
    """The files that a page links to, without links into the web."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    for link in LINK.findall(text):
        name = link.split("#")[0]
        if name and "://" not in link and not link.startswith("mailto:"):
            yield link, (page.parent / name).resolve()


def main():
    summary = ROOT / "docs" / "SUMMARY.md"
    pages = [target for _, target in links(summary)]
    problems = [f"docs/SUMMARY.md: {page.relative_to(ROOT)} is not there" for page in pages if not page.exists()]
    files = {}
    for page in (page for page in pages if page.exists()):
        files[page] = None
        for link, target in links(page):
            if not target.exists():
                problems.append(f"{page.relative_to(ROOT)}: `{link}` leads nowhere")
            elif target.suffix == ".md" and target not in pages and target != summary:
                problems.append(f"{page.relative_to(ROOT)}: `{link}` is a page that docs/SUMMARY.md does not have")
            elif target.is_dir():
                files.update((inside, None) for inside in target.rglob("*") if inside.is_file() and inside.suffix != ".md")
            else:
                files[target] = None
    if problems:
        sys.exit("\n".join(problems))
    shutil.rmtree(OUT, ignore_errors=True)
    for file in files:
        copy = OUT / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    # mdBook wants the list at the top of the folder; the list itself is a page too, because pages link to it.
    shutil.copyfile(summary, OUT / "docs" / "SUMMARY.md")
    text = LINK.sub(lambda link: f"]({moved(link[1])})", summary.read_text(encoding="utf-8"))
    (OUT / "SUMMARY.md").write_text(f"{text}\n---\n\n[All pages](docs/SUMMARY.md)\n", encoding="utf-8")


def moved(link):
    """A link of docs/SUMMARY.md as it is from the root."""
    return link[3:] if link.startswith("../") else f"docs/{link}"


if __name__ == "__main__":
    main()
