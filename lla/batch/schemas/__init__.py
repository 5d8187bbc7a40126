"""The JSON schemas of a batch, made from what it declares, and shipped as files.

``batch.json`` describes what ``lla batch --json`` prints, ``index.json`` what ``lla show --json``
prints of an index, and ``contents.json`` what ``index.h5`` contains, as
:func:`lla.report.contents.contents` tells it. ``make docs`` writes them.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

__all__ = ["NAMES", "made", "shipped"]

NAMES = ("batch", "index", "contents")


def shipped(name: str) -> dict[str, Any]:
    """The schema ``batch``, ``index`` or ``contents`` as this version of lla ships it."""
    found: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.json").read_text("utf-8"))
    return found


def made(name: str) -> dict[str, Any]:
    """The same made anew from the declarations: what should be shipped."""
    from lla.batch.schemas.contents import contents_schema
    from lla.batch.schemas.documents import batch_schema, index_schema

    return {"batch": batch_schema, "index": index_schema, "contents": contents_schema}[name]()
