"""Fetching single wheels from PyPI with a known hash, into .venv/wheels; standard library and pip only.

A wheel whose hash is right is never fetched twice, one whose hash is wrong is never used.
"""

import hashlib
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
WHEELS = VENV / "wheels"
# Kinds of processors for which there are wheels of torch, and this machine's.
MACHINES = ("x86_64", "aarch64")
MACHINE = platform.machine()
# The oldest C library that torch's wheels run on.
GLIBC = (2, 28)


def say(text):
    print(f"setup: {text}", file=sys.stderr, flush=True)


def stop(text, hint):
    sys.exit(f"error: {text}\nhint: {hint}")


def run(main):
    """Calls `main`; an interruption or a full disk is one line, not a traceback."""
    try:
        main()
    except KeyboardInterrupt:
        stop("interrupted", "run it again: what was downloaded whole is kept")
    except OSError as error:
        stop(f"{error}", "check the disk and the permissions, and run it again")


def make_venv():
    # A checkout that was moved has a .venv whose programs point elsewhere: ask, do not look.
    python = VENV / "bin" / "python"
    probe = [str(python), "-m", "pip", "--version"]
    if python.exists() and subprocess.run(probe, capture_output=True).returncode == 0:
        return
    result = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True)
    if result.returncode != 0 or not (VENV / "bin" / "pip").exists():
        detail = (result.stdout + result.stderr).strip().splitlines()
        stop(
            f"`{sys.executable} -m venv` failed: {detail[-1] if detail else 'no message'}",
            "install it: Debian package python3-venv",
        )


def find_wheel(package, version, sha256):
    """The wheel in .venv/wheels whose hash is right, or None; a wrong one is removed."""
    for path in sorted(WHEELS.glob(f"{package.replace('-', '_')}-{version}-*.whl")):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
        if digest.hexdigest() == sha256:
            return path
        say(f"{path.name} is not what it should be (SHA-256 {digest.hexdigest()}), fetching it again")
        path.unlink()
    return None


def fetch(package, version, sha256):
    """Downloads one wheel for CPython 3.11 on this kind of machine, whatever Python runs this."""
    WHEELS.mkdir(exist_ok=True)
    platforms = [f"--platform=manylinux_2_{minor}_{MACHINE}" for minor in range(5, GLIBC[1] + 1)]
    platforms += [f"--platform={name}_{MACHINE}" for name in ("manylinux2014", "manylinux2010", "manylinux1")]
    requirement = WHEELS / f"{package}.txt"
    requirement.write_text(f"{package}=={version} --hash=sha256:{sha256}\n")
    command = [str(VENV / "bin" / "python"), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp", "--abi=cp311", *platforms]
    command += ["--require-hashes", "--no-cache-dir", "--dest", str(WHEELS), "--requirement", str(requirement)]
    result = subprocess.run(command)
    requirement.unlink()
    path = find_wheel(package, version, sha256) if result.returncode == 0 else None
    if path is None:
        stop(f"`{package}=={version}` could not be downloaded", "check the network and run the same command again: it goes on")
    return path
