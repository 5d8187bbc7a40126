"""Recognize a checkpoint's format from its bytes, before torch is asked.

torch's own messages for files it cannot read are poor (an empty file: ``EOFError`` without text;
a git-lfs pointer: "Unsupported operand 118"), and a file should be named before it is opened.
"""

from __future__ import annotations

import enum
import zipfile
from pathlib import Path

from lla.checkpoint.files import head_of, split_scheme
from lla.checkpoint.formats.archive import members_of
from lla.errors import CheckpointError

__all__ = ["Format", "recognize"]

SAVE = "save the weights: torch.save(model.state_dict(), 'weights.pt')"
_PICKLE_PROTOCOL = b"\x80"
_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_INDEX = ".safetensors.index.json"

# Files that people do hand over, and what to do with them instead.
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a git-lfs pointer", "fetch the content: git lfs pull"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "if it is a report: lla show {path}"),
    (b"\x1f\x8b", "gzip-compressed", "unpack it first: gunzip {path}"),
    (b"(\xb5/\xfd", "zstd-compressed", "unpack it first: unzstd {path}"),
    (b"GGUF", "a GGUF file", f"use the original weights; {SAVE}"),
    (b"\x93NUMPY", "a NumPy array", SAVE),
)


class Format(enum.StrEnum):
    """The formats that can be read."""

    TORCH = "torch"
    TORCH_LEGACY = "torch-legacy"
    SAFETENSORS = "safetensors"
    SHARDED = "safetensors-sharded"
    EXPORTED = "pt2"
    TORCHSCRIPT = "torchscript"
    DISTRIBUTED = "dcp"
    HUGGING_FACE = "hf"
    TIMM = "timm"


def recognize(reference: str | Path) -> Format:
    """The format of a checkpoint: a file, a folder, or a name as ``hf:NAME`` or ``timm:NAME``.

    Raises:
        CheckpointError: It is missing, empty, damaged or not a checkpoint.
    """
    scheme, rest = split_scheme(reference)
    if scheme:
        return Format.HUGGING_FACE if scheme == "hf" else Format.TIMM
    path = Path(rest)
    if _is_folder(path):
        return _recognize_folder(path)
    head = head_of(path)
    if not head:
        raise CheckpointError(f"{path} is empty", "copy or save the checkpoint again")
    for magic, kind, remedy in _FOREIGN:
        if head.startswith(magic):
            raise CheckpointError(f"{path} is {kind}, not a checkpoint", remedy.format(path=path))
    if path.name.endswith(_INDEX):
        return Format.SHARDED
    # By its first bytes, as torch does: an archive may also hang at the end of another file.
    if head.startswith(_ZIP):
        return _recognize_zip(path)
    if head.startswith(_EMPTY_ZIP):
        raise _without_data(path)
    if _is_safetensors(path, head):
        return Format.SAFETENSORS
    if head.startswith(_PICKLE_PROTOCOL):
        return Format.TORCH_LEGACY
    kind = "a text file" if _is_text(head) else "not in a format that lla knows"
    raise CheckpointError(
        f"{path} is {kind}, not a checkpoint",
        "give a file written by torch.save(model.state_dict(), …) or by safetensors",
    )


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False  # a name that no file can have, which is told when it is opened


def _recognize_folder(path: Path) -> Format:
    try:
        names = {item.name for item in path.iterdir()}
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read: {error.strerror}", f"check its permissions: ls -ld {path}"
        ) from None
    if ".metadata" in names:
        return Format.DISTRIBUTED
    if f"model{_INDEX}" in names or "model.safetensors" in names:
        return Format.SHARDED
    found = sorted(name for name in names if Path(name).suffix in _SUFFIXES)
    raise CheckpointError(
        f"{path} is a folder without a checkpoint that lla knows (DCP or safetensors)",
        f"name a file in it: {path / found[0]}" if found else f"look into it: ls -a {path}",
    )


_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".pt2")


def _recognize_zip(path: Path) -> Format:
    if not _has_directory(path):
        raise CheckpointError(
            f"{path} is cut short: it begins as an archive, whose directory at the end is missing",
            "copy it again, to its full size; or save the checkpoint again",
        )
    members = members_of(path)
    if "constants.pkl" in members or any(name.startswith("code/") for name in members):
        return Format.TORCHSCRIPT
    if "archive_format" in members or any(name.startswith("models/") for name in members):
        return Format.EXPORTED
    if "data.pkl" in members:
        return Format.TORCH
    if "serialized_exported_program.json" in members:
        raise CheckpointError(
            f"{path} is an exported program of an old torch (before 2.8)",
            "export it again with torch 2.8 or newer: torch.export.save(program, 'model.pt2')",
        )
    if any(name.endswith(".npy") for name in members):
        raise CheckpointError(
            f"{path} is a NumPy archive, not a checkpoint",
            "if it is data: lla analyze MODEL --data " + str(path),
        )
    raise _without_data(path)


def _without_data(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is a zip archive without torch data in it",
        "give a file written by torch.save(model.state_dict(), …) or by safetensors",
    )


def _has_directory(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return True  # one that Python cannot read: what is wrong with it is told later


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
