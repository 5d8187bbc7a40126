"""Data sets of torchvision that are on the disk already."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lla.errors import ConfigurationError, DataError, nearest
from lla.optional import optional
from lla.problem.readers.batches import Indexed
from lla.problem.readers.request import Request

__all__ = ["open_store"]

_TRAIN = {"train": True, "test": False}


def open_store(request: Request) -> Indexed:
    """``torchvision.datasets.NAME(**args)``, never downloaded: images as float32 in [0, 1].

    Raises:
        ConfigurationError: torchvision is not installed, or name, split or an argument is unknown.
        DataError: The data is not on the disk.
    """
    datasets = optional("torchvision.datasets", "torchvision", f"torchvision:{request.where}")
    name = request.where
    known = [key for key, value in vars(datasets).items() if inspect.isclass(value)]
    if name not in known:
        raise ConfigurationError(
            f"torchvision has no data set '{name}'{nearest(name, known)}",
            "look it up: https://pytorch.org/vision/stable/datasets.html",
        )
    made = getattr(datasets, name)
    given = _arguments(inspect.signature(made).parameters, request)
    try:
        return Indexed(made(**given), request.spec, f"torchvision:{name}")
    except TypeError as error:
        raise ConfigurationError(
            f"torchvision.datasets.{name} does not take these arguments: {error}",
            f"correct [data] args: it was called with ({', '.join(given)})",
        ) from None
    except Exception as error:
        text = (str(error) or type(error).__name__).splitlines()[0]
        root = given.get("root", "ROOT")
        raise DataError(
            f"torchvision:{name} cannot be read: {text}",
            f'fetch it first: python -c "from torchvision.datasets import {name}; '
            f"{name}('{root}', download=True)\"",
        ) from None


def _arguments(parameters: Mapping[str, Any], request: Request) -> dict[str, Any]:
    given, split = dict(request.spec.args), request.spec.split
    if given.get("download"):
        raise ConfigurationError(
            "[data] args asks torchvision to download, and lla downloads no data",
            "fetch it first with torchvision itself, and leave download out",
        )
    if "root" in given:
        given["root"] = str(request.folder / Path(given["root"]))
    if "download" in parameters:
        given["download"] = False
    if split and "split" in parameters:
        given["split"] = split
    elif split and "train" in parameters and split in _TRAIN:
        given["train"] = _TRAIN[split]
    elif split:
        splits = "train and test" if "train" in parameters else "no splits"
        raise ConfigurationError(
            f"torchvision:{request.where} has no split '{split}': it has {splits}",
            "correct [data] split or leave it out",
        )
    return given
