#!/usr/bin/env python3
"""What each CUDA kernel takes of a GPU, read from the cubins that a build of the cuda flavour made.

    python3 scripts/kernel_table.py [--folder DIR]

In:   the folder with sm_80.cubin and others; by default that of the newest build, target/release/build/untie-*/out/cuda_kernels.
Out:  on stdout a Markdown table: registers a thread on each architecture, and bytes of shared memory a block.
      Exit 1 where a kernel keeps something in local memory (a spill, or an array that is indexed): that is memory of the GPU.
Standard library only. A cubin is an ELF file; its section .nv.info has attributes of each kernel.
"""

import argparse
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Attributes of .nv.info and the form of those that have a size of their own.
FRAME_SIZE, REGISTERS, SIZED = 0x11, 0x2F, 4
SHARED, TEXT = ".nv.shared.", ".text."
SYMBOLS = 2  # a section's type


class Cubin:
    """Sections by name, and per kernel: registers, local, shared."""

    def __init__(self, path):
        self.data = path.read_bytes()
        if self.data[:5] != b"\x7fELF\x02":
            sys.exit(f"error: `{path}` is not a cubin")
        (offset,) = struct.unpack_from("<Q", self.data, 0x28)
        size, count, names = struct.unpack_from("<HHH", self.data, 0x3A)
        headers = [struct.unpack_from("<IIQQQQIIQQ", self.data, offset + size * at) for at in range(count)]
        self.sections = [(self.text(headers[names][4] + header[0]), header) for header in headers]
        self.kernels = self.read_kernels()

    def text(self, at):
        return self.data[at : self.data.index(b"\0", at)].decode()

    def read_kernels(self):
        by_name = dict(self.sections)
        found = {name[len(TEXT) :]: {"registers": 0, "local": 0, "shared": 0} for name in by_name if name.startswith(TEXT)}
        for name, header in self.sections:
            if name.startswith(SHARED) and name[len(SHARED) :] in found:
                found[name[len(SHARED) :]]["shared"] = header[5]
        symbols = next(header for _, header in self.sections if header[1] == SYMBOLS)
        strings = self.sections[symbols[6]][1]
        at, end = by_name[".nv.info"][4], by_name[".nv.info"][4] + by_name[".nv.info"][5]
        while at < end:
            form, attribute, length = struct.unpack_from("<BBH", self.data, at)
            if form == SIZED and attribute in (FRAME_SIZE, REGISTERS):
                symbol, value = struct.unpack_from("<II", self.data, at + 4)
                (name,) = struct.unpack_from("<I", self.data, symbols[4] + 24 * symbol)
                name = self.text(strings[4] + name)
                if name in found:
                    found[name]["registers" if attribute == REGISTERS else "local"] = value
            at += 4 + (length if form == SIZED else 0)
        return found


def newest_folder():
    folders = list((ROOT / "target/release/build").glob("untie-*/out/cuda_kernels"))
    folders = [folder for folder in folders if list(folder.glob("*.cubin"))]
    if not folders:
        sys.exit("error: no build has made cubins\nhint: `make build FLAVOR=cuda`")
    return max(folders, key=lambda folder: folder.stat().st_mtime)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="with sm_80.cubin and others")
    folder = parser.parse_args().folder or newest_folder()
    paths = sorted(folder.glob("sm_*.cubin"), key=lambda path: int(path.stem[3:]))
    cubins = {path.stem: Cubin(path).kernels for path in paths}
    if not cubins:
        sys.exit(f"error: `{folder}` has no cubins")
    print(f"| kernel | {' | '.join(cubins)} | shared bytes |\n|---|{'--:|' * (len(cubins) + 1)}")
    fails = []
    for name in sorted(set().union(*cubins.values())):
        rows = [kernels.get(name) for kernels in cubins.values()]
        if None in rows:
            fails.append(f"`{name}` is not in every cubin")
            continue
        shared = max(row["shared"] for row in rows)
        print(f"| {name} | {' | '.join(str(row['registers']) for row in rows)} | {shared} |")
        fails += [f"`{name}` has {row['local']} bytes of local memory on {architecture}"
                  for architecture, row in zip(cubins, rows) if row["local"]]
    if fails:
        sys.exit("\n".join(f"error: {problem}" for problem in fails))


if __name__ == "__main__":
    main()
