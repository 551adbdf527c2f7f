#!/usr/bin/env python3
"""Takes the pictures in docs/screenshots: TensorBoard on a folder of runs, and the end of a run in a terminal.

    make rules                                         # three runs with different rules in runs/rules-quickstart
    .venv-dev/bin/python scripts/screenshots.py --runs runs/rules-quickstart --log LOG

LOG is what a run has printed. Needs chromium (Debian package `chromium`), tensorboard and Pillow. Look at each picture before you commit it.
"""

import argparse
import html
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from tensorboard_server import serve

TABS = {"charts": "custom_scalars", "settings": "hparams", "correlations": "images"}
STYLE = "body { margin: 0; background: #1e1e1e; color: #d4d4d4; font: 15px/1.4 'DejaVu Sans Mono', monospace; } pre { margin: 1em; }"
COLOURS = 64


def picture(chromium, url, path, size):
    """What the browser shows at `url`, as a PNG of few colours."""
    # Chromium's sandbox needs rights that containers do not give; the pages are our own.
    subprocess.run([chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={size[0]},{size[1]}",
                    "--virtual-time-budget=20000", f"--screenshot={path}", url], check=True, stderr=subprocess.DEVNULL)
    with Image.open(path) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or sys.exit("error: `chromium` is not on the PATH\nhint: install it: Debian package chromium")
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with serve(arguments.runs) as server:
        server.wait_for_runs(f"{folder.parent.name}/tb" for folder in arguments.runs.glob("*/tb"))
        for name, tab in TABS.items():
            picture(chromium, f"{server.url}/#{tab}", out / f"tensorboard-{name}.png", (1280, 840))
    lines = arguments.log.read_text().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "run.html"
        page.write_text(f"<meta charset=utf-8><style>{STYLE}</style><pre>{html.escape(chr(10).join(lines))}</pre>")
        picture(chromium, page.as_uri(), out / "terminal.png", (1100, 30 + 21 * (len(lines) + 1)))


if __name__ == "__main__":
    main()
