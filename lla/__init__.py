"""What does the loss look like around these weights, how sure are we, and does that pass?"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lla.lazy import lazy_exports

if TYPE_CHECKING:
    from lla.api import analyze
    from lla.errors import LlaError
    from lla.estimate import Estimate, Label, Verdict
    from lla.report import Report, read, write

__version__ = "0.1.0"

# A library is silent unless the program that uses it listens.
logging.getLogger("lla").addHandler(logging.NullHandler())

__all__ = [
    "Estimate",
    "Label",
    "LlaError",
    "Report",
    "Verdict",
    "__version__",
    "analyze",
    "read",
    "write",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "lla.api": ("analyze",),
        "lla.errors": ("LlaError",),
        "lla.estimate": ("Estimate", "Label", "Verdict"),
        "lla.report": ("Report", "read", "write"),
    },
)
