"""Data as live objects: tensors, named tensors, a torch ``Dataset``, or batches one by one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset, default_collate

from lla.errors import ConfigurationError, DataError, LlaError
from lla.problem.readers.images import Picture, is_image
from lla.problem.readers.samples import Samples, Store, joined, keys_of, tensor_of
from lla.problem.recipe import DataSpec

__all__ = ["Data", "Indexed", "store_of"]

# Inputs alone, (x, y), a dict of arrays, or anything that gives samples (a torch Dataset) or
# batches (a DataLoader, any iterable) of one of these forms.
Data = torch.Tensor | tuple[Any, ...] | Mapping[str, Any] | TorchDataset[Any] | Iterable[Any]

_AT_ONCE = 256


def store_of(data: Data, spec: DataSpec, what: str = "the data") -> Store:
    """The samples of live objects.

    Args:
        data: Inputs alone; (x, y), where x may be a tuple or a dict; a dict whose targets are
            ``spec.target`` or called labels, label, y, target or targets; a torch Dataset of such
            samples; a DataLoader or any iterable of such batches, which is read once.
        spec: States ``inputs`` and ``target`` of named data, and ``size`` of images.
        what: What the data is called in messages.

    Raises:
        ConfigurationError: The objects are none of these, or a stated key does not exist.
        DataError: A sample is unreadable, or samples differ in shape.
    """
    if hasattr(data, "column_names") and hasattr(data, "with_format"):
        from lla.problem.readers.huggingface import store_of_columns

        return store_of_columns(data, spec, what)
    if isinstance(data, Mapping) or _is_array(data) or _is_pair(data):
        return _batch(data, spec, what)
    if isinstance(data, IterableDataset):
        return joined((_collated(part, spec, what) for part in _cut(data)), what)
    if isinstance(data, TorchDataset) or _looks_indexed(data):
        return Indexed(data, spec, what)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        return joined((_batch(part, spec, what) for part in data), what)
    raise ConfigurationError(
        f"{what} is a {type(data).__name__}, which holds no samples",
        "give (x, y), a dict of tensors, a torch Dataset, or an iterable of batches",
    )


class Indexed:
    """A data set that gives one sample for each position, as torch's map-style ones do."""

    def __init__(self, data: Any, spec: DataSpec, what: str) -> None:
        if not hasattr(data, "__len__"):
            raise ConfigurationError(
                f"{what} is a {type(data).__name__} without a length",
                "give it a __len__, or pass an iterable of batches",
            )
        self._data, self._spec, self._what = data, spec, what

    def __len__(self) -> int:
        return len(self._data)

    def labels(self) -> torch.Tensor | None:
        """Targets of all samples; each sample is read for it, and its inputs dropped."""
        found = []
        for part in self._parts(torch.arange(len(self))):
            if part.targets is None:
                return None
            found.append(part.targets)
        return torch.cat(found)

    def take(self, positions: torch.Tensor) -> Samples:
        """The samples at these positions, shape (k,)."""
        return joined(self._parts(positions), self._what)

    def _parts(self, positions: torch.Tensor) -> Iterator[Samples]:
        for part in torch.split(positions, _AT_ONCE):
            samples = [self._sample(int(index)) for index in part]
            yield _collated(samples, self._spec, self._what)

    def _sample(self, index: int) -> Any:
        try:
            return self._data[index]
        except LlaError:
            raise
        except Exception as error:
            text = (str(error) or "no reason given").splitlines()[0]
            raise DataError(
                f"sample {index} of {self._what} cannot be read: {type(error).__name__}: {text}",
                "correct the data set; --debug shows where it fails",
            ) from error


def _cut(samples: Iterable[Any]) -> Iterator[list[Any]]:
    source = iter(samples)
    while part := list(itertools.islice(source, _AT_ONCE)):
        yield part


def _collated(samples: list[Any], spec: DataSpec, what: str) -> Samples:
    """Single samples as one batch."""
    try:
        batch = default_collate([_plain(sample, spec, what) for sample in samples])
    except (TypeError, RuntimeError) as error:
        raise DataError(
            f"samples of {what} cannot be put into one batch: {str(error).splitlines()[0]}",
            "pad or cut all samples to one shape; give tensors, arrays, numbers or images",
        ) from None
    return _batch(batch, spec, what)


def _plain(sample: Any, spec: DataSpec, what: str) -> Any:
    """A sample with its images as tensors."""
    if isinstance(sample, Mapping):
        return {key: _plain(value, spec, what) for key, value in sample.items()}
    if isinstance(sample, (tuple, list)):
        return tuple(_plain(value, spec, what) for value in sample)
    return Picture("", spec.size).tensor(sample, what) if is_image(sample) else sample


def _batch(batch: Any, spec: DataSpec, what: str) -> Samples:
    if isinstance(batch, Mapping):
        return _named(batch, spec, what)
    if spec.inputs or spec.target:
        raise ConfigurationError(
            f"{what} has no names, and [data] inputs or target names some",
            "leave them out, or give dicts of tensors",
        )
    lacking = f"{what} has inputs only"
    if not isinstance(batch, (tuple, list)):
        return Samples(tensor_of(batch, what), None, lacking)
    *given, last = batch if len(batch) > 1 else (*batch, None)
    if not given:
        raise DataError(f"{what} has an empty batch", "give batches as (x, y)")
    inputs = _inputs(given[0], what) if len(given) == 1 else _inputs(tuple(given), what)
    return Samples(inputs, None if last is None else tensor_of(last, f"y of {what}"), lacking)


def _inputs(value: Any, what: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): tensor_of(part, f"'{key}' of {what}") for key, part in value.items()}
    if isinstance(value, tuple) or _is_pair(value):
        return tuple(tensor_of(part, f"x of {what}") for part in value)
    return tensor_of(value, f"x of {what}")


def _named(batch: Mapping[str, Any], spec: DataSpec, what: str) -> Samples:
    usable = [key for key, value in batch.items() if _holds_numbers(value)]
    keys = keys_of([str(key) for key in batch], usable, spec, what)
    lacking = f"{what} has no targets among its keys {', '.join(map(str, batch))}"
    return keys.gather(lambda key: tensor_of(batch[key], f"'{key}' of {what}"), lacking)


def _holds_numbers(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    if isinstance(value, (list, tuple)) and value:
        return _holds_numbers(value[0])
    return isinstance(value, (torch.Tensor, int, float))


def _is_array(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, np.ndarray))


def _is_pair(value: Any) -> bool:
    """Whether it is (x, y, …) and no list of batches."""
    if isinstance(value, list):
        return bool(value) and all(_is_array(part) for part in value)
    return isinstance(value, tuple)


def _looks_indexed(value: Any) -> bool:
    """Whether it is a data set in all but its base class."""
    indexed = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    return indexed and not hasattr(value, "__iter__")
