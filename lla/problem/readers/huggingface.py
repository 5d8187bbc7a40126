"""Hugging Face data sets: a folder that ``save_to_disk`` wrote, or a name. No script is run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from lla.errors import ConfigurationError, DataError, nearest
from lla.optional import optional
from lla.problem.readers.hub import without_retries
from lla.problem.readers.images import Picture, is_image, stacked
from lla.problem.readers.request import Request
from lla.problem.readers.samples import Keys, Samples, Store, keys_of, tensor_of
from lla.problem.recipe import DataSpec

__all__ = ["open_store", "store_of_columns"]

_REFUSED = {
    "trust_remote_code": "would run code from the data set's page",
    "streaming": "gives no samples by position",
    "split": "has a key of its own, [data] split",
}


def open_store(request: Request) -> Store:
    """The columns of a data set, by ``load_from_disk`` or ``load_dataset(NAME, **args)``.

    Raises:
        ConfigurationError: The package is not installed, or split, key or argument is unknown.
        DataError: It cannot be loaded, or a column holds no numbers or images.
    """
    datasets = optional("datasets", "hf", f"hf:{request.where}")
    spec, what = request.spec, f"hf:{request.where}"
    for key in spec.args:
        if key in _REFUSED:
            raise ConfigurationError(
                f"[data] args has {key}, which {_REFUSED[key]}", f"leave {key} out"
            )
    offline = ""
    try:
        if request.path.is_dir() and not _holds_files(request):
            data = datasets.load_from_disk(str(request.path))
        else:
            name = str(request.path) if request.path.is_dir() else request.where
            # Files that the arguments name may lie anywhere, whether the hub answers or not.
            local = request.path.is_dir() or "data_files" in spec.args
            with _quiet(), nullcontext("") if local else without_retries(datasets) as offline:
                data = datasets.load_dataset(name, split=spec.split or None, **spec.args)
            spec = spec.model_copy(update={"split": ""})
    except Exception as error:
        if offline and isinstance(error, (ConnectionError, FileNotFoundError)):
            raise DataError(
                f"{what} cannot be loaded: {offline}, and the cache does not hold it",
                "connect, and run it again; or save it elsewhere with save_to_disk, bring the "
                "folder here and name that: hf:FOLDER",
            ) from error
        text = (str(error) or "no reason given").splitlines()[0]
        raise DataError(
            f"{what} cannot be loaded: {type(error).__name__}: {text}",
            "correct its name, [data] split and args, or save it first with save_to_disk",
        ) from error
    return store_of_columns(data, spec, what)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines of a hub's client on every try it makes: the last error says it all."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "datasets", "fsspec")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def store_of_columns(data: Any, spec: DataSpec, what: str) -> Store:
    """The samples of a ``datasets.Dataset``, or of one split of a ``DatasetDict``.

    Args:
        data: The data set.
        spec: States ``split``, ``inputs``, ``target`` and ``size``.
        what: What it is called in messages.

    Raises:
        ConfigurationError: Split or key is unknown.
        DataError: No column holds numbers or images.
    """
    if isinstance(data, dict):
        data = _split_of(data, spec.split, what)
    elif spec.split and spec.split != str(data.split):
        raise ConfigurationError(
            f"{what} is one data set without splits, and split '{spec.split}' is asked for",
            "leave [data] split out",
        )
    if not hasattr(data, "features") or not hasattr(data, "__len__"):
        raise ConfigurationError(
            f"{what} is streamed: its samples have no positions", "load it without streaming"
        )
    usable = [name for name, feature in data.features.items() if _kind(feature) != "other"]
    return _Columns(data, keys_of(list(data.features), usable, spec, what), spec, what)


def _split_of(data: dict[str, Any], split: str, what: str) -> Any:
    if not split and len(data) == 1:
        return next(iter(data.values()))
    if split not in data:
        missing = f"has no split '{split}'{nearest(split, data)}" if split else "has several splits"
        raise ConfigurationError(
            f"{what} {missing}", f"choose one of {', '.join(data)}: [data] split"
        )
    return data[split]


def _holds_files(request: Request) -> bool:
    """Whether it is a folder of data files for ``load_dataset``, not one of ``save_to_disk``."""
    saved = ("dataset_dict.json", "state.json")
    return not any((request.path / name).is_file() for name in saved)


class _Columns:
    """The chosen columns; only the rows that are taken are read."""

    def __init__(self, data: Any, keys: Keys, spec: DataSpec, what: str) -> None:
        self._data, self._keys, self._what = data, keys, what
        # As they are: the network's factory says nothing of the mode.
        self._picture = Picture("", spec.size)
        images = [key for key in keys.all() if _kind(data.features[key]) == "image"]
        if spec.size and not images:
            raise ConfigurationError(
                f"{what} has no column of images that could be resized", "leave [data] size out"
            )

    def __len__(self) -> int:
        return len(self._data)

    def labels(self) -> torch.Tensor | None:
        """The targets' column."""
        return None if self._keys.target is None else self._column(self._data, self._keys.target)

    def take(self, positions: torch.Tensor) -> Samples:
        """The rows at these positions, shape (k,)."""
        rows = self._data.select(positions.tolist())
        lacking = f"{self._what} has no targets among its columns {', '.join(self._data.features)}"
        return self._keys.gather(lambda key: self._column(rows, key), lacking)

    def _column(self, rows: Any, key: str) -> torch.Tensor:
        feature = rows.features[key]
        kind, what = _kind(feature), f"column '{key}' of {self._what}"
        if kind == "image":
            return self._images(rows, key, what)
        if kind != "number":
            raise DataError(
                f"{what} holds {_leaf(feature) or type(feature).__name__}, not numbers",
                "tokenize it first (or choose other [data] inputs), or use a factory:FILE.py:NAME",
            )
        column = rows.select_columns([key])
        if column.with_format("arrow")[:].column(key).null_count:
            raise DataError(f"{what} has missing values", "fill them or drop their rows first")
        values = column.with_format("numpy", dtype=np.dtype(_leaf(feature)))[:][key]
        if values.dtype == object:
            raise DataError(
                f"{what} has rows of differing lengths", "pad or cut all rows to one length"
            )
        return tensor_of(values, what)

    def _images(self, rows: Any, key: str, what: str) -> torch.Tensor:
        names = [f"{index} in {what}" for index in range(len(rows))]
        pictures = rows.select_columns([key]).with_format(None)

        def read(index: int) -> torch.Tensor:
            found = pictures[index][key]
            if not is_image(found):
                raise DataError(f"image {names[index]} is missing", "drop its row first")
            return self._picture.tensor(found, names[index])

        return stacked(names, read)


def _leaf(feature: Any) -> str:
    """The dtype at the bottom of nested lists."""
    while type(feature).__name__ in ("List", "LargeList", "Sequence"):
        feature = feature.feature
    return str(getattr(feature, "dtype", "") or "")


def _kind(feature: Any) -> str:
    """Whether a column holds numbers, images, or something else."""
    if type(feature).__name__ == "Image":
        return "image"
    try:
        return "number" if np.dtype(_leaf(feature)).kind in "biuf" else "other"
    except TypeError:
        return "other"
