"""Several checkpoints of one network: lines and planes through them, and the way of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lla.analyses.checkpoints import checkpoints_of, files_in, problem_at
from lla.analyses.landscape import LandscapeConfig
from lla.errors import ConfigurationError
from lla.problem import Problem
from lla.sources import with_options

__all__ = [
    "OPTION",
    "Series",
    "files_of",
    "line_to",
    "main_axes",
    "plane_through",
    "series_files",
    "series_of",
]

OPTION = "--checkpoints"


@dataclass(frozen=True)
class Series:
    """Other checkpoints, as displacements from the analysed one.

    Attributes:
        names: Their files, without folders.
        offsets: θ_i − θ₀, float64, shape (m, P).
        buffers: The buffers of each, by name: batch norm's statistics differ between checkpoints.
        epochs: The epoch of each, shape (m,); NaN where its file does not say.
    """

    names: tuple[str, ...]
    offsets: torch.Tensor
    buffers: tuple[dict[str, torch.Tensor], ...]
    epochs: np.ndarray


def series_files(paths: Sequence[str], kind: str) -> list[str]:
    """The further checkpoints that a user names, in the given order.

    Args:
        paths: Files, or patterns whose files are taken in natural order (2 before 10).
        kind: The axes that ask, for messages.

    Raises:
        ConfigurationError: None is given, or a pattern matches none.
    """
    if not paths:
        raise ConfigurationError(
            f"axes '{kind}' need other checkpoints of the same network",
            f"name them: --axes {kind} --checkpoints 'runs/epoch-*.pt'",
        )
    return checkpoints_of(paths, OPTION)


def series_of(problem: Problem, paths: Sequence[str], kind: str) -> Series:
    """Read further checkpoints of the same network, in the given order.

    Args:
        problem: The analysed checkpoint.
        paths: As of :func:`series_files`.
        kind: The axes that ask, for messages.

    Raises:
        ConfigurationError: None is given, or a pattern matches none.
        LlaError: One cannot be read or is of another network.
    """
    names, offsets, buffers, epochs = [], [], [], []
    for path in series_files(paths, kind):
        other = problem_at(problem, path, OPTION)
        names.append(Path(path).name)
        epochs.append(float("nan") if other.training.epoch is None else other.training.epoch)
        offsets.append(other.theta.double() - problem.theta.double())
        buffers.append(dict(other.module.named_buffers()))
    return Series(tuple(names), torch.stack(offsets), tuple(buffers), np.array(epochs))


def files_of(config: LandscapeConfig) -> list[str]:
    """The files that a landscape reads besides the problem's own, those that are there."""
    named = files_in(config.checkpoints)
    named += [axis.partition(":")[2] for axis in config.axes if axis.startswith("file:")]
    named.append(with_options(config.also)[0])
    named += [metric.rpartition(":")[0] for metric in config.metrics]
    return [path for path in named if path and Path(path).is_file()]


def line_to(series: Series) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The way to one other checkpoint; it lies at distance 1."""
    return series.offsets[:1], (f"way to {series.names[0]}",)


def plane_through(series: Series) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The plane through the checkpoint and the first two others.

    The first axis leads to the first of them, at distance 1; the second is orthogonal to it and of
    the same length (Garipov et al. 2018, arXiv 1802.10026).

    Raises:
        ConfigurationError: More than two are given, or all three lie on one line.
    """
    if len(series.names) > 2:
        raise ConfigurationError(
            f"a plane goes through three checkpoints, and {1 + len(series.names)} are given",
            "give two with --checkpoints; for more: --axes pca",
        )
    first, second = series.offsets
    rest = second - (second @ first) / (first @ first).clamp_min(1e-300) * first
    length = torch.linalg.vector_norm(rest)
    if float(length) <= 1e-9 * float(torch.linalg.vector_norm(second)):
        raise ConfigurationError(
            f"the checkpoint, {series.names[0]} and {series.names[1]} lie on one line",
            "draw the line: give one of them with --checkpoints",
        )
    across = rest * (torch.linalg.vector_norm(first) / length)
    names = (f"way to {series.names[0]}", f"across it, towards {series.names[1]}")
    return torch.stack([first, across]), names


def main_axes(series: Series) -> tuple[torch.Tensor, tuple[str, ...]]:
    """The first two principal directions of the displacements, as unit vectors.

    Of θ_i − θ₀ as they are, not of their deviations from a mean: the plane goes through the
    checkpoint (Li et al. 2018, arXiv 1712.09913, section 7.2).

    Raises:
        ConfigurationError: The checkpoints span less than a plane.
    """
    gram = (series.offsets @ series.offsets.T).cpu().numpy()
    values, turns = np.linalg.eigh(gram)
    order = np.argsort(values)[::-1]
    values, turns = values[order], turns[:, order]
    if len(values) < 2 or values[1] <= 1e-16 * max(values[0], 1e-300):
        raise ConfigurationError(
            f"{1 + len(series.names)} checkpoints span less than a plane",
            "give at least two others that differ with --checkpoints",
        )
    mix = torch.from_numpy((turns[:, :2] / np.sqrt(values[:2])).T.copy()).to(series.offsets)
    vectors = mix @ series.offsets
    # The sign of an eigenvector is free: the earliest checkpoint lies on the positive side.
    signs = torch.sign(vectors @ series.offsets[0])
    vectors = vectors * torch.where(signs == 0, 1.0, signs)[:, None]
    shares = values[:2] / values.sum()
    names = tuple(f"principal direction {i + 1} ({100 * s:.1f} %)" for i, s in enumerate(shares))
    return vectors, names
