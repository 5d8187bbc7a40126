"""Side files of a report that is being made: what is finished survives whatever ends the run.

They lie in ``REPORT.parts`` beside the report: one small HDF5 file for each finished stage, and
some for products that were expensive. Each is named by the digest of all it depends on, written
all at once, and sealed with a SHA-256 of its bytes; one that is damaged or of other settings counts
as not there. The folder goes when the report is complete.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from lla.errors import ReportError
from lla.files import replacing
from lla.report import codec, seal
from lla.report.lock import Lock
from lla.report.opening import in_memory
from lla.report.report import Stage

__all__ = ["Arrays", "Parts"]

_log = logging.getLogger("lla")

T = TypeVar("T")
Arrays = Mapping[str, np.ndarray]

_SCHEMA = "lla-part/1"
_LOCK, _FRESH, _PLAN = "lock", "fresh", "plan"
_SHOWN = 12  # digits of the key in a file's name
_SHARE = 4  # of the free disk that one file may take: one part in so many
_OURS = (_LOCK, _FRESH, "*.h5", ".*.????????")


class Parts:
    """The side files of one report, written by one process at a time.

    Attributes:
        target: The report.
        folder: Where its side files are.
        trouble: Why nothing can be kept any more, or "".
        fresh: Whether a run that computes everything anew is under way, or was interrupted.
    """

    def __init__(self, target: Path, tell: Callable[[str], None]) -> None:
        self.target = target
        self.folder = target.with_name(f"{target.name}.parts")
        self.trouble = ""
        self.fresh = False
        self._tell = tell
        self._lock: Lock | None = None

    @classmethod
    @contextmanager
    def opened(
        cls, target: Path, *, fresh: bool = False, tell: Callable[[str], None] = _log.warning
    ) -> Iterator[Parts]:
        """The side files of ``target`` for one run, which alone may write them until it ends.

        Args:
            target: The report.
            fresh: Drop what earlier runs left.
            tell: Told once if nothing can be kept any more.

        Raises:
            ReportInUseError: Another process writes this report.
            ReportError: The folder cannot be written, or something else lies there.
        """
        parts = cls(target, tell)
        parts._open()
        try:
            if fresh:
                parts._clear(keep=_LOCK)
                parts._mark_fresh()
            parts.fresh = (parts.folder / _FRESH).exists()
            yield parts
        finally:
            parts._close()

    def _open(self) -> None:
        try:
            while self._lock is None:
                self.folder.mkdir(exist_ok=True)
                with suppress(FileNotFoundError):  # another process has just removed the folder
                    self._lock = Lock(self.folder / _LOCK, self.target)
        except FileExistsError:
            raise ReportError(
                f"{self.folder} is no folder: what is finished of a report is kept there",
                "move the file away, or choose another place: -o FOLDER/NAME.lla.h5",
            ) from None
        except OSError as error:
            if isinstance(error, PermissionError) or error.errno == errno.EROFS:
                raise self._unwritable(error) from None
            self._give_up(error)  # a full disk, say, may have room again when the report is made

    def _unwritable(self, error: OSError) -> ReportError:
        return ReportError(
            f"the report {self.target} cannot be written: {error.strerror or error}",
            "choose another place: -o FOLDER/NAME.lla.h5",
        )

    def _mark_fresh(self) -> None:
        if not self.trouble:
            with self._trying():
                (self.folder / _FRESH).touch()

    @property
    def worth_keeping(self) -> bool:
        """Whether anything but the plan is kept."""
        return any(not path.name.startswith(f"{_PLAN}-") for path in self.folder.glob("*.h5"))

    def clear(self) -> None:
        """Remove all side files: the report is complete."""
        self._clear(keep=_LOCK)

    def _clear(self, keep: str) -> None:
        for pattern in _OURS:
            for path in self.folder.glob(pattern):
                if path.name != keep:
                    with suppress(OSError):
                        path.unlink()

    def _close(self) -> None:
        if self._lock is None:
            return
        if not self.worth_keeping:
            self._clear(keep=_LOCK)
        self._lock.release()
        with suppress(OSError):  # it is not empty
            self.folder.rmdir()

    def save_stage(self, name: str, key: str, result: Any, stage: Stage) -> bool:
        """Keep a finished stage; ``result`` may be None.

        Returns:
            Whether it could be kept.
        """

        def fill(file: h5py.File) -> None:
            file.attrs["stage"] = json.dumps(vars(stage))
            if result is not None:
                codec.encode(result, file.create_group("result", track_order=True))

        self._save(name, key, fill)
        return not self.trouble

    def load_stage(self, name: str, key: str, type: Any) -> tuple[Any, Stage] | None:
        """A stage that an earlier run finished, with its result of that type."""

        def read(file: h5py.File) -> tuple[Any, Stage]:
            result = codec.decode(type, file["result"]) if "result" in file else None
            return result, Stage(**json.loads(file.attrs["stage"]))

        return self._load(name, key, read)

    def save_arrays(self, name: str, key: str, arrays: Arrays) -> None:
        """Keep a product, unless it is large for the disk."""
        size = sum(array.nbytes for array in arrays.values())
        with suppress(OSError):
            if size > shutil.disk_usage(self.folder).free // _SHARE:
                _log.debug("%s is too large to be kept", name)
                return

        def fill(file: h5py.File) -> None:
            for item, array in arrays.items():
                file.create_dataset(item, data=array)

        self._save(name, key, fill)

    def load_arrays(self, name: str, key: str) -> Arrays | None:
        """A product that an earlier run kept."""
        return self._load(name, key, lambda file: {item: file[item][()] for item in file})

    def save_plan(self, key: str, plan: Mapping[str, Any]) -> None:
        """Keep the plan that a run follows, in plain values."""

        def fill(file: h5py.File) -> None:
            file.attrs["plan"] = json.dumps(plan)

        self._save(_PLAN, key, fill)

    def load_plan(self, key: str) -> dict[str, Any] | None:
        """The plan that an earlier run followed."""
        return self._load(_PLAN, key, lambda file: dict(json.loads(file.attrs["plan"])))

    def _path(self, name: str, key: str) -> Path:
        words = re.sub(r"[^\w.]+", "-", name)
        return self.folder / f"{words}-{key[:_SHOWN]}.h5"

    def _save(self, name: str, key: str, fill: Callable[[h5py.File], None]) -> None:
        if self.trouble:
            return
        # Made in memory: HDF5 does not always tell that the disk is full.
        content = BytesIO()
        with h5py.File(content, "w") as file:
            file.attrs.update({"lla_schema": _SCHEMA, "name": name, "key": key})
            fill(file)
        image = content.getvalue()
        line = seal.line(hashlib.sha256(image).hexdigest())
        with self._trying(), replacing(self._path(name, key)) as temporary:
            temporary.write_bytes(image + line)

    def _load(self, name: str, key: str, read: Callable[[h5py.File], T]) -> T | None:
        path = self._path(name, key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        image = content[: -seal.LENGTH]
        if seal.stated(content) != hashlib.sha256(image).hexdigest():
            _log.debug("%s is damaged: it is computed again", path)
            return None
        try:
            with in_memory(image) as file:
                expected = {"lla_schema": _SCHEMA, "name": name, "key": key}
                if any(file.attrs.get(item) != value for item, value in expected.items()):
                    _log.debug("%s is of something else: it is computed again", path)
                    return None
                return read(file)
        except (OSError, KeyError, ValueError, TypeError) as error:
            _log.debug("%s cannot be read (%s): it is computed again", path, error)
            return None

    @contextmanager
    def _trying(self) -> Iterator[None]:
        """Write as long as it is possible: a run is worth more than its side files."""
        try:
            yield
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.trouble = str(error.strerror or error)
        self._tell(
            f"what is finished cannot be kept in {self.folder} ({self.trouble}): the run goes on, "
            "but could not be resumed"
        )
