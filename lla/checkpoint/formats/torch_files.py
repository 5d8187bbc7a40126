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
from typing import IO, Any

from lla.checkpoint.formats.archive import members_of, read_member
from lla.checkpoint.formats.claims import check_claims
from lla.checkpoint.formats.pickles import ScanError, scan
from lla.checkpoint.formats.records import Scan, bytes_of
from lla.checkpoint.recognize import SAVE
from lla.checkpoint.trust import Trust, listed, told
from lla.errors import CheckpointError, ConfigurationError, UnsafeCheckpointError

__all__ = ["load_bytes", "load_torch", "look_over", "not_plain", "scan_legacy"]

_MAGIC = 0x1950A86A20F9469CFC6C
# torch names what it refuses in its own message; ours is made from the scan where it can be.
_REFUSED = re.compile(r"GLOBAL ([\w.]*\w)")
_DETAIL = re.compile(r"WeightsUnpickler error: *(.*)")


def look_over(path: Path, source: IO[bytes] | None = None) -> Scan:
    """Scan a zip file of ``torch.save`` and check its tensors against the bytes that are there.

    Args:
        path: The file.
        source: The archive, if it is a part of the file.

    Raises:
        CheckpointError: It is damaged, or claims more than it holds.
    """
    members = members_of(path, source)
    if "data.pkl" not in members:
        raise _damaged(path, "it has no data.pkl")
    content = read_member(path, members["data.pkl"], source)
    try:
        found = scan(content, path.stat().st_size)
    except ScanError as error:
        raise _unread(path, error) from None
    sizes = {
        name.removeprefix("data/"): info.file_size
        for name, info in members.items()
        if name.startswith("data/")
    }
    check_claims(path, found.content, sizes)
    return found


def scan_legacy(path: Path, source: IO[bytes] | None = None) -> Scan:
    """Scan a file of torch before 1.6: several pickles, one after another, then the storages.

    Args:
        path: The file.
        source: The pickles, if they are a part of the file.

    Raises:
        CheckpointError: It is damaged, or claims more than it holds.
    """
    with contextlib.nullcontext(source) if source else path.open("rb") as stream:
        return _scan_legacy(path, stream)


def _scan_legacy(path: Path, stream: IO[bytes]) -> Scan:
    size = path.stat().st_size
    names: set[str] = set()
    odd: dict[str, str] = {}
    parts: list[Scan] = []
    try:
        for position in range(5):
            parts.append(scan(stream, size))
            names |= parts[-1].names
            odd.update(parts[-1].odd)
            if position == 0 and parts[0].content != _MAGIC:
                break
    except ScanError as error:
        raise _unread(path, error) from None
    plain = len(parts) < 5
    found = parts[0] if plain else parts[3]
    if not plain:
        found.places = _places(stream, found, parts[4].content)
        sizes = {key: length for key, (_, length) in found.places.items()}
        check_claims(path, found.content, sizes)
    found.names |= names
    found.odd.update(odd)
    found.plain = plain
    return found


def _places(stream: IO[bytes], found: Scan, keys: Any) -> dict[str, tuple[int, int]]:
    """Storages follow the pickles: each a count of elements (8 bytes) and the elements."""
    places: dict[str, tuple[int, int]] = {}
    position = stream.tell()
    end = stream.seek(0, io.SEEK_END)
    for key in keys if isinstance(keys, list) else ():
        name = told(key)
        storage = found.storages.get(name)
        stream.seek(position)
        count = int.from_bytes(stream.read(8), "little")
        length = count * bytes_of(storage.dtype if storage else "uint8")
        if position + 8 + length > end:
            break  # the tensors that are missing are told by their names
        places[name] = (position + 8, length)
        position += 8 + length
    return places


def load_torch(path: Path, *, legacy: bool, trust: Trust) -> Any:
    """The object in a file of ``torch.save``, with its tensors on the CPU.

    Raises:
        CheckpointError: It is damaged.
        UnsafeCheckpointError: It names globals that are not trusted.
    """
    if trust.everything:
        return _load_everything(path)
    found = scan_legacy(path) if legacy else look_over(path)
    _refuse(path, found, trust)
    if found.plain:
        raise CheckpointError(f"{path} is a plain pickle, not a file of torch.save", SAVE)
    return _loaded(path, path, trust)


def load_bytes(content: bytes, path: Path, trust: Trust) -> Any:
    """The object in a part of a file that is what ``torch.save`` writes.

    Raises:
        CheckpointError: The bytes are damaged.
        UnsafeCheckpointError: They name globals that are not trusted.
    """
    source = io.BytesIO(content)
    zipped = content.startswith(b"PK\x03\x04")
    found = look_over(path, source) if zipped else scan_legacy(path, source)
    _refuse(path, found, trust)
    source.seek(0)
    return _loaded(source, path, trust)


def _loaded(source: Path | io.BytesIO, path: Path, trust: Trust) -> Any:
    """``torch.load(weights_only=True)`` with errors that name ``path``."""
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


def _refuse(path: Path, found: Scan, trust: Trust) -> None:
    """Refuse what needs code, or is called as no intact file calls it.

    Raises:
        CheckpointError: Its tensors are not plain ones.
        UnsafeCheckpointError: It names globals that are not trusted.
    """
    refused = [name for name in found.suspects if name not in trust.names]
    if refused and found.only_not_plain:
        raise CheckpointError(*not_plain(path, found))
    if refused:
        raise _refusal(path, refused, found)
    odd = [why for name, why in found.odd.items() if name not in trust.names]
    if odd:
        raise UnsafeCheckpointError(
            f"{path} needs more than plain values to be read: {odd[0][:200]}",
            f"{SAVE}; or, if you trust the file, pass --unsafe-load",
        )


def not_plain(path: Path, found: Scan) -> tuple[str, str]:
    """Reason and remedy for tensors that are no array of numbers."""
    return (
        f"{path} has sparse, quantized, nested or otherwise special tensors: "
        f"{listed(found.suspects)}",
        "save plain ones: tensor.to_dense() or tensor.dequantize() before torch.save",
    )


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

    from lla.checkpoint.formats.plain_values import harmless

    allowed: dict[str, Any] = {name: kind for kind, name in harmless()}
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            allowed[name] = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(
                f"--allow-global {name} cannot be found: {error}",
                "install what it belongs to, or correct the name: package.module.Name",
            ) from None
    with torch.serialization.safe_globals([(kind, name) for name, kind in allowed.items()]):
        yield


def _unread(path: Path, error: ScanError) -> CheckpointError:
    """What a scan that failed tells: the code that is named, if any, or the damage."""
    suspects = error.found.suspects
    return _refusal(path, suspects, error.found) if suspects else _damaged(path, error)


def _damaged(path: Path, error: Exception | str) -> CheckpointError:
    # torch wraps what it met into advice on its own options.
    inner = _DETAIL.search(str(error))
    text = inner.group(1) if inner else str(error)
    detail = text.splitlines()[0][:200] if text.strip() else type(error).__name__
    return CheckpointError(f"{path} is damaged: {detail}", "copy or save the checkpoint again")
