#!/usr/bin/env python3
"""Runs the PTX that NVRTC made of every kernel, in ptx.py, against float64; what `make ptx` runs. Needs numpy.

    python tests/cuda_kernels/test_ptx.py [--ptx FILE] [NAME ..]

In:   the PTX of a build of the cuda flavour, by default the newest; parts of names of kernels: only these.
Out:  a line for each kernel; exit 1 where a result is off, an access is outside its buffer or misaligned, or threads never meet.
Masks must be those of csrc/kernels/dropout.h, of which `kept` below is a second implementation.
"""

import argparse
import math
import struct
import sys
import time
from pathlib import Path

import numpy as np

from ptx import Fault, Memory, launch, parse

ROOT = Path(__file__).resolve().parents[2]
NULL = np.uint64(0)
F32, U32, U64 = np.float32, np.uint32, np.uint64
KEYS, SITE, PROBABILITY = np.array([0x0123456789ABCDEF, -77, 42], np.int64), 9, 0.1
LENGTH, ROWS = 5, 15  # rows of a key, and all
EPSILON = 1e-12


class Type:
    """A 16-bit type of elements."""

    def __init__(self, name):
        self.name = name
        # The largest relative error of a rounding.
        self.unit = 2.0**-8 if name == "bf16" else 2.0**-11

    def narrow(self, values):
        values = np.ascontiguousarray(values, F32)
        if self.name == "fp16":
            return values.astype(np.float16).view(np.uint16)
        bits = values.view(U32)
        return ((bits + U32(0x7FFF) + (bits >> U32(16) & U32(1))) >> U32(16)).astype(np.uint16)

    def widen(self, bits):
        return bits.view(np.float16).astype(F32) if self.name == "fp16" else (bits.astype(U32) << U32(16)).view(F32)


class Run:
    """A launch in the making: buffers, and the kernel's result in them."""

    def __init__(self, kernels, kind):
        self.kernels, self.kind, self.memory = kernels, kind, Memory()
        self.random = np.random.default_rng(1)

    def normal(self, *shape, scale=1.0):
        """Random numbers of the type and their address."""
        bits = self.kind.narrow(scale * self.random.standard_normal(shape))
        return self.kind.widen(bits).astype(float), self.memory.put(bits)

    def floats(self, *shape, mean=0.0, scale=1.0):
        values = (mean + scale * self.random.standard_normal(shape)).astype(F32)
        return values.astype(float), self.memory.put(values)

    def space(self, *shape, dtype=F32):
        """A buffer of NaN for results."""
        return self.memory.put(np.full(shape, np.nan, F32) if dtype == F32 else np.full(shape, 0x7FFF, dtype))

    def narrow_space(self, *shape):
        return self.space(*shape, dtype=np.uint16)

    def get(self, address, *shape):
        return self.memory.get(address, F32).reshape(shape).astype(float)

    def get_narrow(self, address, *shape):
        return self.kind.widen(self.memory.get(address, np.uint16)).reshape(shape).astype(float)

    def launch(self, name, grid, threads, *arguments):
        launch(self.kernels[name], self.memory, grid, threads, arguments)

    def dropout(self, on=True):
        threshold = round(PROBABILITY * 65536) if on else 0
        self.scale = float(F32(1 / (1 - threshold / 65536)))
        return struct.pack("<QIIIf", self.memory.put(KEYS), LENGTH, SITE, threshold, self.scale)

    def narrow_is(self, what, got, expected, units=2.0):
        """`got` was rounded to the type from a float32 near `expected`."""
        near(what, got, expected, units * self.kind.unit, units * self.kind.unit / 64)


def near(what, got, expected, relative, absolute):
    off = np.abs(got - expected) - relative * np.abs(expected)
    # NaN is wrong too.
    if not (off <= absolute).all():
        at = np.unravel_index(np.nanargmax(off), off.shape) if not np.isnan(off).all() else ()
        raise AssertionError(f"{what}: {got[at] if at else got} instead of {expected[at] if at else expected} at {at}")


