"""Compares our Wikipedia cleaner with mwparserfromhell's strip_code and gensim's filter_wiki. For developers.

In: a MediaWiki dump (.xml or .xml.bz2) and the program that `cargo build --release -p untie-data --example clean_dump` makes.
Needs `mwparserfromhell` and `gensim`. Out: a table of all cleaners over the same articles, one thread each:

- words: runs of `\\w+` that the cleaner leaves.
- residue: what no reader of the page sees, per 10,000 words: `[[ ]] {{ }} {| |}`, `|`, `==`, `''`, tags, comments, entities and
  URLs. A few are text (`a == b`, an address that the article spells out), so the best figure is near 0, not 0.
- kept: the share of the reference's words that the cleaner leaves, counted per article as multisets, in lower case. The
  reference is strip_code() of mwparserfromhell's tree after removing what neither side counts as prose: links to files,
  images, media, categories and other languages, tables, headings and references; strip_code itself drops templates.
  `kept, prose` is the same for the reference without its list items, `kept, all` with them.
- excess: words that are not in the reference with list items, in per cent of it. The text of templates is among them: the
  reference has none.
- pages/s, MB/s: articles and megabytes of UTF-8 wikitext in a second of the cleaner alone, reading and writing aside.

Rows: ours as it comes; ours with every list item; the reference itself; plain strip_code; gensim.
"""

import argparse
import bz2
import collections
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

import mwparserfromhell
from gensim.corpora.wikicorpus import filter_wiki

HIDDEN = {"file", "image", "media", "category"}
DROPPED_TAGS = {"table", "ref", "references"}
LANGUAGES = set("ar be-x-old bg cs da de es fi fr he it ja ko nl pl pt ru simple sv te th uk zh".split())
LIST_ITEM = re.compile(r"^[*#:;].*$", re.MULTILINE)
WORD = re.compile(r"\w+")
RESIDUE = {
    "[[ ]]": r"\[\[|\]\]",
    "{{ }}": r"\{\{|\}\}",
    "{| |}": r"\{\||\|\}",
    "|": r"\|",
    "==": r"==+",
    "''": r"''+",
    "<tag>": r"</?(?:ref|nowiki|br|su[bp]|div|span|small|math|code|gallery|poem|table|blockquote)\b|<!--",
    "&x;": r"&(?:[a-z]+[0-9]*|#x?[0-9a-f]+);",
    "http": r"https?://",
}
RESIDUE = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in RESIDUE.items()}


def articles(path):
    """Yields (title, wikitext)."""
    opened = bz2.open(path) if path.endswith(".bz2") else open(path, "rb")
    with opened as stream:
        for _, element in ElementTree.iterparse(stream):
            if element.tag.rsplit("}", 1)[-1] != "page":
                continue
            fields = {child.tag.rsplit("}", 1)[-1]: child for child in element}
            texts = [child.text or "" for child in element.iter() if child.tag.rsplit("}", 1)[-1] == "text"]
            if fields["ns"].text == "0" and "redirect" not in fields:
                yield fields["title"].text, texts[-1]
            element.clear()


def is_dropped(node):
    if isinstance(node, mwparserfromhell.nodes.Heading):
        return True
    if isinstance(node, mwparserfromhell.nodes.Tag):
        return str(node.tag).strip().lower() in DROPPED_TAGS
    if isinstance(node, mwparserfromhell.nodes.Wikilink):
        prefix, colon, _ = str(node.title).partition(":")
        return bool(colon) and (prefix.strip().lower() in HIDDEN or prefix.strip() in LANGUAGES)
    return False


def without_dropped(wikitext):
    tree = mwparserfromhell.parse(wikitext)
    for node in tree.filter(recursive=True, matches=is_dropped):
        try:
            tree.remove(node)
        except ValueError:  # it went with the node around it
            pass
    return tree


def reference(wikitext):
    return without_dropped(wikitext).strip_code()


def prose_reference(wikitext):
    tree = without_dropped(wikitext)
    for template in tree.filter_templates(recursive=False):
        try:
            tree.remove(template)
        except ValueError:
            pass
    return mwparserfromhell.parse(LIST_ITEM.sub("", str(tree))).strip_code()


def strip_code(wikitext):
    return mwparserfromhell.parse(wikitext).strip_code()


