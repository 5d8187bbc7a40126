"""Checkpoint files: from bytes to tensors and facts. Knows formats, knows no models."""

from lla.checkpoint.contents import Checkpoint, strip_prefixes
from lla.checkpoint.files import Format, recognize, sha256_of
from lla.checkpoint.loading import load

__all__ = ["Checkpoint", "Format", "load", "recognize", "sha256_of", "strip_prefixes"]
