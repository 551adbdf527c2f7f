"""TensorBoard for scripts: starts it on a folder, asks it, ends it. Needs tensorboard 2.x from PyPI."""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request


class Server:
    def __init__(self, url):
        self.url = url

    def get(self, path, **arguments):
        """The JSON that TensorBoard answers at `path`; arguments that are not strings are sent as JSON."""
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in arguments.items()}
        with urllib.request.urlopen(f"{self.url}/data/{path}?{urllib.parse.urlencode(texts)}", timeout=60) as answer:
            return json.load(answer)

    def wait_for_runs(self, runs, seconds=120):
        """Waits until TensorBoard has read `runs`, names relative to its folder, to the end of what is there now."""
        end = time.monotonic() + seconds
        while True:
            found = self.get("runs")
            if set(runs) <= set(found):
                return
            if time.monotonic() > end:
                sys.exit(f"error: expected TensorBoard to show the runs {sorted(runs)}, got {sorted(found)}")
            time.sleep(0.5)


@contextlib.contextmanager
def serve(folder, *flags):
    """TensorBoard on `folder`, at a free port, while the block runs."""
    with tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0", *flags]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield Server(address(process, log))
        finally:
            process.terminate()
            process.wait()


def address(process, log, seconds=120):
    end = time.monotonic() + seconds
    while True:
        log.seek(0)
        text = log.read()
        found = re.search(r"TensorBoard \S+ at (http://[^/ ]+)", text)
        if found:
            return found[1]
        if process.poll() is not None or time.monotonic() > end:
            sys.exit(f"error: TensorBoard does not start:\n{text}")
        time.sleep(0.2)
