#!/usr/bin/env python3
"""Fetches the paper's corpora and evaluation sets, or counts what was fetched.

    get.py wikipedia|books|simple-books|glue|squad [--out DIR] [--dry-run] [--mirror URL]
    get.py check glue|squad DIR

Exit codes: 0 ok, 1 failed, 2 usage, 3 data invalid.
"""

import argparse
import json
import os
import sys
import time
import urllib.parse
import zipfile

import check
import gutenberg
import sources
from fetch import Client, RecipeError, hexadecimal
from fetch import check as check_file


def wikipedia(arguments, client):
    # `latest` moves; the sums name the dated file behind it, and that one can be resumed safely.
    folder, date = arguments.out, arguments.date
    sums = f"enwiki-{date}-sha1sums.txt"
    name = f"enwiki-{date}-pages-articles-multistream.xml.bz2"
    sums_url, path = f"{sources.WIKIPEDIA}/{date}/{sums}", os.path.join(folder, name)
    if arguments.dry_run:
        plan(client, sums_url, None)
        plan(client, f"{sources.WIKIPEDIA}/{date}/{name}", sources.WIKIPEDIA_BYTES, estimate=True)
    elif os.path.exists(path) and os.path.exists(path + ".sha256"):
        check_file(path, path, None, None)
        print(f"kept: {path}")
    else:
        sha1, name = dump_sum(client.text(sums_url, os.path.join(folder, sums)), sums_url)
        url = f"{sources.WIKIPEDIA}/{name.split('-')[1]}/{name}"
        path = os.path.join(folder, name)
        print(f"{client.obtain(url, path, 'sha1:' + sha1, origin=sums_url)}: {path}")
    print(f"next: untie prepare --input {path} --out data/wiki")


def dump_sum(text, url):
    """The SHA-1 and the dated name of the dump in a file of sums."""
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[1].endswith("-pages-articles-multistream.xml.bz2"):
            return fields[0], fields[1]
    hint = "the dump is probably still being made: name an older one with --date YYYYMMDD"
    raise RecipeError(f"`{url}` does not list `pages-articles-multistream.xml.bz2`", hint, code=3)


def books(arguments, client):
    (bookcorpus if arguments.source == "bookcorpus" else pg19)(arguments, client)


def bookcorpus(arguments, client):
    folder = os.path.join(arguments.out, "bookcorpus")
    listing = os.path.join(folder, "listing.json")
    if arguments.dry_run:
        plan(client, sources.BOOKCORPUS_LIST, None)
        plan(client, f"{sources.BOOKCORPUS_FILES}/plain_text/train/*.parquet", sources.BOOKCORPUS_BYTES, estimate=True)
    else:
        for entry in client.json(sources.BOOKCORPUS_LIST, listing):
            if not entry["path"].endswith(".parquet"):
                continue
            path = os.path.join(folder, os.path.basename(entry["path"]))
            checksum = f"sha256:{entry['lfs']['oid']}" if "lfs" in entry else None
            url = f"{sources.BOOKCORPUS_FILES}/{entry['path']}"
            print(f"{client.obtain(url, path, checksum, entry['size'], sources.BOOKCORPUS_LIST)}: {path}")
    print(f"next: untie prepare --input {folder}/*.parquet --out data/books")


def pg19(arguments, client):
    folder = os.path.join(arguments.out, "pg19")
    if arguments.dry_run:
        plan(client, f"{sources.PG19_LIST}?prefix=train/", None)
        plan(client, f"{sources.PG19_FILES}/train/*.txt", sources.PG19_BYTES, estimate=True)
    else:
        for split, expected in sources.PG19_BOOKS.items():
            kept = 0
            for entry in pg19_entries(client, split, folder):
                path = os.path.join(folder, split, os.path.basename(entry["name"]))
                checksum = "md5:" + hexadecimal(entry["md5Hash"])
                url = f"{sources.PG19_FILES}/{entry['name']}"
                client.obtain(url, path, checksum, int(entry["size"]), sources.PG19_LIST)
                kept += 1
            note = "as expected" if kept == expected else f"expected {expected}"
            print(f"{split}: {kept} books, {note}")
    print(f"next: untie prepare --input {folder}/train --format text --out data/books")


def pg19_entries(client, split, folder):
    """Names, sizes and MD5 of the books, from the bucket's own listing, a thousand a page."""
    token, page = "", 0
    while True:
        query = urllib.parse.urlencode({"prefix": f"{split}/", **({"pageToken": token} if token else {})})
        answer = client.json(f"{sources.PG19_LIST}?{query}", os.path.join(folder, f"listing-{split}-{page}.json"))
        yield from (entry for entry in answer.get("items", []) if entry["name"].endswith(".txt"))
        token, page = answer.get("nextPageToken", ""), page + 1
        if not token:
            return


def simple_books(arguments, client):
    """The text of docs/study: each book of a list, then one file of documents."""
    _, *books = rows(arguments.list)
    path = os.path.join(arguments.out, "simple-books.jsonl")
    if arguments.dry_run:
        plan(client, gutenberg.ADDRESS.format(books[0][0]), None)
        print(f"and {len(books) - 1} more books, {sources.SIMPLE_BOOKS_BYTES:,} bytes (estimate), {arguments.wait:g} s between two")
    else:
        files = [(os.path.join(arguments.out, "downloads", f"{book[0]}.txt"), book) for book in books]
        for at, (file, (number, _, _)) in enumerate(files):
            if client.obtain(gutenberg.ADDRESS.format(number), file) == "fetched" and at + 1 < len(files):
                time.sleep(arguments.wait)
        seen, lines = set(), []
        for file, (number, author, title) in files:
            with open(file, "rb") as book:
                text = gutenberg.paragraphs(gutenberg.body(gutenberg.decoded(book.read())), seen)
            if not text:
                raise RecipeError(f"`{file}` has no text of a book", "if it is an error page, delete it and run this again", 3)
            document = {"id": number, "author": author, "title": title, "text": "\n\n".join(text)}
            lines.append(json.dumps(document, ensure_ascii=False) + "\n")
        write(path, "".join(lines).encode("utf-8"))
        print(f"{len(lines)} books: {path}")
    print(f"next: untie prepare --input {path} --out data/study --vocab-size 4096 --valid-fraction 0.03")


