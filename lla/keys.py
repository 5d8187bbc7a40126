"""Digests of all that numbers depend on: what is equal in them need not be computed again.

A key says more than the settings do. The network is what its code does, so a short product of it is
part of the key: whoever edits a factory or a loss gets new numbers, although no setting changed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from lla import __version__
from lla.analyses.analysis import Analysis, imported
from lla.checkpoint import sha256_of
from lla.curvature import gradient
from lla.problem import Batch, Problem
from lla.problem.sharded import ShardedProblem
from lla.report import CheckpointFacts
from lla.seeding import rademacher
from lla.settings import Settings

__all__ = ["Keys", "base_key", "digest_of", "source"]

_PROBED = 8
_BESIDE = 0.1  # of the mean absolute parameter
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
# What to run, and how: neither changes a number but through the plan, which counts by itself.
_NO_NUMBERS = (
    *("only", "skip", "memory", "threads", "method", "together", "products", "device"),
    "shard_parameters",
)


def digest_of(facts: Any) -> str:
    """SHA-256 in hexadecimal of plain values, by their JSON in canonical form."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def base_key(problem: Problem, facts: CheckpointFacts, settings: Settings) -> str:
    """The key of a problem: code, weights, data, loss, precision, seed, machine.

    Raises:
        LlaError: The network cannot process the data.
    """
    data = problem.data
    return digest_of(
        {
            "lla": (__version__, source()),
            "versions": {name: version(name) for name in ("torch", "numpy", "scipy")},
            "machine": _machine(problem.device),
            "checkpoint": facts.sha256,
            "space": [(name, *shape) for name, shape in _space(problem)],
            "tensors": _tensors(problem),
            "network": (_described(problem), _behaviour(problem), problem.batch_norm),
            "data": (data.sha256, data.available, data.split, Path(data.source).name),
            "samples": None if data.indices is None else _bytes_of(data.indices),
            "loss": (problem.loss_name, {k: str(v) for k, v in problem.loss_args.items()}),
            "run": (str(problem.theta.dtype), settings.run.seed),
            "domains": {name: part.sha256 for name, part in problem.domains.items()},
        }
    )


def _space(problem: Problem) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the analysed parameters."""
    for name, shape in zip(problem.space.names, problem.space.shapes, strict=True):
        yield name, tuple(shape)


def _machine(device: torch.device) -> tuple[Any, ...]:
    """What rounding depends on, but for what shares out the work: threads and ranks."""
    if device.type == "cuda":
        return ("cuda", torch.cuda.get_device_name(device))
    capability = torch.backends.cpu.get_cpu_capability()
    return (device.type, platform.machine(), capability)


@cache
def source() -> str:
    """SHA-256 of this package's code: a clone's version stays the same while its code changes."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _tensors(problem: Problem) -> dict[str, str]:
    """Digests of θ, of the frozen parameters and of the buffers."""
    found = {name: _bytes_of(tensor) for name, tensor in problem.others()}
    return {"": _bytes_of(problem.whole_of(problem.theta)), **found}


def _bytes_of(tensor: torch.Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()


def _described(problem: Problem) -> str:
    """The network as it prints itself, without what changes from process to process."""
    return digest_of(_ADDRESS.sub("", repr(problem.module)))


def _behaviour(problem: Problem) -> list[str]:
    """What the network's and the loss' code gives on a few samples, at θ and a little beside it.

    Losses and gradients; two gradients see the curvature too, whatever can be differentiated
    twice. To the last bit on a CPU. A GPU adds up in any order, and ranks that share parameters in
    one that depends on how many there are: there some digits have to do.
    """
    count = min(_PROBED, problem.data.chunk, len(problem.data))
    batch = problem.data.whole.select(slice(0, count))
    probe = rademacher(problem.space.size, 0, "behaviour", 0).to(problem.home)
    theta = problem.theta
    size = problem.whole_of(theta).abs().mean()
    beside = theta + problem.share_of((_BESIDE * size * probe).to(theta.dtype))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a run may go on with more or fewer of them
    try:
        numbers = _seen(problem, batch, probe, (theta, beside))
    finally:
        torch.set_num_threads(threads)
    if problem.device.type != "cpu":
        return [f"{float(n):.2e}" for n in numbers]
    if isinstance(problem, ShardedProblem):
        digits = 8 if problem.theta.dtype == torch.float64 else 3
        return [f"{float(n):.{digits}e}" for n in numbers]
    return [float(n).hex() for n in numbers]


def _seen(
    problem: Problem, batch: Batch, probe: torch.Tensor, places: tuple[torch.Tensor, ...]
) -> list[torch.Tensor]:
    """Loss, gradient's norm and its part along the probe, at each place."""
    numbers = []
    for place in places:
        with torch.no_grad():
            numbers.append(problem.terms(place, batch).total)
        slope = gradient(problem.altered(theta=place), [batch])
        numbers += [slope.norm(), probe @ slope]
    return numbers


@dataclass(frozen=True)
class Keys:
    """The keys of one run.

    Attributes:
        base: Key of the problem.
        plan: What of the plan moves the last bits, in plain values.
        sections: All settings, by section and key, in plain values.
    """

    base: str
    plan: Mapping[str, Any]
    sections: Mapping[str, Mapping[str, Any]]

    @property
    def run(self) -> str:
        """The key of what all stages of a report have in common."""
        return digest_of([self.base, dict(self.plan), _numbers_of_run(self.sections)])

    def stage(self, analysis: Analysis) -> str:
        """The key of an analysis."""
        found = [self.base, dict(self.plan), analysis.name, _code_of(analysis)]
        return digest_of([*found, self.settings(analysis), self._files(analysis)])

    def product(self, name: str, depends: tuple[str, ...]) -> str:
        """The key of what is kept under a name and depends on some settings."""
        return digest_of([self.base, dict(self.plan), name, self._values(depends)])

    def settings(self, analysis: Analysis) -> dict[str, Any]:
        """The settings that an analysis depends on, by section or ``section.key``."""
        if analysis.depends is None:
            return {**self.sections, "run": _numbers_of_run(self.sections)}
        return self._values((analysis.name, *analysis.depends))

    def _files(self, analysis: Analysis) -> dict[str, str]:
        """Digests of the files that an analysis reads besides the problem's own."""
        if not analysis.files:
            return {}
        config = analysis.config(**self.sections[analysis.name])
        return {path: sha256_of(Path(path)) for path in imported(analysis.files)(config)}

    def _values(self, depends: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path in depends:
            section, _, key = path.partition(".")
            found[path] = self.sections[section][key] if key else self.sections[section]
        return found


def _numbers_of_run(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in sections["run"].items() if key not in _NO_NUMBERS}


def _code_of(analysis: Analysis) -> str:
    """Digest of the module of an analysis from another distribution."""
    module = analysis.run.partition(":")[0]
    if module.startswith("lla."):
        return ""
    spec = find_spec(module)
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        return ""
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
