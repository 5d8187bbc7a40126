"""Networks that a library knows by name: Hugging Face folders (``hf:``) and timm (``timm:``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lla.errors import CheckpointError
from lla.optional import optional

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["architecture_of", "digest_of", "load_hugging_face", "load_timm"]

_LARGEST_CONFIG = 1 << 22

Loaded = tuple["dict[str, torch.Tensor]", "Callable[[str], nn.Module]"]


def load_hugging_face(name: str) -> Loaded:
    """Weights and network of a folder of ``save_pretrained``, or of a name on the hub.

    The architecture comes from the folder's ``config.json``, its code from the installed
    ``transformers``; code in the folder is never run, and weights are read from safetensors only.

    Raises:
        CheckpointError: It cannot be read.
        ConfigurationError: ``transformers`` is not installed.
    """
    transformers = optional("transformers", "hf", f"hf:{name}")
    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        kind = getattr(transformers, (config.architectures or ["AutoModel"])[0], None)
        if kind is None:
            raise ValueError(f"transformers has no {config.architectures[0]}")
        found = kind.from_pretrained(
            name, config=config, use_safetensors=True, attn_implementation="eager"
        )
    except Exception as error:
        raise _unreadable(f"hf:{name}", error) from None
    module: nn.Module = found.eval()
    return _state(module), lambda device: module.to(device)


def architecture_of(folder: Path) -> str:
    """The class that a folder's ``config.json`` names, "" if there is none."""
    path = folder / "config.json"
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            return ""
        named = json.loads(path.read_text(encoding="utf-8"))["architectures"][0]
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return ""
    return named if isinstance(named, str) and named.isidentifier() else ""


def load_timm(name: str) -> Loaded:
    """Pretrained weights and network of a timm model.

    Raises:
        CheckpointError: There is no such model, or its weights cannot be fetched.
        ConfigurationError: ``timm`` is not installed.
    """
    timm = optional("timm", "timm", f"timm:{name}")
    try:
        module: nn.Module = timm.create_model(name, pretrained=True).eval()
    except Exception as error:
        raise _unreadable(f"timm:{name}", error) from None
    return _state(module), lambda device: module.to(device)


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}


def digest_of(tensors: Mapping[str, Any]) -> str:
    """SHA-256 over names, shapes and values, where there is no file of ours to digest."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _unreadable(reference: str, error: Exception) -> CheckpointError:
    detail = (str(error) or type(error).__name__).strip().splitlines()[0]
    scheme, _, name = reference.partition(":")
    if scheme == "timm":
        remedy = (
            f"correct the name (python -c \"import timm; print(timm.list_models('{name[:4]}*'))\")"
        )
    elif Path(name).is_dir():
        remedy = (
            f"it needs config.json and safetensors weights, as save_pretrained writes: ls {name}"
        )
    else:
        remedy = "give the path of a folder that save_pretrained wrote, or a name on the hub"
    return CheckpointError(f"{reference} cannot be read: {detail}", remedy)
