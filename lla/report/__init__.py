"""The product's memory: everything computed, how sure, from what, in one HDF5 file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lla.lazy import lazy_exports
from lla.report.report import SCHEMA, CheckpointFacts, Report, Stage

if TYPE_CHECKING:
    from lla.report.json_document import document
    from lla.report.storage import read, write

__all__ = ["SCHEMA", "CheckpointFacts", "Report", "Stage", "document", "read", "write"]

# h5py and numpy load on first use.
__getattr__ = lazy_exports(
    __name__,
    {
        "lla.report.json_document": ("document",),
        "lla.report.storage": ("read", "write"),
    },
)
