"""What a reader is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lla.errors import DataError, LlaError
from lla.problem.recipe import DataSpec

__all__ = ["Request", "reading"]


@dataclass(frozen=True)
class Request:
    """A source, without its scheme.

    Attributes:
        where: A path or a name.
        folder: Where a relative path starts.
        spec: All keys of ``[data]``.
    """

    where: str
    folder: Path
    spec: DataSpec

    @property
    def path(self) -> Path:
        """The source as a path."""
        return self.folder / self.where


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Turn whatever goes wrong in reading a file into a DataError of one line."""
    try:
        yield
    except LlaError:
        raise
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} cannot be read: {text}", remedy) from error
