"""Which samples each domain has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from lla.analyses.alignment import AlignConfig
from lla.analyses.analysis import Config
from lla.errors import (
    ConfigurationError,
    DataError,
    LlaError,
    NotApplicableError,
    ProblemError,
    nearest_file,
)
from lla.problem import Dataset, Problem
from lla.problem.checks import check
from lla.sources import with_options

__all__ = ["check_files", "domains_of", "files_of"]

_MOST = 20


def files_of(config: AlignConfig) -> list[str]:
    """The files of the domains, those that are there."""
    named = dict.fromkeys(with_options(source)[0] for source in config.domains.values())
    return [path for path in named if path and Path(path).is_file()]


def check_files(problem: Problem, config: AlignConfig, _: Mapping[str, Config]) -> None:
    """See that the domains' files are there, before anything long runs; nothing is read.

    Raises:
        DataError: One is not.
    """
    for name, source in config.domains.items():
        path, _ = with_options(source)
        if path and ":" not in path and not Path(path).exists():
            raise DataError(
                f"domain '{name}': there is no data file {path}{nearest_file(Path(path))}",
                "correct it: --domain NAME=DATA, or [domains] in the recipe",
            )


def domains_of(problem: Problem, config: AlignConfig) -> dict[str, Dataset]:
    """The domains by name, in the given order; all of them can be put through network and loss.

    Raises:
        NotApplicableError: No domains are given.
        ConfigurationError: There is only one, or what is named does not exist.
        LlaError: A domain's data cannot be read, or does not fit the network; it is named.
    """
    found = dict(_split(problem, config.by) if config.by else problem.domains)
    for name, source in config.domains.items():
        if name in found:
            raise ConfigurationError(f"there are two domains '{name}'", "give them different names")
        found[name] = _read(problem, name, source)
    if not found:
        raise NotApplicableError(
            "no domains are given: --domain NAME=DATA for each, or [domains] in the recipe"
        )
    if len(found) == 1 and not config.by:
        own = problem.data.split or "analysed"
        found = {own if own not in found else f"{own} data": problem.data, **found}
    if len(found) == 1:
        raise ConfigurationError(
            f"all samples are of one domain: '{config.by}' is {next(iter(found))} for each",
            "name a key that tells domains apart, or give them by --domain NAME=DATA",
        )
    for name, data in found.items():
        _check(problem, name, data)
    return found


def _read(problem: Problem, name: str, source: str) -> Dataset:
    if problem.relatives is None:
        raise ConfigurationError(
            f"domain '{name}' names a data file, and the problem was given as objects",
            "give it to the problem: lla.Problem(model, data, domains={NAME: (x, y)})",
        )
    try:
        return problem.relatives.data(source)
    except LlaError as error:
        raise _about(name, error) from error


def _check(problem: Problem, name: str, data: Dataset) -> None:
    """Put a domain through network and loss: shapes, labels, finite values."""
    try:
        check(problem.altered(data=data))
    except LlaError as error:
        raise _about(name, error) from error
    except (ValueError, RuntimeError) as error:
        raise ProblemError(
            f"domain '{name}' does not go through the network and its loss: {error}",
            "give data of the form that the checkpoint was trained on",
        ) from error


def _about(name: str, error: LlaError) -> LlaError:
    """The same error, of a domain."""
    kind = type(error) if type(error) in (ConfigurationError, DataError) else ProblemError
    return kind(f"domain '{name}': {error.reason}", error.remedy)


def _split(problem: Problem, key: str) -> Mapping[str, Dataset]:
    """The analysed samples by the values of another key of the same data."""
    data = problem.data
    if problem.relatives is None:
        raise ConfigurationError(
            f"align.by = '{key}' is a key of a data file, and the problem was given as objects",
            "give the domains to the problem: lla.Problem(model, data, domains={NAME: (x, y)})",
        )
    split = f"split={data.split}&" if data.split else ""
    column = problem.relatives.data(f"?{split}target={key}&classes=[]").targets
    if data.indices is not None:
        column = column[data.indices.to(column.device)]
    if column.ndim != 1 or column.is_floating_point() or len(column) != len(data):
        raise ConfigurationError(
            f"'{key}' has shape {tuple(column.shape)} and is {column.dtype}: no whole number for "
            f"each of the {len(data)} samples",
            "name a key with one whole number for each sample",
        )
    values = sorted(set(column.tolist()))
    if len(values) > _MOST:
        raise ConfigurationError(
            f"'{key}' has {len(values)} values, and each would be a domain",
            f"name a key with at most {_MOST}",
        )
    return {f"{key} {value}": _of(data, column == value) for value in values}


def _of(data: Dataset, where: torch.Tensor) -> Dataset:
    """The samples at some positions."""
    places = where.nonzero()[:, 0]
    chosen = data.select(places)
    kept = None if data.indices is None else data.indices[places.to(data.indices.device)]
    chunk = data.chunk if data.chunk < len(data) else max(1, len(places))
    return replace(
        data,
        inputs=chosen.inputs,
        targets=chosen.targets,
        chunk=chunk,
        available=len(places),
        sha256="",
        indices=kept,
    )
