#!/usr/bin/env python3
"""Brings libtorch into .venv, from PyPI's torch wheel; what `make setup` runs.

In:   the table libtorch-wheels.txt beside this file; the flavour (auto, cpu, cuda).
Out:  .venv/libtorch-<flavour>/{include,lib,build-version}, and .venv/libtorch, a link to the one in use.
Cost: cpu 0.54 GB to download and 0.5 GB on disk, cuda 2.5 GB and 3.6 GB; nothing when it is already there.

An interrupted run leaves complete wheels in .venv/wheels, which the next one uses, and never a folder that looks
finished: the folder is filled under another name and renamed last. Standard library and pip only.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from wheels import GLIBC, MACHINE, MACHINES, ROOT, VENV, WHEELS, fetch, find_wheel, make_venv, run, say, stop

TABLE = Path(__file__).with_name("libtorch-wheels.txt")
# libtorch_cpu.so of the CUDA wheel is linked against these two; the rest of their packages is not needed for CPU.
CPU_CUDA_LIBRARIES = {"libcudart.so.13", "libcupti.so.13"}
CPU_TORCH_LIBRARIES = {"libtorch_cpu.so", "libc10.so", "libgomp.so.1"}
# What libtorch_cpu.so multiplies with on aarch64.
ARM_LIBRARIES = ("libarm_compute", "libnvpl_")
# What the shim needs to make NCCL's process groups.
HEADERS = {"nvidia-cuda-runtime", "nvidia-cuda-crt", "nvidia-nccl-cu13"}
# Python bindings and test helpers inside the wheel's lib folder; nothing here links to them.
CUDA_LEFT_OUT = {"libtorch_python.so", "libshm.so", "libtorch_global_deps.so"}


def check_host():
    """Exits with one sentence and a hint where the wheels cannot run."""
    if sys.platform != "linux" or MACHINE not in MACHINES:
        stop(
            f"`make setup` has libtorch for Linux on {' and '.join(MACHINES)} only, this is {platform.system()} {MACHINE}",
            "install libtorch 2.11.0 yourself and set LIBTORCH to its folder",
        )
    name, version = platform.libc_ver()
    if name == "glibc" and tuple(int(part) for part in version.split(".")[:2]) < GLIBC:
        stop(f"libtorch 2.11.0 needs glibc 2.28 or newer, found {version}", "use a newer distribution or the Docker image")


def check_tools():
    for program, how in (("c++", "Debian package g++"), ("cargo", "Rust 1.91 or newer, with rustup")):
        if shutil.which(program) is None:
            stop(f"`{program}` is not on the PATH", f"install it: {how}")


def nvidia_visible():
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/proc/driver/nvidia/version").exists()


def read_table(flavour):
    rows = []
    for line in TABLE.read_text().splitlines():
        if line and not line.startswith("#"):
            machine, kind, package, version, megabytes, sha256 = line.split()
            if machine == MACHINE and (kind == "cpu" or flavour == "cuda"):
                rows.append((package, version, int(megabytes), sha256))
    return rows


def wanted(member, package, flavour):
    """Where a wheel's member goes inside the libtorch folder, or None."""
    if member.startswith("torch/include/"):
        return Path("include") / member[len("torch/include/") :]
    if flavour == "cuda" and package in HEADERS and "/include/" in member:
        return Path("include/nvidia") / member.split("/include/", 1)[1]
    name = member.rsplit("/", 1)[-1]
    if "/lib/" not in member or ".so" not in name or member.count("/") > 3:
        return None
    if flavour == "cpu":
        of_torch = name in CPU_TORCH_LIBRARIES or name.startswith(ARM_LIBRARIES)
        kept = of_torch if member.startswith("torch/lib/") else name in CPU_CUDA_LIBRARIES
    else:
        kept = name not in CUDA_LEFT_OUT
    return Path("lib") / name if kept else None


def unpack(wheel, package, flavour, folder):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            target = wanted(member, package, flavour)
            if target is None or member.endswith("/"):
                continue
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 22)


def install(flavour):
    """Fills .venv/libtorch-<flavour>; returns at once when it is complete."""
    folder = VENV / f"libtorch-{flavour}"
    rows = read_table(flavour)
    stamp = f"{rows[0][1]}+{flavour}\n"
    complete = flavour == "cpu" or (folder / "include/nvidia/nccl.h").exists()
    if complete and (folder / "build-version").exists() and (folder / "build-version").read_text() == stamp:
        return folder
    make_venv()
    partial = VENV / f"libtorch-{flavour}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    total = sum(row[2] for row in rows)
    say(f"libtorch {rows[0][1]}, {flavour} flavour: {len(rows)} wheels from PyPI, {total / 1000:.2f} GB to download")
    for package, version, megabytes, sha256 in rows:
        wheel = find_wheel(package, version, sha256)
        say(f"{package} {version}: " + ("already downloaded" if wheel else f"downloading {megabytes} MB"))
        unpack(wheel or fetch(package, version, sha256), package, flavour, partial)
    if flavour == "cpu":
        # The wheel's libtorch.so names libtorch_cuda.so as needed; for CPU the name is an alias.
        (partial / "lib" / "libtorch.so").symlink_to("libtorch_cpu.so")
    # torch-sys links `-lgomp`; the wheel ships the versioned name only.
    (partial / "lib" / "libgomp.so").symlink_to("libgomp.so.1")
    (partial / "build-version").write_text(stamp)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    shutil.rmtree(WHEELS)
    return folder


def select(folder):
    """Points .venv/libtorch at the flavour; forgets torch-sys's build when that changes what it is linked to."""
    link = VENV / "libtorch"
    if link.is_symlink() and os.readlink(link) == folder.name:
        return
    switched = link.is_symlink()
    fresh = VENV / "libtorch.link"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder.name)
    fresh.replace(link)
    if switched:
        say("the flavour changed: torch-sys and untie will be built again")
        subprocess.run(["cargo", "clean", "--quiet", "--package", "torch-sys", "--package", "untie"], cwd=ROOT, check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flavour", choices=["auto", "cpu", "cuda"], default="auto", help="auto: cuda when an NVIDIA device is visible")
    flavour = parser.parse_args().flavour
    check_tools()
    for name in ("LIBTORCH", "LIBTORCH_USE_PYTORCH"):
        if os.environ.get(name):
            say(f"{name}={os.environ[name]} is set and wins; nothing to download")
            return
    check_host()
    if flavour == "auto":
        flavour = "cuda" if nvidia_visible() else "cpu"
    select(install(flavour))
    say(f"libtorch is ready ({flavour})")


if __name__ == "__main__":
    run(main)
