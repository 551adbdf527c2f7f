#!/usr/bin/env python3
"""Measures data-parallel training of two processes on this machine; what `make scale-out` runs.

    python scripts/scale_out.py [--untie BINARY] [--data DIR] [--steps N] [--rounds N] [--rate 1gbit]

In:   the release binary and shards. Each process has one thread, a network namespace and an address of its own, with a cable
      (veth) between the two, so that what they send can be counted, and slowed down with a token bucket (tc tbf).
Out:  Markdown on stdout: bytes that a process sends a step, tied and untied, 12 and 24 layers, beside what an all-reduce needs to;
      tokens a second of two processes beside one with the same batch a process; the same on a slow cable; each with gradients
      that travel during the backward and after it.
Cost: about ten minutes on two cores. Needs ip, tc and unshare, and a system that lets users make namespaces.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOSTS = {"a": "10.78.0.1", "b": "10.78.0.2"}
SIZES = {"hidden_size": 256, "num_attention_heads": 4}


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def build_network():
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    for host in HOSTS:
        ip("netns", "add", host)
        ip("-n", host, "link", "set", "lo", "up")
    ip("link", "add", "va", "netns", "a", "type", "veth", "peer", "name", "vb", "netns", "b")
    for host, address in HOSTS.items():
        ip("-n", host, "addr", "add", f"{address}/24", "dev", f"v{host}")
        ip("-n", host, "link", "set", f"v{host}", "up")


def slow_down(rate):
    for host in HOSTS:
        command = ["ip", "netns", "exec", host, "tc", "qdisc"]
        if rate:
            subprocess.run([*command, "add", "dev", f"v{host}", "root", "tbf", "rate", rate, "burst", "256kb", "latency", "50ms"], check=True)
        else:
            subprocess.run([*command, "del", "dev", f"v{host}", "root"], check=True)


def sent():
    """Bytes that host a has sent."""
    return json.loads(ip("-n", "a", "-s", "-j", "link", "show", "va"))[0]["stats64"]["tx"]["bytes"]


class Bench:
    def __init__(self, arguments, work):
        self.arguments, self.work, self.count = arguments, Path(work), 0

    def run(self, ranks, layers, start, steps, part, overlap=True):
        """Tokens a second of each logged step, and the bytes that rank 0 sent."""
        self.count += 1
        folder = self.work / str(self.count)
        settings = {f"model.{name}": size for name, size in SIZES.items()} | {
            "model.num_hidden_layers": layers, "data.dir": self.arguments.data, "data.sequence_length": 128, "train.steps": steps,
            "train.global_batch": part * ranks, "train.micro_batch": part, "train.device": "cpu", "train.threads": 1,
            "train.log_every": 1, "sharing.start": start, "sharing.rule": "never", "eval.every": 0, "eval.sequences": 2,
            "checkpoint.every": 1000000, "optim.warmup": 1, "parallel.overlap": str(overlap).lower()}
        command = [self.arguments.untie, "train", "--config", ROOT / "configs/mini.toml", "--run-dir", folder]
        command += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        before = sent()
        children = []
        for rank, host in list(enumerate(HOSTS))[:ranks]:
            place = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": 0, "MASTER_ADDR": HOSTS["a"], "MASTER_PORT": 29500}
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            environment |= {name: str(value) for name, value in place.items()} if ranks > 1 else {}
            children.append(subprocess.Popen([str(word) for word in ["ip", "netns", "exec", host, *command]], env=environment,
                                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
        for child in children:
            _, said = child.communicate()
            if child.returncode != 0:
                sys.exit(f"error: {said}")
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        speeds = [row["train/tokens_per_second"] for row in rows if "train/tokens_per_second" in row]
        return speeds[2:], sent() - before

    def bytes_of_a_step(self, layers, start):
        few, many = 4, 14
        return (self.run(2, layers, start, many, 1)[1] - self.run(2, layers, start, few, 1)[1]) / (many - few)

    def seconds(self, ranks, part, start="untied", overlap=True):
        speeds, _ = self.run(ranks, 12, start, self.arguments.steps, part, overlap)
        return ranks * part * 128 / statistics.median(speeds)


def gradient_bytes(layers, vocabulary=8192):
    """What the gradients of SIZES take in fp32: embeddings, head and `layers` sets of layers."""
    width, inner = SIZES["hidden_size"], 4 * SIZES["hidden_size"]
    layer = 4 * width * width + 2 * width * inner + 9 * width + inner
    outside = (vocabulary + 512 + 2) * width + 2 * width + vocabulary + width * width + 3 * width
    return 4 * (outside + layers * layer)


def predict(compute, early, late, nodes, bandwidth, latency):
    """Seconds of a step on `nodes` hosts: `compute` alone, `early` and `late` bytes of gradients that are finished during and at the
    end of the backward (two thirds of a step), over a ring of hosts that send `bandwidth` bytes a second each."""
    ring = lambda size: 2 * (nodes - 1) / nodes * size / bandwidth + 2 * (nodes - 1) * latency if size else 0.0
    return compute + max(0.0, ring(early) - 2 / 3 * compute) + ring(late)


def model():
    """bert-base on hosts of 8 GPUs, one H200's step of 256 x 128 tokens; docs/scale-out.md has the assumptions."""
    million = 1e6
    layer, embeddings, head = 7.09 * million, 23.84 * million, 0.62 * million
    print("| network a host | gradients | sharing | MB | " + " | ".join(f"{nodes} hosts" for nodes in (2, 8, 32, 64)) + " |")
    print("|---|---|---|--:|--:|--:|--:|--:|")
    for name, bandwidth in (("100 Gbit/s", 12.5e9), ("400 Gbit/s", 50e9), ("8 x 400 Gbit/s", 400e9)):
        for wire, width in (("fp32", 4), ("bf16", 2)):
            for sharing, compute, early, late in (("tied", 0.0690, head, embeddings + layer),
                                                  ("untied", 0.0707, head + 12 * layer, embeddings)):
                times = [predict(compute, width * early, width * late, nodes, bandwidth, 10e-6) for nodes in (2, 8, 32, 64)]
                cells = " | ".join(f"{compute / time:.0%}" for time in times)
                print(f"| {name} | {wire} | {sharing} | {width * (early + late) / 1e6:.0f} | {cells} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--untie", type=Path, default=ROOT / "target/release/untie")
    parser.add_argument("--data", type=Path, default=ROOT / "data/sample")
    parser.add_argument("--steps", type=int, default=12, help="of a timed run")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rate", default="1gbit", help="of the slow cable, as tc writes it")
    parser.add_argument("--model", action="store_true", help="print what the model of docs/scale-out.md predicts instead")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.model:
        model()
        return
    if not arguments.inside:
        arguments = [sys.executable, __file__, *sys.argv[1:], "--inside"]
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--net", "--mount", *arguments])
    arguments.untie, arguments.data = arguments.untie.resolve(), arguments.data.resolve()
    build_network()
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(arguments, work)
        print("| layers | | MB a step and process | gradients, MB |\n|--:|---|--:|--:|")
        for layers in (12, 24):
            for start, groups in (("tied", 1), ("untied", layers)):
                found = bench.bytes_of_a_step(layers, start) / 1e6
                print(f"| {layers} | {start} | {found:.2f} | {gradient_bytes(groups) / 1e6:.2f} |", flush=True)
        print("\n| cable | sequences a process | sharing | one process, s | two, gradients after the backward, s | two, during it, s "
              "| weak scaling | of the wait hidden |\n|---|--:|---|--:|--:|--:|--:|--:|")
        for rate in (None, arguments.rate):
            if rate:
                slow_down(rate)
            for part in (8, 32):
                for start in ("tied", "untied"):
                    times = {"one": [], "after": [], "during": []}
                    for _ in range(arguments.rounds):
                        times["one"].append(bench.seconds(1, part, start))
                        times["after"].append(bench.seconds(2, part, start, overlap=False))
                        times["during"].append(bench.seconds(2, part, start))
                    one, after, during = (statistics.median(values) for values in times.values())
                    hidden = f"{(after - during) / (after - one):.0%}" if after > one else "-"
                    print(f"| {rate or 'veth'} | {part} | {start} | {one:.3f} | {after:.3f} | {during:.3f} | {one / during:.2f} | {hidden} |",
                          flush=True)


if __name__ == "__main__":
    main()
