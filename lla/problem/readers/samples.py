"""Samples as a source holds them: what can be chosen from, and which keys are inputs or targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from lla.errors import ConfigurationError, DataError, nearest
from lla.problem.inputs import Inputs, described, leaves, mapped
from lla.problem.recipe import DataSpec

__all__ = ["Keys", "Samples", "Store", "joined", "keys_of", "tensor_of"]

# Keys that name the targets, in this order, and keys of an input that the network takes unnamed.
_TARGETS = ("labels", "label", "y", "target", "targets")
_UNNAMED = ("x", "input", "inputs", "image", "images")
_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


class Store(Protocol):
    """A source of samples that reads only those that are taken."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def labels(self) -> torch.Tensor | None:
        """Targets of all samples, or None if there are none."""
        ...

    def take(self, positions: torch.Tensor) -> Samples:
        """The samples at these positions, shape (k,), increasing."""
        ...


@dataclass(frozen=True)
class Samples:
    """Samples in memory; the simplest store.

    Attributes:
        inputs: Shape (n, …).
        targets: Shape (n, …), or None.
        lacking: Why there are no targets.
    """

    inputs: Inputs
    targets: torch.Tensor | None
    lacking: str = ""

    def __len__(self) -> int:
        return len(leaves(self.inputs)[0])

    def labels(self) -> torch.Tensor | None:
        """The targets."""
        return self.targets

    def take(self, positions: torch.Tensor) -> Samples:
        """The samples at these positions, shape (k,), increasing."""
        if len(positions) == len(self):
            return self
        targets = None if self.targets is None else self.targets[positions]
        return Samples(mapped(self.inputs, lambda part: part[positions]), targets, self.lacking)

    def check(self, what: str) -> None:
        """Hold the number of samples in all inputs and in the targets against each other.

        Raises:
            DataError: There are no samples, or the numbers differ.
        """
        scalar = [part for part in leaves(self.inputs) if not part.ndim]
        if scalar or (self.targets is not None and not self.targets.ndim):
            raise DataError(
                f"{what} has a single number where a tensor of samples is expected",
                "give batches of samples, (x, y) of shapes (n, …), or a torch Dataset",
            )
        lengths = sorted({len(part) for part in leaves(self.inputs)})
        if len(lengths) > 1:
            raise DataError(
                f"{what} has inputs of {lengths[0]} and of {lengths[-1]} samples: "
                f"{described(self.inputs)}",
                "give all inputs of a sample at the same position of the first axis",
            )
        targets = lengths[0] if self.targets is None else len(self.targets)
        if lengths[0] != targets or not targets:
            raise DataError(
                f"{what} has {lengths[0]} inputs and {targets} targets",
                "give one target to each input, and at least one of both",
            )


@dataclass(frozen=True)
class Keys:
    """Which keys of named data are inputs, and which the targets.

    Attributes:
        inputs: One key, several by position, or argument → key.
        target: The targets' key, or None.
    """

    inputs: str | tuple[str, ...] | dict[str, str]
    target: str | None

    def gather(self, get: Callable[[str], torch.Tensor], lacking: str = "") -> Samples:
        """The samples, each key's tensor read by ``get``."""
        inputs: Inputs
        if isinstance(self.inputs, str):
            inputs = get(self.inputs)
        elif isinstance(self.inputs, dict):
            inputs = {argument: get(key) for argument, key in self.inputs.items()}
        else:
            inputs = tuple(get(key) for key in self.inputs)
        return Samples(inputs, None if self.target is None else get(self.target), lacking)

    def all(self) -> tuple[str, ...]:
        """Every key that is read."""
        chosen = self.inputs
        inputs = (chosen,) if isinstance(chosen, str) else tuple(chosen)
        if isinstance(chosen, dict):
            inputs = tuple(chosen.values())
        return inputs if self.target is None else (*inputs, self.target)


