#!/usr/bin/env python3
"""Installs the wheel into fresh virtual environments and uses it as a user does; what `make check-wheel` runs.

In:   the wheel of `make wheel`, of the flavour cuda; PyPI, for torch and what it needs; a C compiler.
Out:  one line for each step with its time; the exit code is 1 at the first step that does not do what it should.
Cost: about five minutes; torch is 2.5 GB to download (pip's cache is used) and 5 GB in a temporary folder, which is removed. With --light
      0.55 GB and 1.3 GB: of CUDA's libraries only the two that libtorch needs on a CPU. Standard library only.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIGHT = ["torch==2.11.0", "nvidia-cuda-runtime==13.0.*", "nvidia-cuda-cupti==13.0.*"]
LAUNCHER_SECONDS = 0.1  # what Python may add to the start of the program

CONFIG = """
model = { hidden_size = 32, num_hidden_layers = 2, num_attention_heads = 2, intermediate_size = 64, max_position_embeddings = 32 }
data = { dir = "data", sequence_length = 32 }
train = { steps = 20, global_batch = 8, micro_batch = 4 }
optim = { lr = 1e-3 }
sharing = { untie_at = 0.5 }
checkpoint = { every = 10 }
"""


class Wrong(Exception):
    """A step that did not do what it should."""


def expect(holds, what):
    if not holds:
        raise Wrong(what)


class Environment:
    """A virtual environment; every command runs in `folder` and sees only this environment."""

    def __init__(self, folder, name):
        self.folder, self.home = folder, folder / name
        subprocess.run([sys.executable, "-m", "venv", str(self.home)], check=True)
        self.packages = next(self.home.glob("lib/python3*/site-packages"))
        self.env = {name: value for name, value in os.environ.items() if name not in ("LD_LIBRARY_PATH", "PYTHONPATH")}
        self.env.update(PATH=f"{self.home / 'bin'}:{os.environ['PATH']}", OMP_NUM_THREADS="1")

    def run(self, *command, code=0, **env):
        """What the command printed; anything but this exit code is wrong."""
        command = [str(word) for word in command]
        found = subprocess.run(command, cwd=self.folder, env={**self.env, **env}, capture_output=True, text=True)
        expect(found.returncode == code, f"`{' '.join(command)}`: exit code {found.returncode}\n{found.stdout}{found.stderr}")
        return found.stdout + found.stderr

    def pip(self, command, *arguments):
        return self.run("python", "-m", "pip", "--disable-pip-version-check", command, "--quiet", *arguments)


def step(name, action, *arguments):
    """Runs one step; its result, or None, is text for the line."""
    start = time.monotonic()
    note = action(*arguments)
    print(f"{name:58} {time.monotonic() - start:6.1f} s  {note or ''}".rstrip(), flush=True)


def install(here, wheel, light):
    here.pip("install", *(["--no-deps", *LIGHT] if light else []), wheel)
    size = sum(path.lstat().st_size for path in here.home.rglob("*") if not path.is_dir())
    return f"{size / 1e6:,.0f} MB in the environment"


def starts(here):
    """The version; what Python adds to a start; one OpenMP."""
    text = here.run("untie", "--version")
    expect(re.fullmatch(r"untie \d+\.\d+\.\d+\n", text), text)

    def seconds(program):
        start = time.monotonic()
        here.run(program, "--version")
        return time.monotonic() - start

    program = here.packages / "untie_bert" / "bin" / "untie"
    # The least of several: other programs may run beside it.
    whole, alone = map(min, zip(*[(seconds("untie"), seconds(program)) for _ in range(8)]))
    expect(whole - alone < LAUNCHER_SECONDS, f"`untie --version` takes {whole:.3f} s, the program alone {alone:.3f} s")
    loaded = set(re.findall(r"calling init: (\S*lib(?:gomp|omp|iomp5)\S*)", here.run("untie", "--version", LD_DEBUG="libs")))
    expect(len(loaded) == 1 and "/torch/lib/" in next(iter(loaded)), f"expected torch's OpenMP alone, found {sorted(loaded)}")
    return f"{whole * 1000:.0f} ms, without Python {alone * 1000:.0f} ms"


def prepare(here):
    pages = sorted((ROOT / "docs").glob("*.md"))
    options = ["--format", "text", "--out", "data", "--vocab-size", "1000", "--valid-fraction", "0.1"]
    here.run("untie-data", "prepare", "--input", *pages, *options)


def train(here, name, *launch):
    (here.folder / "run.toml").write_text(CONFIG)
    here.run("untie", *launch, "train", "--config", "run.toml", "--run-dir", name)
    expect((here.folder / name / "export/model.safetensors").exists(), "no export")


def export(here):
    here.run("untie", "export", "--run", "run", "--step", "10", "--out", "exported")
    return here.run("untie", "fill-mask", "--model", "exported", "the [MASK] of the run.").strip().splitlines()[-1]


def signalled(here):
    """SIGTERM to the process that was started reaches the trainer, which saves."""
    stopped = ["timeout", "--preserve-status", "--signal=TERM", "15"]
    here.run(*stopped, "untie", "train", "--config", "run.toml", "--run-dir", "run3", "--set", "train.steps=1000000", code=143)
    expect(any((here.folder / "run3").glob("checkpoints/step-*")), "no checkpoint")


def with_driver(here, light):
    """CUDA's libraries are loaded, and the one inside the program; that some are missing is an error, not a run on the CPU."""
    subprocess.run(["cc", "-shared", "-o", here.folder / "libcuda.so.1", "-x", "c", os.devnull], check=True)
    if light:
        text = here.run("untie", "train", "--config", "run.toml", "--run-dir", "run5", code=1, LD_LIBRARY_PATH=".")
        return next(line for line in text.splitlines() if "CUDA's libraries cannot be loaded" in line)
    text = here.run("untie", "--version", LD_LIBRARY_PATH=".", LD_DEBUG="libs")
    loaded = re.findall(r"calling init: (\S*/(?:libtorch_cuda|libnccl|self/fd/)\S*)", text)
    expect(len(loaded) == 3, f"loaded: {loaded}")


