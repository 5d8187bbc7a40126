"""How an audit is written down: one module per format, all behind one function."""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from lla.audit.findings import Audit
from lla.audit.formats import github, json, junit, markdown, sarif, text

__all__ = ["Format", "render"]


class Format(StrEnum):
    """The formats. A new one is a module here with ``render(audit)``, a member, and its line."""

    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    MARKDOWN = "markdown"
    GITHUB = "github"
    SARIF = "sarif"

    @property
    def shares_stdout(self) -> bool:
        """Whether another format may stand beside it on stdout: its lines are found anywhere."""
        return self is Format.GITHUB


def render(format: Format, audit: Audit) -> str:
    """An audit in a format; the text ends with a line break where there is any."""
    match format:
        case Format.TEXT:
            return text.render(audit)
        case Format.JSON:
            return json.render(audit)
        case Format.JUNIT:
            return junit.render(audit)
        case Format.MARKDOWN:
            return markdown.render(audit)
        case Format.GITHUB:
            return github.render(audit)
        case Format.SARIF:
            return sarif.render(audit)
        case _:
            assert_never(format)
