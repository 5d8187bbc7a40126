"""A mean over random draws: as many as the first ones say are needed, kept where it is stopped."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lla.analyses.keeping import Tiles
from lla.analyses.workspace import Workspace
from lla.estimate import samples_needed

__all__ = ["PILOT", "draws_until"]

PILOT = 10


def draws_until(
    draw: Callable[[int], float],
    workspace: Workspace,
    *,
    name: str,
    depends: tuple[str, ...],
    tolerance: float,
    most: int,
) -> list[float]:
    """Values of independent draws, as many as the first ten say the tolerance needs (Stein 1945).

    Args:
        draw: The value of a draw by its index, NaN where it has none; the index alone decides it.
        workspace: Of the run: keeps the values, tells progress, ends the run.
        name: Of the draws, in words: what they are kept under.
        depends: Settings that the values depend on.
        tolerance: Half-width asked for, relative to the mean.
        most: Draws at most.

    Returns:
        The values in the order of their indices, NaN among them.
    """
    values: list[float] = []
    tiles = Tiles(workspace.keeper, name, depends, lambda: {"values": np.array(values)})
    kept = tiles.load()
    if kept:
        values = kept["values"].tolist()
    count = workspace.tally(name)
    with tiles.running():
        while len(values) < (wanted := _wanted(values, tolerance, most, workspace.confidence)):
            values.append(draw(len(values)))
            count(1)
            workspace.progress.update(len(values), wanted, name)
            tiles.step()
    return values


def _wanted(values: list[float], tolerance: float, most: int, confidence: float) -> int:
    if len(values) < PILOT:
        return min(PILOT, most)
    pilot = [value for value in values[:PILOT] if math.isfinite(value)]
    needed = samples_needed(pilot, tolerance, confidence) if len(pilot) > 1 else most
    return min(most, max(PILOT, needed))