def refuses(here, *words):
    text = here.run("untie", "--version", code=1)
    lines = text.splitlines()
    expect(len(lines) == 2 and lines[0].startswith("error: ") and lines[1].startswith("hint: pip install"), text)
    expect(all(word in lines[0] for word in words), text)
    return lines[0]


def other_torch(here, version):
    """A torch of another version, as far as the launcher looks."""
    (here.packages / "torch").mkdir()
    (here.packages / "torch" / "version.py").write_text(f"__version__ = '{version}'\n")
    line = refuses(here, version)
    shutil.rmtree(here.packages / "torch")
    return line


def elsewhere(here, there):
    """An environment over another one that has torch, as with --system-site-packages."""
    (here.packages / "below.pth").write_text(f"{there.packages}\n")
    train(here, "run4", "launch", "--nproc", "2")


def uninstall(here):
    here.pip("uninstall", "--yes", "untie-bert")
    left = [path for path in here.home.rglob("*") if "untie" in path.name]
    expect(not left, f"left behind: {left}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--light", action="store_true", help="without the libraries that only a GPU needs")
    arguments = parser.parse_args()
    arguments.wheel = arguments.wheel.resolve()
    print(f"{arguments.wheel.name}: {arguments.wheel.stat().st_size:,} bytes")
    with tempfile.TemporaryDirectory(prefix="check-wheel-") as folder:
        with_torch = Environment(Path(folder), "with-torch")
        step("pip install", install, with_torch, arguments.wheel, arguments.light)
        step("untie --version", starts, with_torch)
        step("untie-data prepare", prepare, with_torch)
        step("untie train, 20 steps", train, with_torch, "run")
        step("untie export, untie fill-mask", export, with_torch)
        step("untie launch --nproc 2", train, with_torch, "run2", "launch", "--nproc", "2")
        step("SIGTERM: saved, exit code 143", signalled, with_torch)
        step("with an NVIDIA driver (an empty one)", with_driver, with_torch, arguments.light)
        step("pip uninstall: nothing is left", uninstall, with_torch)
        without = Environment(Path(folder), "without-torch")
        step("pip install --no-deps, elsewhere", without.pip, "install", "--no-deps", arguments.wheel)
        step("untie-data without torch", without.run, "untie-data", "--version")
        step("without torch: refused", refuses, without, "has no torch")
        for version in ("2.10.0+cpu", "2.110.0"):
            step(f"with torch {version}: refused", other_torch, without, version)
        step("torch in another folder of sys.path: train, 2 processes", elsewhere, without, with_torch)
        step("pip uninstall: nothing is left", uninstall, without)


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"error: {wrong}")
