#!/usr/bin/env python3
"""Measures training steps of transformers' BertForMaskedLM, as `untie bench` measures ours, or makes the model both start from.

    python scripts/bench_peer.py start --out DIR --hidden-size C --layers L --heads H --intermediate-size I --vocab-size V
    python scripts/bench_peer.py measure --init DIR --batch-file FILE --dropout P --precision bf16 [--compile]

`start` writes a Hugging Face directory whose layers all have the values of the first, so that tied and untied layers compute the
same function. `measure` prints the JSON object of `untie bench`; utilisation needs our product rate and is left to
scripts/bench.py. A step is what a transformers user writes: labels -100 outside the masked positions, sdpa attention, autocast for
bf16, clip_grad_norm_ and AdamW(fused=True), and with --compile torch.compile of the model. Needs torch 2.11 and transformers 5.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from transformers import BertConfig, BertForMaskedLM

FEWEST_STEPS = 3  # as `untie bench`
NUM_LOSSES = 3
# Standard deviation of the logits at the start. BERT's initializer_range gives logits near 0 and a loss near ln V whatever the
# layers compute; with this, equal losses say something.
LOGITS = 1.0


def start(arguments):
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=arguments.vocab_size, hidden_size=arguments.hidden_size, num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.heads, intermediate_size=arguments.intermediate_size,
        initializer_range=LOGITS / arguments.hidden_size**0.5)
    model = BertForMaskedLM(config)
    first, *others = model.bert.encoder.layer
    for layer in others:
        layer.load_state_dict(first.state_dict())
    model.save_pretrained(arguments.out)


def reset_peak(device):
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return True
    except OSError:
        return False


def peak_mib(device):
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    return resident_mib("VmHWM")


def resident_mib(name):
    """VmRSS or VmHWM without mapped files: how much of them is resident depends on how they came into the system's cache."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round((int(status[name].split()[0]) - int(status["RssFile"].split()[0])) / 1024, 1)


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def optimizer(model):
    """What our [optim] defaults are: no decay on biases and LayerNorm."""
    decays = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    rest = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    groups = [dict(params=decays, weight_decay=0.01), dict(params=rest, weight_decay=0.0)]
    return torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.999), eps=1e-6, fused=True)


def measure(arguments):
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(2)
    device = torch.device(arguments.device)
    batch = json.loads(arguments.batch_file.read_text())
    baseline = resident_mib("VmRSS")
    token_ids = torch.tensor(batch["token_ids"])
    labels = torch.full((token_ids.numel(),), -100)
    labels[torch.tensor(batch["positions"])] = torch.tensor(batch["labels"])
    labels = labels.view_as(token_ids)
    model = BertForMaskedLM.from_pretrained(
        arguments.init, dtype=torch.float32, attn_implementation="sdpa", hidden_dropout_prob=arguments.dropout,
        attention_probs_dropout_prob=arguments.dropout).to(device).train()
    adamw = optimizer(model)
    forward = torch.compile(model) if arguments.compile else model

    def synchronise():
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def step():
        synchronise()
        begin = time.perf_counter()
        adamw.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=arguments.precision == "bf16"):
            loss = forward(input_ids=token_ids.to(device), labels=labels.to(device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        loss = loss.item()
        synchronise()
        seconds = time.perf_counter() - begin
        print(f"step: {seconds:.3f} s, loss {loss:.4f}", file=sys.stderr)
        return loss, seconds

    warmup = [step() for _ in range(arguments.warmup_steps)]
    resets = reset_peak(device)
    steps, begin = [], time.perf_counter()
    while len(steps) < FEWEST_STEPS or time.perf_counter() - begin < arguments.seconds:
        steps.append(step())
    peak = peak_mib(device) if resets else None
    seconds = [taken for _, taken in steps]
    median = statistics.median(seconds)
    config = model.config
    print(json.dumps({
        "side": "transformers", "compiled": arguments.compile,
        "model": {name: getattr(config, name) for name in
                  ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")},
        "dropout": arguments.dropout, "groups": config.num_hidden_layers, "batch": token_ids.shape[0],
        "sequence_length": token_ids.shape[1], "targets": len(batch["positions"]),
        "warmup_steps": arguments.warmup_steps, "tokens_per_second": token_ids.numel() / median,
        "step_seconds": {"median": median, "min": min(seconds), "max": max(seconds), "n": len(seconds)},
        "peak_mib": peak, "baseline_mib": baseline, "losses": [loss for loss, _ in warmup + steps][:NUM_LOSSES],
        "utilisation": None, "product_tflop": None, "product_tflops": None,
        "device": arguments.device, "cpu": cpu_name(), "threads": torch.get_num_threads(),
        "precision": arguments.precision,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__,
                     "python": platform.python_version(), "cpu_capability": torch.backends.cpu.get_cpu_capability()},
    }))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("start", help="write the model that both sides start from")
    making.add_argument("--out", type=Path, required=True)
    for name in ("hidden-size", "layers", "heads", "intermediate-size", "vocab-size"):
        making.add_argument(f"--{name}", type=int, required=True)
    measuring = commands.add_parser("measure", help="measure steps and print one JSON object")
    measuring.add_argument("--init", type=Path, required=True, help="a Hugging Face directory")
    measuring.add_argument("--batch-file", type=Path, required=True, help="JSON: token_ids, positions, labels")
    measuring.add_argument("--dropout", type=float, default=0.1)
    measuring.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    measuring.add_argument("--compile", action="store_true", help="torch.compile the model")
    measuring.add_argument("--threads", type=int, default=0, help="0: torch's default")
    measuring.add_argument("--device", default="cpu")
    measuring.add_argument("--warmup-steps", type=int, default=3)
    measuring.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    start(arguments) if arguments.command == "start" else measure(arguments)


if __name__ == "__main__":
    main()
