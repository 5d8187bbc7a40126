"""Files of ``torch.save``: looked over as a pickle first, and then loaded with ``weights_only``."""

from __future__ import annotations

import contextlib
import importlib
import io
import pickle
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lla.checkpoint.formats.archive import members_of, read_member
from lla.checkpoint.formats.pickles import Scan, StorageRecord, TensorRecord, scan, tensors_in
from lla.checkpoint.recognize import SAVE
from lla.checkpoint.trust import Trust, listed
from lla.errors import CheckpointError, ConfigurationError, UnsafeCheckpointError

__all__ = ["load_bytes", "load_torch", "look_over", "scan_legacy"]

_MAGIC = 0x1950A86A20F9469CFC6C
# torch names what it refuses in its own message; ours is made from the scan where it can be.
_REFUSED = re.compile(r"GLOBAL ([\w.]*\w)")
_DETAIL = re.compile(r"WeightsUnpickler error: *(.*)")
_EXPANDED = 1 << 26


def look_over(path: Path) -> Scan:
    """Scan a zip file of ``torch.save`` and check its tensors against the bytes that are there.

    Raises:
        CheckpointError: It is damaged, or claims more than it holds.
    """
    members = members_of(path)
    if "data.pkl" not in members:
        raise _damaged(path, "it has no data.pkl")
    try:
        found = scan(read_member(path, members["data.pkl"]))
    except pickle.UnpicklingError as error:
        raise _damaged(path, error) from None
    sizes = {
        name.removeprefix("data/"): info.file_size
        for name, info in members.items()
        if name.startswith("data/")
    }
    _check_claims(path, found, sizes)
    return found


def scan_legacy(path: Path) -> Scan:
    """Scan a file of torch before 1.6: several pickles, one after another, then the storages.

    Raises:
        CheckpointError: It is damaged, or claims more than it holds.
    """
    size = path.stat().st_size
    names: set[str] = set()
    parts = []
    with path.open("rb") as stream:
        try:
            for position in range(5):
                parts.append(scan(stream))
                names |= parts[-1].names
                if position == 0 and parts[0].content != _MAGIC:
                    break
        except pickle.UnpicklingError as error:
            raise _damaged(path, error) from None
    plain = len(parts) < 5
    found = parts[0] if plain else parts[3]
    if not plain:
        left = size - sum(part.size for part in parts)
        _check_claims(path, found, dict.fromkeys(found.storages, left))
    found.names |= names
    found.plain = plain
    return found


def _check_claims(path: Path, found: Scan, sizes: dict[str, int]) -> None:
    for name, tensor in tensors_in(found.content):
        reason = _false_claim(tensor, tensor.storage, sizes.get(tensor.storage.key))
        if reason:
            raise CheckpointError(
                f"{path} is damaged or built to mislead: the tensor {name[:80]} {reason}",
                "copy or save the checkpoint again",
            )


def _false_claim(tensor: TensorRecord, storage: StorageRecord, held: int | None) -> str:
    if held is None:
        return f"refers to a storage '{storage.key[:40]}' that is not there"
    size = tensor.itemsize
    last = tensor.offset + sum(
        (side - 1) * stride for side, stride in zip(tensor.shape, tensor.strides, strict=False)
    )
    if min((tensor.offset, storage.elements, *tensor.shape, *tensor.strides)) < 0:
        return "has a negative size"
    if tensor.elements and (last + 1) * size > held:
        return f"claims {(last + 1) * size} bytes of a storage that has {held}"
    # One stored number can pose as any many (stride 0): harmless in itself, until it is copied.
    if tensor.elements * size > max(_EXPANDED, 16 * held):
        return f"claims {tensor.elements} elements over {held} bytes"
    return ""


