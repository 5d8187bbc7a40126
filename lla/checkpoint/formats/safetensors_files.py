"""Safetensors: one file, or shards with an index that says which tensor is where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lla.checkpoint.files import head_of, plain_name, regular
from lla.checkpoint.trust import listed, told
from lla.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["load_safetensors", "parsed", "read_header", "shards_of"]

_AGAIN = "copy or save the checkpoint again"
_LARGEST_HEADER = 100_000_000
_LARGEST_INDEX = 1 << 28


def shards_of(path: Path) -> list[Path]:
    """The files of a sharded checkpoint: a folder, or its index.

    Raises:
        CheckpointError: The index is damaged, or a shard is missing.
    """
    index = path
    if path.is_dir():
        index = path / "model.safetensors.index.json"
        if not index.is_file():
            return [path / "model.safetensors"]
    try:
        if regular(index).st_size > _LARGEST_INDEX:
            raise ValueError("it is too large")
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} is damaged: it is no index of shards "
            f"({type(error).__name__}: {str(error)[:100]})",
            _AGAIN,
        ) from None
    for name in names:
        if not plain_name(name):
            raise CheckpointError(
                f"{index} is damaged or built to mislead: it names '{told(name)}', "
                "which is no file in its folder",
                "do not trust it; get the checkpoint from where it was made",
            )
    files = [index.parent / name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        raise CheckpointError(
            f"{index.parent} lacks {len(missing)} of {len(files)} shards: {listed(missing)}",
            "copy the whole folder again",
        )
    return files


def load_safetensors(files: list[Path]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and metadata of some files together.

    Raises:
        CheckpointError: A file is damaged, or two hold the same tensor.
    """
    from safetensors import SafetensorError, safe_open

    tensors: dict[str, torch.Tensor] = {}
    metadata: dict[str, Any] = {}
    for path in files:
        regular(path)
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                names = list(file.keys())
                twice = [name for name in names if name in tensors]
                if twice:
                    raise CheckpointError(
                        f"{path} holds {listed(twice)}, which another shard holds too", _AGAIN
                    )
                tensors.update({name: file.get_tensor(name) for name in names})
                metadata.update(file.metadata() or {})
        except CheckpointError:
            raise
        except Exception as error:
            # SafetensorError, OSError; a dtype that this torch does not have is an AttributeError.
            known = isinstance(error, (SafetensorError, OSError))
            what = "damaged" if known else f"not readable with this torch ({type(error).__name__})"
            raise CheckpointError(f"{path} is {what}: {error}", _AGAIN) from None
    return tensors, parsed(metadata)


def parsed(metadata: Mapping[str, str]) -> dict[str, Any]:
    """A header's metadata, whose values are texts, as what the texts say."""
    found: dict[str, Any] = {}
    for key, text in metadata.items():
        try:
            found[key] = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            found[key] = text
    return found


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """A file's header as it is, and where the tensors' bytes begin.

    Raises:
        CheckpointError: It is damaged.
    """
    head_of(path)
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(_LARGEST_HEADER, path.stat().st_size - 8):
            raise CheckpointError(f"{path} is damaged: its header claims {length} bytes", _AGAIN)
        text = stream.read(length)
    try:
        header = json.loads(text)
        assert isinstance(header, dict)
    except (ValueError, AssertionError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: its header: {error}", _AGAIN) from None
    return header, 8 + length
