"""What spectra of larger networks would take: products, memory and hours, by arithmetic.

    python benchmarks/arithmetic.py [--product 3.0] [--fraction 0.3]

Nothing is measured here: each number follows from what is printed with it. A gradient over T tokens
takes 6·P·T operations (Kaplan et al. 2020: two a parameter and token forwards, four backwards); a
product of the Hessian ``--product`` gradients (benchmarks/products.py finds 2.4 to 2.6 with the
sample transformers on a CPU; 3 is on the safe side);
float32 runs at ``--fraction`` of the hardware's TF32 or float32 peak, float64 certificates at half
that. Each vector of P numbers is counted as lla/curvature/footprint.py counts it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from lla.curvature.footprint import Footprint, Sizes
from lla.curvature.names import Needs

_BASE = 1_000_000_000  # kernels and libraries on a device
_ACTIVATIONS = 6_000_000_000  # of a chunk that is cut to fit
TOKENS = 256 * 1024  # 256 sequences of 1024 tokens
SEARCH, PROBES, PAIRS, STEPS = 60, 2, 3, 9
ROWS, KEPT = 13, 5


@dataclass(frozen=True)
class Hardware:
    """Devices of one machine.

    Attributes:
        devices: How many.
        flops: Peak of one in float32 products as they would be made, operations a second.
        memory: Bytes of one.
        host: Bytes of the machine's own memory.
    """

    devices: int
    flops: float
    memory: float
    host: float


# H100 SXM: 67 TFLOPS in float32 and 989/2 in TF32 without sparsity, by NVIDIA's data sheet.
HARDWARE = {
    "1 H100-80GB, float32": Hardware(1, 67e12, 80e9, 1e12),
    "8 H100-80GB, float32": Hardware(8, 67e12, 80e9, 2e12),
    "8 H100-80GB, TF32": Hardware(8, 494e12, 80e9, 2e12),
}
NETWORKS = {"GPT-2 small": 124.4e6, "1B": 1e9, "7B": 7e9}


def products() -> tuple[int, int]:
    """Products of a run in float32, and those in float64."""
    return SEARCH + PROBES * (STEPS + 1), PAIRS + 1


def hours(size: float, hardware: Hardware, product: float, fraction: float) -> float:
    """Time of all products."""
    single, double = products()
    gradient = 6 * size * TOKENS
    rate = fraction * hardware.devices * hardware.flops
    return (single + 2 * double) * product * gradient / rate / 3600


def whole_bytes(size: float, pairs: int) -> tuple[float, float]:
    """Of a device that holds all parameters, and of the host, where its basis is."""
    count = int(size)
    sizes = Sizes(
        base=_BASE,
        vector=8 * count,
        own=4 * count,
        row=0,
        precise=8 * count,
        activations=_ACTIVATIONS,
        graph=_ACTIVATIONS // 3,
    )
    sizes = replace(sizes, base=sizes.base + sizes.own)
    found = Footprint(sizes, Needs(pairs=pairs), ROWS, KEPT, STEPS)
    return found.peak, 4 * size * (ROWS + STEPS)


def shared_bytes(size: float, devices: int, pairs: int) -> tuple[float, float]:
    """Of each device where parameters are shared among all, and of the host for all of them.

    As docs/scale.md counts: vectors are whole on the host for each rank, and float64.
    """
    device = (4 + 8 + 24) * size / devices + _BASE + _ACTIVATIONS
    return device, devices * 3 * (pairs + PROBES) * 8 * size + 8 * size * ROWS


def told(bytes_of: tuple[float, float], hardware: Hardware) -> str:
    """What is needed, and whether it is there."""
    device, host = bytes_of
    fits = device < hardware.memory and host < hardware.host
    return f"{device / 1e9:6.0f} GB and {host / 1e9:7.0f} GB: {'fits' if fits else 'does not fit'}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--product", type=float, default=3.0, help="gradients a product takes")
    parser.add_argument("--fraction", type=float, default=0.3, help="of the peak that is reached")
    options = parser.parse_args()
    single, double = products()
    print(f"{TOKENS:,} tokens; {single} products and {double} in float64, ", end="")
    print(f"{options.product:g} gradients each, at {options.fraction:.0%} of the peak")
    for name, size in NETWORKS.items():
        print(f"{name}: a vector in float64 {8 * size / 1e9:.1f} GB")
        for label, hardware in HARDWARE.items():
            spent = hours(size, hardware, options.product, options.fraction)
            print(f"  {label:22} {spent:8.2f} h")
            for pairs in (2, PAIRS):
                whole = told(whole_bytes(size, pairs), hardware)
                print(f"    {pairs} pairs, each device whole   {whole}")
            if hardware.devices > 1:
                shared = told(shared_bytes(size, hardware.devices, 2), hardware)
                print(f"    2 pairs, shared parameters {shared}")


if __name__ == "__main__":
    main()
