"""A checkpoint of GPT-2 small's shape with its recipe and data, and the command that analyses it.

    python benchmarks/gpt2_small.py FOLDER [--sequences 4] [--length 64] [--layers 12] [--width 768]

Radford et al. 2019: 12 layers, width 768, 12 heads, 50,257 tokens, context 1024, the head tied to
the embedding: 124.4 million parameters. Weights are random, drawn as GPT-2's were to begin with
(σ = 0.02, the projections into the residual stream by √(2·layers) less, biases 0), and so are the
tokens: nothing is downloaded, and what is measured is what an analysis of that size takes.
"""

from __future__ import annotations

import argparse
import math
import shutil
from pathlib import Path

import numpy as np
import torch
from networks import GPT2
from safetensors.torch import save_file

RECIPE = """\
schema = 1

[model]
factory = "networks.py:GPT2"
args = {{ vocabulary = {vocabulary}, context = {context}, width = {width}, layers = {layers} }}

[data]
source = "gpt2.npz"

[loss]
name = "cross_entropy"
"""
COMMAND = (
    "lla spectrum gpt2.safetensors --recipe gpt2.toml --memory 14GiB "
    "--largest 2 --smallest 1 --probes 2 --max-probes 4 --steps 20 --max-steps 60"
)


def drawn(network: GPT2, layers: int) -> None:
    """Draw the weights as GPT-2's were; the head follows the embedding."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.zeros_(parameter)
        elif "norm" not in name:
            inward = name.endswith(("out.weight", "down.weight"))
            std = 0.02 / math.sqrt(2 * layers) if inward else 0.02
            torch.nn.init.normal_(parameter, std=std)


def main() -> None:
    """Write the three files and the network's code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sequences", type=int, default=4)
    parser.add_argument("--length", type=int, default=64, help="tokens of a sequence")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--context", type=int, default=1024)
    options = parser.parse_args()
    shape = {name: getattr(options, name) for name in ("vocabulary", "context", "width", "layers")}
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = GPT2(**shape)
    drawn(network, options.layers)
    weights = dict(network.state_dict())
    del weights["head.weight"]  # one tensor under two names
    save_file(weights, options.folder / "gpt2.safetensors")
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, options.vocabulary, (options.sequences, options.length + 1))
    np.savez(options.folder / "gpt2.npz", x=tokens[:, :-1], y=tokens[:, 1:])
    (options.folder / "gpt2.toml").write_text(RECIPE.format(**shape))
    shutil.copy(Path(__file__).with_name("networks.py"), options.folder)
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{count:,} parameters, {options.sequences} sequences of {options.length} tokens")
    print(f"cd {options.folder} && {COMMAND}")


if __name__ == "__main__":
    main()
