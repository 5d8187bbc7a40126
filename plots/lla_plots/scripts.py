"""Templates, scripts and the policy under which a page runs them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
import secrets
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lla.numbers import outcome

__all__ = ["Plotly", "inlined", "plotly_source", "render", "shared"]

# Stands for the page's nonce until the page is complete; no report can hold it.
_NONCE = secrets.token_hex(16)


@dataclass(frozen=True)
class Plotly:
    """Where a page finds plotly.js.

    Attributes:
        packed: The library itself, gzip in base64, or "".
        address: A file beside the page, or "".
        allowed: What the policy says to let it run.
    """

    packed: str = ""
    address: str = ""
    allowed: str = ""


@cache
def plotly_source() -> str:
    """The text of plotly.js as the plotly package brings it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def inlined() -> Plotly:
    """The library within the page: packed, a page is 3 MB smaller and opens before it is unpacked.

    The script that unpacks it adds it to the page as text, which the digest of that text allows.
    """
    # A script's text reads every line end as \n, and the digest is that of what is read.
    source = plotly_source().replace("\r\n", "\n").replace("\r", "\n").encode()
    packed = base64.b64encode(gzip.compress(source, 9, mtime=0)).decode()
    return Plotly(packed=packed, allowed=_digest(source))


def shared(address: str) -> Plotly:
    """The library in a file beside the page.

    Files have no origin that ``'self'`` could name, so a nonce allows it.
    """
    return Plotly(address=address, allowed=f"'nonce-{_NONCE}'")


def render(template: str, plotly: Plotly | None, script: str = "", **values: Any) -> str:
    """A page's text, with a policy under which its own scripts and styles run and nothing loads.

    Args:
        template: Name of the template.
        plotly: Where plotly.js is; None for a page that has nothing to turn.
        script: Name of the page's own script, beside that of a report's page, which is there where
            there is a library to drive.
        **values: What the template shows.
    """
    style = _asset("page.css")
    names = [*(["page.js"] if plotly is not None else []), *([script] if script else [])]
    own = "\n".join(map(_asset, names))
    allowed = [_digest(own.encode())] if own else []
    if plotly is not None:
        allowed.append(plotly.allowed)
    text = (
        _environment()
        .get_template(template)
        .render(
            policy=_policy(allowed, style, plotly=plotly is not None),
            style=Markup(style),
            script=Markup(own),
            plotly=plotly or Plotly(),
            nonce=_NONCE if plotly is not None else "",
            **values,
        )
    )
    # Text cannot contain the digest of what it is part of: nobody can have put it there before.
    return text.replace(_NONCE, hashlib.sha256(text.replace(_NONCE, "").encode()).hexdigest())


def _policy(scripts: list[str], style: str, *, plotly: bool) -> str:
    """A policy under which exactly these scripts run, and nothing is loaded."""
    styles = [_digest(style.encode())]
    if plotly:
        # plotly.js adds style elements of its own.
        styles.append(f"'nonce-{_NONCE}'")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(scripts) or chr(39) + 'none' + chr(39)}",
            f"style-src {' '.join(styles)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _digest(content: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


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
    environment.filters["outcome_words"] = outcome
    environment.filters["symbols"] = _symbols
    environment.filters["breakable"] = _breakable
    return environment


def _symbols(text: str) -> Markup:
    """Escaped text with the indices of λ set low."""
    return Markup(re.sub(r"λ_(max|min)", r"λ<sub>\1</sub>", str(escape(text))))


def _breakable(path: str) -> Markup:
    """An escaped name that may be broken into lines after slashes and underscores."""
    return Markup(re.sub(r"([/_.])", r"\1<wbr>", str(escape(path))))
