"""What a policy says: gates, waivers, overrides for some checkpoints, and defaults."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lla.estimate import Outcome as Word
from lla.numbers import number

__all__ = ["BaselineLimits", "Defaults", "Gate", "Kind", "Override", "Policy", "Severity", "Waiver"]

Severity = Literal["error", "warning"]
_KINDS = ("max", "min", "between", "baseline", "verdict")


class Kind(StrEnum):
    """What a gate holds a checkpoint against."""

    MAX = "max"
    MIN = "min"
    BETWEEN = "between"
    BASELINE = "baseline"
    VERDICT = "verdict"


class _Table(BaseModel):
    """A table of a policy: immutable, and unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BaselineLimits(_Table):
    """How much a metric may change against the baseline; relative changes are of its size."""

    max_increase: float | None = Field(None, ge=0, description="largest increase allowed")
    max_increase_rel: float | None = Field(None, ge=0, description="the same, 0.25 for a quarter")
    max_decrease: float | None = Field(None, ge=0, description="largest decrease allowed")
    max_decrease_rel: float | None = Field(None, ge=0, description="the same, 0.25 for a quarter")
    across: tuple[str, ...] = Field((), description="what may differ: as lla compare --across")

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are given, by key."""
        found = {key: getattr(self, key) for key in BaselineLimits.model_fields if key != "across"}
        return {key: value for key, value in found.items() if value is not None}


class Defaults(_Table):
    """What holds where a gate does not say otherwise, and how far an audit goes."""

    confidence: float = Field(0.95, gt=0.5, lt=1, description="at which an interval has to hold")
    on_inconclusive: Literal["exit4", "warn"] = Field("exit4", description="exit4 or warn")
    severity: Severity = Field("error", description="error or warning")
    include_sampling: bool = Field(
        False, description="whether the error from having analysed a sample counts"
    )
    further_runs: int = Field(
        1, ge=0, le=10, description="runs with a tighter tolerance, at most, before giving up"
    )
    baseline: str = Field("", description="report, or folder of reports, to compare with")


class Gate(_Table):
    """One gate, with the defaults filled in.

    Attributes:
        line: Where its table starts in the policy's file; 0: nowhere.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9_.\-]+$", description="letters, digits, . _ and -")
    metric: str = Field("", description="path of a metric, as hessian/lambda_max")
    max: float | None = Field(None, description="the metric's largest value allowed")
    min: float | None = Field(None, description="the metric's smallest value allowed")
    between: tuple[float, float] | None = Field(None, description="both, as [0.1, 0.3]")
    baseline: BaselineLimits | None = Field(
        None, description="change allowed against a baseline, as { max_increase_rel = 0.25 }"
    )
    verdict: str = Field("", description="id of a verdict in the report, as stability.gd")
    accept: tuple[Word, ...] = Field(
        ("consistent", "at_edge"), description="the verdict's words that pass"
    )
    severity: Severity = Field("error", description="error or warning")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="at which an interval has to hold")
    include_sampling: bool = Field(
        False, description="whether the error from having analysed a sample counts"
    )
    on_inconclusive: Literal["exit4", "warn"] = Field("exit4", description="exit4 or warn")
    required: bool = Field(
        True, description="whether it counts as inconclusive where it cannot be evaluated"
    )
    skip: bool = Field(False, description="leave it out; for overrides")
    why: str = Field("", description="the reason for the limit, for people")
    line: int = 0

    @field_validator("accept", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("accept")
    @classmethod
    def _decides(cls, value: tuple[Word, ...]) -> tuple[Word, ...]:
        if not value:
            raise ValueError("it is empty: such a gate cannot pass")
        if {"inconclusive", "not_applicable"} & set(value):
            raise ValueError(
                "inconclusive and not_applicable decide nothing: see required, on_inconclusive"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Gate:
        given = [key for key in _KINDS if getattr(self, key) not in (None, "")]
        if len(given) != 1:
            told = f"it has {' and '.join(given)}" if given else "it has no limit"
            raise ValueError(f"{told}: a gate has one of {', '.join(_KINDS)}")
        if bool(self.metric) == bool(self.verdict):
            has = "both a metric and" if self.metric else "neither a metric nor"
            raise ValueError(f"it has {has} a verdict: a gate is about one of them")
        if self.between and self.between[0] > self.between[1]:
            low, high = self.between
            raise ValueError(f"nothing lies between {number(low)} and {number(high)}: turn them")
        if self.baseline and not self.baseline.limits:
            keys = (key for key in BaselineLimits.model_fields if key != "across")
            raise ValueError(f"its baseline has no limit: give one of {', '.join(keys)}")
        return self

    @property
    def kind(self) -> Kind:
        """What it holds a checkpoint against."""
        return next(Kind(key) for key in _KINDS if getattr(self, key) not in (None, ""))

    @property
    def subject(self) -> str:
        """What it is about: a metric's path or a verdict's id."""
        return self.metric or self.verdict

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value allowed of a gate on a metric's value."""
        if self.between:
            return self.between
        return (
            -math.inf if self.min is None else self.min,
            math.inf if self.max is None else self.max,
        )

    @property
    def asks(self) -> str:
        """What it asks for, in words: ``hessian/lambda_max at most 250``."""
        if self.verdict:
            words = " or ".join(word.replace("_", " ") for word in self.accept)
            return f"{self.verdict} {words}"
        if self.baseline:
            words = ", ".join(_allowance(*item) for item in self.baseline.limits.items())
            return f"{self.metric} {words}, against the baseline"
        low, high = self.limits
        if self.between:
            return f"{self.metric} between {number(low)} and {number(high)}"
        if self.max is not None:
            return f"{self.metric} at most {number(high)}"
        return f"{self.metric} at least {number(low)}"


def _allowance(key: str, limit: float) -> str:
    relative = key.endswith("_rel")
    size = f"{number(100 * limit)} %" if relative else number(limit)
    return f"at most {size} {'up' if 'increase' in key else 'down'}"


class Waiver(_Table):
    """A gate that is known not to pass, for a while."""

    gate: str = Field(description="id of the gate")
    checkpoint: str = Field("*", description="glob of the checkpoints or reports it is for")
    reason: str = Field(min_length=1, description="why, for people")
    expires: date = Field(description="the last day on which it holds (UTC), as 2027-03-01")
    line: int = 0

    def covers(self, gate: str, names: Collection[str]) -> bool:
        """Whether it is for this gate and a checkpoint of these names."""
        return gate == self.gate and matches(self.checkpoint, names)


@dataclass(frozen=True)
class Override:
    """Other settings of a gate for some checkpoints.

    Attributes:
        gate: Id of the gate.
        checkpoint: Glob of the checkpoints or reports it is for.
        made: The gate with these settings.
        line: Where its table starts.
    """

    gate: str
    checkpoint: str
    made: Gate
    line: int


@dataclass(frozen=True)
class Policy:
    """A policy.

    Attributes:
        path: Its file.
        gates: What checkpoints have to pass, in order.
        waivers: What they need not pass, and until when.
        overrides: Other settings for some checkpoints; the last that matches counts.
        defaults: What holds elsewhere.
        section: "tool.lla.audit" where it is a part of a project file, or "".
    """

    path: str
    gates: tuple[Gate, ...]
    waivers: tuple[Waiver, ...] = ()
    overrides: tuple[Override, ...] = ()
    defaults: Defaults = field(default_factory=Defaults)
    section: str = ""

    @property
    def place(self) -> str:
        """Its file as seen from here, which in CI is the repository; absolute if beyond it."""
        path = Path(self.path)
        if path.is_absolute() and path.is_relative_to(Path.cwd()):
            path = path.relative_to(Path.cwd())
        return path.as_posix()

    def gates_for(self, names: Collection[str]) -> tuple[Gate, ...]:
        """The gates of a checkpoint that has these names, with overrides applied."""
        made: Mapping[str, Gate] = {
            entry.gate: entry.made for entry in self.overrides if matches(entry.checkpoint, names)
        }
        found = (made.get(gate.id, gate) for gate in self.gates)
        return tuple(gate for gate in found if not gate.skip)


def matches(glob: str, names: Collection[str]) -> bool:
    """Whether a glob matches one of a checkpoint's names; ``*`` takes in slashes."""
    return any(
        fnmatchcase(form, glob)
        for name in names
        if name
        for form in (name, posixpath.normpath(name))
    )
