"""Downloads: a URL and a path in, a checked file out. Standard library only.

A download goes to FILE.part and is renamed when it is complete and its checksum is right; FILE.sha256 then records it.
An interrupted one goes on where it stopped (HTTP Range, with If-Range so that two versions are never spliced). A file
that is there is not fetched again, only compared. Memory: one buffer of 1 MiB.
"""

import base64
import hashlib
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

BUFFER = 1 << 20
TIMEOUT_SECONDS = 60
AGENT = "untie-recipes/1 (urllib)"


class RecipeError(Exception):
    """What went wrong, what to do about it, and the exit code (1 failed, 3 data invalid)."""

    def __init__(self, message, hint=None, code=1):
        super().__init__(message)
        self.hint = hint
        self.code = code


class Unreachable(Exception):
    """No answer, or a cut-off one: worth another try."""


class Client:
    """Requests with retries, through a mirror if one is given."""

    def __init__(self, mirror=None, retries=4):
        self.mirror = mirror
        self.retries = retries

    def url(self, url):
        """The URL to ask: the mirror stands for `scheme://host` of the source."""
        if not self.mirror:
            return url
        parts = urllib.parse.urlsplit(url)
        return self.mirror.rstrip("/") + urllib.parse.urlunsplit(("", "", *parts[2:]))

    def json(self, url, path):
        """A small JSON answer. `path` is where the user may put it by hand."""
        text = self.text(url, path)
        try:
            return json.loads(text)
        except ValueError as error:
            raise RecipeError(f"`{self.url(url)}` is not JSON: {error}", code=3) from error

    def text(self, url, path):
        """A small text: the file at `path` if there is one, else from the network, not kept."""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                return file.read()
        parts = []

        def read():
            with self.open(url, {}) as answer:
                parts[:] = [answer.read()]

        self.retrying(read, url, path, lambda: 0)
        return parts[0].decode("utf-8")

    def open(self, url, headers):
        request = urllib.request.Request(self.url(url), headers={"User-Agent": AGENT, **headers})
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)

    def retrying(self, act, url, path, progress):
        """Runs `act` until it succeeds. Tries are counted anew whenever `progress()` has grown."""
        failures, before = 0, progress()
        while True:
            try:
                return act()
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code} {error.reason}"
                final = error.code < 500 and error.code not in (408, 429)
            except (Unreachable, http.client.HTTPException, OSError) as error:
                reason, final = str(getattr(error, "reason", error)) or type(error).__name__, False
            now = progress()
            failures = 1 if now > before else failures + 1
            before = now
            if final or failures > self.retries:
                raise RecipeError(f"cannot reach `{self.url(url)}`: {reason}", offline_hint(path))
            pause = min(2 ** (failures - 1), 30)
            print(f"retrying in {pause} s: {self.url(url)}: {reason}", file=sys.stderr)
            time.sleep(pause)

    def obtain(self, url, path, checksum=None, size=None, origin=None):
        """Makes `path` a complete, checked copy of `url`.

        `checksum` is `"algorithm:hex"` or None, `origin` says who published it, `size` is in bytes. Returns `"kept"` or
        `"fetched"`.
        """
        if os.path.exists(path):
            check(path, path, checksum, origin)
            return "kept"
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        part, tag = path + ".part", path + ".part.tag"
        have = lambda: os.path.getsize(part) if os.path.exists(part) else 0
        self.retrying(lambda: self.transfer(url, part, tag), url, path, have)
        remove(tag)
        if size is not None and have() != size:
            os.replace(part, path + ".bad")
            raise RecipeError(f"`{path}.bad` has {os.path.getsize(path + '.bad')} bytes, expected {size}", bad_hint(path), 3)
        check(part, path, checksum, origin)
        os.replace(part, path)
        return "fetched"

    def transfer(self, url, part, tag):
        """Fetches what is missing of `part`; raises `Unreachable` when the connection ends early."""
        have = os.path.getsize(part) if os.path.exists(part) else 0
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if os.path.exists(tag):
                headers["If-Range"] = read_text(tag)
        try:
            answer = self.open(url, headers)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not have:
                raise
            # Nothing is left to send: either all is here, or the file at the source is now shorter.
            if error.headers.get("Content-Range", "") == f"bytes */{have}":
                return
            os.remove(part)
            raise Unreachable("the file at the source is now shorter; starting anew") from error
        with answer:
            resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if answer.status == 206 and not resumed:
                os.remove(part)
                raise Unreachable("the server sent another range than the one asked for; starting anew")
            length = answer.headers.get("Content-Length")
            start = have if resumed else 0
            remember_version(answer.headers, tag)
            print(f"{'resuming at ' + str(have) if resumed else 'fetching'}: {self.url(url)}", file=sys.stderr)
            with open(part, "ab" if resumed else "wb") as file:
                copy(answer, file, start, int(length) if length else None)


def copy(answer, file, start, length):
    """Copies the body; `length` is what the server announced, None if it did not."""
    received, shown = 0, time.monotonic()
    while True:
        block = answer.read(BUFFER)
        if not block:
            break
        try:
            file.write(block)
        except OSError as error:
            raise RecipeError(f"cannot write `{file.name}`: {error}", "what is there is kept; run this again") from error
        received += len(block)
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            total = f" of {(start + length) / 1e6:.0f}" if length else ""
            print(f"{(start + received) / 1e6:.0f}{total} MB", file=sys.stderr)
    # Reading in blocks ends quietly when the connection drops.
    if length is not None and received < length:
        raise Unreachable(f"connection closed after {received} of {length} bytes")


def remember_version(headers, tag):
    """Keeps what If-Range needs; it must not be a weak ETag."""
    etag = headers.get("ETag", "")
    version = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
    remove(tag)
    if version:
        with open(tag, "w", encoding="utf-8") as file:
            file.write(version)


def check(path, final, checksum, origin):
    """Compares `path`, which is or will be `final`, with FILE.sha256 if there is one, else with `checksum`; then records it."""
    record = final + ".sha256"
    found = digest(path, "sha256")
    if os.path.exists(record):
        expected, origin = "sha256:" + (read_text(record).split() or [""])[0], f"`{record}`"
    else:
        expected = checksum
    if expected:
        algorithm, value = expected.split(":")
        actual = found if algorithm == "sha256" else digest(path, algorithm)
        if actual != value:
            if path != final:
                os.replace(path, final + ".bad")
                path = final + ".bad"
            message = f"`{path}` has {algorithm} `{actual}`, expected `{value}` ({origin})"
            raise RecipeError(message, bad_hint(final), code=3)
    else:
        print(f"no sum is published for `{final}`: recorded its SHA-256 instead", file=sys.stderr)
    if not os.path.exists(record):
        with open(record, "w", encoding="utf-8") as file:
            file.write(f"{found}  {os.path.basename(final)}\n")


def digest(path, algorithm):
    state = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(BUFFER):
            state.update(block)
    return state.hexdigest()


def hexadecimal(text):
    """The hexadecimal form of a base64 sum, as Google Cloud Storage lists them."""
    return base64.b64decode(text).hex()


def offline_hint(path):
    return (
        "set HTTPS_PROXY if you are behind a proxy, name another server with --mirror URL, "
        f"or put the file at `{path}` by hand and run this again"
    )


def bad_hint(path):
    return (
        f"delete it and run this again; if the source has really changed and you trust it, name it `{path}` "
        f"and put its SHA-256 into `{path}.sha256`"
    )


def read_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def remove(path):
    if os.path.exists(path):
        os.remove(path)
