"""Load a checkpoint without running anything in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from lla.checkpoint.choosing import find_weights
from lla.checkpoint.contents import (
    Checkpoint,
    hyper_parameters,
    optimizer_state,
    training_facts,
)
from lla.checkpoint.files import sha256_of, split_scheme
from lla.checkpoint.formats import distributed, exported, hub, safetensors_files, torch_files
from lla.checkpoint.recognize import SAVE, Format, recognize
from lla.checkpoint.trust import Trust, listed
from lla.checkpoint.usable import refuse_unusable
from lla.errors import CheckpointError, UnsafeCheckpointError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["load"]


@dataclass(frozen=True)
class _Read:
    """What a reader gives: an object of weights and facts, and the network if it is there."""

    content: Any
    facts: Any = None
    files: tuple[Path, ...] = ()
    network: Callable[[str], nn.Module] | None = None
    batch: int | None = None


def load(path: str | Path, *, weights: str = "", trust: Trust | None = None) -> Checkpoint:
    """Read the weights and the training facts of a checkpoint.

    Args:
        path: A file of ``torch.save``, safetensors, ``torch.export``; a folder of shards or of a
            distributed checkpoint; or ``hf:NAME``, ``timm:NAME``.
        weights: Which weights, where there are several: a path of keys as "state_dict_ema", or
            "ema" for the averaged ones.
        trust: What may be run to read it; by default nothing.

    Returns:
        Its tensors on the CPU and what it tells of its training.

    Raises:
        CheckpointError: It is missing, damaged, no checkpoint, or holds non-finite weights.
        UnsafeCheckpointError: Reading it would run code from the file.
    """
    place = Path(split_scheme(path)[1])
    format = recognize(path)
    read = _read(str(path), place, format, trust or Trust())
    found = find_weights(read.content, weights)
    if found is None:
        what, remedy = _what_it_holds(read.content)
        raise CheckpointError(f"{path} holds no state dict: {what}", remedy)
    chosen, tensors = found
    try:
        refuse_unusable(path, tensors)
    except (RuntimeError, MemoryError, TypeError) as error:
        # A type that torch cannot compute with, or more than the memory holds.
        raise CheckpointError(
            f"{path} has weights that cannot be looked at: {str(error).splitlines()[0][:200]}",
            "save them as float32: torch.save({name: t.float() for name, t in …}, 'weights.pt')",
        ) from None
    facts = read.content if read.facts is None else read.facts
    local = not split_scheme(path)[0]
    return Checkpoint(
        path=place if local else Path(path),
        sha256=sha256_of(place, read.files) if local else hub.digest_of(tensors),
        format=format.value,
        tensors=tensors,
        facts=training_facts(facts),
        optimizer_state=optimizer_state(facts),
        hyper_parameters=hyper_parameters(facts),
        network=read.network,
        batch=read.batch,
        weights=chosen,
    )


def _read(reference: str, path: Path, format: Format, trust: Trust) -> _Read:
    match format:
        case Format.TORCH | Format.TORCH_LEGACY:
            legacy = format is Format.TORCH_LEGACY
            return _with_module(torch_files.load_torch(path, legacy=legacy, trust=trust))
        case Format.SAFETENSORS:
            return _Read(*safetensors_files.load_safetensors([path]))
        case Format.SHARDED:
            files = safetensors_files.shards_of(path)
            return _Read(*safetensors_files.load_safetensors(files), tuple(files))
        case Format.EXPORTED:
            found = exported.load_exported(path, trust)
            return _Read(found.tensors, {}, (), found.network, found.batch)
        case Format.TORCHSCRIPT:
            return _scripted(path, trust)
        case Format.DISTRIBUTED:
            files = distributed.pieces_of(path)
            return _Read(distributed.load_distributed(path, trust), None, tuple(files))
        case Format.HUGGING_FACE:
            tensors, network = hub.load_hugging_face(split_scheme(reference)[1])
            return _Read(tensors, {}, (), network)
        case Format.TIMM:
            tensors, network = hub.load_timm(split_scheme(reference)[1])
            return _Read(tensors, {}, (), network)
    assert_never(format)


def _scripted(path: Path, trust: Trust) -> _Read:
    if not trust.everything:
        raise UnsafeCheckpointError(
            f"{path} is a TorchScript program: loading it would run code from the file",
            f"{SAVE}; or, if you trust the file, pass --unsafe-load",
        )
    from lla.checkpoint.formats.scripted import load_scripted

    tensors, network = load_scripted(path)
    return _Read(tensors, {}, (), network)


def _with_module(content: Any) -> _Read:
    """A pickled module, alone or in a training checkpoint, gives both weights and network."""
    from torch import nn

    parts = dict(content) if isinstance(content, Mapping) else {"model": content}
    key = next((name for name, item in parts.items() if isinstance(item, nn.Module)), None)
    if key is None:
        return _Read(content)
    module: nn.Module = parts[key]
    parts[key] = dict(module.state_dict())
    return _Read(parts, None, (), lambda device: module.to(device))


def _what_it_holds(content: Any) -> tuple[str, str]:
    """What stands where a state dict should, and what to do with it."""
    remedy = "save one: torch.save({'model': model.state_dict(), …}, path)"
    if isinstance(content, (list, tuple)):
        if content and all(isinstance(item, Mapping) for item in content):
            remedy = "save the one to analyse: torch.save(saved[0], 'weights.pt')"
        return f"it is a {type(content).__name__} of {len(content)}", remedy
    if not isinstance(content, Mapping):
        return f"it is a {type(content).__name__}", remedy
    if not content:
        return "it is an empty table", remedy
    arrays = [key for key, item in content.items() if hasattr(item, "__array_interface__")]
    if arrays:
        remedy = (
            "save tensors: torch.save({name: torch.from_numpy(array) for name, array in "
            "saved.items()}, 'weights.pt')"
        )
        return f"its {listed(arrays)} are numpy arrays", remedy
    return f"its keys are {listed(list(content))}", remedy
