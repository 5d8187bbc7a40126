"""Whether what a landscape's settings name can be used, before anything long runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lla.analyses.analysis import Config
from lla.analyses.checkpoints import problem_at
from lla.analyses.landscape import LandscapeConfig
from lla.analyses.landscape.direction_files import read_directions
from lla.analyses.landscape.directions import kind_of, members, moment, refuse_beyond
from lla.analyses.landscape.normalization import Moved
from lla.analyses.landscape.series import OPTION, series_files
from lla.analyses.landscape.setting import is_plane, no_plane
from lla.analyses.spectrum import SpectrumConfig
from lla.errors import ConfigurationError
from lla.problem import Problem
from lla.problem.metrics import with_metrics

__all__ = ["check"]


def check(problem: Problem, config: LandscapeConfig, configs: Mapping[str, Config]) -> None:
    """See that axes, checkpoints, files, metrics and parameters are there, and can be used.

    Args:
        problem: Whose landscape.
        config: The landscape's settings.
        configs: Those of all analyses: how many eigenvectors there will be.

    Raises:
        LlaError: One is not.
    """
    if config.rule == "add":
        spectrum = configs.get("spectrum")
        spectrum = spectrum if isinstance(spectrum, SpectrumConfig) else SpectrumConfig()
        pairs = spectrum.largest + spectrum.smallest
        found = _directions(config.axes, problem, config, pairs)
        if is_plane(len(found), config):
            _refuse_same(found)
        for text in config.panel:
            found = _directions(text.partition("/")[0].split("+"), problem, config, pairs)
            if len(found) != 2:
                raise no_plane(text, len(found))
            _refuse_same(found)
    Moved(config.ignore == "none", config.move, config.freeze).mask(problem.space)
    with_metrics(problem, config.metrics)


def _directions(
    specs: Sequence[str], problem: Problem, config: LandscapeConfig, pairs: int
) -> list[str]:
    """What axes are, one by one, as ``hessian:0``; of ``pairs`` eigenvectors at most."""
    found = []
    for spec in specs:
        kind, which = kind_of(spec)
        numbers: Sequence[int | str] = [""]
        if kind in ("hessian", "random"):
            wanted = members(which, kind) if which else [0, -1 if kind == "hessian" else 1]
            if kind == "hessian" and which:
                refuse_beyond(wanted, pairs)
            numbers = wanted
        elif kind == "adam":
            moment(problem, which)
            numbers = [which] if which else ["first", "step"]
        elif kind == "file":
            rows = len(read_directions(which, problem.space))
            numbers = [f"{which}, direction {index}" for index in range(rows)]
        elif kind in ("between", "pca"):
            files = series_files(config.checkpoints, kind)
            for path in files:
                problem_at(problem, path, OPTION)
            numbers = [0] if kind == "between" and len(files) == 1 else [0, 1]
        found += [f"{kind}:{one}" if one != "" else kind for one in numbers]
    return found


def _refuse_same(found: Sequence[str]) -> None:
    if found[0] == found[1]:
        raise ConfigurationError(
            f"the two axes are both {found[0]}: they are parallel, and span no plane",
            "choose another second direction, or one line: --axes hessian:0",
        )
