"""The JSON schemas of a report, made from the declarations of the results, and shipped as files.

``contents.json`` describes what an HDF5 report contains, as :func:`lla.report.contents.contents`
tells it; ``document.json`` what ``--json`` prints. ``make docs`` writes both.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

__all__ = ["NAMES", "made", "shipped"]

NAMES = ("contents", "document")


def shipped(name: str) -> dict[str, Any]:
    """The schema ``contents`` or ``document`` as this version of lla ships it."""
    found: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.json").read_text("utf-8"))
    return found


def made(name: str) -> dict[str, Any]:
    """The same made anew from the declarations: what should be shipped."""
    from lla.report.schemas.contents import contents_schema
    from lla.report.schemas.document import document_schema

    return {"contents": contents_schema, "document": document_schema}[name]()
