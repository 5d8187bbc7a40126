"""Distributed checkpoints (DCP): a folder of pieces and a pickled table of what is where.

torch's own reader unpickles the table without restraint. Here it is scanned: nothing in it runs,
and each piece is read from the place it names with ``weights_only``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lla.checkpoint.files import plain_name, regular
from lla.checkpoint.formats.pickles import ScanError, scan
from lla.checkpoint.formats.records import Inert, Scan
from lla.checkpoint.formats.torch_files import load_bytes
from lla.checkpoint.trust import Trust, listed, told
from lla.errors import CheckpointError, UnsafeCheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["Table", "load_distributed", "pieces_of", "read_table", "unexpected"]

_LARGEST_TABLE = 1 << 29
_KEYS = 32
_SIDES = 64
_AGAIN = "copy the whole folder again"
_EXPECTED = re.compile(
    r"torch\.distributed\.checkpoint\.metadata\.(Metadata|MetadataIndex|TensorProperties"
    r"|TensorStorageMetadata|BytesStorageMetadata|ChunkStorageMetadata|StorageMeta"
    r"|_MEM_FORMAT_ENCODING)"
    r"|torch\.distributed\.checkpoint\.filesystem\.(_StorageInfo|StorageInfo)"
    r"|torch\.serialization\._get_layout|torch\.(Size|[a-z]+\d\w*|bool|strided|device)"
    r"|pathlib\.(Pure)?(Posix|Windows)?Path|collections\.OrderedDict|builtins\.(set|dict|list)"
)


@dataclass(frozen=True)
class Piece:
    """Where a piece of a value lies: file, first byte, length, and its place in the tensor."""

    file: str
    start: int
    length: int
    offsets: tuple[int, ...]

    @property
    def place(self) -> tuple[str, int, int]:
        """File, first byte and length."""
        return self.file, self.start, self.length


@dataclass(frozen=True)
class Table:
    """The contents of a distributed checkpoint.

    Attributes:
        pieces: The pieces of each value, by its flat name.
        shapes: Shape of each tensor, by its flat name.
        paths: The keys that lead to each value in what was saved.
    """

    pieces: Mapping[str, list[Piece]]
    shapes: Mapping[str, tuple[int, ...]]
    paths: Mapping[str, tuple[Any, ...]]


def pieces_of(folder: Path) -> list[Path]:
    """The files that a distributed checkpoint consists of."""
    return sorted([folder / ".metadata", *folder.glob("*.distcp")])


def read_table(folder: Path) -> tuple[Table, Scan]:
    """The table of a distributed checkpoint, read without running it.

    Raises:
        CheckpointError: It is damaged, or points out of the folder.
    """
    path = folder / ".metadata"
    try:
        size = regular(path).st_size
        if size > _LARGEST_TABLE:
            raise CheckpointError(f"{path} is damaged: it has {size} bytes", _AGAIN)
        found = scan(path.read_bytes(), size)
        return _table(found.content), found
    except ScanError as error:
        if unexpected(error.found):
            return Table({}, {}, {}), error.found
        raise CheckpointError(f"{path} is damaged: {error}", _AGAIN) from None
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        if unexpected(found):
            return Table({}, {}, {}), found
        raise CheckpointError(
            f"{path} is no table of a distributed checkpoint, or built to mislead: "
            f"{type(error).__name__}: {str(error)[:200]}",
            _AGAIN,
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", _AGAIN) from None


def unexpected(found: Scan) -> list[str]:
    """The globals that a table of torch's does not name."""
    return sorted(name for name in found.names if not _EXPECTED.fullmatch(name))


def _table(content: Any) -> Table:
    fields = _fields(content)
    pieces: dict[str, list[Piece]] = {}
    for index, info in fields["storage_data"].items():
        where, place = _fields(index), _fields(info)
        if place.get("transform_descriptors"):
            raise ValueError("its pieces are compressed or encrypted")
        if not plain_name(place["relative_path"]):
            raise ValueError(f"it names '{told(place['relative_path'])}', which is no file in it")
        piece = Piece(
            place["relative_path"],
            _natural(place["offset"]),
            _natural(place["length"]),
            tuple(_natural(side) for side in where.get("offset") or ()),
        )
        pieces.setdefault(_name(where["fqn"]), []).append(piece)
    shapes = {
        _name(name): tuple(_natural(side) for side in _fields(about)["size"])
        for name, about in fields["state_dict_metadata"].items()
        if "size" in _fields(about)
    }
    planned = fields.get("planner_data")
    paths = {
        _name(name): _path(keys)
        for name, keys in (planned if isinstance(planned, dict) else {}).items()
    }
    return Table(pieces, shapes, paths)


