"""The text of a book of Project Gutenberg: its frame and credits cut, lines joined, headings left out.

In:  the bytes of a plain text file. Out: paragraphs, each one line. Standard library only.
"""

import re

# A mirror of Project Gutenberg's own foundation: the main site is for people, its mirrors are for programs.
ADDRESS = "https://gutenberg.pglaf.org/cache/epub/{0}/pg{0}.txt"
START = re.compile(r"\*\*\*\s*START OF TH(?:IS|E) PROJECT GUTENBERG.*?\*\*\*|\*END\*?\s*THE SMALL PRINT.*?\*END\*", re.S | re.I)
END = re.compile(r"\*\*\*\s*END OF TH(?:IS|E) PROJECT GUTENBERG|^\s*END OF (?:THE |THIS )?PROJECT GUTENBERG", re.M | re.I)
CREDITS = re.compile(
    r"project gutenberg|gutenberg\.org|pgdp\.net|proofread(?:ers|ing) team|html version by|transcriber"
    r"|^(?:this )?(?:e-?text|e-?book|file)?,?\s*(?:was )?(?:produced|prepared|transcribed) (?:by|from) "
    r"|^end of (?:the |this )?(?:project|e-?text|e-?book)",
    re.I,
)
SHORTEST, SURE = 20, 60
SENTENCE_ENDS = tuple(".!?\"'”’")
LETTERS = 0.6


def decoded(data):
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def body(text):
    """What is between the first lines and the last of Gutenberg's frame; files of the nineties may have no such lines."""
    start = max((found.end() for found in START.finditer(text)), default=0)
    end = END.search(text, start)
    return text[start : end.start() if end else len(text)]


def is_prose(paragraph):
    """Not a heading, a table or a credit: mostly letters, and if it is short, a whole sentence."""
    if len(paragraph) < SHORTEST or CREDITS.search(paragraph):
        return False
    if sum(letter.isalpha() for letter in paragraph) <= LETTERS * len(paragraph):
        return False
    return len(paragraph) >= SURE or paragraph.endswith(SENTENCE_ENDS)


def paragraphs(text, seen):
    """The paragraphs of a book. One of `SURE` characters and more is taken once; `seen` has those of all books so far."""
    found = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        paragraph = " ".join(block.split())
        if not is_prose(paragraph) or paragraph in seen:
            continue
        if len(paragraph) >= SURE:
            seen.add(paragraph)
        found.append(paragraph)
    return found