def kept(rows, width):
    """The mask of csrc/kernels/dropout.h: Philox4x32-10 of key, site and place, 16 bits an element."""
    low = U64(0xFFFFFFFF)
    mask = np.zeros((rows, -(-width // 128) * 128), bool)
    for row in range(rows):
        key, place, groups = int(KEYS[row // LENGTH]) & 2**64 - 1, row % LENGTH, mask.shape[1] // 128
        counters = np.zeros((4, 16 * groups), U64)
        counters[0] = np.arange(16 * groups) + 16 * groups * place
        counters[1] = SITE
        first_key, second_key = key & 0xFFFFFFFF, key >> 32
        for _ in range(10):
            first, second = U64(0xD2511F53) * counters[0], U64(0xCD9E8D57) * counters[2]
            counters = np.stack([(second >> U64(32)) ^ counters[1] ^ U64(first_key), second & low,
                                 (first >> U64(32)) ^ counters[3] ^ U64(second_key), first & low])
            first_key, second_key = first_key + 0x9E3779B9 & 0xFFFFFFFF, second_key + 0xBB67AE85 & 0xFFFFFFFF
        for half in range(8):
            bits = counters[half // 2] >> U64(16 * (half % 2)) & U64(0xFFFF)
            columns = (128 * np.arange(groups)[:, None] + 16 * half + np.arange(16)).reshape(-1)
            mask[row, columns] = bits >= round(PROBABILITY * 65536)
    return mask[:, :width]


def normed(values, epsilon=EPSILON):
    inverse = 1 / np.sqrt(values.var(1, keepdims=True) + epsilon)
    return (values - values.mean(1, keepdims=True)) * inverse, inverse


def norm_forward(run, name, width):
    branch, branch_at = run.normal(ROWS, width)
    residual, residual_at = run.normal(ROWS, width)
    weight, weight_at = run.floats(width, mean=1, scale=0.1)
    bias, bias_at = run.floats(width, scale=0.1)
    sum_at, out_at = run.narrow_space(ROWS, width), run.narrow_space(ROWS, width)
    means_at, inverses_at = run.space(ROWS), run.space(ROWS)
    run.launch(name, (2, 1), 128, branch_at, residual_at, weight_at, bias_at, F32(EPSILON), run.dropout(), U32(ROWS), U32(width),
               sum_at, out_at, means_at, inverses_at)
    total = run.get_narrow(sum_at, ROWS, width)
    run.narrow_is("sum", total, residual + branch * np.where(kept(ROWS, width), run.scale, 0), 1.1)
    values, inverse = normed(total)
    run.narrow_is("out", run.get_narrow(out_at, ROWS, width), values * weight + bias)
    near("means", run.get(means_at, ROWS), total.mean(1), 1e-5, 1e-6)
    near("inverses", run.get(inverses_at, ROWS), inverse[:, 0], 1e-5, 0)
    # Without a branch nothing is added or stored.
    out_at = run.narrow_space(ROWS, width)
    run.launch(name, (1, 1), 128, NULL, residual_at, weight_at, bias_at, F32(EPSILON), run.dropout(False), U32(ROWS), U32(width), NULL,
               out_at, means_at, inverses_at)
    run.narrow_is("out without a branch", run.get_narrow(out_at, ROWS, width), normed(residual)[0] * weight + bias)


def norm_backward(run, name, width):
    d_out, d_out_at = run.normal(ROWS, width)
    total, sum_at = run.normal(ROWS, width)
    add, add_at = run.normal(ROWS, width)
    weight, weight_at = run.floats(width, mean=1, scale=0.1)
    values, inverse = normed(total)
    means_at, inverses_at = run.memory.put(total.mean(1).astype(F32)), run.memory.put(inverse[:, 0].astype(F32))
    d_sum_at, d_branch_at, partial_at = run.narrow_space(ROWS, width), run.narrow_space(ROWS, width), run.space(2, 3, width)
    run.launch(name, (2, 1), 128, d_out_at, sum_at, means_at, inverses_at, weight_at, add_at, run.dropout(), U32(ROWS), U32(width),
               d_sum_at, d_branch_at, partial_at)
    weighted = d_out * weight
    of_norm = weighted - weighted.mean(1, keepdims=True) - values * (weighted * values).mean(1, keepdims=True)
    d_sum, d_branch = run.get_narrow(d_sum_at, ROWS, width), run.get_narrow(d_branch_at, ROWS, width)
    run.narrow_is("d_sum", d_sum, of_norm * inverse + add)
    run.narrow_is("d_branch", d_branch, d_sum * np.where(kept(ROWS, width), run.scale, 0), 1.1)
    expected = np.stack([(d_out * values).sum(0), d_out.sum(0), d_branch.sum(0)])
    if name.startswith("norm_backward_any"):
        partial_at = run.space(2, 3, width)
        columns = (-(-width // 256), 2)
        run.launch(f"norm_sums_any_{run.kind.name}", columns, 256, d_out_at, sum_at, means_at, inverses_at, d_branch_at, U32(ROWS),
                   U32(width), partial_at)
    near("sums", run.get(partial_at, 2, 3, width).sum(0), expected, 1e-5, 2e-5)


def erf(values):
    return np.vectorize(math.erf)(values)


def gelu(run, name, width):
    before, before_at = run.normal(ROWS, width, scale=2.0)
    distribution = 0.5 * (1 + erf(before / 2**0.5))
    if name.startswith("gelu_forward"):
        after_at = run.narrow_space(ROWS, width)
        run.launch(name, (2, 1), 256, before_at, U64(ROWS * width // 8), after_at)
        run.narrow_is("after", run.get_narrow(after_at, ROWS, width), before * distribution)
        return
    d_after, d_after_at = run.normal(ROWS, width)
    d_before_at, partial_at = run.narrow_space(ROWS, width), run.space(2, width)
    run.launch(name, (-(-width // 256), 2), 256, d_after_at, before_at, U32(ROWS), U32(width), d_before_at, partial_at)
    density = np.exp(-before * before / 2) / (2 * math.pi) ** 0.5
    d_before = run.get_narrow(d_before_at, ROWS, width)
    run.narrow_is("d_before", d_before, d_after * (distribution + before * density))
    near("sums", run.get(partial_at, 2, width).sum(0), d_before.sum(0), 1e-5, 1e-5)


def column_sums(run, name, width):
    values, at = run.normal(ROWS, width)
    partial_at = run.space(2, width)
    run.launch(name, (-(-width // 256), 2), 256, at, U32(ROWS), U32(width), partial_at)
    near("sums", run.get(partial_at, 2, width).sum(0), values.sum(0), 1e-5, 1e-5)


def add_up(run, name, width):
    partial, partial_at = run.floats(11, 3, width)
    before, first_at = run.floats(width)
    third_at = run.memory.put(before.astype(F32))
    run.launch(name, (-(-3 * width // 32), 1), 256, partial_at, U32(11), U32(width), U32(3), first_at, NULL, third_at)
    near("first", run.get(first_at, width), before + partial[:, 0].sum(0), 1e-5, 1e-5)
    near("third", run.get(third_at, width), before + partial[:, 2].sum(0), 1e-5, 1e-5)


def pack_qkv(run, name, _):
    batch, heads, features = 3, 2, 24
    parts, places, strides = [], [], []
    # Queries and values in the layout of attention's result, keys in that of their projection.
    for order in ((0, 1, 2), (0, 2, 1), (0, 1, 2)):
        shape = np.array([batch, heads, LENGTH])[list(order)]
        values, at = run.normal(*shape, features)
        steps = np.array([shape[1] * shape[2], shape[2], 1]) * features
        by_axis = dict(zip(order, steps))
        strides.append(struct.pack("<qqq", *(int(by_axis[axis]) for axis in range(3))))
        parts.append(values.transpose(*(order.index(axis) for axis in (0, 2, 1)), 3).reshape(ROWS, heads * features))
        places.append(at)
    width = 3 * heads * features
    d_qkv_at, partial_at = run.narrow_space(ROWS, width), run.space(2, width)
    run.launch(name, (-(-width // 256), 2), 256, *places, *strides, U32(ROWS), U32(LENGTH), U32(heads), U32(features), d_qkv_at,
               partial_at)
    expected = np.concatenate(parts, 1)
    near("d_qkv", run.get_narrow(d_qkv_at, ROWS, width), expected, 0, 0)
    near("sums", run.get(partial_at, 2, width).sum(0), expected.sum(0), 1e-5, 1e-5)


def embeddings(run, name, width):
    word, word_at = run.floats(20, width)
    position, position_at = run.floats(LENGTH, width)
    kind, kind_at = run.floats(2, width)
    word_ids, type_ids = run.random.integers(0, 20, ROWS), run.random.integers(0, 2, ROWS)
    tables = (word_at, position_at, kind_at, run.memory.put(word_ids), NULL, run.memory.put(type_ids))
    weight, weight_at = run.floats(width, mean=1, scale=0.1)
    bias, bias_at = run.floats(width, scale=0.1)
    total = word[word_ids] + position[np.arange(ROWS) % LENGTH] + kind[type_ids]
    values, inverse = normed(total)
    factor_of = lambda: np.where(kept(ROWS, width), run.scale, 0)
    if name.startswith("embeddings_forward"):
        out_at, means_at, inverses_at = run.narrow_space(ROWS, width), run.space(ROWS), run.space(ROWS)
        run.launch(name, (2, 1), 128, *tables, weight_at, bias_at, F32(EPSILON), run.dropout(), U32(ROWS), U32(LENGTH), U32(width),
                   out_at, means_at, inverses_at)
        run.narrow_is("out", run.get_narrow(out_at, ROWS, width), (values * weight + bias) * factor_of())
        near("means", run.get(means_at, ROWS), total.mean(1), 1e-5, 1e-6)
        near("inverses", run.get(inverses_at, ROWS), inverse[:, 0], 1e-5, 0)
        return
    d_out, d_out_at = run.normal(ROWS, width)
    means_at, inverses_at = run.memory.put(total.mean(1).astype(F32)), run.memory.put(inverse[:, 0].astype(F32))
    dropout = run.dropout()
    d = d_out * factor_of()
    if name.startswith("embeddings_backward"):
        d_sum_at = run.space(ROWS, width)
        run.launch(name, (2, 1), 128, d_out_at, *tables, weight_at, means_at, inverses_at, dropout, U32(ROWS), U32(LENGTH), U32(width),
                   d_sum_at)
        weighted = d * weight
        of_norm = weighted - weighted.mean(1, keepdims=True) - values * (weighted * values).mean(1, keepdims=True)
        near("d_sum", run.get(d_sum_at, ROWS, width), of_norm * inverse, 1e-5, 1e-5)
    else:
        partial_at = run.space(2, 2, width)
        run.launch(name, (-(-width // 256), 2), 256, d_out_at, *tables, means_at, inverses_at, dropout, U32(ROWS), U32(LENGTH),
                   U32(width), partial_at)
        near("sums", run.get(partial_at, 2, 2, width).sum(0), np.stack([(d * values).sum(0), d.sum(0)]), 1e-5, 2e-5)


def cross_entropy(run, name, width):
    rows = 4
    logits, logits_at = run.normal(rows, width, scale=3.0)
    bias, bias_at = run.floats(width, scale=0.1)
    labels, weights = run.random.integers(0, width, rows), np.array([1, 0.5, 0, 2], F32)
    labels[0] = (logits[0] + bias).argmax()
    losses_at, correct_at = run.space(rows), run.space(rows)
    run.launch(name, (rows, 1), 512, logits_at, bias_at, run.memory.put(labels), run.memory.put(weights), U32(width), losses_at, correct_at)
    shifted = logits + bias
    top = shifted.max(1, keepdims=True)
    sums = np.exp(shifted - top).sum(1, keepdims=True)
    expected = (top + np.log(sums))[:, 0] - shifted[np.arange(rows), labels]
    gradient = np.exp(shifted - top) / sums
    gradient[np.arange(rows), labels] -= 1
    near("losses", run.get(losses_at, rows), weights * expected, 1e-5, 1e-5)
    near("correct", run.get(correct_at, rows), weights * (shifted.argmax(1) == labels), 0, 0)
    # Small gradients of fp16 are denormal numbers.
    near("gradient", run.get_narrow(logits_at, rows, width), weights[:, None] * gradient, 2 * run.kind.unit, 6e-8)


def adamw(run, name, _):
    count, steps, rate, decay, scale = 1003, 7, 1e-2, 0.1, 0.5
    beta1, beta2, epsilon = 0.9, 0.999, 1e-6
    weight, weight_at = run.floats(count)
    gradient, gradient_at = run.floats(count)
    first, first_at = run.floats(count, scale=0.1)
    second = np.abs(run.floats(count, scale=0.01)[0])
    second_at, copy_at = run.memory.put(second.astype(F32)), run.narrow_space(count)
    piece = struct.pack("<QQQQQIIII", *map(int, (weight_at, gradient_at, first_at, second_at, copy_at)), count, 1, 1, 0)
    scalar = lambda value: run.memory.put(np.array([value], F32))
    factors_at = run.memory.put(np.array([9.0, scale]))
    run.launch(name, (1, 1), 256, run.memory.put(np.frombuffer(piece, np.uint8)), factors_at, scalar(0), scalar(steps), scalar(rate),
               *map(np.float64, (beta1, beta2, epsilon, decay)))
    g = scale * gradient
    first, second = beta1 * first + (1 - beta1) * g, beta2 * second + (1 - beta2) * g * g
    update = first / (1 - beta1**steps) / (np.sqrt(second / (1 - beta2**steps)) + epsilon)
    updated = run.get(weight_at, count)
    near("weight", updated, weight * (1 - rate * decay) - rate * update, 1e-5, 1e-6)
    near("exp_avg", run.get(first_at, count), first, 1e-5, 1e-7)
    near("exp_avg_sq", run.get(second_at, count), second, 1e-5, 1e-7)
    near("gradient", run.get(gradient_at, count), np.zeros(count), 0, 0)
    run.narrow_is("copy", run.get_narrow(copy_at, count), updated, 1.1)


# By the beginning of a kernel's name; norm_sums_any runs with norm_backward_any.
CHECKS = {"norm_forward": norm_forward, "norm_backward": norm_backward, "gelu": gelu, "column_sums": column_sums, "add_up": add_up,
          "pack_qkv": pack_qkv, "embeddings": embeddings, "cross_entropy": cross_entropy, "adamw": adamw}
# No multiple of 128, and more than 256: lanes and groups of the dropout past the width.
ODD = 328


def newest():
    found = list((ROOT / "target/release/build").glob("untie-*/out/cuda_kernels/compute_80.ptx"))
    if not found:
        sys.exit("error: no build has made PTX\nhint: `make build FLAVOR=cuda`")
    return max(found, key=lambda path: path.stat().st_mtime)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ptx", type=Path, help="the text")
    parser.add_argument("names", nargs="*", help="parts of names of kernels")
    arguments = parser.parse_args()
    kernels = parse((arguments.ptx or newest()).read_text().rstrip("\0"))
    failed = not kernels
    for name in kernels:
        if name.startswith("norm_sums_any") or arguments.names and not any(part in name for part in arguments.names):
            continue
        check = next((check for start, check in CHECKS.items() if name.startswith(start)), None)
        width = next((int(part) for part in name.split("_") if part.isdigit()), ODD)
        begin = time.perf_counter()
        try:
            if check is None:
                raise Fault("no check knows it")
            check(Run(kernels, Type("fp16" if name.endswith("fp16") else "bf16")), name, width)
            result = "right"
        except (AssertionError, Fault) as problem:
            result, failed = f"WRONG: {problem}", True
        print(f"{name}: {result} ({time.perf_counter() - begin:.1f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
