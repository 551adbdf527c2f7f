#!/usr/bin/env python3
"""What the layers of the study's models do: attention entropy, likeness of hidden states, norms of the residual stream.

    python scripts/study_layers.py --data runs/study/data runs/study/tuning/*/

In:   folders of runs with their `export` and row.json, and the shards of the study. The first held-out tokens are cut into 200
      sequences of 64, [CLS] and [SEP] among them; nothing is masked.
Out:  a Markdown table with one line a run:
      attention: mean entropy of the attention weights over heads and positions, divided by ln 64. 1: every token looks at all alike;
      cosine:    mean cosine of the hidden states of two different positions of all sequences. 1: the layer does not tell them apart;
      norm:      mean length of the hidden states in the residual stream.
      Each is given behind the embeddings or in layer 1, in the middle layer, and in the last layer, before the final LayerNorm.
Cost: seconds a run. Needs torch, transformers and numpy.
"""

import argparse
import json
import math
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

SEQUENCES, LENGTH = 200, 64


def sequences(data, tokenizer):
    tokens = numpy.fromfile(data / "valid-00000.bin", dtype=numpy.uint16, count=SEQUENCES * (LENGTH - 2)).astype(numpy.int64)
    inner = torch.from_numpy(tokens).view(SEQUENCES, LENGTH - 2)
    column = lambda token: torch.full((SEQUENCES, 1), token)
    return torch.cat([column(tokenizer.cls_token_id), inner, column(tokenizer.sep_token_id)], 1)


def cosine(states):
    """Mean cosine of all pairs of different rows: |sum of unit vectors|² is the sum over all pairs."""
    rows = torch.nn.functional.normalize(states.flatten(0, 1).double(), dim=1)
    return ((rows.sum(0).square().sum() - len(rows)) / (len(rows) * (len(rows) - 1))).item()


def entropy(weights):
    return (-torch.special.xlogy(weights, weights).sum(-1).mean() / math.log(LENGTH)).item()


def measured(run, data):
    tokenizer = AutoTokenizer.from_pretrained(run / "export")
    model = AutoModelForMaskedLM.from_pretrained(run / "export", attn_implementation="eager").eval()
    states = []
    hooks = [layer.register_forward_hook(lambda _, __, out: states.append(out[0] if isinstance(out, tuple) else out))
             for layer in model.base_model.encoder.layer]
    hooks.append(model.base_model.embeddings.register_forward_hook(lambda _, __, out: states.append(out)))
    with torch.no_grad():
        attentions = model(input_ids=sequences(data, tokenizer), output_attentions=True).attentions
    middle = len(attentions) // 2
    entropies = [entropy(attentions[at]) for at in (0, middle - 1, -1)]
    chosen = [states[at] for at in (0, middle, -1)]
    return entropies, [cosine(state) for state in chosen], [state.norm(dim=-1).mean().item() for state in chosen]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    print("| arm | rate | seed | accuracy | attention entropy / ln 64 | cosine of hidden states | norm of hidden states |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    rows = [(json.loads((run / "row.json").read_text()), run) for run in arguments.runs]
    for row, run in sorted(rows, key=lambda pair: (pair[0]["seed"], pair[0]["arm"], pair[0]["rate"])):
        parts = [", ".join(f"{value:{form}}" for value in values) for values, form in zip(measured(run, arguments.data), (".2f", ".2f", ".1f"))]
        print(f"| {row['arm']} | {row['rate']:g} | {row['seed']} | {row['accuracy']:.2f} % | {' | '.join(parts)} |", flush=True)


if __name__ == "__main__":
    main()
