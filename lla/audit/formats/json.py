"""One JSON document, ``lla-audit/1``."""

from __future__ import annotations

import json

from lla.audit.document import document
from lla.audit.findings import Audit

__all__ = ["render"]


def render(audit: Audit) -> str:
    """The document as text; letters beyond ASCII are escaped, whatever reads it."""
    return json.dumps(document(audit), indent=2, allow_nan=False) + "\n"
