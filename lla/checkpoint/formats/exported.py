"""Exported programs (``.pt2``): graph and weights in one file.

torch's own loader trusts the file: it unpickles what the file marks as pickled, falls back to
unpickling sample inputs, evaluates the file's symbolic expressions as Python (``sympy.sympify``)
and calls whatever attribute of ``torch`` the graph names (``torch.serialization.os.system`` is
one). So the archive is not given to it. It is read here, member by member; each string is held
against what an exported network needs; and a new archive, made of nothing but what passed, is
what torch loads.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lla.checkpoint.formats.archive import members_of, read_member
from lla.checkpoint.formats.claims import false_claim
from lla.checkpoint.formats.graph_rules import cleaned, refusal
from lla.checkpoint.formats.records import StorageRecord, TensorRecord, bytes_of
from lla.checkpoint.formats.silence import cause_of, silent
from lla.checkpoint.formats.torch_files import load_bytes
from lla.checkpoint.trust import Trust
from lla.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Exported", "check", "load_exported", "weight_records"]

_WEIGHTS, _CONSTANTS = "data/weights/", "data/constants/"

# torch._export.serde.schema.ScalarType
_DTYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
}


@dataclass(frozen=True)
class Exported:
    """What an exported program gives.

    Attributes:
        tensors: Parameters and buffers by name.
        network: Makes the network on a device.
        batch: The number of samples that the program takes, if it takes no other.
    """

    tensors: dict[str, Any]
    network: Callable[[str], nn.Module]
    batch: int | None


def load_exported(path: Path, trust: Trust) -> Exported:
    """Read an exported program.

    Raises:
        CheckpointError: It is damaged, or not of a kind that can be differentiated.
        UnsafeCheckpointError: It holds more than an exported network needs.
    """
    source = path.read_bytes() if trust.everything else _cleaned(path, trust)
    program = _load(source, path)
    tensors = {**program.state_dict}

    def network(device: str) -> nn.Module:
        from torch.export.passes import move_to_device_pass

        return _module_of(move_to_device_pass(_load(source, path), device))

    return Exported(tensors, network, _fixed_batch(program))


def check(path: Path) -> None:
    """Refuse an exported program that could run code.

    Raises:
        CheckpointError: It is damaged.
        UnsafeCheckpointError: It holds more than an exported network needs.
    """
    _cleaned(path, Trust())


def weight_records(path: Path) -> Iterator[tuple[str, TensorRecord]]:
    """Name and description of each tensor of an exported program.

    Raises:
        CheckpointError: It is damaged.
    """
    members = members_of(path)
    config = _json(path, members, f"{_WEIGHTS}model_weights_config.json")
    _check_payloads(path, config, _WEIGHTS, members)
    for name, payload in config["config"].items():
        yield name, _record(payload, members)


def _record(
    payload: Any, members: dict[str, zipfile.ZipInfo], folder: str = _WEIGHTS
) -> TensorRecord:
    """A described tensor; anything but sizes where sizes belong is a TypeError or KeyError."""
    meta = payload["tensor_meta"]
    sides, steps = ([side["as_int"] for side in meta[key]] for key in ("sizes", "strides"))
    code, offset = meta["dtype"], meta["storage_offset"]["as_int"]
    if not all(type(number) is int for number in (code, offset, *sides, *steps)):
        raise TypeError("it has other things than numbers")
    member = folder + payload["path_name"]
    dtype = _DTYPES.get(code, "unknown")
    held = members[member].file_size
    storage = StorageRecord(dtype, member, held // bytes_of(dtype))
    return TensorRecord(storage, offset, tuple(sides), tuple(steps), dtype)


def _load(source: bytes, path: Path) -> Any:
    import torch

    logged: list[BaseException] = []
    try:
        with warnings.catch_warnings(), silent("torch.export", logged):
            warnings.simplefilter("ignore")
            return torch.export.load(io.BytesIO(source))
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be loaded as an exported program: {cause_of([*logged, error][0])}",
            "export it again with the torch that is installed: torch.export.save(program, …)",
        ) from None


def _module_of(program: Any) -> nn.Module:
    """The program as a module whose parameters have the names they had in the network."""
    module: nn.Module = program.module(check_guards=False)
    # An exported graph is in the mode it was exported in; torch refuses these calls with an error.
    for name in ("train", "eval"):
        module.__dict__.pop(name, None)
    _tie(module)
    return module


def _tie(module: nn.Module) -> None:
    """Let names that share their values in the file share one parameter, as in the network."""
    first: dict[Any, nn.Parameter] = {}
    for name, parameter in list(module.named_parameters(remove_duplicate=False)):
        if parameter.numel():
            place = (parameter.data_ptr(), parameter.shape, parameter.stride())
            owner, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(owner), attribute, first.setdefault(place, parameter))


def _fixed_batch(program: Any) -> int | None:
    names = set(program.graph_signature.user_inputs)
    sides = [
        node.meta["val"].shape[0]
        for node in program.graph.nodes
        if node.op == "placeholder"
        and node.name in names
        and getattr(node.meta.get("val"), "ndim", 0)
    ]
    fixed = [side for side in sides if isinstance(side, int)]
    return fixed[0] if fixed and len(fixed) == len(sides) else None


def _cleaned(path: Path, trust: Trust) -> bytes:
    """A new archive of what passed."""
    members = members_of(path)
    models = [name for name in members if name.startswith("models/")]
    if models != ["models/model.json"]:
        raise refusal(path, f"it holds {len(models)} programs: {', '.join(models)[:200]}")
    odd = [name for name in members if not _expected(name)]
    if odd:
        raise refusal(path, f"its member {odd[0][:100]} is no part of an exported network")
    parts: dict[str, bytes] = {"archive_format": b"pt2", "archive_version": b"0"}
    for name in ("archive_version", "byteorder"):
        if name in members:
            parts[name] = read_member(path, members[name])[:16]
    model = _json(path, members, models[0])
    parts[models[0]] = json.dumps(cleaned(model, path)).encode()
    for folder in (_WEIGHTS, _CONSTANTS):
        name = f"{folder}model_{folder.split('/')[1]}_config.json"
        config = _json(path, members, name)
        _check_payloads(path, config, folder, members)
        parts[name] = json.dumps(cleaned(config, path)).encode()
        for payload in config["config"].values():
            member = folder + payload["path_name"]
            parts.setdefault(member, read_member(path, members[member]))
    parts["data/sample_inputs/model.pt"] = _sample_inputs(path, members, trust)
    return _archive(parts)


def _expected(name: str) -> bool:
    plain = ("archive_format", "archive_version", "byteorder", "version", "models/model.json")
    folders = (_WEIGHTS, _CONSTANTS, "data/sample_inputs/", ".data/", "extra/")
    return name in plain or name.startswith(folders)


def _archive(parts: dict[str, bytes]) -> bytes:
    import torch

    stream = io.BytesIO()
    writer = torch._C.PyTorchFileWriter(stream)
    for name, content in parts.items():
        writer.write_record(name, content, len(content))
    writer.write_end_of_file()
    return stream.getvalue()


def _json(path: Path, members: dict[str, zipfile.ZipInfo], name: str) -> Any:
    if name not in members:
        raise CheckpointError(
            f"{path} is not an exported program that lla knows: it has no {name}",
            "export it again with torch 2.10 or newer: torch.export.save(program, 'model.pt2')",
        )
    try:
        found = json.loads(read_member(path, members[name]))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged: {name} is no JSON: {error}", "copy or export it again"
        ) from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is damaged: {name} is no table", "copy or export it again")
    return found


def _sample_inputs(path: Path, members: dict[str, zipfile.ZipInfo], trust: Trust) -> bytes:
    import torch

    name = "data/sample_inputs/model.pt"
    if name not in members or not members[name].file_size:
        return b""
    # Loaded and saved again, so that torch's fallback to unpickling has nothing to fall back on.
    content = load_bytes(read_member(path, members[name]), path, trust)
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def _check_payloads(
    path: Path, config: dict[str, Any], folder: str, members: dict[str, zipfile.ZipInfo]
) -> None:
    payloads = config.get("config")
    if not isinstance(payloads, dict):
        raise CheckpointError(f"{path} is damaged: {folder} has no table", "copy it again")
    for name, payload in payloads.items():
        try:
            member = folder + payload["path_name"]
            pickled = payload["use_pickle"]
            held = members[member].file_size
            record = None if pickled else _record(payload, members, folder)
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} is damaged: {name[:80]} is described wrongly ({str(error)[:100]})",
                "copy it again",
            ) from None
        if record is None or "custom_obj" in member or "opaque_obj" in member:
            raise refusal(path, f"{name[:80]} is pickled")
        why = false_claim(record, record.storage, held)
        if why:
            raise CheckpointError(
                f"{path} is damaged or built to mislead: the tensor {name[:80]} {why}",
                "copy or export it again",
            )
