"""Recognize a checkpoint's format from its bytes, before torch is asked.

torch's own messages for files it cannot read are poor (an empty file: ``EOFError`` without text;
a git-lfs pointer: "Unsupported operand 118"), and a file should be named before it is opened.
"""

from __future__ import annotations

import enum
import hashlib
import zipfile
from pathlib import Path

from lla.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["Format", "recognize", "sha256_of"]

_LFS = b"version https://git-lfs"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PICKLE_PROTOCOL = b"\x80"
_TEXT_SAMPLE = 512


class Format(enum.StrEnum):
    """The formats that can be read."""

    TORCH = "torch"
    TORCH_LEGACY = "torch-legacy"
    SAFETENSORS = "safetensors"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def recognize(path: Path) -> Format:
    """The format of the file at ``path``.

    Raises:
        CheckpointError: The file is missing, empty or not a checkpoint.
        UnsafeCheckpointError: The file is a program rather than data.
    """
    head = _head(path)
    if not head:
        raise CheckpointError(f"{path} is empty", "copy or save the checkpoint again")
    if head.startswith(_LFS):
        raise CheckpointError(
            f"{path} is a git-lfs pointer, not the checkpoint itself",
            "fetch the content: git lfs pull",
        )
    if head.startswith(_HDF5):
        raise CheckpointError(
            f"{path} is an HDF5 file, not a checkpoint", f"if it is a report: lla show {path}"
        )
    if zipfile.is_zipfile(path):
        return _recognize_zip(path)
    if _is_safetensors(path, head):
        return Format.SAFETENSORS
    if head.startswith(_PICKLE_PROTOCOL):
        return Format.TORCH_LEGACY
    kind = "a text file" if _is_text(head) else "not in a format that lla knows"
    raise CheckpointError(
        f"{path} is {kind}, not a checkpoint",
        "give a file written by torch.save(model.state_dict(), …) or by safetensors",
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_TEXT_SAMPLE)
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no file {path}", f"look for it: ls {path.parent or Path()}"
        ) from None
    except IsADirectoryError:
        raise CheckpointError(
            f"{path} is a folder, not a checkpoint file", f"name a file in it: ls {path}"
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}", f"check its permissions: ls -l {path}"
        ) from None


def _recognize_zip(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{path} is damaged: {error}", "copy or save the checkpoint again"
        ) from None
    members = {name.partition("/")[2] for name in names}
    if "constants.pkl" in members or any(name.startswith("code/") for name in members):
        raise UnsafeCheckpointError(
            f"{path} is a TorchScript program: loading it would run code from the file",
            "save the weights alone: torch.save(model.state_dict(), 'weights.pt')",
        )
    if any(name.startswith("models/") or name == "archive_format" for name in members):
        raise CheckpointError(
            f"{path} is an exported program (.pt2), which lla does not read",
            "save the weights alone: torch.save(model.state_dict(), 'weights.pt')",
        )
    if "data.pkl" in members:
        return Format.TORCH
    raise CheckpointError(
        f"{path} is a zip archive without torch data in it",
        "give a file written by torch.save(model.state_dict(), …) or by safetensors",
    )


def _is_safetensors(path: Path, head: bytes) -> bool:
    # An 8-byte little-endian header length, then the JSON header itself.
    if len(head) < 10 or head[8:9] != b"{":
        return False
    return int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # The sample may end in the middle of a character.
        return error.start >= len(head) - 3
    return True