def load_torch(path: Path, *, legacy: bool, trust: Trust) -> Any:
    """The object in a file of ``torch.save``, with its tensors on the CPU.

    Raises:
        CheckpointError: It is damaged.
        UnsafeCheckpointError: It names globals that are not trusted.
    """
    if trust.everything:
        return _load_everything(path)
    found = scan_legacy(path) if legacy else look_over(path)
    refused = [name for name in found.suspects if name not in trust.names]
    if refused:
        raise _refusal(path, refused, found)
    if found.plain:
        raise CheckpointError(f"{path} is a plain pickle, not a file of torch.save", SAVE)
    return load_bytes(path, path, trust)


def load_bytes(source: Path | io.BytesIO, path: Path, trust: Trust = Trust()) -> Any:  # noqa: B008
    """``torch.load(weights_only=True)`` with errors that name ``path``.

    Raises:
        CheckpointError: The bytes are damaged.
        UnsafeCheckpointError: They name globals that are not trusted.
    """
    import torch

    try:
        with warnings.catch_warnings(), _allowed(trust.names):
            warnings.simplefilter("ignore")  # on pickle protocols; what matters is raised below
            return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        names = _REFUSED.findall(str(error))
        if names:
            raise _refusal(path, names, None) from None
        raise _damaged(path, error) from None
    except ConfigurationError:
        raise
    except Exception as error:
        # torch raises whatever its readers meet: RuntimeError, EOFError, KeyError, ValueError …
        raise _damaged(path, error) from None


def _load_everything(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return torch.load(path, map_location="cpu", weights_only=False)
            except (pickle.UnpicklingError, RuntimeError) as error:
                if "magic number" not in str(error):
                    raise
                with path.open("rb") as stream:
                    return pickle.load(stream)
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"{path} needs code that is not here: {error}",
            "make its modules importable: PYTHONPATH=FOLDER lla …",
        ) from None
    except Exception as error:
        raise _damaged(path, error) from None


def _refusal(path: Path, names: Sequence[str], found: Scan | None) -> UnsafeCheckpointError:
    if found is not None and any(key == "_modules" for key in _keys(found)):
        return UnsafeCheckpointError(
            f"{path} is a pickled module: reading it would run its code, {listed(names)}",
            f"{SAVE}; or, if you trust the file, pass --unsafe-load",
        )
    allow = " ".join(f"--allow-global {name}" for name in names[:3])
    return UnsafeCheckpointError(
        f"{path} needs code to be run to be read: it names {listed(names)}",
        f"{SAVE}; or, if you trust these names: {allow}; or the whole file: --unsafe-load",
    )


def _keys(found: Scan) -> Iterator[Any]:
    content = found.content
    parts = content.values() if isinstance(content, dict) else ()
    for item in (content, *parts):
        yield from getattr(item, "fields", {})


@contextlib.contextmanager
def _allowed(names: Sequence[str]) -> Iterator[None]:
    """Let torch's loader build these types, and a few harmless ones that it leaves out."""
    import torch

    allowed: list[Any] = list(_harmless())
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            allowed.append((getattr(importlib.import_module(module), attribute), name))
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(
                f"--allow-global {name} cannot be found: {error}",
                "install what it belongs to, or correct the name: package.module.Name",
            ) from None
    with torch.serialization.safe_globals(allowed):
        yield


def _harmless() -> Iterator[Any]:
    """Plain values that training scripts save next to weights: numpy numbers, arguments, paths."""
    import argparse
    import pathlib

    import numpy as np
    from numpy._core import multiarray

    for module in ("numpy._core.multiarray", "numpy.core.multiarray"):
        yield (multiarray.scalar, f"{module}.scalar")
        yield (multiarray._reconstruct, f"{module}._reconstruct")
    yield from (np.dtype, np.ndarray, argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath)
    yield from {type(np.dtype(code)) for code in "?bBhHiIlLqQefdFDSU"}


def _damaged(path: Path, error: Exception | str) -> CheckpointError:
    # torch wraps what it met into advice on its own options.
    inner = _DETAIL.search(str(error))
    text = inner.group(1) if inner else str(error)
    detail = text.splitlines()[0][:200] if text.strip() else type(error).__name__
    return CheckpointError(f"{path} is damaged: {detail}", "copy or save the checkpoint again")