def _fields(item: Any) -> Mapping[str, Any]:
    if not isinstance(item, Inert):
        raise TypeError(f"a {type(item).__name__} stands where a record should")
    return item.fields


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{told(value)} is no name")
    return value


def _path(keys: Any) -> tuple[Any, ...]:
    """The keys that lead to a value: names, and numbers for places in a list."""
    path = tuple(keys) if isinstance(keys, (list, tuple)) else (keys,)
    if len(path) > _KEYS or not all(isinstance(key, (str, int)) for key in path):
        raise ValueError(f"{told(path[0]) if path else 'nothing'} … is no path of keys")
    return path


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{told(value)[:40]} is no size")
    return value


def load_distributed(folder: Path, trust: Trust) -> dict[str, Any]:
    """What was saved, with its tensors put together from their pieces.

    Raises:
        CheckpointError: It is damaged or incomplete.
        UnsafeCheckpointError: The table or a piece names globals that are not trusted.
    """
    table, found = read_table(folder)
    refused = [name for name in unexpected(found) if name not in trust.names]
    if refused and not trust.everything:
        raise UnsafeCheckpointError(
            f"{folder}/.metadata names what no distributed checkpoint needs: {listed(refused)}",
            "do not trust it; get the checkpoint from where it was made",
        )
    _check_lengths(folder, table)
    content: dict[str, Any] = {}
    # What several names share is read once.
    known: dict[tuple[str, int, int], Any] = {}
    for name, parts in table.pieces.items():
        for piece in parts:
            if piece.place not in known:
                known[piece.place] = _read(folder, piece, trust)
        value = _joined(folder, name, table, parts, [known[piece.place] for piece in parts])
        _place(content, table.paths.get(name) or (name,), value)
    return {key: _lists(value) for key, value in content.items()}


def _check_lengths(folder: Path, table: Table) -> None:
    """Pieces lie beside each other: all of a file's have no more bytes than it."""
    lengths: dict[str, int] = {}
    for name, parts in table.pieces.items():
        if len({piece.place for piece in parts}) < len(parts):
            raise CheckpointError(
                f"{folder} is damaged: two pieces of {name[:80]} are the same bytes", _AGAIN
            )
    for file, _, length in {piece.place for parts in table.pieces.values() for piece in parts}:
        lengths[file] = lengths.get(file, 0) + length
    for file, length in lengths.items():
        if length > regular(folder / file).st_size:
            raise CheckpointError(
                f"{folder / file} is damaged: it ends too early, or its pieces overlap", _AGAIN
            )


def _read(folder: Path, piece: Piece, trust: Trust) -> Any:
    path = folder / piece.file
    try:
        if piece.start + piece.length > regular(path).st_size:
            raise CheckpointError(f"{path} is damaged: it ends too early", _AGAIN)
        with path.open("rb") as stream:
            stream.seek(piece.start)
            content = stream.read(piece.length)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", _AGAIN) from None
    return load_bytes(content, path, trust)


def _joined(folder: Path, name: str, table: Table, parts: list[Piece], values: list[Any]) -> Any:
    import torch

    if name not in table.shapes:
        return values[0]
    shape = table.shapes[name]
    tensors: list[torch.Tensor] = [value for value in values if isinstance(value, torch.Tensor)]
    held = sum(tensor.numel() for tensor in tensors)
    elements = math.prod(shape)
    if len(tensors) != len(values) or held != elements:
        shown = f"({', '.join(told(side) for side in shape[:8])}{', …' if len(shape) > 8 else ''})"
        raise CheckpointError(
            f"{folder} is incomplete: {name[:80]} of shape {shown} has {held} elements", _AGAIN
        )
    if len(shape) > _SIDES or max((0, *shape)) >= 1 << 62:
        raise CheckpointError(f"{folder} is damaged: {name[:80]} has no possible shape", _AGAIN)
    if len(tensors) == 1:
        return tensors[0].reshape(shape)
    whole = torch.empty(shape, dtype=tensors[0].dtype)
    try:
        for piece, tensor in zip(parts, tensors, strict=True):
            place = tuple(
                slice(start, start + side)
                for start, side in zip(piece.offsets, tensor.shape, strict=True)
            )
            whole[place] = tensor
    except (RuntimeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{folder} is damaged: the pieces of {name[:80]} do not fit: {error}", _AGAIN
        ) from None
    return whole


def _place(content: dict[Any, Any], keys: tuple[Any, ...], value: Any) -> None:
    for key in keys[:-1]:
        inner = content.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        content = inner
    content[keys[-1]] = value


def _lists(item: Any) -> Any:
    """Tables whose keys are 0, 1, 2 … were lists."""
    if not isinstance(item, dict):
        return item
    made = {key: _lists(value) for key, value in item.items()}
    numbered = made and all(type(key) is int for key in made)
    return [made[key] for key in sorted(made)] if numbered else made