def glue(arguments, client):
    for task, url, size, sha256 in sources.GLUE_FILES:
        if arguments.dry_run:
            plan(client, url, size)
            continue
        path = os.path.join(arguments.out, "downloads", os.path.basename(url))
        print(f"{client.obtain(url, path, 'sha256:' + sha256, size, sources.THIRD_PARTY)}: {path}")
        if path.endswith(".zip"):
            unpack(path, task, arguments.out)
        elif task == "AX":
            with open(path, "rb") as file:
                write(os.path.join(arguments.out, "AX", "AX.tsv"), file.read())
    if not arguments.dry_run:
        split_mrpc(os.path.join(arguments.out, "downloads"), os.path.join(arguments.out, "MRPC"))
    print(f"next: get.py check glue {arguments.out}, then untie finetune --task cola --data {arguments.out}/CoLA ..")


def unpack(archive, task, folder):
    """Takes TASK/*.tsv of the table out of the archive and nothing else; the archives also hold original releases."""
    try:
        with zipfile.ZipFile(archive) as members:
            for split in sources.GLUE_ROWS[task]:
                write(os.path.join(folder, task, split + ".tsv"), members.read(f"{task}/{split}.tsv"))
    except (zipfile.BadZipFile, KeyError) as error:
        raise RecipeError(f"`{archive}` is not the archive of {task}: {error}", code=3) from error


def split_mrpc(downloads, folder):
    """GLUE's files of MRPC from Microsoft's: a fixed list of pairs is held out of train; test loses its labels."""
    held_out = {tuple(row) for row in rows(os.path.join(downloads, "mrpc_dev_ids.tsv"))}
    header, *pairs = rows(os.path.join(downloads, "msr_paraphrase_train.txt"))
    table(os.path.join(folder, "dev.tsv"), [header, *(row for row in pairs if tuple(row[1:3]) in held_out)])
    table(os.path.join(folder, "train.tsv"), [header, *(row for row in pairs if tuple(row[1:3]) not in held_out)])
    header, *pairs = rows(os.path.join(downloads, "msr_paraphrase_test.txt"))
    numbered = ([str(index), *row[1:]] for index, row in enumerate(pairs))
    table(os.path.join(folder, "test.tsv"), [["index", *header[1:]], *numbered])


def rows(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return [line.rstrip("\r\n").split("\t") for line in file if line.strip()]


def table(path, lines):
    write(path, "".join("\t".join(fields) + "\n" for fields in lines).encode("utf-8"))


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "wb") as file:
        file.write(data)
    os.replace(path + ".part", path)


def squad(arguments, client):
    for name, (size, sha256, _) in sources.SQUAD_FILES.items():
        url, path = f"{sources.SQUAD}/{name}", os.path.join(arguments.out, name)
        if arguments.dry_run:
            plan(client, url, size)
        else:
            print(f"{client.obtain(url, path, 'sha256:' + sha256, size, sources.THIRD_PARTY)}: {path}")
    print(f"next: get.py check squad {arguments.out}, then untie finetune --task squad1 --data {arguments.out} ..")


def plan(client, url, size, estimate=False):
    amount = "size unknown (small)" if size is None else f"{size:,} bytes{' (estimate)' if estimate else ''}"
    print(f"would fetch {client.url(url)}: {amount}")


def parse(arguments):
    parser = argparse.ArgumentParser(prog="get.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for act in (wikipedia, books, simple_books, glue, squad):
        name = act.__name__.replace("_", "-")
        command = commands.add_parser(name)
        command.set_defaults(act=act)
        command.add_argument("--out", default=os.path.join("data", "raw", name), help="folder [%(default)s]")
        command.add_argument("--dry-run", action="store_true", help="print what would be fetched, without network")
        command.add_argument("--mirror", metavar="URL", help="stands for scheme://host of the source")
        command.add_argument("--retries", type=int, default=4, help="tries after the first [%(default)s]")
        if act is wikipedia:
            command.add_argument("--date", default="latest", help="dump, as YYYYMMDD [%(default)s]")
        if act is simple_books:
            known = os.path.join(os.path.dirname(os.path.abspath(__file__)), "simple-books.tsv")
            command.add_argument("--list", default=known, help="numbers, authors and titles of other books [simple-books.tsv]")
            command.add_argument("--wait", type=float, default=2.0, help="seconds between two books [%(default)s]")
        if act is books:
            command.add_argument("--source", choices=["pg19", "bookcorpus"], default="pg19", help="[%(default)s]")
    command = commands.add_parser("check", help="count rows and compare")
    command.add_argument("kind", choices=["glue", "squad"])
    command.add_argument("dir")
    return parser.parse_args(arguments)


def main():
    arguments = parse(sys.argv[1:])
    try:
        if arguments.command == "check":
            return 3 if check.check(arguments.kind, arguments.dir) else 0
        arguments.act(arguments, Client(arguments.mirror, arguments.retries))
        return 0
    except RecipeError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
