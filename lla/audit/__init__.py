"""Does a checkpoint pass? Policies, a verdict for each gate, and formats that CI systems read.

Reads reports; neither torch nor h5py is loaded by judging. A checkpoint is analysed first, where
one is at hand (:mod:`lla.audit.analyst`).
"""

from __future__ import annotations

from lla.audit.auditing import audit
from lla.audit.document import SCHEMA, document, schema
from lla.audit.findings import Audit, Audited, Finding, Outcome
from lla.audit.formats import Format, render
from lla.audit.policy import Gate, Policy, Waiver
from lla.audit.reading import parse_policy, read_policy

__all__ = [
    "SCHEMA",
    "Audit",
    "Audited",
    "Finding",
    "Format",
    "Gate",
    "Outcome",
    "Policy",
    "Waiver",
    "audit",
    "document",
    "parse_policy",
    "read_policy",
    "render",
    "schema",
]
