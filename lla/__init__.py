"""What does the loss look like around these weights, how sure are we, and does that pass?"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from lla.lazy import lazy_exports

if TYPE_CHECKING:
    from lla.api import analyze
    from lla.checkpoint import Checkpoint, Trust, load
    from lla.comparing import Comparison, compare
    from lla.errors import LlaError
    from lla.estimate import Estimate, Label, Verdict
    from lla.problem.live import Problem
    from lla.problem.recipe import Training
    from lla.report import Report, read, write

__version__ = "0.1.0"

# A library is silent unless the program that uses it listens.
logging.getLogger("lla").addHandler(logging.NullHandler())

__all__ = [
    "Checkpoint",
    "Comparison",
    "Estimate",
    "Label",
    "LlaError",
    "Problem",
    "Report",
    "Training",
    "Trust",
    "Verdict",
    "__version__",
    "analyze",
    "compare",
    "load",
    "read",
    "write",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "lla.api": ("analyze",),
        "lla.checkpoint": ("Checkpoint", "Trust", "load"),
        "lla.comparing": ("Comparison", "compare"),
        "lla.errors": ("LlaError",),
        "lla.estimate": ("Estimate", "Label", "Verdict"),
        "lla.problem.live": ("Problem",),
        "lla.problem.recipe": ("Training",),
        "lla.report": ("Report", "read", "write"),
    },
)
