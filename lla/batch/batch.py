"""A batch: checkpoints and settings → jobs in a folder, carried out, with a journal.

The folder holds a report for each checkpoint and, in ``jobs/``, the journal, what workers print,
and how far they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lla.batch.digests import Digests
from lla.batch.executors.executor import Executor
from lla.batch.job import Job, Outcome
from lla.batch.journal import Journal, Record
from lla.batch.runner import Row, carry_out_all, skip_done
from lla.batch.wanted import Wanted, names_of
from lla.checkpoint import Format, Trust, recognize, split_scheme
from lla.errors import LlaError, ReportError, ReportInUseError
from lla.problem.recipe import no_data, no_factory
from lla.report.lock import Lock
from lla.report.storage import about, refuse_target
from lla.settings import COMMAND_LINE, Settings, gather, resolve
from lla.sources import Layers, Source

__all__ = ["Batch", "Terms"]

Sections = Mapping[str, Mapping[str, Any]]

_JOBS, _LOCK, _JOURNAL, _LOGS, _PROGRESS = "jobs", "lock", "journal.jsonl", "logs", "progress"
_ANEW = "to be computed anew"
_GRAVEST = (70, 5, 2, 3)  # of several exit codes, which one stands for all


@dataclass(frozen=True)
class Terms:
    """What holds for all jobs of a batch.

    Attributes:
        flags: Sections of settings, as a command line states them.
        environment: Variables of the process.
        recipe: A recipe for all that state none.
        trust: What in checkpoints may be run.
        threads: Threads of each job that states none.
        timeout: Seconds after which a job is ended; 0: never.
        fresh: Whether everything is computed anew.
    """

    flags: Sections
    environment: Mapping[str, str]
    recipe: str | None = None
    trust: Trust = field(default_factory=Trust)
    threads: int = 1
    timeout: float = 0.0
    fresh: bool = False


class Batch:
    """The jobs of a folder, for one process at a time.

    Attributes:
        folder: Where reports and index go.
        logs: Where what workers print goes.
        rows: The jobs, in the order in which they were named.
        journal: What has become of them.
    """

    def __init__(self, folder: Path, rows: Sequence[Row], journal: Journal) -> None:
        self.folder, self.rows, self.journal = folder, rows, journal
        self.logs = folder / _JOBS / _LOGS

    @classmethod
    @contextmanager
    def opened(
        cls,
        wanted: Sequence[Wanted],
        folder: Path,
        terms: Terms,
        *,
        tell: Callable[[str], None],
    ) -> Iterator[Batch]:
        """The batch of these checkpoints; what is done already is marked as skipped.

        Args:
            wanted: The checkpoints.
            folder: Where reports go; made if it does not exist.
            terms: What holds for all.
            tell: Told what is not as it should be.

        Raises:
            ReportInUseError: Another process is at work in the folder.
            ReportError: The folder cannot be written, or holds other things under these names.
            ConfigurationError: A setting for all is invalid.
        """
        names = _names(wanted, terms)
        folder = Path(os.path.abspath(folder))
        with _alone(folder):
            yield cls._of(wanted, names, folder, terms, tell)

    @classmethod
    def foreseen(cls, wanted: Sequence[Wanted], folder: Path, terms: Terms) -> Batch:
        """The same to be looked at: nothing is made or changed, whoever works in the folder.

        Raises:
            ReportError: The folder could not be written.
            ConfigurationError: A setting for all is invalid.
        """
        names = _names(wanted, terms)
        folder = Path(os.path.abspath(folder))
        there = next(part for part in (folder, *folder.parents) if part.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            why = "you may not write there" if there.is_dir() else f"{there} is no folder"
            raise _unwritable(folder, why)
        return cls._of(wanted, names, folder, terms, lambda text: None)

    @classmethod
    def _of(
        cls,
        wanted: Sequence[Wanted],
        names: Sequence[str],
        folder: Path,
        terms: Terms,
        tell: Callable[[str], None],
    ) -> Batch:
        journal, digests = Journal(folder / _JOBS / _JOURNAL, tell), Digests()
        rows = [
            _row(one, name, folder, terms, digests) for one, name in zip(wanted, names, strict=True)
        ]
        if not terms.fresh:
            skip_done(rows, journal.records)
        return cls(folder, [_as_before(row, journal) for row in rows], journal)

    def run(
        self,
        executor: Executor,
        *,
        retries: int,
        tick: Callable[[Row | None], None],
        stop: Callable[[], bool],
    ) -> None:
        """Carry out the jobs that wait; see :func:`lla.batch.runner.carry_out_all`.

        Raises:
            LlaError: The executor cannot carry out such jobs; none is begun then.
        """
        waiting = [row.job for row in self.rows if row.state == "waiting"]
        if waiting:
            executor.prepare(waiting)

        def ended(row: Row) -> None:
            if row.record and row.state != "stopped":
                self.journal.add(row.record)
            with suppress(OSError):
                Path(row.job.progress).unlink(missing_ok=True)

        for row in self.rows:
            if row.state == "failed" and row.record:
                ended(row)
                tick(row)
            elif row.job.fresh:
                # Whoever goes on after this batch was stopped is not to take the old report.
                self.journal.add(Record(row.job.name, row.key, Outcome("stopped", 0, _ANEW), 0))
        carry_out_all(self.rows, executor, retries=retries, ended=ended, tick=tick, stop=stop)

    @property
    def exit_code(self) -> int:
        """0 where every report is there; otherwise the gravest code of those that are not."""
        codes = {row.record.outcome.exit_code for row in self.rows if row.record} - {0}
        return min(codes, key=lambda c: _GRAVEST.index(c) if c in _GRAVEST else -1, default=0)


def _names(wanted: Sequence[Wanted], terms: Terms) -> list[str]:
    """A name for each, once the settings for all are known to be right."""
    resolve([Source(COMMAND_LINE, terms.flags)], terms.environment)
    return names_of(wanted)


def _unwritable(folder: Path, why: str) -> ReportError:
    return ReportError(f"{folder} cannot be written: {why}", "choose another: -o FOLDER")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Within: the folder and its ``jobs`` are there, and no other batch works in them.

    Where nothing was begun, what was made for it is gone afterwards.
    """
    place, made = folder / _JOBS, not folder.exists()
    try:
        for part in (place / _LOGS, place / _PROGRESS):
            part.mkdir(parents=True, exist_ok=True)
        lock = Lock(place / _LOCK, folder)
        _sweep(place / _PROGRESS)
    except ReportInUseError as error:
        raise ReportInUseError(error.reason, "wait for it, or choose another: -o FOLDER") from None
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from None
    try:
        yield
    finally:
        begun = (place / _JOURNAL).exists()
        if not begun:
            _remove_empty(place)
        lock.release()
        if not begun:
            for part in (place, folder) if made else (place,):
                with suppress(OSError):
                    part.rmdir()


