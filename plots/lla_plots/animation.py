"""The way of a training over its plane as an animation: one checkpoint more in each frame."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lla.analyses.landscape import LandscapeResult, Trajectory
from lla.errors import ConfigurationError, NothingToDoError, ReportError, nearest
from lla.files import replacing
from lla.numbers import number
from lla.report import Report
from lla_plots.landscape import draw_contour
from lla_plots.maps import TRAJECTORY
from lla_plots.plane import masked_loss
from lla_plots.style import VERMILLION, drawn_at, narrow, size, styled
from lla_plots.text import symbols, wrapped

__all__ = ["ANIMATED", "animate", "animated", "frames", "pictures"]

ANIMATED = ("gif", "mp4")

_DPI = 110
_SECONDS = 0.5  # that each frame is shown
_HELD = 2.5  # that the last one is
_RATE = 20  # frames a second of a film
_HEAD: dict[str, Any] = {"marker": "o", "ms": 7, "mfc": "none", "mec": VERMILLION, "mew": 1.6}


def animate(report: Report, kind: str, folder: Path, stem: str, width: float = 180.0) -> Path:
    """Write the trajectory of a report's landscape as an animation.

    Args:
        report: Has a landscape over a plane with other checkpoints on it.
        kind: "gif", or "mp4", which takes ffmpeg.
        folder: Where to; made if it is not there.
        stem: Beginning of the file's name.
        width: What figures are drawn for, in mm.

    Returns:
        The file; a former version is replaced when the new one is complete.

    Raises:
        ConfigurationError: There is no such kind, or no ffmpeg.
        NothingToDoError: The report has no trajectory.
        ReportError: The file cannot be written.
    """
    write = _writer(kind)
    result = animated(report)
    path = folder / f"{stem}.{kind}"
    with drawn_at(width):
        shown = pictures(result, report.caption)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            write(shown, temporary, report.caption)
    except OSError as error:
        raise ReportError(
            f"{path} cannot be written: {error.strerror or error}", "choose another folder: -o"
        ) from None
    return path


def animated(report: Report) -> LandscapeResult:
    """The landscape of a report, if there is a trajectory to animate.

    Raises:
        NothingToDoError: There is none.
    """
    result: LandscapeResult | None = report.results.get("landscape")
    make = "make one: lla landscape MODEL --axes pca --checkpoints 'runs/epoch-*.pt'"
    if result is None or result.surface is None or result.trajectory is None:
        raise NothingToDoError("the report has no trajectory over a plane to animate", make)
    if not masked_loss(result).count():
        raise NothingToDoError("no point of the report's landscape is finite", make)
    return result


@styled
def pictures(result: LandscapeResult, caption: str) -> list[np.ndarray]:
    """The frames as pixels, each of shape (y, x, 3), uint8."""
    return [_pixels(figure) for figure in frames(result, caption)]


def frames(result: LandscapeResult, caption: str) -> Iterator[Figure]:
    """One figure after another, the same object each time: draw it before asking for the next.

    For use inside of a function that is ``styled``.

    The first shows the first checkpoint, the last the whole way, as the still figure does.

    Args:
        result: Has a surface and a trajectory.
        caption: The footer's text.
    """
    trajectory = result.trajectory
    assert trajectory is not None
    figure = draw_contour(result, caption)
    axes = figure.axes[0]
    (way,) = [line for line in axes.lines if line.get_gid() == TRAJECTORY]
    head = axes.plot([], [], **_HEAD)[0]
    # As many lines in every frame: nothing may move but the way.
    told = [_told(trajectory, index) for index in range(len(trajectory.names))]
    lines = max(text.count("\n") for text in told)
    told = [text + "\n" * (lines - text.count("\n")) for text in told]
    axes.set_title(told[-1], fontsize=size("small"))
    figure.canvas.draw()
    figure.set_layout_engine("none")
    for index, text in enumerate(told):
        way.set_data(*trajectory.coordinates[: index + 1].T)
        head.set_data(*trajectory.coordinates[index : index + 1].T)
        axes.set_title(text, fontsize=size("small"))
        yield figure


def _told(trajectory: Trajectory, index: int) -> str:
    """Which checkpoint a frame has come to, and its losses."""
    parts = [f"{index + 1} of {len(trajectory.names)}", trajectory.names[index]]
    if trajectory.epoch is not None and np.isfinite(trajectory.epoch[index]):
        parts.append(f"epoch {number(float(trajectory.epoch[index]), 6)}")
    for name, values in (
        ("loss", trajectory.loss),
        ("on the plane", trajectory.plane_loss),
        ("off the plane by", trajectory.distance),
    ):
        if np.isfinite(values[index]):
            parts.append(f"{name} {number(float(values[index]), 3)}")
    room = 3.0 if narrow() else 6.0
    return symbols("\n".join(wrapped(" · ".join(parts), room, size("small"), joint=" · ")))


def _pixels(figure: Figure) -> np.ndarray:
    """What a figure looks like; both sides even, as films need."""
    figure.set_dpi(_DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    shown = np.asarray(canvas.buffer_rgba())[..., :3]
    height, width = shown.shape[:2]
    even = ((0, height % 2), (0, width % 2), (0, 0))
    found: np.ndarray = np.pad(shown, even, mode="edge")
    return found


def _writer(kind: str) -> Any:
    if kind == "gif":
        return _gif
    if kind != "mp4":
        raise ConfigurationError(
            f"there is no animation '{kind}'{nearest(kind, ANIMATED)}",
            f"the kinds are: {', '.join(ANIMATED)}",
        )
    if shutil.which("ffmpeg") is None:
        raise ConfigurationError(
            "mp4 needs the program ffmpeg, which is not found in PATH",
            "install it (apt install ffmpeg, brew install ffmpeg, conda install ffmpeg), or "
            "write a GIF: --format gif",
        )
    return _mp4


def _gif(pictures: list[np.ndarray], path: Path, caption: str) -> None:
    """All frames in one palette: that of the last, which has every colour."""
    from PIL import Image

    images = [Image.fromarray(picture) for picture in pictures]
    palette = images[-1].quantize(256)
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    times = [round(1000 * _SECONDS)] * (len(flat) - 1) + [round(1000 * _HELD)]
    flat[0].save(
        path, format="GIF", save_all=True, append_images=flat[1:], duration=times, loop=0,
        comment=caption.encode(),
    )  # fmt: skip


def _mp4(pictures: list[np.ndarray], path: Path, caption: str) -> None:
    """Frames through ffmpeg, the last as often as it is to stay; players want more a second."""
    height, width = pictures[0].shape[:2]
    held = [pictures[-1]] * (round(_HELD / _SECONDS) - 1)
    stream = b"".join(picture.tobytes() for picture in [*pictures, *held])
    command = [
        "ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{width}x{height}", "-framerate", str(1 / _SECONDS), "-i", "-",
        "-r", str(_RATE), "-pix_fmt", "yuv420p",
        "-movflags", "+faststart", "-metadata", f"comment={caption}", "-f", "mp4", str(path),
    ]  # fmt: skip
    done = subprocess.run(command, input=stream, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ReportError(
            f"ffmpeg could not write the film: {said[-1] if said else done.returncode}",
            "write a GIF: --format gif",
        )
