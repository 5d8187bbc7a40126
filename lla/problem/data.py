"""Read the data a recipe names, choose the samples to analyse, and normalize them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from lla.errors import ConfigurationError, DataError, ProblemError
from lla.problem.code import as_guest
from lla.problem.dataset import Dataset
from lla.problem.inputs import Inputs, leaves
from lla.problem.readers import open_store
from lla.problem.readers.images import Picture, stacked
from lla.problem.readers.samples import Samples, Store
from lla.problem.recipe import DataSpec, no_data
from lla.seeding import permutation

__all__ = ["load_data", "make_dataset", "read_pictures"]


def load_data(spec: DataSpec, folder: Path, seed: int, *, needs_targets: bool = True) -> Dataset:
    """The samples that a recipe's ``[data]`` names, on the CPU.

    Args:
        spec: The recipe's section.
        folder: Where a relative source is looked for.
        seed: Seed of the subset, if ``limit`` asks for one.
        needs_targets: Whether the loss compares with targets.

    Raises:
        ConfigurationError: The source is not given, or a key does not exist.
        DataError: The file cannot be read.
        ProblemError: There are no targets, and the loss needs them; or what a factory gives cannot
            be used.
    """
    if not spec.source:
        raise no_data()
    made = spec.source.startswith("factory:")
    try:
        with as_guest(f"reading {spec.source}", "return the samples from the factory instead"):
            store = open_store(spec, folder)
            return make_dataset(store, spec, seed, needs_targets=needs_targets)
    except DataError as error:
        if not made:
            raise
        # No file is unreadable: a function of the user's gives what cannot be used.
        raise ProblemError(error.reason, error.remedy) from error


def make_dataset(
    store: Store, spec: DataSpec, seed: int = 0, *, needs_targets: bool = True
) -> Dataset:
    """The samples to analyse of a store: those of the classes, a seeded subset, normalized.

    Args:
        store: All samples; only those that are chosen are read, where the store can do that.
        spec: Classes, limit, normalization and chunk size.
        seed: Seed of the subset.
        needs_targets: Whether the loss compares with targets.

    Raises:
        ConfigurationError: A class does not exist, or the inputs cannot be normalized.
        DataError: There are no samples, or not as many targets as inputs.
        ProblemError: There are no targets, and the loss needs them.
    """
    what = spec.source or "the data"
    if isinstance(store, Samples):
        store.check(what)
    elif not len(store):
        raise DataError(f"{what} has no samples", "give at least one")
    kept = _of_classes(store, spec, what) if spec.classes else torch.arange(len(store))
    available = len(kept)
    if spec.limit is not None and spec.limit < available:
        # Sorted: the file's order, so that the same subset reads the same whatever its drawing.
        chosen = permutation(available, seed, "data")[: spec.limit].sort().values
        kept = kept[chosen]
    samples = store.take(kept)
    samples.check(what)
    inputs = _normalized(samples.inputs, spec)
    targets = _targets(samples, needs_targets)
    return Dataset(
        inputs=inputs,
        targets=targets,
        chunk=spec.batch_size,
        source=spec.source,
        split=spec.split,
        available=available,
        sha256=_digest(inputs, targets),
        indices=kept,
    )


def read_pictures(paths: Sequence[str], size: torch.Size, spec: DataSpec) -> torch.Tensor:
    """Image files as the network takes them: resized, from 0 to 1, normalized as ``[data]`` says.

    Args:
        paths: The files.
        size: Channels (1: grey, 3: colours), height and width that the network takes.
        spec: Its ``mean`` and ``std``.

    Returns:
        Shape (n, C, H, W), on the CPU.

    Raises:
        ConfigurationError: The network takes neither grey images nor colours.
        DataError: A file cannot be read.
    """
    channels, height, width = size
    if channels not in (1, 3):
        raise ConfigurationError(
            f"image files have 1 channel or 3, and the network takes {channels}",
            "give such images as data: --data images.npz",
        )
    picture = Picture("L" if channels == 1 else "RGB", (height, width))
    found = stacked(paths, lambda index: picture.read(paths[index], paths[index]))
    normalized = _normalized(found, spec)
    assert isinstance(normalized, torch.Tensor)
    return normalized


def _of_classes(store: Store, spec: DataSpec, what: str) -> torch.Tensor:
    """Positions of the samples whose label is wanted, increasing."""
    labels = store.labels()
    if labels is None or labels.ndim != 1 or labels.is_floating_point():
        shape = (
            "has no targets" if labels is None else f"has targets of shape {tuple(labels.shape)}"
        )
        raise ConfigurationError(
            f"[data] classes chooses by class label, and {what} {shape}"
            + (f" and {labels.dtype}" if labels is not None else ""),
            "leave classes out",
        )
    present = set(labels.tolist())
    absent = [label for label in spec.classes if label not in present]
    if absent:
        raise ConfigurationError(
            f"no sample of {what} has label {absent[0]}: [data] classes asks for it",
            f"choose among: {', '.join(map(str, sorted(present)[:20]))}",
        )
    return torch.isin(labels, torch.tensor(spec.classes)).nonzero()[:, 0]


def _targets(samples: Samples, needed: bool) -> torch.Tensor:
    if samples.targets is not None:
        return samples.targets
    if needed:
        raise ProblemError(
            f"the data has no targets, and the loss needs them: {samples.lacking}",
            "name their key: [data] target; a loss without targets is fn(module, batch) -> "
            "(sum, count)",
        )
    return torch.zeros((len(samples), 0), dtype=torch.int64)


def _normalized(inputs: Inputs, spec: DataSpec) -> Inputs:
    """(input − mean) / std, along the channels if there is one value for each."""
    if not spec.mean and not spec.std:
        return inputs
    if not isinstance(inputs, torch.Tensor) or inputs.is_complex():
        kind = "complex" if isinstance(inputs, torch.Tensor) else f"{len(inputs)} tensors"
        raise ConfigurationError(
            f"[data] mean and std apply to a single real input, and the network's input is {kind}",
            "leave them out, and normalize in the factory or the network",
        )
    exact = inputs if inputs.dtype == torch.float64 else inputs.to(torch.float32)
    if spec.mean:
        exact = exact - _along_channels(spec.mean, "mean", exact)
    return exact / _along_channels(spec.std, "std", exact) if spec.std else exact


def _along_channels(values: tuple[float, ...], key: str, inputs: torch.Tensor) -> torch.Tensor:
    channels = inputs.shape[1] if inputs.ndim > 1 else 1
    if len(values) not in (1, channels):
        raise ConfigurationError(
            f"[data] {key} has {len(values)} values, and the inputs of shape "
            f"{tuple(inputs.shape)} have {channels} channels",
            f"give one number, or {channels}",
        )
    along = (-1,) + (1,) * max(inputs.ndim - 2, 0)
    return torch.tensor(values, dtype=inputs.dtype).reshape(along)


def _digest(inputs: Inputs, targets: torch.Tensor) -> str:
    digest = hashlib.sha256()
    if isinstance(inputs, dict):
        digest.update(" ".join(inputs).encode())
    for tensor in (*leaves(inputs), targets):
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