def timed(cleaner, pages):
    start = time.perf_counter()
    texts = [cleaner(wikitext) for _, wikitext in pages]
    return texts, time.perf_counter() - start


def ours(program, path, pages, *flags):
    """Our texts, by the page, and the seconds that the program measured around the cleaner."""
    done = subprocess.run([program, "--wikitext", *flags, path], capture_output=True, check=True, encoding="utf-8")
    texts = [json.loads(line)["text"] for line in done.stdout.split("\n") if line]
    assert len(texts) == len(pages)
    return texts, json.loads(done.stderr)["seconds"]


def words(text):
    return collections.Counter(WORD.findall(text.lower()))


def share_kept(expected, found):
    kept = sum((theirs & mine).total() for theirs, mine in zip(expected, found))
    return 100 * kept / max(sum(theirs.total() for theirs in expected), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dump")
    parser.add_argument("--program", default="target/release/examples/clean_dump")
    parser.add_argument("--differences", type=int, default=0, help="print the words of our N worst articles, list items kept")
    parser.add_argument("--residue", type=int, default=0, help="print N paragraphs of ours with each kind of residue")
    arguments = parser.parse_args()
    pages = list(articles(arguments.dump))
    num_bytes = sum(len(wikitext.encode()) for _, wikitext in pages)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "pages.jsonl"
        lines = (json.dumps({"title": title, "wikitext": wikitext}) + "\n" for title, wikitext in pages)
        path.write_text("".join(lines), encoding="utf-8")
        results = {
            "ours": ours(arguments.program, path, pages),
            "ours, all list items": ours(arguments.program, path, pages, "--all-items"),
        }
    results["mwparserfromhell, reference"] = timed(reference, pages)
    results["mwparserfromhell strip_code"] = timed(strip_code, pages)
    results["gensim filter_wiki"] = timed(filter_wiki, pages)

    expected = [words(text) for text in results["mwparserfromhell, reference"][0]]
    expected_prose = [words(prose_reference(wikitext)) for _, wikitext in pages]
    print(f"{len(pages)} articles, {num_bytes / 1e6:.2f} MB of wikitext; words of the reference: "
          f"{sum(map(collections.Counter.total, expected))}, without list items: "
          f"{sum(map(collections.Counter.total, expected_prose))}")
    print(f"{'':28}|   words | residue | kept, prose | kept, all | excess | pages/s |  MB/s")
    kept = {}
    for name, (texts, seconds) in results.items():
        found = [words(text) for text in texts]
        num_words = sum(map(collections.Counter.total, found))
        residue = sum(len(pattern.findall(text)) for pattern in RESIDUE.values() for text in texts)
        excess = sum((mine - theirs).total() for theirs, mine in zip(expected, found))
        kept[name] = share_kept(expected_prose, found), share_kept(expected, found)
        print(f"{name:28}|{num_words:8} |{1e4 * residue / max(num_words, 1):8.2f} |{kept[name][0]:10.2f} % |{kept[name][1]:8.2f} % |"
              f"{100 * excess / max(sum(map(collections.Counter.total, expected)), 1):5.1f} % |{len(pages) / seconds:8.0f} |"
              f"{num_bytes / 1e6 / seconds:6.1f}")
    print(f"\nresidue, occurrences\n{'':28}|" + "|".join(f"{name:>6}" for name in RESIDUE))
    for name, (texts, _) in results.items():
        print(f"{name:28}|" + "|".join(f"{sum(len(p.findall(t)) for t in texts):6}" for p in RESIDUE.values()))
    for mark, pattern in RESIDUE.items():
        found = [line for text in results["ours"][0] for line in text.split("\n") if pattern.search(line)]
        for line in found[: arguments.residue]:
            place = pattern.search(line).start()
            print(f"{mark}: {line[max(place - 80, 0):place + 80]}")
    rows = []
    for (title, _), theirs, text in zip(pages, expected, results["ours, all list items"][0]):
        lost, extra = theirs - words(text), words(text) - theirs
        rows.append((lost.total() + extra.total(), title, lost, extra))
    for _, title, lost, extra in sorted(rows, key=lambda row: -row[0])[: arguments.differences]:
        print(f"{title}\n  lost {lost.total()}: {lost.most_common(25)}\n  extra {extra.total()}: {extra.most_common(25)}")
    is_good = pages and kept["ours"][0] >= 97 and kept["ours, all list items"][1] >= 97
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
