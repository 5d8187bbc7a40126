"""Load a checkpoint without running anything in it."""

from __future__ import annotations

import contextlib
import json
import pickle
import pickletools
import warnings
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lla.checkpoint.contents import (
    Checkpoint,
    find_weights,
    optimizer_state,
    training_facts,
)
from lla.checkpoint.files import Format, recognize, sha256_of
from lla.errors import CheckpointError, UnsafeCheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["load"]

_NAMES_SHOWN = 5


def load(path: str | Path) -> Checkpoint:
    """Read the weights and the training facts of a checkpoint file.

    Args:
        path: A file written by ``torch.save`` (state dict or training checkpoint) or safetensors.

    Returns:
        Its tensors on the CPU and what it tells of its training.

    Raises:
        CheckpointError: The file is missing, damaged, no checkpoint, or holds non-finite weights.
        UnsafeCheckpointError: Reading it would run code from the file.
    """
    file = Path(path)
    format = recognize(file)
    content, facts = _safetensors(file) if format is Format.SAFETENSORS else _torch(file, format)
    weights = find_weights(content)
    if weights is None:
        raise CheckpointError(
            f"{file} holds no state dict{_what_it_holds(content)}",
            "save one: torch.save({'model': model.state_dict(), …}, path)",
        )
    _refuse_non_finite(file, weights)
    return Checkpoint(
        path=file,
        sha256=sha256_of(file),
        format=format.value,
        tensors=weights,
        facts=facts,
        optimizer_state=optimizer_state(content),
    )


def _safetensors(path: Path) -> tuple[Any, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error}", "copy or save the checkpoint again"
        ) from None
    return tensors, training_facts({key: _parsed(text) for key, text in metadata.items()})


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _torch(path: Path, format: Format) -> tuple[Any, dict[str, Any]]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on pickle protocols; what matters is raised below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        names = _globals_in(path, format)
        if names:
            raise UnsafeCheckpointError(
                f"{path} needs code to be run to be read: it names {_listed(names)}",
                "save the weights alone: torch.save(model.state_dict(), 'weights.pt')",
            ) from None
        raise _damaged(path, error) from None
    except Exception as error:
        # torch raises whatever its readers meet: RuntimeError, EOFError, KeyError, ValueError …
        raise _damaged(path, error) from None
    return content, training_facts(content)


def _damaged(path: Path, error: Exception) -> CheckpointError:
    detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CheckpointError(f"{path} is damaged: {detail}", "copy or save the checkpoint again")


def _globals_in(path: Path, format: Format) -> list[str]:
    """Names of the globals that the pickle in a file asks for, found without running it."""
    import torch

    if format is Format.TORCH:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    names: set[str] = set()
    # A legacy file is several pickles, one after the other, and then the tensors' bytes.
    with path.open("rb") as stream, contextlib.suppress(ValueError):
        while stream.peek(1):
            names |= _globals_of_pickle(stream)
    return sorted(name for name in names if not name.startswith(("torch.", "collections.")))


def _globals_of_pickle(stream: BufferedReader) -> set[str]:
    names = set()
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "GLOBAL":
            names.add(str(argument).replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":
            names.add(".".join(strings[-2:]))
        elif "UNICODE" in opcode.name:
            strings.append(str(argument))
    return names


def _refuse_non_finite(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    bad = [
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not bool(tensor.isfinite().all())
    ]
    if bad:
        raise CheckpointError(
            f"{path} has NaN or infinite values in {_listed(bad)}",
            "analyse an earlier checkpoint, from before the training diverged",
        )


def _what_it_holds(content: Any) -> str:
    if isinstance(content, Mapping):
        return f": its keys are {_listed([str(key) for key in content])}"
    return f": it is a {type(content).__name__}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
