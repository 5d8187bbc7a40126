"""Find the tensors in a checkpoint's bytes, format by format, without loading them."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, assert_never

from lla.checkpoint.choosing import find_weights, weight_sets
from lla.checkpoint.formats import distributed, exported, safetensors_files, torch_files
from lla.checkpoint.formats.archive import members_of, read_member
from lla.checkpoint.formats.records import Scan, TensorRecord, tensors_in
from lla.checkpoint.measuring import Block, Measured
from lla.checkpoint.modules import with_modules
from lla.checkpoint.recognize import Format
from lla.checkpoint.trust import Trust, listed
from lla.errors import CheckpointError, UnsafeCheckpointError

__all__ = ["Found", "look"]

_SAFETENSORS_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "BOOL": "bool",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}


@dataclass
class Found:
    """What a format's reader found.

    Attributes:
        blocks: Where each tensor's values are, or what is known of them already.
        content: The object that was saved, with records for tensors.
        files: The parts of a folder.
        weights: The sets of weights in it, by their path of keys.
        findings: What in it would run code.
        shapes: Shape and dtype of the tensors that are known already.
    """

    blocks: dict[str, Block | Measured]
    content: Any = None
    files: list[Path] = field(default_factory=list)
    weights: tuple[str, ...] = ("",)
    findings: list[str] = field(default_factory=list)
    shapes: dict[str, tuple[tuple[int, ...], str]] = field(default_factory=dict)


def look(path: Path, format: Format) -> Found:
    """Where the tensors of a file or folder are, and what else it holds.

    Raises:
        CheckpointError: It is damaged.
    """
    match format:
        case Format.SAFETENSORS:
            return _safetensors([path])
        case Format.SHARDED:
            files = safetensors_files.shards_of(path)
            return replace(_safetensors(files), files=files)
        case Format.TORCH:
            found = torch_files.look_over(path)
            return _pickled(path, found, _zip_storages(path), swapped=_is_swapped(path))
        case Format.TORCH_LEGACY:
            found = torch_files.scan_legacy(path)
            places = {key: Place(*place) for key, place in found.places.items()}
            return _pickled(path, found, places)
        case Format.TORCHSCRIPT:
            return _script(path)
        case Format.EXPORTED:
            return _exported(path)
        case Format.DISTRIBUTED:
            return _distributed(path)
        case Format.HUGGING_FACE | Format.TIMM:
            raise CheckpointError(f"{path} is no file", "give a file or a folder")
    assert_never(format)


def _safetensors(files: list[Path]) -> Found:
    blocks: dict[str, Block | Measured] = {}
    metadata: dict[str, Any] = {}
    for path in files:
        header, start = safetensors_files.read_header(path)
        saved = header.pop("__metadata__", None)
        metadata.update(saved if isinstance(saved, dict) else {})
        for name, about in header.items():
            blocks[name] = _safetensors_block(path, name, about, start)
    facts = safetensors_files.parsed(metadata)
    return Found(blocks, facts)


def _safetensors_block(path: Path, name: str, about: Any, start: int) -> Block:
    try:
        begin, end = about["data_offsets"]
        dtype = _SAFETENSORS_DTYPES.get(about["dtype"], str(about["dtype"]).lower())
        shape = tuple(about["shape"])
        if not all(type(number) is int for number in (begin, end, *shape)):
            raise TypeError("it has other things than numbers")
        if not 0 <= begin <= end <= path.stat().st_size - start or min((0, *shape)) < 0:
            raise ValueError("it lies outside the file")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged: the header's entry {name[:80]} is wrong ({error})",
            "copy or save the checkpoint again",
        ) from None
    return Block(path, start + begin, end - begin, dtype, shape)


@dataclass(frozen=True)
class Place:
    """Where a storage lies: first byte, size, and its bytes in the file if it is deflated."""

    start: int
    size: int
    deflated: int | None = None


def _member_places(path: Path) -> dict[str, Place]:
    """Where each member of an archive is; those packed in ways that torch does not read are not."""
    places = {}
    with path.open("rb") as stream:
        for name, info in members_of(path).items():
            if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # The local header says how long its own name and padding are.
                stream.seek(max(info.header_offset, 0) + 26)
                name_length, padding = (int.from_bytes(stream.read(2), "little") for _ in range(2))
                start = max(info.header_offset, 0) + 30 + name_length + padding
                packed = info.compress_type == zipfile.ZIP_DEFLATED
                places[name] = Place(start, info.file_size, info.compress_size if packed else None)
    return places


def _zip_storages(path: Path) -> dict[str, Place]:
    return {
        name.removeprefix("data/"): place
        for name, place in _member_places(path).items()
        if name.startswith("data/")
    }


def _is_swapped(path: Path) -> bool:
    """Whether an archive says that its numbers are written with their highest byte first."""
    members = members_of(path)
    return "byteorder" in members and read_member(path, members["byteorder"]) == b"big"


def _pickled(
    path: Path, found: Scan, places: Mapping[str, Place], *, swapped: bool = False
) -> Found:
    content = with_modules(found.content)
    sets = weight_sets(content)
    weights = next(iter(sets.values()), None)
    tensors = dict(weights.items()) if weights else dict(tensors_in(content))
    blocks = dict(_blocks(path, tensors, places, swapped))
    findings = []
    if found.only_not_plain:
        findings.append(torch_files.not_plain(path, found)[0])
    elif found.suspects:
        findings.append(f"reading it would run code: it names {listed(found.suspects)}")
    findings.extend(list(found.odd.values())[:5])
    if found.plain:
        findings.append("it is a plain pickle, which only pickle itself reads")
    return Found(blocks, content, [], tuple(sets), findings)


def _blocks(
    path: Path, tensors: Mapping[str, Any], places: Mapping[str, Place], swapped: bool = False
) -> Iterator[tuple[str, Block | Measured]]:
    for name, record in tensors.items():
        if not isinstance(record, TensorRecord):
            continue
        place = places.get(record.storage.key, Place(0, 0))
        yield (
            name,
            Block(
                path,
                place.start,
                place.size,
                record.dtype,
                record.shape,
                record.offset,
                record.strides,
                place.deflated,
                swapped,
            ),
        )


def _script(path: Path) -> Found:
    found = torch_files.look_over(path)
    places = _zip_storages(path)
    blocks = dict(_blocks(path, dict(tensors_in(found.content)), places))
    return Found(blocks, None, [], ("",), ["it is a TorchScript program: loading it runs code"])


def _exported(path: Path) -> Found:
    findings = []
    try:
        exported.check(path)
    except UnsafeCheckpointError as error:
        findings.append(error.reason)
    records = dict(exported.weight_records(path))
    blocks = dict(_blocks(path, records, _member_places(path)))
    return Found(blocks, None, [], ("",), findings)


def _distributed(path: Path) -> Found:
    _, names = distributed.read_table(path)
    refused = distributed.unexpected(names)
    findings = [f"reading it would run code: it names {listed(refused)}"] if refused else []
    try:
        content = {} if refused else distributed.load_distributed(path, Trust())
    except UnsafeCheckpointError as error:
        content, findings = {}, [error.reason]
    chosen = find_weights(content)
    found = Found({}, content, distributed.pieces_of(path), (), findings)
    if chosen is not None:
        found.weights = tuple(weight_sets(content))
        for name, tensor in chosen[1].items():
            found.shapes[name] = (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
            found.blocks[name] = _measured(tensor)
    return found


def _measured(tensor: Any) -> Measured:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return Measured(float(tensor.double().norm()), 0)
    if tensor.element_size() == 1:
        tensor = tensor.float()  # float8 has no isfinite of its own
    finite = tensor.isfinite()
    return Measured(float(tensor[finite].double().norm()), int((~finite).sum()))
