#!/usr/bin/env python3
"""Takes the pictures in docs/screenshots: TensorBoard on a folder of runs, and the end of a run in a terminal.

    make rules                                         # three runs with different rules in runs/rules-quickstart
    .venv-dev/bin/python scripts/screenshots.py --runs runs/rules-quickstart --log LOG

LOG is what a run has printed. Without it the picture of the terminal stays as it is. Needs Chromium (Debian package `chromium` or
`chromium-headless-shell`), and from PyPI tensorboard, Pillow and playwright, without the browsers of playwright. Look at each picture before
you commit it.
"""

import argparse
import html
import io
import re
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from tensorboard_server import serve

# Of each picture: the tab of TensorBoard, and the size of the window. Curves without smoothing show a transition as the jump that it is.
TABS = {"charts": ("custom_scalars&_smoothingWeight=0", (1280, 1195)), "settings": ("hparams", (1280, 420)),
        "correlations": ("images", (1520, 640))}
STYLE = "body { margin: 0; background: #1e1e1e; color: #d4d4d4; font: 15px/1.4 'DejaVu Sans Mono', monospace; } pre { margin: 1em; }"
COLOURS = 64
DRAWN = 8000  # milliseconds


def save(page, path):
    """What the browser shows, as a PNG of few colours."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


def show(page, server, tab, size):
    """Opens a tab of TensorBoard and waits until it is drawn."""
    page.set_viewport_size(dict(zip(("width", "height"), size)))
    page.goto("about:blank")
    page.goto(f"{server.url}/#{tab}")
    page.wait_for_timeout(DRAWN)


def hide_equal_settings(page, server):
    """A reader of the picture wants the settings that differ, and room for the results; TensorBoard shows five settings."""
    settings = server.get("plugin/hparams/experiment", request={"experimentName": "untie"})["hparamInfos"]
    equal = {info["name"] for info in settings if not info.get("differs")}
    boxes = page.locator("tf-hparams-query-pane paper-checkbox[checked]")
    # From the last: a box without its tick is no longer one of them.
    for number, text in reversed(list(enumerate(boxes.all_inner_texts()))):
        if text.strip() in equal:
            boxes.nth(number).click()
    page.wait_for_timeout(DRAWN)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-headless-shell")
    if not chromium:
        sys.exit("error: `chromium` is not on the PATH\nhint: install it: Debian package chromium")
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with serve(arguments.runs) as server, sync_playwright() as playwright:
        server.wait_for_runs(f"{folder.parent.name}/tb" for folder in arguments.runs.glob("*/tb"))
        # Chromium's sandbox needs rights that containers do not give; the pages are our own.
        page = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]).new_page()
        for name, (tab, size) in TABS.items():
            show(page, server, tab, size)
            if tab == "hparams":
                hide_equal_settings(page, server)
            save(page, out / f"tensorboard-{name}.png")
        if arguments.log:
            lines = arguments.log.read_text().splitlines()
            page.set_viewport_size({"width": 1100, "height": 30 + 21 * (len(lines) + 1)})
            page.set_content(f"<style>{STYLE}</style><pre>{html.escape(chr(10).join(lines))}</pre>")
            save(page, out / "terminal.png")


if __name__ == "__main__":
    main()
