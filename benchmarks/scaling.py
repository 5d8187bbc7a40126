"""Time of a Hessian product against the number of samples and of parameters.

    python benchmarks/scaling.py [--out docs/images/scaling.png]

Perceptrons of growing width on growing data, medians of several products; a line through the origin
would be exactly linear growth.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import matplotlib.pyplot as plt
import torch
from torch import nn

import lla
from lla.curvature import Hessian

SAMPLES = (1000, 2000, 4000, 8000, 16000)
WIDTHS = (250, 500, 1000, 2000, 4000)
ROUNDS = 5


def seconds(width: int, samples: int) -> tuple[int, float]:
    """Parameters and median time of a product, graphs made anew."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(256, width), nn.Tanh(), nn.Linear(width, 10))
    data = (torch.randn(samples, 256), torch.randint(0, 10, (samples,)))
    product = Hessian(lla.Problem(module, data, batch_size=500))
    vector = torch.ones(product.size, dtype=torch.float64)
    product(vector)
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        product(vector)
        taken.append(time.perf_counter() - begin)
    return product.size, statistics.median(taken)


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/scaling.png"))
    options = parser.parse_args()
    by_samples = [(n, seconds(1000, n)[1]) for n in SAMPLES]
    by_width = [seconds(width, 4000) for width in WIDTHS]
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained", sharey=True)
    titles = ("samples (267,010 parameters)", "parameters (4,000 samples)")
    for place, rows, title in zip(axes, (by_samples, by_width), titles, strict=True):
        sizes, times = zip(*rows, strict=True)
        slope = statistics.median(t / n for n, t in rows)
        place.plot(sizes, [slope * n for n in sizes], color="0.7", lw=1, label="linear")
        place.plot(sizes, times, "o", color="#1f5a94", label="measured")
        place.set(xlabel=title, xscale="log", yscale="log")
        for n, t in rows:
            print(f"{title}: {n:>9,}  {1e3 * t:8.1f} ms  {t / n / slope:.2f} of linear")
    axes[0].set_ylabel("seconds per Hessian product")
    axes[0].legend(frameon=False)
    threads = torch.get_num_threads()
    figure.suptitle(f"One product, medians of {ROUNDS}, {threads} CPU threads", fontsize=10)
    figure.savefig(options.out, dpi=150)


if __name__ == "__main__":
    main()
