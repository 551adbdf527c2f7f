"""Runs PTX on the CPU, for tests: the very text that a GPU's driver gets, a block at a time, all threads of a block in numpy arrays.

The emulator beside this file runs the kernels' source; this runs what the compiler made of it: inline assembly, vector accesses,
its arithmetic. Every access must lie in one buffer and be aligned; a barrier or an operation of a warp must be reached by all that
take part. ex2.approx and rcp.approx are exact here, and denormal numbers 0 where `.ftz` says so. Only what our kernels have is known;
any other instruction is a Fault. Says nothing about time, or about races between threads.
"""

import re

import numpy as np

BITS = {1: np.bool_, 2: np.uint16, 4: np.uint32, 8: np.uint64}
TYPES = {"pred": np.bool_, "b16": np.uint16, "u16": np.uint16, "f16": np.float16, "b32": np.uint32, "u32": np.uint32, "s32": np.int32,
         "f32": np.float32, "b64": np.uint64, "u64": np.uint64, "s64": np.int64, "f64": np.float64}
WARP = 32
# What fresh shared memory holds: NaN as float32.
UNSET = 0x7FC00BAD
SMALLEST = np.float32(2.0**-126)


class Fault(Exception):
    """What a GPU would not do, or would do wrongly."""


class Memory:
    """The GPU's memory: buffers at addresses far apart, so that no access past one lands in another."""

    def __init__(self):
        self.buffers, self.next = [], 0x10000000

    def put(self, array):
        """A copy of `array` in a buffer; its address."""
        content = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        padded = np.zeros(-(-len(content) // 16) * 16, np.uint8)
        padded[: len(content)] = content
        address = self.next
        self.buffers.append((address, len(content), padded))
        self.next += (len(content) + 0x20000) & ~0xFFFF
        return np.uint64(address)

    def get(self, address, dtype):
        content, length = next((content, length) for base, length, content in self.buffers if base == address)
        return content[:length].view(dtype)

    def access(self, addresses, count, dtype, values=None):
        """`count` elements from each address on: reads them, or writes `values`."""
        size = count * np.dtype(dtype).itemsize
        found, places, left = np.zeros((len(addresses), count), dtype), addresses.astype(np.int64), np.ones(len(addresses), bool)
        for base, length, content in self.buffers:
            here = left & (places >= base) & (places + size <= base + length)
            if here.any():
                part = accessed(content, places[here] - base, count, dtype, None if values is None else values[here])
                if values is None:
                    found[here] = part
                left &= ~here
        if left.any():
            raise Fault(f"access outside every buffer, at {int(addresses[left][0]):#x}")
        return found


def accessed(content, offsets, count, dtype, values):
    size = np.dtype(dtype).itemsize
    if (offsets % (count * size) != 0).any():
        raise Fault("misaligned access")
    index = offsets[:, None] // size + np.arange(count)
    elements = content.view(dtype)
    if values is None:
        return elements[index]
    elements[index] = values
    return None


class Kernel:
    """One entry of a PTX text: where its parameters lie, its instructions, labels and shared variables."""

    def __init__(self, parameters, body, shared):
        self.parameters, self.size = {}, 0
        for kind, name, count in re.findall(r"\.param (?:\.align \d+ )?\.(\w+) (\w+)(?:\[(\d+)\])?", parameters):
            size = int(count) if count else np.dtype(TYPES[kind]).itemsize
            step = 8 if count else size
            offset = -(-self.size // step) * step
            self.parameters[name] = (offset, size)
            self.size = offset + size
        self.code, self.labels = [], {}
        for line in body.splitlines():
            line = line.split("//")[0].strip()
            if label := re.match(r"(\$\w+):", line):
                self.labels[label[1]] = len(self.code)
            elif found := re.match(r"(?:@(!?)(%p\d+)\s+)?([a-z][\w.:]*)\s*(.*);$", line):
                operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+", found[4])
                self.code.append((found[1] == "!", found[2], found[3], operands))
            elif line.startswith(".local"):
                raise Fault("the kernel has local memory")
        self.places, self.shared_size = {}, 0
        for name, size in shared.items():
            if name in body:
                self.shared_size = -(-self.shared_size // 16) * 16
                self.places[name] = self.shared_size
                self.shared_size += size


def parse(text):
    """The kernels of a PTX text by name."""
    declared = re.findall(r"\.shared \.align \d+ \.(b8|f32|u32) ([\w$]+)(?:\[(\d+)\])?;", text)
    shared = {name: int(count or 1) * (1 if kind == "b8" else 4) for kind, name, count in declared}
    entries = re.findall(r"\.entry (\w+)\s*\((.*?)\)(?:.*?)\n\{\n(.*?)\n\}\n", text, re.S)
    return {name: Kernel(parameters, body, shared) for name, parameters, body in entries}


def launch(kernel, memory, grid, threads, arguments):
    """Runs all blocks of `grid`, (x, y), one after the other; an argument is a numpy scalar, or the bytes of a struct."""
    parameters = np.zeros(-(-kernel.size // 8) * 8, np.uint8)
    if len(arguments) != len(kernel.parameters):
        raise Fault(f"{len(arguments)} arguments for {len(kernel.parameters)} parameters")
    for (offset, size), value in zip(kernel.parameters.values(), arguments):
        raw = value if isinstance(value, bytes) else value.tobytes()
        if len(raw) != size:
            raise Fault(f"an argument of {len(raw)} bytes for a parameter of {size}")
        parameters[offset : offset + size] = np.frombuffer(raw, np.uint8)
    with np.errstate(all="ignore"):
        for y in range(grid[1]):
            for x in range(grid[0]):
                Block(kernel, memory, parameters, grid, threads, x, y).run()


class Block:
    """The threads of a block and what they hold."""

    def __init__(self, kernel, memory, parameters, grid, threads, x, y):
        self.kernel, self.memory, self.parameters, self.threads = kernel, memory, parameters, threads
        self.special = {"%ctaid.x": x, "%ctaid.y": y, "%ntid.x": threads, "%nctaid.x": grid[0], "%nctaid.y": grid[1]}
        self.lanes = np.arange(threads)
        self.registers = {}
        self.shared = np.full(-(-kernel.shared_size // 16) * 4, UNSET, np.uint32).view(np.uint8)
        self.mask = None

    def run(self):
        """The threads that are furthest behind go on, until all have returned."""
        self.places, running = np.zeros(self.threads, np.int64), np.ones(self.threads, bool)
        while running.any():
            at = self.next_place(running)
            here = running & (self.places == at)
            negated, predicate, name, operands = self.kernel.code[at]
            self.mask = here if predicate is None else here & (self.register(predicate) ^ negated)
            self.places[here] = at + 1
            if name == "ret":
                running &= ~self.mask
            elif name in ("bra", "bra.uni"):
                self.places[self.mask] = self.kernel.labels[operands[0]]
            elif name != "bar.sync" and self.mask.any():
                self.step(name, operands)

    def next_place(self, running):
        """The lowest place where nobody has to wait for others."""
        waiting = np.zeros(self.threads, bool)
        while (running & ~waiting).any():
            at = self.places[running & ~waiting].min()
            here = running & (self.places == at)
            name = self.kernel.code[at][2]
            warps = here.reshape(-1, WARP)
            if name == "bar.sync":
                together = (here == running).all()
            else:
                together = ".sync" not in name or not (warps.any(1) & ~warps.all(1)).any()
            if together:
                return at
            waiting |= here
        raise Fault("threads wait for others that never come")

    def register(self, name):
        if name not in self.registers:
            prefix = re.match(r"%(p|rs|rd|fd|r|f)\d+$", name)
            if prefix is None:
                raise Fault(f"no such register here: {name}")
            self.registers[name] = np.zeros(self.threads, BITS[{"p": 1, "rs": 2, "r": 4, "f": 4, "rd": 8, "fd": 8}[prefix[1]]])
        return self.registers[name]

    def read(self, operand, kind):
        """The operand of the threads that take part, as `kind`."""
        dtype = np.dtype(TYPES[kind])
        if operand == "%tid.x":
            return self.lanes[self.mask].astype(dtype)
        if operand in self.special or operand in self.kernel.places:
            value = self.special.get(operand, self.kernel.places.get(operand))
            return np.full(self.mask.sum(), value, dtype)
        if operand.startswith("%"):
            # A register may be wider than what an instruction takes of it.
            return self.register(operand)[self.mask].astype(BITS[dtype.itemsize], copy=False).view(dtype)
        bits = int(operand[2:], 16) if operand[:2] in ("0f", "0d") else int(operand, 0)
        return np.full(self.mask.sum(), bits & (1 << 8 * dtype.itemsize) - 1, BITS[dtype.itemsize]).view(dtype)

    def write(self, register, value):
        to = self.register(register)
        value = np.ascontiguousarray(value)
        if value.dtype.itemsize != to.itemsize:
            raise Fault(f"{value.dtype} into {register}")
        to[self.mask] = value.view(to.dtype)

    def step(self, name, operands):
        parts = name.split(".")
        if parts[0] in ("ld", "st"):
            self.move(parts, operands)
        elif parts[0] == "cvt":
            self.write(operands[0], self.convert(parts, operands))
        elif parts[0] in ("shfl", "vote"):
            self.exchange(name, operands)
        else:
            self.write(operands[0], self.compute(name, parts, operands))

    def compute(self, name, parts, operands):
        kind, wide = parts[-1], parts[1:2] == ["wide"]
        if parts[0] == "cvta":
            return self.read(operands[1], "u64")
        if parts[0] == "selp":
            return np.where(self.read(operands[3], "pred"), self.read(operands[1], kind), self.read(operands[2], kind))
        if parts[0] == "setp":
            return compared(parts[1], self.read(operands[1], kind), self.read(operands[2], kind))
        if parts[0] in ("shl", "shr"):
            return shifted(parts[0], self.read(operands[1], kind), self.read(operands[2], "u32"))
        values = [self.read(operand, kind) for operand in operands[1:]]
        if wide:
            values = [value.astype(np.uint64 if kind == "u32" else np.int64) for value in values]
        if "ftz" in parts:
            values = [flushed(value) for value in values]
        operation = OPERATIONS.get(parts[0])
        if operation is None or (parts[0] == "mul" and kind[0] != "f" and not wide and parts[1] != "lo"):
            raise Fault(f"no such instruction here: {name}")
        result = operation(*values).astype(values[0].dtype)
        return flushed(result) if "ftz" in parts else result

    def convert(self, parts, operands):
        to, source = parts[-2:]
        if to in ("bf16x2", "f16x2"):
            high, low = (narrowed(to, self.read(operand, "f32")) for operand in operands[1:])
            return high << np.uint32(16) | low
        value = self.read(operands[1], source)
        if to[0] in "us" and source[0] == "f":
            if "rzi" not in parts:
                raise Fault(f"no such conversion here: {'.'.join(parts)}")
            limits = np.iinfo(TYPES[to])
            value = np.clip(np.trunc(np.nan_to_num(value.astype(np.float64))), limits.min, limits.max)
        return value.astype(TYPES[to])

    def exchange(self, name, operands):
        """What the lanes of a warp hand each other; all of them take part."""
        if not self.mask.reshape(-1, WARP).all(1)[self.mask.reshape(-1, WARP).any(1)].all():
            raise Fault("a lane of a warp is missing")
        if name == "shfl.sync.bfly.b32":
            to, _, is_valid = operands[0].partition("|")
            distance = int(self.read(operands[2], "u32")[0])
            self.write(to, self.register(operands[1])[self.lanes ^ distance][self.mask])
            if is_valid:
                self.write(is_valid, np.ones(self.mask.sum(), bool))
        elif name == "vote.sync.ballot.b32":
            votes = self.register(operands[1]).reshape(-1, WARP).astype(np.uint64) << np.arange(WARP, dtype=np.uint64)
            self.write(operands[0], np.repeat(votes.sum(1).astype(np.uint32), WARP)[self.mask])
        else:
            raise Fault(f"no such instruction here: {name}")

    def move(self, parts, operands):
        stores = parts[0] == "st"
        registers, place = reversed(operands) if stores else operands
        names = re.findall(r"[%\w.-]+", registers)
        base, _, offset = place[1:-1].partition("+")
        offset, kind = int(offset or 0), parts[-1]
        bits = BITS[np.dtype(TYPES[kind]).itemsize]
        values = np.stack([self.read(name, kind).view(bits) for name in names], 1) if stores else None
        space = parts[1] if parts[1] in ("param", "shared", "global") else "generic"
        if space == "param":
            at = np.full(self.mask.sum(), self.kernel.parameters[base][0] + offset)
            found = accessed(self.parameters, at, len(names), bits, None)
        elif space == "shared":
            at = self.read(base, "u64" if base.startswith("%rd") else "u32").astype(np.int64) + offset
            if (at < 0).any() or (at + len(names) * np.dtype(bits).itemsize > self.kernel.shared_size).any():
                raise Fault("access outside shared memory")
            found = accessed(self.shared, at, len(names), bits, values)
        else:
            found = self.memory.access(self.read(base, "u64") + np.uint64(offset), len(names), bits, values)
        if not stores:
            for at, name in enumerate(names):
                self.write(name, found[:, at])


def exactly(a, b, c):
    return a.astype(np.longdouble) * b + c


OPERATIONS = {
    "mov": lambda a: a,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "mad": lambda a, b, c: a * b + c,
    "fma": exactly,
    "div": lambda a, b: a / b if a.dtype.kind == "f" else a // b,
    "rem": lambda a, b: a % b,
    "neg": lambda a: -a,
    "abs": np.abs,
    "max": np.fmax,
    "sqrt": np.sqrt,
    "rcp": lambda a: a.dtype.type(1) / a,
    "ex2": lambda a: np.exp2(a.astype(np.longdouble)),
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "not": lambda a: ~a,
    # Bits of `a` into `b`, `length` of them from `start` on.
    "bfi": lambda a, b, start, length: b & ~(field(length) << start) | (a & field(length)) << start,
}


def field(length):
    return ((np.uint64(1) << length.astype(np.uint64)) - np.uint64(1)).astype(np.uint32)


def compared(how, a, b):
    """Comparisons with NaN are false, but true where their name ends in `u`."""
    plain = how.removesuffix("u")
    result = {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[plain]
    if a.dtype.kind != "f":
        return result
    unordered = np.isnan(a) | np.isnan(b)
    return result & ~unordered if how == plain else result | unordered


def shifted(name, value, by):
    bits = 8 * value.dtype.itemsize
    inside = np.minimum(by, bits - 1).astype(value.dtype)
    if name == "shl":
        return np.where(by < bits, value << inside, value.dtype.type(0))
    return value >> inside if value.dtype.kind == "i" else np.where(by < bits, value >> inside, value.dtype.type(0))


def flushed(value):
    return np.where(np.abs(value) < SMALLEST, np.copysign(np.float32(0), value), value)


def narrowed(to, value):
    """float32 to 16 bits: to the nearest, ties to even."""
    if to == "f16x2":
        return value.astype(np.float16).view(np.uint16).astype(np.uint32)
    bits = value.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(value), np.uint32(0x7FFF), rounded)
