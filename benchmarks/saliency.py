"""What saliency maps cost: every layer with every pair, against one forward and backward pass.

    python benchmarks/saliency.py [--rounds 7] [--device cpu] [NAME ...]

A forward pass and a backward pass (to the images and to all parameters, as a training step does it)
and the maps of all layers with all virtual layers and aggregations take turns in one process, so
that a machine whose speed drifts slows all of them; printed are medians of the ratios, round by
round. Then the memory that all pairs of one layer take, of the shape of ResNet-50's last.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lla.analyses.saliency.maps import Network, Wanted, layer_maps
from lla.analyses.saliency.memory import Arena
from lla.analyses.saliency.names import all_pairs
from lla.analyses.saliency.phases import Layer, phase_maps
from lla.problem import Batch
from lla.problem.forward import outputs_of

LAYERS = {"layer4": (2048, 7), "layer3": (1024, 14), "layer2": (512, 28), "layer1": (256, 56)}


class Bottleneck(nn.Module):
    """ResNet-50's block (He et al. 2016), by its shapes."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.main = nn.Sequential(
            nn.Conv2d(before, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        same = before == after and stride == 1
        self.short = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of (n, C, H, W)."""
        return self.relu(self.main(x) + self.short(x))


def resnet50(channels: int = 3) -> nn.Module:
    parts: list[nn.Module] = [
        nn.Conv2d(channels, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    before = 64
    for width, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(count):
            stride = 2 if block == 0 and width > 64 else 1
            parts.append(Bottleneck(before, width, stride))
            before = 4 * width
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 1000))


def vgg() -> nn.Module:
    """Plain 3×3 convolutions with batch norm, for images of 32×32."""
    parts: list[nn.Module] = []
    before = 3
    for width in (64, 64, 128, 128, 256, 256, 512, 512):
        stride = 2 if width != before and before > 3 else 1
        parts += [
            nn.Conv2d(before, width, 3, stride, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        before = width
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vgg": (vgg, (16, 3, 32, 32)),
    "resnet50": (resnet50, (2, 3, 224, 224)),
}


def logit(module: nn.Module, batch: Batch) -> torch.Tensor:
    return outputs_of(module, batch).gather(1, batch.targets[:, None]).sum()


def seconds(work: Callable[[], object], device: str) -> tuple[float, float]:
    """By the clock, and of all cores together."""
    begin, busy = time.perf_counter(), time.process_time()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, time.process_time() - busy


class Counted(TorchDispatchMode):
    """Counts the numbers that operations go through, the larger of what each takes and makes."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        if not func.is_view and func is not torch.ops.aten.unbind.int:
            tensors = [one for one in (*args, made) if isinstance(one, torch.Tensor)]
            self.numbers += max((one.numel() for one in tensors), default=0)
        return made


def least(work: Callable[[], object], rounds: int = 20) -> float:
    """Seconds of one core."""
    return min(seconds(work, "cpu")[1] for _ in range(rounds))


def floors() -> None:
    """What one core spends on a number of a layer, and what so many operations take by themselves.

    Operations of two rows of 2¹⁷ numbers into a third, which lie in the caches.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one, other, third = torch.randn(3, 1 << 17).unbind(0)

    def rows() -> None:
        for _ in range(50):
            torch.add(one, other, out=third)

    rate = least(rows) / 50 / len(one)
    large = torch.randn(1 << 25)
    reading = least(large.sum, 5) / len(large)
    print(
        f"One core: {1e9 * rate:.3f} ns a number for an addition in the caches, "
        f"{1e9 * reading:.2f} ns to read one from memory"
    )
    print("Per number of the activation: operations on one, and ns of one core")
    a, g = torch.randn(2, 1, 256, 56, 56).unbind(0)
    every = all_pairs()
    for name in (*dict.fromkeys(pair.virtual for pair in every), "all"):
        pairs = [pair for pair in every if name in (pair.virtual, "all")]
        arena = Arena()
        phase_maps(Layer(a, g), pairs, arena)
        with Counted() as count:
            phase_maps(Layer(a, g), pairs, arena)
        spent = least(lambda pairs=pairs, arena=arena: phase_maps(Layer(a, g), pairs, arena))
        through = count.numbers / a.numel()
        print(
            f"    {name:<14} {through:5.1f} operations, "
            f"floor {1e9 * (rate * through + 2 * reading):5.1f} ns, "
            f"measured {1e9 * spent / a.numel():5.1f} ns"
        )
    torch.set_num_threads(threads)


def measure(name: str, rounds: int, device: str) -> None:
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    module = make().eval().to(device)
    images, classes = torch.randn(shape, device=device), torch.arange(shape[0], device=device) % 10
    every = [part for part, layer in module.named_modules() if part and not any(layer.children())]
    spatial = [
        part
        for part in every
        if not isinstance(
            module.get_submodule(part), (nn.AdaptiveAvgPool2d, nn.Flatten, nn.Linear, nn.Identity)
        )
    ]

    def step() -> None:
        inputs = images.clone().requires_grad_(True)
        total = logit(module, Batch(inputs, classes))
        torch.autograd.grad(total, [inputs, *module.parameters()])

    def inputs_only() -> None:
        inputs = images.clone().requires_grad_(True)
        torch.autograd.grad(logit(module, Batch(inputs, classes)), inputs)

    def maps(layers: tuple[str, ...], pairs: tuple) -> Callable[[], object]:
        wanted = Wanted(layers=layers, more=pairs, at_once=shape[0])
        return lambda: layer_maps(Network(module), images, classes, logit, wanted)

    convolutions = tuple(p for p in spatial if isinstance(module.get_submodule(p), nn.Conv2d))
    owners = tuple(
        part for part in spatial if list(module.get_submodule(part).parameters(recurse=False))
    )
    automatic = tuple(maps((), ())().raw)
    works = {
        "forward and backward": step,
        "to the images alone": inputs_only,
        f"default: {len(automatic)} layers, 1 pair": maps((), ()),
        f"{len(automatic)} layers, {len(all_pairs())} pairs": maps(automatic, all_pairs()),
        f"{len(convolutions)} convolutions, {len(all_pairs(real=True))} pairs": maps(
            convolutions, all_pairs(real=True)
        ),
        f"{len(owners)} convolutions and norms, 25 pairs": maps(owners, all_pairs()),
        f"all {len(spatial)} layers, 1 pair": maps(tuple(spatial), ()),
        f"all {len(spatial)} layers, {len(all_pairs())} pairs": maps(tuple(spatial), all_pairs()),
    }
    for work in works.values():
        work()
    times = [[seconds(work, device) for work in works.values()] for _ in range(rounds)]
    base = statistics.median(row[0][0] for row in times)
    print(f"{name}, {shape[0]} images of {shape[2]}×{shape[3]}: {1000 * base:.0f} ms a step")
    for index, label in enumerate(works):
        clock, busy = (
            statistics.median(row[index][of] / row[0][of] for row in times) for of in (0, 1)
        )
        print(f"    {label:<36} {clock:5.2f} {busy:9.2f}")


def resident(what: str) -> int:
    """Bytes of this process' memory: "VmRSS" now, "VmHWM" at its peak (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"/proc/self/status has no {what}")


def memory(name: str) -> None:
    """All pairs of one image at a layer, in a process of its own: what it takes at its peak."""
    channels, side = LAYERS[name]
    a, g = torch.randn(1, channels, side, side), torch.randn(1, channels, side, side)
    small = torch.randn(1, 8, 4, 4)
    phase_maps(Layer(small, small), all_pairs())
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    phase_maps(Layer(a, g), all_pairs())
    dense = 9 * channels**2 * side**2 * 4 / 2**30
    print(
        f"    {name}: {channels} × {side} × {side}, {(resident('VmHWM') - before) / 2**20:.0f} MiB "
        f"(conv3x3's contributions written down: {dense:.1f} GiB)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        memory(options.memory)
        return
    print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads")
    print("In steps of one forward and one backward pass, median of", options.rounds, "rounds:")
    print(f"{'by the clock, and work of all cores':>52}")
    for name in options.names:
        measure(name, options.rounds, options.device)
    if options.device == "cpu":
        floors()
    print(
        f"Memory of {len(all_pairs())} pairs of one image at layers of ResNet-50's shapes, beside "
        "activation and gradient",
        flush=True,
    )
    for name in LAYERS:
        subprocess.run([sys.executable, __file__, "--memory", name], check=True)


if __name__ == "__main__":
    main()