def keys_of(known: Sequence[str], usable: Sequence[str], spec: DataSpec, what: str) -> Keys:
    """The keys to read of named data: those that are stated, or else those that suggest themselves.

    Args:
        known: All keys.
        usable: Those that hold numbers: the inputs by default.
        spec: States ``inputs`` and ``target``.
        what: What the data is called in messages.

    Raises:
        ConfigurationError: A stated key does not exist.
        DataError: No key is left for the inputs.
    """
    target = spec.target or next((key for key in _TARGETS if key in usable), None)
    stated = Keys(spec.inputs, spec.target or None)
    for key in stated.all():
        if key not in known:
            raise ConfigurationError(
                f"{what} has no key '{key}'{nearest(key, known)}",
                f"its keys are {', '.join(known)}; choose by [data] inputs and target",
            )
    if spec.inputs:
        return Keys(_alone(spec.inputs), target)
    rest = [key for key in usable if key != target]
    if not rest:
        raise DataError(
            f"{what} has no inputs: its keys are {', '.join(known) or 'none'}",
            "name them: [data] inputs",
        )
    if len(rest) == 1 and rest[0] in _UNNAMED:
        return Keys(rest[0], target)
    return Keys({key: key for key in rest}, target)


def _alone(keys: tuple[str, ...] | dict[str, str]) -> str | tuple[str, ...] | dict[str, str]:
    return keys[0] if isinstance(keys, tuple) and len(keys) == 1 else keys


def tensor_of(value: Any, what: str) -> torch.Tensor:
    """A tensor, an array or a list of numbers as a tensor on the CPU.

    Raises:
        DataError: It holds no numbers.
    """
    try:
        tensor = torch.as_tensor(_native(value)).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        kind = getattr(value, "dtype", type(value).__name__)
        # Of anything but a list torch says no more than which types it knows.
        why = f": {str(error).splitlines()[0]}" if isinstance(value, (list, tuple)) else ""
        raise DataError(
            f"{what} holds {kind}, not numbers{why}",
            "give tensors or arrays of numbers; text has to be tokenized first",
        ) from None
    # Torch cannot index these.
    return tensor.to(torch.int64) if tensor.dtype in _UNSIGNED else tensor


def _native(value: Any) -> Any:
    """An array in a form that torch takes: writable, of this machine's byte order."""
    if not isinstance(value, np.ndarray):
        return value
    plain = value.flags.writeable and value.dtype.isnative and min(value.strides, default=0) >= 0
    return value if plain else value.astype(value.dtype.newbyteorder("="), order="C")


def joined(batches: Iterable[Samples], what: str) -> Samples:
    """Batches one after the other.

    Raises:
        DataError: There is none, or they differ in structure or in the shape of a sample.
    """
    parts = list(batches)
    if not parts:
        raise DataError(f"{what} has no batches", "give at least one; an iterator is read once")
    first = parts[0]
    for index, part in enumerate(parts):
        part.check(f"batch {index} of {what}")
        if _form(part) != _form(first):
            raise DataError(
                f"{what} has batches of differing samples: inputs {described(first.inputs)}, "
                f"targets {_shape(first)} in the first, inputs {described(part.inputs)}, "
                f"targets {_shape(part)} in number {index}",
                "pad or cut all samples to one shape",
            )
    lists = [leaves(part.inputs) for part in parts]
    columns = iter([torch.cat(column) for column in zip(*lists, strict=True)])
    labels = [part.targets for part in parts if part.targets is not None]
    targets = torch.cat(labels) if labels else None
    return Samples(mapped(first.inputs, lambda _: next(columns)), targets, first.lacking)


def _form(samples: Samples) -> object:
    """What two batches must have in common to be put together."""
    inputs = samples.inputs
    names = tuple(inputs) if isinstance(inputs, dict) else type(inputs)
    shapes = [part.shape[1:] for part in leaves(inputs)]
    return names, shapes, None if samples.targets is None else samples.targets.shape[1:]


def _shape(samples: Samples) -> object:
    return "none" if samples.targets is None else tuple(samples.targets.shape)
