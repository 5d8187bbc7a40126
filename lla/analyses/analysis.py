"""What an analysis is: a configuration, a function, a result, a figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from lla.analyses.fields import check

__all__ = ["Analysis", "Compared", "Config", "Names", "Remedy", "Work", "imported"]


def _listed(value: Any) -> Any:
    texts = value if isinstance(value, (list, tuple)) else [value]
    return tuple(part for text in texts for part in str(text).split(",") if part)


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
"""A setting that takes several names, as a list or between commas."""


class Config(BaseModel):
    """Base of the settings of an analysis: immutable, and unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Work:
    """How much an analysis does, in passes over all samples.

    Attributes:
        evaluations: Evaluations of the loss.
        gradients: Gradients.
        products: Products of single vectors.
        blocks: Products of vectors that share a block.
        spectral: Whether it takes the Hessian's shared products, which the first to ask pays for.
    """

    evaluations: float = 0.0
    gradients: float = 0.0
    products: float = 0.0
    blocks: float = 0.0
    spectral: bool = False


@dataclass(frozen=True, slots=True)
class Compared:
    """How an analysis' metrics are compared between two reports (:mod:`lla.comparing`).

    What a metric needs to have in common, beside data, loss and dtype, is "network" (as many
    parameters in as many layers), "operator" (the matrix of the spectrum), or a setting as
    ``section.key``. A setting that only narrows an interval is none of these.

    Attributes:
        alike: What every metric needs; None: the network and all settings of the analysis.
        also: What some metrics need besides, by name.
        worse: Metrics whose increase is for the worse: what ``lla compare --gate`` watches.
        given: Metrics that repeat a setting: comparable whatever differs.
        indicative: Metrics whose interval leaves out a part of the error: a difference of theirs
            has no confidence, so that their values are shown and not compared.
        checks: Metrics that check the run rather than describe the checkpoint: not compared.
    """

    alike: tuple[str, ...] | None = None
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    worse: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    indicative: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Remedy:
    """What narrows the intervals of some metrics: a setting of the analysis, made larger.

    Attributes:
        metrics: Their names, without the group's.
        setting: A whole number among the analysis' settings.
        factor: By how much to multiply it.
    """

    metrics: tuple[str, ...]
    setting: str
    factor: int


@dataclass(frozen=True, slots=True)
class Analysis:
    """One entry of the registry.

    Attributes:
        name: The stage's name: in ``--only``, in recipes, as a command.
        about: One line for ``--help``.
        group: HDF5 group that holds the result, and prefix of its metric paths.
        config: Its settings, a :class:`Config`.
        result: Its result, a frozen dataclass declared with :mod:`lla.analyses.fields`.
        run: Dotted path ``module:function`` of ``run(problem, config, workspace) -> result``;
            a path and not the function, because it imports torch.
        work: Dotted path of ``work(problem, config) -> (expected, at most)``, two :class:`Work`,
            for predictions; or "": not predicted.
        compared: How its metrics are compared between reports.
        figures: Dotted path of a function from a result and a caption to named figures, or "".
        depends: Settings that its numbers depend on besides its own section, as sections or
            ``section.key``; None: all. The problem, seed, dtype and device always count.
        needs: Its settings one of which has to be given for it to be among all analyses; without
            them it is run where it is asked for by name. Empty: it always is among them.
        sharded: Whether it can do with parameters that are shared among ranks, of which no rank
            holds all.
        files: Dotted path of ``files(config)``, paths of files that its numbers depend on besides
            the problem's own; or "".
        check: Dotted path of ``check(problem, config, configs)``, which raises an error where
            something that the settings name cannot be used: called before any analysis runs, with
            the settings of the others by their names; or "".
        question: What a reader asks of it: the page's heading; by default ``about``.
        summary: Metrics that a summary shows first, in order, without the group's name.
        headline: Metrics that tell checkpoints apart, as (name, title of its column): an index of
            many pages has a column for each.
        remedies: What to do where metrics have not converged.
        sections: Dotted path of ``sections(result)``, the page's sections on it
            (:class:`lla_plots.parts.Section`); or "" for one that follows from the declarations.
        steps: Dotted path of ``steps(result)``, what to do next
            (:class:`lla_plots.parts.Action`) beside the remedies; or "".
    """

    name: str
    about: str
    group: str
    config: type[Config]
    result: type[Any]
    run: str
    work: str = ""
    compared: Compared = Compared()
    figures: str = ""
    depends: tuple[str, ...] | None = None
    needs: tuple[str, ...] = ()
    sharded: bool = False
    files: str = ""
    check: str = ""
    question: str = ""
    summary: tuple[str, ...] = ()
    headline: tuple[tuple[str, str], ...] = ()
    remedies: tuple[Remedy, ...] = ()
    sections: str = ""
    steps: str = ""

    def __post_init__(self) -> None:
        # Wrong declarations are told on import, not after hours when the report is written.
        check(self.result)
        if getattr(self.result, "plot", None) is not None:
            raise TypeError(
                f"{self.result.__name__} cannot be a plot as a whole: put its arrays into a group"
            )


def imported(dotted: str) -> Callable[..., Any]:
    """The object behind ``package.module:name``."""
    module, _, name = dotted.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found