def _remove_empty(place: Path) -> None:
    """Remove the folders in it that hold nothing."""
    for folder, _, _ in os.walk(place, topdown=False):
        if folder != str(place):
            with suppress(OSError):
                os.rmdir(folder)


def _sweep(progress: Path) -> None:
    """Remove what workers that were killed have said of how far they are."""
    with suppress(OSError):
        for path in progress.iterdir():
            path.unlink(missing_ok=True)


def _row(one: Wanted, name: str, folder: Path, terms: Terms, digests: Digests) -> Row:
    """A checkpoint's job; one that cannot be begun has failed already."""
    job, key = _job(one, name, folder, terms), ""
    try:
        format = recognize(one.checkpoint)  # a wrong file is told before anything is loaded
        settings = gather(
            one.checkpoint,
            recipe=Path(job.recipe) if job.recipe else None,
            flags=job.flags,
            environment=terms.environment,
        )
        settings.selected()
        _refuse_unstated(one.checkpoint, format, settings, terms.trust)
        _refuse_another(one.checkpoint, Path(job.report))
        key = digests.of(one.checkpoint, settings)
    except LlaError as error:
        row = Row(job, key, "failed")
        said = error.reason if one.origin == Wanted("").origin else f"{error.reason} ({one.origin})"
        row.record = Record(name, key, Outcome("failed", 0, said, error.remedy, error.exit_code), 0)
        return row
    # The worker reads no variables: those of this process count, whatever machine it is on.
    sections = settings.sections()
    flags = {
        section: {k: v for k, v in keys.items() if f"{section}.{k}" in settings.origins}
        for section, keys in sections.items()
    }
    flags["run"] = {"threads": terms.threads, **flags["run"]}
    return Row(Job(**{**vars(job), "flags": {s: v for s, v in flags.items() if v}}), key)


def _as_before(row: Row, journal: Journal) -> Row:
    """A job that a fresh batch did not get to is computed anew by whoever goes on with it."""
    record = journal.records.get(row.job.name)
    anew = record is not None and record.outcome.reason == _ANEW and row.state == "waiting"
    return replace(row, job=replace(row.job, fresh=True)) if anew else row


def _job(one: Wanted, name: str, folder: Path, terms: Terms) -> Job:
    layers = Layers()
    for values, origin in ((one.values, one.origin), (terms.flags, COMMAND_LINE)):
        for section, keys in values.items():
            layers.add(section, keys, origin)
    named = bool(split_scheme(one.checkpoint)[0])
    return Job(
        name=name,
        checkpoint=one.checkpoint if named else os.path.abspath(one.checkpoint),
        report=str(folder / f"{name}.lla.h5"),
        folder=os.getcwd(),
        flags=layers.values,
        recipe=one.recipe or terms.recipe,
        allowed=terms.trust.names,
        unsafe=terms.trust.everything,
        progress=str(folder / _JOBS / _PROGRESS / f"{name}.json"),
        timeout=terms.timeout,
        fresh=terms.fresh,
    )


def _refuse_unstated(checkpoint: str, format: Format, settings: Settings, trust: Trust) -> None:
    """Refuse a checkpoint without network or data, as far as it can be told without loading it.

    Raises:
        UnstatedError: There is no problem without what is not stated.
    """
    # What brings its network runs as it is; a pickled module does where the user trusts the file.
    weights = format in (Format.SAFETENSORS, Format.SHARDED, Format.DISTRIBUTED)
    pickled = format in (Format.TORCH, Format.TORCH_LEGACY)
    trusted = trust.everything or trust.names
    with settings.pointing_to_recipe():
        if not settings.model.factory and (weights or (pickled and not trusted)):
            raise no_factory(checkpoint, "brings no network, and no factory is named")
        if not settings.data.source:
            raise no_data()


def _refuse_another(checkpoint: str, report: Path) -> None:
    """Refuse to replace what is no report, or the report of another checkpoint.

    Raises:
        ReportError: Something else lies there.
    """
    if report.parent.exists():  # a batch that is only looked at makes no folder
        refuse_target(report)
    found = about(report)
    if found and os.path.abspath(found.path) != os.path.abspath(checkpoint):
        raise ReportError(
            f"{report} is the report of another checkpoint, {found.path}: it is not replaced",
            "choose another folder: -o FOLDER, or give this one a name in a manifest",
        )
