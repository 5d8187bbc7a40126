"""Further checkpoints of the same network: which files a user means, and the problem at each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from lla.checkpoint import recognize, sha256_of
from lla.errors import CheckpointError, ConfigurationError, ProblemError

if TYPE_CHECKING:
    from lla.problem import Problem

__all__ = ["checkpoints_of", "digest_of_checkpoints", "files_in", "natural", "problem_at"]

_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".pt2")


def checkpoints_of(named: Sequence[str], option: str) -> list[str]:
    """The checkpoints that a user names, in the given order.

    Args:
        named: Files, or patterns and folders, whose checkpoints are taken in natural order (2
            before 10); a folder that is one checkpoint counts as that.
        option: The option that names them, for messages.

    Raises:
        ConfigurationError: A pattern matches none, or a folder holds none.
    """
    return [path for text in named for path in _meant(text, option)]


def _meant(text: str, option: str) -> list[str]:
    if Path(text).is_dir() and not _is_checkpoint(text):
        within = (path for path in Path(text).iterdir() if path.suffix in _SUFFIXES)
        found = sorted(map(str, within), key=natural)
        if not found:
            raise ConfigurationError(
                f"the folder {text} holds no checkpoint ({', '.join(_SUFFIXES)})",
                f"correct {option}, or name the files: {option} '{text}/epoch-*'",
            )
        return found
    if not has_magic(text) or Path(text).exists():
        return [text]
    found = sorted(glob(text, recursive=True), key=natural)
    if not found:
        raise ConfigurationError(
            f"no file matches '{text}'", f"correct {option}; quote patterns: 'epoch-*.pt'"
        )
    return found


def _is_checkpoint(folder: str) -> bool:
    try:
        recognize(folder)
    except CheckpointError:
        return False
    return True


def natural(path: str) -> list[tuple[int, int, str]]:
    """A key to sort names by, numbers in them by their value."""
    parts = re.findall(r"\d+|\D+", path)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def files_in(named: Iterable[str]) -> list[str]:
    """The files behind names, patterns and folders, those that are there."""
    found: list[str] = []
    for text in named:
        for path in [Path(text)] if Path(text).exists() else map(Path, sorted(glob(text))):
            within = sorted(path.iterdir()) if path.is_dir() else [path]
            found += [str(item) for item in within if item.is_file()]
    return found


def digest_of_checkpoints(paths: Iterable[str]) -> str:
    """Digest of what lies behind checkpoints' names; of a name that is no file, the name's."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path}\n".encode())
        for file in files_in([path]):
            digest.update(f"{sha256_of(Path(file))}\n".encode())
    return digest.hexdigest()


def problem_at(problem: Problem, path: str, option: str) -> Problem:
    """The same problem at another checkpoint: its weights, buffers, moments and training.

    Args:
        problem: The analysed checkpoint.
        path: The other one.
        option: The option that names it, for messages.

    Raises:
        LlaError: It cannot be read, or is of another network; or the problem is of live objects.
    """
    if problem.relatives is None:
        raise ConfigurationError(
            f"{option} reads checkpoint files, and the network was given as an object",
            "analyse a checkpoint's file: lla.analyze('model.pt', …)",
        )
    try:
        found = problem.relatives.at(path)
    except ProblemError as error:
        raise ProblemError(
            f"{path} is no checkpoint of the same network: {error.reason}",
            f"leave it out of {option}",
        ) from None
    return found.altered(data=problem.data)
