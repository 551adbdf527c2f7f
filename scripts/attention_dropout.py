#!/usr/bin/env python3
"""Measures which share of attention's weights each of libtorch's kernels drops; scripts/gpu_check.py runs it.

    python scripts/attention_dropout.py --dropout 0.1

Out: one JSON object: the share by the kernel's name, or why it does not run here. With q = k = 0 all weights are equal, and with
v = I the result holds them one by one: a zero is a dropped one. Needs torch and an NVIDIA GPU.
"""

import argparse
import json

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

BATCH, HEADS, LENGTH = 64, 16, 64  # 4 million weights: the share is exact to 0.0005


def share(backend, probability):
    nothing = torch.zeros(BATCH, HEADS, LENGTH, LENGTH, dtype=torch.bfloat16, device="cuda")
    identity = torch.eye(LENGTH, dtype=torch.bfloat16, device="cuda").expand(BATCH, HEADS, LENGTH, LENGTH).contiguous()
    with sdpa_kernel(backend):
        weights = torch.nn.functional.scaled_dot_product_attention(nothing, nothing, identity, dropout_p=probability)
    return (weights == 0).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dropout", type=float, required=True)
    probability = parser.parse_args().dropout
    found = {}
    for name, backend in (("cuDNN", SDPBackend.CUDNN_ATTENTION), ("flash", SDPBackend.FLASH_ATTENTION),
                          ("memory-efficient", SDPBackend.EFFICIENT_ATTENTION), ("composed", SDPBackend.MATH)):
        try:
            found[name] = share(backend, probability)
        except RuntimeError as error:
            found[name] = str(error).splitlines()[0]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
