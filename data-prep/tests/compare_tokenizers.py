"""Compares our tokenizer and our vocabularies with Hugging Face's.

    pip install transformers tokenizers zstandard
    cargo build --release -p untie-data --bins --examples
    python data-prep/tests/compare_tokenizers.py --bin target/release --books BOOKS.jsonl.zst --dump DUMP.xml.bz2 \\
        --vocab MINILM/vocab.txt [--vocab-size 30522]

1. Ids of 20,000 lines (books, raw wikitext, made-up Unicode) by BertTokenizerFast and by us, for the given vocabulary, for one
   trained by us, and cased: the number of lines that differ.
2. Five processes with 1 and 2 threads: the hashes of their vocab.txt.
3. Ours beside two runs of the `tokenizers` trainer on the same text: tokens in common and tokens a word.
"""

import argparse
import bz2
import hashlib
import io
import json
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

import zstandard
from tokenizers import BertWordPieceTokenizer
from transformers import BertTokenizerFast

RANGES = [
    (0x20, 0x7E), (0x20, 0x7E), (0x20, 0x7E), (0x00, 0x1F), (0x7F, 0xA0), (0xA1, 0x17F), (0x300, 0x36F), (0x370, 0x52F),
    (0x590, 0x6FF), (0x900, 0xDFF), (0xE00, 0xEFF), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x20A0, 0x214F),
    (0x2190, 0x22FF), (0x3000, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xF900, 0xFAFF),
    (0xFB00, 0xFB06), (0xFE00, 0xFE0F), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF),
    (0xE0000, 0xE007F),
]


def made_up(number):
    """Lines of random characters of many scripts, controls and combining marks among words."""
    dice = random.Random(4)
    for _ in range(number):
        line = []
        for _ in range(dice.randint(1, 60)):
            low, high = dice.choice(RANGES)
            line.append(dice.choice([chr(dice.randint(low, high)), chr(dice.randint(low, high)), " ", "the ", "naïve"]))
        yield "".join(line)


def book_lines(path, number):
    with zstandard.open(path, "rt", encoding="utf-8") as file:
        lines = [line for book in file for line in json.loads(book)["text"].split("\n") if line.strip()]
    return lines[:: max(1, len(lines) // number)][:number]


def dump_lines(path, number):
    with io.TextIOWrapper(bz2.open(path), encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file if line.strip()]
    return lines[:: max(1, len(lines) // number)][:number]


def differing(args, lines, vocab, cased):
    ours = subprocess.run(
        [args.bin / "examples/encode_lines", vocab, *(["--cased"] if cased else [])],
        input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True, check=True,
    ).stdout.splitlines()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(vocab, Path(folder) / "vocab.txt")
        theirs = BertTokenizerFast.from_pretrained(
            folder, do_lower_case=not cased, split_special_tokens=True, model_max_length=10**9)
    differing = 0
    for line, ids in zip(lines, ours, strict=True):
        expected = theirs(line, add_special_tokens=False)["input_ids"]
        if json.loads(ids) != expected:
            differing += 1
            if differing <= 3:
                print(f"  differs: {line!r}\n    ours   {theirs.convert_ids_to_tokens(json.loads(ids))}\n"
                      f"    theirs {theirs.convert_ids_to_tokens(expected)}")
    return differing


def prepare(args, out, workers):
    subprocess.run(
        [args.bin / "untie-data", "prepare", "--input", args.books, "--out", out, "--vocab-size", str(args.vocab_size),
         "--workers", str(workers), "--keep-boilerplate"], check=True, capture_output=True,
    )
    return out / "vocab.txt"


def python_vocab(args, texts):
    trainer = BertWordPieceTokenizer(lowercase=True)
    trainer.train_from_iterator(texts, vocab_size=args.vocab_size, show_progress=False)
    return list(trainer.get_vocab())


def tokens_per_word(vocab, texts):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(vocab))
        file.flush()
        tokenizer = BertWordPieceTokenizer(file.name, lowercase=True)
        tokens = sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False))
    return tokens / sum(len(text.split()) for text in texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--books", type=Path, required=True)
    parser.add_argument("--dump", type=Path, required=True)
    parser.add_argument("--vocab", type=Path, required=True)
    parser.add_argument("--vocab-size", type=int, default=30522)
    args = parser.parse_args()

    lines = book_lines(args.books, 10_000) + dump_lines(args.dump, 5_000) + list(made_up(5_000))
    with tempfile.TemporaryDirectory() as folder:
        vocabs = [prepare(args, Path(folder) / str(run), workers) for run, workers in enumerate([1, 2, 1, 2, 2])]
        for name, vocab in [("given vocabulary", args.vocab), ("trained here", vocabs[0])]:
            for cased in (False, True):
                number = differing(args, lines, vocab, cased)
                print(f"{name}, {'cased' if cased else 'uncased'}: {number} of {len(lines)} lines differ")
        print("vocab.txt of five processes:", *[hashlib.sha256(vocab.read_bytes()).hexdigest()[:16] for vocab in vocabs])

        with zstandard.open(args.books, "rt", encoding="utf-8") as file:
            texts = [json.loads(book)["text"] for book in file]
        ours = vocabs[0].read_text(encoding="utf-8").splitlines()
        theirs = [python_vocab(args, texts) for _ in range(2)]
        print(f"tokens in common: ours and theirs {len(set(ours) & set(theirs[0]))} and {len(set(ours) & set(theirs[1]))}, "
              f"theirs twice {len(set(theirs[0]) & set(theirs[1]))}, of {args.vocab_size}")
        held = [text[:200_000] for text in texts[::10]]
        rates = [tokens_per_word(vocab, held) for vocab in (ours, theirs[0], theirs[1])]
        print("tokens a word: ours {:.5f}, theirs {:.5f} and {:.5f}; ours differs by {:.3f} %".format(
            *rates, 100 * abs(rates[0] / rates[1] - 1)))


if __name__ == "__main__":
    main()
