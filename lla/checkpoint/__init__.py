"""Checkpoint files: from bytes to tensors and facts. Knows formats, knows no models."""

from lla.checkpoint.choosing import strip_prefixes
from lla.checkpoint.contents import Checkpoint
from lla.checkpoint.files import sha256_of, split_scheme, stem_of
from lla.checkpoint.loading import load
from lla.checkpoint.recognize import Format, recognize
from lla.checkpoint.trust import Trust

__all__ = [
    "Checkpoint",
    "Format",
    "Trust",
    "load",
    "recognize",
    "sha256_of",
    "split_scheme",
    "stem_of",
    "strip_prefixes",
]
