"""A folder of images whose sub-folders are the classes, in sorted order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from lla.errors import ConfigurationError, DataError, nearest
from lla.problem.readers.images import Picture, stacked
from lla.problem.readers.request import Request
from lla.problem.readers.samples import Samples

__all__ = ["open_store"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing", "dev"}
_MODES = ("RGB", "L")


class _Images:
    """Images by class; only those that are taken are read."""

    def __init__(self, files: list[Path], labels: list[int], picture: Picture) -> None:
        self._files, self._labels, self._picture = files, torch.tensor(labels), picture

    def __len__(self) -> int:
        return len(self._files)

    def labels(self) -> torch.Tensor:
        """Positions of the images' classes in sorted order, shape (n,)."""
        return self._labels

    def take(self, positions: torch.Tensor) -> Samples:
        """The images at these positions: float32 in [0, 1], shape (k, C, H, W)."""
        names = [str(self._files[int(index)]) for index in positions]
        images = stacked(names, lambda index: self._picture.read(names[index], names[index]))
        return Samples(images, self._labels[positions])


def open_store(request: Request) -> _Images:
    """The images in a folder's sub-folders, or in those of its sub-folder ``split``.

    Raises:
        ConfigurationError: The split does not exist or is not named.
        DataError: A class has no images, or there are no classes.
    """
    spec, root = request.spec, request.path
    mode = spec.args.get("mode", "RGB")
    if set(spec.args) - {"mode"} or mode not in _MODES:
        raise ConfigurationError(
            f"[data] args = {spec.args} means nothing to a folder of images",
            'leave it out, or write args = { mode = "L" } for grey images of one channel',
        )
    names = [path.name for path in _folders(root)]
    if spec.split and spec.split not in names:
        raise ConfigurationError(
            f"{root} has no sub-folder '{spec.split}'{nearest(spec.split, names)}",
            f"its sub-folders are {', '.join(names[:8]) or 'none'}; choose by [data] split",
        )
    if not spec.split and names and {name.lower() for name in names} <= _SPLITS:
        raise ConfigurationError(
            f"the sub-folders of {root} are splits, not classes: {', '.join(names)}",
            f"choose one: [data] split, or --data '{request.where}?split={names[0]}'",
        )
    files, labels = _classes(root / spec.split)
    return _Images(files, labels, Picture(mode, spec.size))


def _classes(root: Path) -> tuple[list[Path], list[int]]:
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(_folders(root)):
        found = list(_images(folder))
        if not found:
            raise DataError(
                f"the class folder {folder} has no images",
                f"put some there ({_kinds()}), or go on without it",
            )
        files += found
        labels += [label] * len(found)
    if not files:
        raise DataError(
            f"{root} has no sub-folders with images, one for each class",
            f"sort the images ({_kinds()}) into a folder for each class",
        )
    return files, labels


def _folders(root: Path) -> list[Path]:
    visible = (path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
    return sorted(visible, key=lambda path: path.name)


def _images(folder: Path) -> Iterator[Path]:
    for parent, _, names in sorted(os.walk(folder, followlinks=True)):
        for name in sorted(names):
            if name.lower().endswith(_SUFFIXES) and name[0] != ".":
                yield Path(parent, name)


def _kinds() -> str:
    return ", ".join(_SUFFIXES)
