"""Which checkpoints a user wants analysed, from names, patterns, folders and manifests."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lla.analyses.checkpoints import checkpoints_of
from lla.checkpoint import split_scheme, stem_of
from lla.errors import ConfigurationError
from lla.settings import COMMAND_LINE

__all__ = ["Wanted", "meant_by", "names_of", "without_repetitions"]

_RESERVED = ("index", "jobs")


@dataclass(frozen=True)
class Wanted:
    """A checkpoint to be analysed, and what of it differs from the others.

    Attributes:
        checkpoint: The file, folder or name, as given.
        name: What it is to be called; "" for one that its file gives.
        recipe: A recipe other than the one beside it.
        values: Sections of settings for it alone.
        origin: Where it was named, for messages.
    """

    checkpoint: str
    name: str = ""
    recipe: str | None = None
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origin: str = COMMAND_LINE


def meant_by(targets: Sequence[str]) -> list[Wanted]:
    """The checkpoints behind names, patterns and folders, in natural order.

    Raises:
        ConfigurationError: A pattern matches nothing, or a folder holds no checkpoint.
    """
    return [Wanted(path) for path in checkpoints_of(targets, "MODEL")]


def without_repetitions(wanted: Iterable[Wanted]) -> tuple[list[Wanted], int]:
    """Each checkpoint once with the same name and settings, in order; and how many were more."""
    found: list[Wanted] = []
    seen, more = set(), 0
    for one in wanted:
        place = os.path.abspath(one.checkpoint) if _is_file(one.checkpoint) else one.checkpoint
        what = (place, one.name, one.recipe, repr(one.values))
        if what in seen:
            more += 1
            continue
        seen.add(what)
        found.append(one)
    return found, more


def names_of(wanted: Sequence[Wanted]) -> list[str]:
    """A name for each, unique and fit for a file: its own, its file's, or with its folders before.

    Raises:
        ConfigurationError: Two are given the same name, or a name is none for a file.
    """
    given = Counter(one.name.casefold() for one in wanted if one.name)
    for one in wanted:
        if one.name and (given[one.name.casefold()] > 1 or _plain(one.name) != one.name):
            why = "two are called so" if given[one.name.casefold()] > 1 else "it is no file's name"
            raise ConfigurationError(
                f"{one.origin}: the name '{one.name}' cannot be used: {why}",
                "choose another of letters, digits, . _ + = and -, other than index and jobs",
            )
    taken = {*given, *_RESERVED}
    names = _by_files([one for one in wanted if not one.name])
    found = []
    for one in wanted:
        base = name = one.name or next(names)
        count = 1
        while not one.name and name.casefold() in taken:
            count += 1
            name = f"{base}-{count}"
        taken.add(name.casefold())
        found.append(name)
    return found


def _by_files(wanted: Sequence[Wanted]) -> Iterator[str]:
    """Names by the files, with as many of their folders as it takes to tell them apart."""
    paths = [_parts(one.checkpoint) for one in wanted]
    for parts in paths:
        depth = 1
        while depth < len(parts) and sum(p[-depth:] == parts[-depth:] for p in paths) > 1:
            depth += 1
        yield _plain("-".join(parts[-depth:]))


def _parts(checkpoint: str) -> list[str]:
    _, place = split_scheme(checkpoint)
    folders = Path(place if not _is_file(checkpoint) else os.path.abspath(place)).parent.parts
    return [*(part for part in folders if part != os.sep), stem_of(checkpoint)]


def _plain(text: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._+=-]+", "_", text).lstrip(".-")
    return plain if plain and plain.casefold() not in _RESERVED else f"{plain}_"


def _is_file(checkpoint: str) -> bool:
    return not split_scheme(checkpoint)[0]
