"""One report against another: is the change larger than the uncertainty, and may they be compared?

Pure: reads :class:`~lla.report.Report` objects, computes nothing anew, and loads neither torch nor
h5py.
"""

from __future__ import annotations

from lla.comparing.changes import Change, Comparison, Words
from lla.comparing.comparison import compare
from lla.comparing.difference import Circumstances, difference, relative_change
from lla.comparing.document import SCHEMA, document, schema
from lla.comparing.facts import NAMES, Differing
from lla.comparing.gate import Gate, gate
from lla.comparing.markdown import markdown

__all__ = [
    "NAMES",
    "SCHEMA",
    "Change",
    "Circumstances",
    "Comparison",
    "Differing",
    "Gate",
    "Words",
    "compare",
    "difference",
    "document",
    "gate",
    "markdown",
    "relative_change",
    "schema",
]
