"""The `untie` command in a Python environment.

The wheel of `make wheel` holds the trainer as a compiled program. It is linked to PyTorch's libtorch, which comes with the package
`torch`. This module finds that package without importing it, and becomes the program (exec), so that signals and exit codes are its own.
"""

import os
import re
import sys

TORCH = "2.11"
INSTALL = f"pip install torch=={TORCH}.0"
REPAIR = f"pip install --force-reinstall torch=={TORCH}.0"


def main():
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "untie")
    folder = find_torch()
    if folder is None:
        stop(f"`untie` needs torch {TORCH}, and `{sys.executable}` has no torch", INSTALL)
    version = torch_version(folder)
    if not f"{version}.".startswith(f"{TORCH}."):
        stop(f"`untie` needs torch {TORCH}, found {version or 'an unknown version'} in `{folder}`", INSTALL)
    libraries = os.path.join(folder, "lib")
    if not os.path.exists(os.path.join(libraries, "libtorch_cpu.so")):
        stop(f"`untie` needs PyTorch's libraries, and `{libraries}` has no libtorch_cpu.so", REPAIR)
    make_visible(libraries, program)
    try:
        os.execv(program, ["untie", *sys.argv[1:]])
    except OSError as error:
        stop(f"`{program}` cannot be started: {error.strerror}", "pip install --force-reinstall untie-bert")


def find_torch():
    """The folder of the package `torch`: beside this one, or where an import would find it."""
    beside = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "torch")
    if os.path.exists(os.path.join(beside, "version.py")):
        return beside
    from importlib.util import find_spec  # here, because it takes longer than all the rest

    found = find_spec("torch")
    return next(iter(found.submodule_search_locations or []), None) if found else None


def torch_version(folder):
    """E.g. `2.11.0+cu130`; empty: not known. From the package itself: metadata is slow to read, and may be of another package."""
    try:
        with open(os.path.join(folder, "version.py"), encoding="utf-8") as file:
            found = re.search(r"^__version__ = ['\"](.*)['\"]", file.read(), re.MULTILINE)
    except OSError:
        return ""
    return found.group(1) if found else ""


def make_visible(libraries, program):
    """Has the loader find `libraries`, and conda's C++ library where this is a conda environment.

    The program looks for `../../torch/lib` itself, so that it also runs without this module. It does not see what is elsewhere: torch of
    the system under a virtual environment, or packages that are links into a cache.
    """
    own = os.path.join(os.path.dirname(os.path.realpath(program)), "..", "..", "torch", "lib")
    folders = [] if os.path.exists(own) and os.path.samefile(own, libraries) else [libraries]
    if os.path.exists(os.path.join(sys.prefix, "conda-meta")):
        folders.append(os.path.join(sys.prefix, "lib"))
    if folders:
        before = os.environ.get("LD_LIBRARY_PATH")
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(folders + [before] if before else folders)


def stop(problem, hint):
    print(f"error: {problem}\nhint: {hint}", file=sys.stderr)
    sys.exit(1)
