"""Compares our cleaned Wikipedia text with mwparserfromhell's, word by word. For developers; needs `mwparserfromhell`.

In: a MediaWiki dump (.xml or .xml.bz2) and the lines that `cargo run -p untie-data --example clean_dump -- DUMP` prints.
Out: markup left over in our paragraphs, the share of mwparserfromhell's words that we keep, and our words in excess.

The reference text of an article is strip_code() of its parse tree after removing what neither side counts as prose: links to
files, images, media and categories, links to other languages, tables, headings and references; list items stay. Words are
`\\w+` in lower case, counted per article as multisets.
"""

import argparse
import bz2
import collections
import json
import random
import re
import sys
import xml.etree.ElementTree as ElementTree

import mwparserfromhell

HIDDEN = {"file", "image", "media", "category"}
RESIDUE = ("{{", "}}", "[[", "]]", "<ref", "{|", "|}", "'''", "<!--", "&nbsp;")
WORD = re.compile(r"\w+")


def raw_pages(path):
    """Yields (title, wikitext) of the articles."""
    opened = bz2.open(path) if path.endswith(".bz2") else open(path, "rb")
    with opened as stream:
        for _, element in ElementTree.iterparse(stream):
            name = element.tag.rsplit("}", 1)[-1]
            if name != "page":
                continue
            fields = {child.tag.rsplit("}", 1)[-1]: child for child in element}
            texts = [child.text or "" for child in element.iter() if child.tag.rsplit("}", 1)[-1] == "text"]
            if fields["ns"].text == "0" and "redirect" not in fields:
                yield fields["title"].text, texts[-1]
            element.clear()


def is_dropped(node, languages, tags):
    if isinstance(node, mwparserfromhell.nodes.Heading):
        return True
    if isinstance(node, mwparserfromhell.nodes.Tag):
        return str(node.tag).strip().lower() in tags
    if isinstance(node, mwparserfromhell.nodes.Wikilink):
        prefix, colon, _ = str(node.title).partition(":")
        return bool(colon) and (prefix.strip().lower() in HIDDEN or prefix.strip() in languages)
    return False


def reference_text(wikitext, languages, tags=("table", "ref", "references")):
    tree = mwparserfromhell.parse(wikitext)
    for node in tree.filter(recursive=True, matches=lambda node: is_dropped(node, languages, tags)):
        try:
            tree.remove(node)
        except ValueError:  # it went with the node around it
            pass
    return tree.strip_code()


def words(text):
    return collections.Counter(WORD.findall(text.lower()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dump")
    parser.add_argument("cleaned", help="JSON lines of {title, text}")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--paragraphs", type=int, default=200, help="how many random paragraphs to look at for residue")
    parser.add_argument("--differences", type=int, default=0, help="print the words of the N worst articles")
    parser.add_argument("--languages", default="ar be-x-old bg cs da de es fi fr he it ja ko nl pl pt ru simple sv te th uk zh")
    parser.add_argument("--count-references", action="store_true", help="expect the text of <ref> too, which we drop")
    arguments = parser.parse_args()
    languages = set(arguments.languages.split())
    tags = ("table",) if arguments.count_references else ("table", "ref", "references")

    with open(arguments.cleaned, encoding="utf-8") as lines:
        ours = {page["title"]: page["text"] for page in map(json.loads, lines)}
    paragraphs = [line for text in ours.values() for line in text.split("\n")]
    sample = random.Random(arguments.seed).sample(paragraphs, min(arguments.paragraphs, len(paragraphs)))
    for label, chosen in (("random", sample), ("all", paragraphs)):
        dirty = [line for line in chosen if any(mark in line for mark in RESIDUE)]
        print(f"markup residue in {label} paragraphs: {len(dirty)} of {len(chosen)}")
        for line in dirty[:10]:
            print("   ", line[:200])

    expected = kept = excess = 0
    articles = []
    for title, wikitext in raw_pages(arguments.dump):
        theirs, mine = words(reference_text(wikitext, languages, tags)), words(ours.get(title, ""))
        lost, extra = theirs - mine, mine - theirs
        expected += sum(theirs.values())
        kept += sum((theirs & mine).values())
        excess += sum(extra.values())
        articles.append((sum(lost.values()) + sum(extra.values()), title, lost, extra))
    print(f"articles: {len(articles)}, ours: {len(ours)}")
    print(f"words kept: {kept} of {expected} = {100 * kept / max(expected, 1):.2f} %")
    print(f"words in excess: {excess} = {100 * excess / max(expected, 1):.2f} %")
    for _, title, lost, extra in sorted(articles, key=lambda row: -row[0])[: arguments.differences]:
        print(f"{title}\n  lost {sum(lost.values())}: {lost.most_common(25)}\n  extra {sum(extra.values())}: {extra.most_common(25)}")
    return 0 if articles and kept >= 0.97 * expected else 1


if __name__ == "__main__":
    sys.exit(main())
