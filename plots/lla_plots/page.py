"""One self-contained HTML page of a report: no network, opens from a file."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from lla.analyses.analysis import imported
from lla.analyses.landscape import LandscapeResult
from lla.analyses.spectrum import SpectrumResult
from lla.errors import ReportError
from lla.estimate import Estimate
from lla.numbers import confidence, interval, outcome
from lla.report import Report
from lla.report.storage import refuse_page
from lla_plots import advice, interactive, provenance
from lla_plots.draw import render, write
from lla_plots.sections import sections
from lla_plots.style import PALETTE

__all__ = ["html", "write_html"]

_DPI = 120
_GLANCE = (
    ("loss/value", "loss"),
    ("loss/accuracy", "accuracy"),
    ("hessian/lambda_max", "λ_max"),
    ("hessian/trace", "trace of the Hessian"),
    ("stability/lr", "learning rate in use"),
    ("stability/sgd_max_lr", "largest stable rate"),
)
_TITLES = {
    "spectrum": "Density of the Hessian's spectrum",
    "layers": "Trace of the Hessian by layer",
    "stability": "Learning rates that each condition allows",
    "landscape": "Loss over the plane, as a map",
    "surface": "Loss over the plane, as a surface",
    "landscape_cuts": "Cuts through the checkpoint, with the quadratic model",
    "saliency": "NormGrad saliency maps",
}


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        name: Its name.
        title: What it shows.
        png: The image as a data URL.
        plot: Data for plotly.js, or None.
    """

    name: str
    title: str
    png: str
    plot: dict[str, Any] | None = None


def html(report: Report) -> str:
    """The page as text: figures, tables and scripts inlined, nothing loaded from anywhere."""
    pictures: dict[str, Picture] = {}
    by_analysis: dict[str, list[str]] = {}
    for analysis, result in report.analyses():
        found = _pictures(analysis.figures, result, report.caption)
        by_analysis[analysis.name] = list(found)
        pictures.update(found)
    plotly, script = (_plotly(), _asset("page.js")) if _interactive(pictures) else ("", "")
    page = _environment().get_template("page.html.jinja")
    return page.render(
        name=report.checkpoint.path.rpartition("/")[2] or "live module",
        caption=report.caption,
        glance=_glance(report),
        verdicts=[(v.id, v.verdict, outcome(v.verdict), v.why) for v in report.verdicts],
        sections=sections(report, by_analysis),
        pictures=pictures,
        steps=advice.steps(report),
        facts=provenance.facts(report),
        stages=provenance.stages(report),
        settings=provenance.settings(report),
        policy=_policy(plotly, script),
        style=Markup(_asset("page.css")),
        plotly=Markup(plotly),
        script=Markup(script),
    )


def write_html(report: Report, path: str | Path) -> Path:
    """Write the page; a former page is replaced, once the new one is complete, and nothing else.

    Raises:
        ReportError: The file cannot be written, or is there already and no page of a report.
    """
    target = Path(path)
    refuse_page(target)
    content = html(report).encode()
    try:
        return write(target, content)
    except OSError as error:
        raise ReportError(
            f"the page cannot be written to '{target}': {error.strerror or error}",
            "choose another file with --output",
        ) from None


def _pictures(dotted: str, result: Any, caption: str) -> dict[str, Picture]:
    figures = imported(dotted)(result, caption) if dotted else {}
    return {
        name: Picture(
            name,
            _TITLES.get(name, name.replace("_", " ")),
            _data_url(figure),
            _plot(name, result),
        )
        for name, figure in figures.items()
    }


def _data_url(figure: Figure) -> str:
    """The figure as a PNG with a palette, a third of the size of one without."""
    stream = BytesIO()
    with Image.open(BytesIO(render(figure, "png", _DPI))) as picture:
        _with_palette(picture.convert("RGB")).save(stream, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _with_palette(picture: Image.Image) -> Image.Image:
    """The picture in 256 colours: the frequent ones, and those of marks of a few pixels."""
    fixed = [ImageColor.getrgb(color)[:3] for color in PALETTE]
    frequent = picture.quantize(256 - len(fixed)).getpalette() or []
    palette = np.concatenate((fixed, np.reshape(frequent, (-1, 3))))[:256].astype(np.int32)
    pixels = np.asarray(picture, dtype=np.int32)
    codes, places = np.unique(pixels @ np.array([1 << 16, 1 << 8, 1]), return_inverse=True)
    colors = np.stack((codes >> 16, codes >> 8 & 255, codes & 255), axis=1)
    nearest = [((palette - color) ** 2).sum(axis=1).argmin() for color in colors]
    found = Image.fromarray(np.array(nearest, dtype=np.uint8)[places.reshape(pixels.shape[:2])])
    found.putpalette(palette.astype(np.uint8).tobytes())
    return found


def _plot(name: str, result: Any) -> dict[str, Any] | None:
    if name == "spectrum" and isinstance(result, SpectrumResult):
        return interactive.spectrum(result)
    if name == "surface" and isinstance(result, LandscapeResult):
        return interactive.surface(result)
    return None


def _interactive(pictures: dict[str, Picture]) -> bool:
    return any(picture.plot for picture in pictures.values())


def _glance(report: Report) -> list[tuple[str, str, str]]:
    metrics = report.metrics
    return [
        (title, interval(value), confidence(value))
        for path, title in _GLANCE
        if isinstance(value := metrics.get(path), Estimate)
    ]


def _policy(*scripts: str) -> str:
    """A policy under which exactly these scripts run, and nothing is loaded."""
    digests = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
        if script
    )
    return (
        f"default-src 'none'; script-src {digests or chr(39) + 'none' + chr(39)}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    # HTML reads every line end as \n; the digest in the policy must be that of what is read.
    return str(get_plotlyjs()).replace("\r\n", "\n").replace("\r", "\n")


@cache
def _asset(name: str) -> str:
    return (files("lla_plots") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lla_plots"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["symbols"] = _symbols
    return environment


def _symbols(text: str) -> Markup:
    """Escaped text with the indices of λ set low."""
    return Markup(re.sub(r"λ_(max|min)", r"λ<sub>\1</sub>", str(escape(text))))
