"""Figures of the alignment between domains: matrices, an embedding, reliability diagrams."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from lla.analyses.alignment import AlignResult, Calibration, Matrix
from lla.numbers import number
from lla_plots.style import (
    BLACK,
    BLUE,
    GREY,
    SKY,
    narrow,
    new_figure,
    page_width,
    root,
    size,
    styled,
)
from lla_plots.text import fitted, symbols, text_width

__all__ = ["embedded", "figures"]

_TITLES = {
    "spectral": "spectral norm of ΔH",
    "gradient": "norm of Δg",
    "hgp": "norm of ΔHg",
    "diagonal": "norm of Δdiag H",
    "cosine": "cosine of gradients",
    "accuracy": "Δ accuracy",
}
_MOST_DIAGRAMS = 12


@styled
def figures(result: AlignResult, caption: str) -> dict[str, Figure]:
    """Draw ``alignment``, ``alignment_domains`` and, with classes, ``reliability``."""
    found = {"alignment": _matrices(result, caption), "alignment_domains": _map(result, caption)}
    if result.calibration is not None:
        found["reliability"] = _reliability(result.calibration, caption)
    return found


def _matrices(result: AlignResult, caption: str) -> Figure:
    names = [name for name in _TITLES if np.isfinite(result.distances[name].value).any()]
    columns = 2 if narrow() else 3
    rows = -(-len(names) // columns)
    marked = any(_within_noise(result.distances[name]).any() for name in names)
    dot = Line2D([], [], ls="none", marker="o", ms=3.5, color="white", mec=BLACK, mew=0.5)
    dot.set_label("no more than what sampling alone gives")
    figure = new_figure(
        page_width(), (0.78 * page_width() / columns) * rows + 0.7, caption,
        title=f"Distances between domains: {result.scope.value}", legend=[dot] if marked else (),
    )  # fmt: skip
    panels = figure.subplots(rows, columns, squeeze=False)
    for index, axes in enumerate(panels.flat):
        if index >= len(names):
            axes.set_visible(False)
            continue
        named = index + columns >= len(names), index % columns == 0
        _draw_matrix(axes, result.distances[names[index]], names[index], named)
    return figure


def _within_noise(matrix: Matrix) -> np.ndarray:
    """Which distances sampling alone may give, shape (E, E); the diagonal does not count."""
    with np.errstate(invalid="ignore"):
        found: np.ndarray = matrix.value <= matrix.noise
    return found & ~np.eye(len(found), dtype=bool)


def _draw_matrix(axes: Axes, matrix: Matrix, name: str, named: tuple[bool, bool]) -> None:
    """Draw one matrix; ``named`` says whether names stand below it and to its left."""
    values, signed = matrix.value, name in ("cosine", "accuracy")
    finite = np.abs(values[np.isfinite(values)])
    top = 1.0 if name == "cosine" else float(finite.max(initial=0.0)) or 1.0
    shading = {"cmap": "RdBu", "vmin": -top, "vmax": top} if signed else {"vmin": 0, "vmax": top}
    image = axes.imshow(values, **shading)
    bar = root(axes).colorbar(image, ax=axes, shrink=0.76 if narrow() else 0.9, aspect=14, pad=0.03)
    bar.ax.tick_params(labelsize=size("tiny"), length=2)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(4)
    bar.update_ticks()
    axes.set_title(symbols(_TITLES[name]))
    count = len(values)
    words = [symbols(fitted(one, 0.75 if narrow() else 0.9, size("small"))) for one in matrix.names]
    below, beside = named
    axes.set_xticks(range(count), words if below else [""] * count, rotation=90)
    axes.set_yticks(range(count), words if beside else [""] * count)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    _write_numbers(axes, values, top, signed=signed)
    rows, columns = np.nonzero(_within_noise(matrix))
    if len(rows):
        high = 0.0 if count > _most_numbers() else 0.32
        axes.plot(columns, rows + high, "o", ms=3.5, color="white", mec=BLACK, mew=0.5)


def _most_numbers() -> int:
    """Domains up to which the numbers find room in their squares."""
    return 3 if narrow() else 5


def _write_numbers(axes: Axes, values: np.ndarray, top: float, *, signed: bool) -> None:
    if len(values) > _most_numbers():
        return
    for row, column in np.ndindex(values.shape):
        value = float(values[row, column])
        share = abs(value) / top if np.isfinite(value) else 0.0
        light = share > 0.6 if signed else share < 0.6
        axes.text(
            column, row, symbols(number(value, 2)) if np.isfinite(value) else "—", ha="center",
            va="center", fontsize=size("small"), color="white" if light else BLACK,
        )  # fmt: skip


def embedded(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """Points in the plane whose distances are near those of a matrix (classical scaling).

    Args:
        matrix: Euclidean distances, shape (E, E).

    Returns:
        The points, shape (E, 2), and the share of the squared distances from the mean that lies in
        the plane.
    """
    count = len(matrix)
    centred = np.eye(count) - 1 / count
    gram = -centred @ np.square(matrix) @ centred / 2
    values, vectors = np.linalg.eigh(gram)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    points = np.zeros((count, 2))
    kept = min(2, count)
    points[:, :kept] = vectors[:, :kept] * np.sqrt(values[:kept])
    total = float(values.sum())
    return points, float(values[:2].sum()) / total if total else 1.0


def _map(result: AlignResult, caption: str) -> Figure:
    """Domains by the Frobenius distance of their Hessians, beside their loss and accuracy."""
    points, share = embedded(result.distances["frobenius"].value)
    domains = result.domains
    stacked = narrow()
    height = (
        0.8 * page_width() + 0.22 * len(domains.names) + 0.6 if stacked else 0.44 * page_width()
    )
    legend = [
        Patch(fc=BLUE, label="accuracy"),
        Line2D([], [], color=BLACK, lw=1.1, marker="|", label="bootstrap interval over samples"),
    ]
    known = bool(np.isfinite(domains.accuracy).any())
    if not known:
        legend[0] = Patch(fc=BLUE, label="loss")
    figure = new_figure(
        page_width(), height, caption, title="Domains by the distance of their Hessians",
        legend=legend,
    )  # fmt: skip
    if stacked:
        left, right = figure.subplots(2, 1, squeeze=False, height_ratios=(2.2, 1))[:, 0]
    else:
        left, right = figure.subplots(1, 2, squeeze=False, width_ratios=(1.25, 1))[0]
    _draw_points(left, points, share, domains.names)
    _draw_bars(right, result, accuracy=known)
    return figure


def _draw_points(axes: Axes, points: np.ndarray, share: float, names: tuple[str, ...]) -> None:
    extent = float(np.ptp(points, axis=0).max()) or 1.0
    inch = 1.5 * extent / ((0.86 if narrow() else 0.38) * page_width())
    for name, point, (dx, dy, side) in zip(
        names, points, _places(points, names, inch), strict=True
    ):
        axes.annotate(
            symbols(name), point, (72 * dx, 72 * dy), textcoords="offset points", ha=side,
            va="center", fontsize=size("small"), annotation_clip=False,
            # Where points lie close together, whose name it is.
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
    axes.plot(points[:, 0], points[:, 1], "o", color=BLUE, ms=6, mec="white")
    middle = points.min(axis=0) + np.ptp(points, axis=0) / 2
    for limit, centre in ((axes.set_xlim, middle[0]), (axes.set_ylim, middle[1])):
        limit(centre - 0.75 * extent, centre + 0.75 * extent)
    axes.set_aspect("equal", adjustable="box")
    axes.set_xlabel(f"‖ΔH‖ in Frobenius' norm; {100 * share:.0f} % of its square in the plane")
    axes.grid()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))


_SIDES = (
    (0.09, 0.0, "left"),
    (-0.09, 0.0, "right"),
    (0.0, 0.13, "center"),
    (0.0, -0.13, "center"),
    (0.07, 0.11, "left"),
    (0.07, -0.11, "left"),
    (-0.07, 0.11, "right"),
    (-0.07, -0.11, "right"),
)


def _places(
    points: np.ndarray, names: tuple[str, ...], inch: float
) -> list[tuple[float, float, str]]:
    """Where each name stands beside its point, so that names and points lie over each other least.

    Args:
        points: Shape (E, 2).
        names: Of the points.
        inch: An inch on paper in the points' units.
    """
    taken = [(x, x, y, y) for x, y in points / inch]
    reach = 0.08
    chosen = []
    for name, (x, y) in zip(names, points / inch, strict=True):
        wide, high = text_width(name, size("small")), size("small") / 72
        boxes = []
        for dx, dy, side in _SIDES:
            left = x + dx - {"left": 0.0, "center": 0.5, "right": 1.0}[side] * wide
            boxes.append((left, left + wide, y + dy - high / 2, y + dy + high / 2))
        # Beside its own point a name stands anyway: what counts is how much of others it covers.
        costs = [sum(_overlap(box, other, reach) for other in taken) for box in boxes]
        best = int(np.argmin(costs))
        taken.append(boxes[best])
        chosen.append(_SIDES[best])
    return chosen


def _overlap(one: tuple[float, ...], other: tuple[float, ...], reach: float) -> float:
    """Area that two boxes share, each (left, right, bottom, top), the other wider by ``reach``."""
    across = min(one[1], other[1] + reach) - max(one[0], other[0] - reach)
    along = min(one[3], other[3] + reach / 2) - max(one[2], other[2] - reach / 2)
    return max(0.0, across) * max(0.0, along)


def _draw_bars(axes: Axes, result: AlignResult, *, accuracy: bool) -> None:
    domains, name = result.domains, "accuracy" if accuracy else "loss"
    places = np.arange(len(domains.names))
    value, low, high = (getattr(domains, f"{name}{end}") for end in ("", "_low", "_high"))
    axes.barh(places, np.nan_to_num(value), color=SKY if not accuracy else BLUE, height=0.6)
    known = np.isfinite(low) & np.isfinite(high)
    if known.any():
        axes.hlines(places[known], low[known], high[known], color=BLACK, lw=1.1)
        for end in (low, high):
            axes.plot(end[known], places[known], "|", color=BLACK, ms=5, mew=1.1)
    names = [symbols(fitted(one, 1.0, size("small"))) for one in domains.names]
    axes.set_yticks(places, names)
    axes.set_ylim(len(places) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("share of right predictions" if accuracy else "loss")


def _reliability(found: Calibration, caption: str) -> Figure:
    """A diagram for each domain, of the first where there are many."""
    count = min(len(found.names), _MOST_DIAGRAMS)
    columns = min(count, 2 if narrow() else 4)
    rows = -(-count // columns)
    side = page_width() / (2 if narrow() else 4)
    left_out = len(found.names) - count
    title = "Accuracy by confidence" + (f" ({left_out} domains left out)" if left_out else "")
    legend = [
        Patch(fc=BLUE, label="share of right predictions"),
        Patch(fc=GREY, alpha=0.5, label="share of all predictions"),
        Line2D([], [], color=BLACK, lw=0.9, ls="--", label="as confident as right"),
    ]
    figure = new_figure(page_width(), 1.08 * side * rows, caption, title=title, legend=legend)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for index, axes in enumerate(panels.flat):
        if index >= count:
            axes.set_visible(False)
            continue
        _draw_diagram(axes, found, index)
        if index % columns == 0:
            axes.set_ylabel("share")
        if index + columns >= count:
            axes.set_xlabel("confidence")
            axes.tick_params(labelbottom=True)
    return figure


def _draw_diagram(axes: Axes, found: Calibration, index: int) -> None:
    width = 1 / len(found.bin)
    all_of = found.count[index] / max(1, int(found.count[index].sum()))
    axes.bar(found.bin, all_of, width, color=GREY, alpha=0.5)
    known = np.isfinite(found.accuracy[index])
    axes.bar(found.bin[known], found.accuracy[index][known], 0.62 * width, color=BLUE)
    axes.plot([0, 1], [0, 1], color=BLACK, lw=0.9, ls="--")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    name = fitted(found.names[index], 1.2, size("text"))
    axes.set_title(symbols(f"{name}: ECE {number(float(found.ece[index]), 2)}"))
