"""Which images are looked at: drawn from the data, by position, by class, or from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from lla.analyses.saliency.targets import class_targets
from lla.errors import ConfigurationError, DataError, some
from lla.problem import Batch, Problem
from lla.seeding import permutation

if TYPE_CHECKING:
    from lla.analyses.saliency import SaliencyConfig

__all__ = ["Chosen", "choose", "files_of"]

_SHOWN = 12


@dataclass(frozen=True)
class Chosen:
    """The images that are looked at.

    Attributes:
        batch: Images and, where they are known, targets; otherwise targets of shape (n, 0).
        positions: Their positions in the split, shape (n,); −1 for images from files.
    """

    batch: Batch
    positions: torch.Tensor


def files_of(config: SaliencyConfig) -> tuple[str, ...]:
    """The image files that the maps depend on, those that are there."""
    return tuple(name for name in config.files if Path(name).is_file())


def choose(problem: Problem, config: SaliencyConfig, seed: int) -> Chosen:
    """The images that the settings ask for.

    Args:
        problem: Its data are chosen from.
        config: Files, or positions, or so many of each class, or so many in all.
        seed: Of what is drawn.

    Raises:
        ConfigurationError: A position or class is not among the analysed data, or files are asked
            for of live objects.
        DataError: A file cannot be read.
    """
    if config.files:
        return _from_files(problem, config.files)
    data = problem.data
    positions = torch.arange(len(data)) if data.indices is None else data.indices.cpu()
    if config.indices:
        chosen = _at(positions, config.indices)
    elif config.classes or config.per_class:
        chosen = _of_classes(problem, config, seed)
    else:
        count = min(config.images, len(data))
        chosen = permutation(len(data), seed, "saliency")[:count].sort().values
    return Chosen(data.select(chosen), positions[chosen])


def _at(positions: torch.Tensor, wanted: Sequence[int]) -> torch.Tensor:
    known = {int(position): place for place, position in enumerate(positions.tolist())}
    absent = [index for index in wanted if index not in known]
    if absent:
        raise ConfigurationError(
            f"there is no image at position {absent[0]} among the {len(known)} analysed samples",
            f"positions are those in the split: choose among {some(sorted(known), _SHOWN)}",
        )
    return torch.tensor([known[index] for index in wanted])


def _of_classes(problem: Problem, config: SaliencyConfig, seed: int) -> torch.Tensor:
    labels = class_targets(problem.data.whole)
    if labels is None:
        raise ConfigurationError(
            "images are to be chosen by class, and the data has no class labels",
            "leave --classes and --per-class out, or choose by position: --indices",
        )
    order = permutation(len(problem.data), seed, "saliency")
    drawn = labels.cpu()[order]
    present = sorted(set(drawn.tolist()))
    absent = [label for label in config.classes if label not in present]
    if absent:
        raise ConfigurationError(
            f"no analysed image is of class {absent[0]}", f"choose among: {some(present, _SHOWN)}"
        )
    wanted = list(config.classes) or present
    if config.per_class:
        parts = [order[drawn == label][: config.per_class] for label in wanted]
        return torch.cat([part.sort().values for part in parts])
    kept = order[torch.isin(drawn, torch.tensor(wanted))]
    return kept[: config.images].sort().values


def _from_files(problem: Problem, files: Sequence[str]) -> Chosen:
    if problem.relatives is None or problem.relatives.pictures is None:
        raise ConfigurationError(
            "image files are read and scaled as a recipe says, and there is none for live objects",
            "pass the images themselves as data",
        )
    inputs = problem.data.inputs
    if not isinstance(inputs, torch.Tensor) or inputs.ndim != 4:
        raise ConfigurationError(
            "image files are given, and the network's inputs are not images", "leave --files out"
        )
    for name in files:
        if not Path(name).is_file():
            raise DataError(f"there is no image file {name}", "correct --files")
    images = problem.relatives.pictures(files, inputs.shape[1:])
    nowhere = torch.full((len(images),), -1, dtype=torch.int64)
    return Chosen(Batch(images, torch.zeros((len(images), 0), device=images.device)), nowhere)
