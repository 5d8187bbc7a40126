"""Whether what a landscape's settings name can be used, before anything long runs."""

from __future__ import annotations

from lla.analyses.checkpoints import problem_at
from lla.analyses.landscape import LandscapeConfig
from lla.analyses.landscape.direction_files import read_directions
from lla.analyses.landscape.directions import kind_of, members, moment
from lla.analyses.landscape.normalization import Moved
from lla.analyses.landscape.series import OPTION, series_files
from lla.problem import Problem
from lla.problem.metrics import with_metrics

__all__ = ["check"]


def check(problem: Problem, config: LandscapeConfig) -> None:
    """See that axes, checkpoints, files, metrics and parameters are there, and can be used.

    An eigenvector's number alone is not held against how many there will be.

    Raises:
        LlaError: One is not.
    """
    panels = (text.partition("/")[0].split("+") for text in config.panel)
    specs = [*config.axes, *(spec for specs in panels for spec in specs)]
    joined = ""
    for spec in dict.fromkeys(specs if config.rule == "add" else ()):
        kind, which = kind_of(spec)
        if kind in ("between", "pca"):
            joined = kind
        elif kind == "adam":
            moment(problem, which)
        elif kind == "file":
            read_directions(which, problem.space)
        elif which and kind in ("hessian", "random"):
            members(which, kind)
    for path in series_files(config.checkpoints, joined) if joined else ():
        problem_at(problem, path, OPTION)
    Moved(config.ignore == "none", config.move, config.freeze).mask(problem.space)
    with_metrics(problem, config.metrics)
