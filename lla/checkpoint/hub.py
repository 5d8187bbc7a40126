"""Networks that a library knows by name: Hugging Face folders (``hf:``) and timm (``timm:``)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lla.errors import CheckpointError, ConfigurationError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["digest_of", "load_hugging_face", "load_timm"]

Loaded = tuple["dict[str, torch.Tensor]", "Callable[[str], nn.Module]"]


def load_hugging_face(name: str) -> Loaded:
    """Weights and network of a folder of ``save_pretrained``, or of a name on the hub.

    The architecture comes from the folder's ``config.json``, its code from the installed
    ``transformers``; code in the folder is never run, and weights are read from safetensors only.

    Raises:
        CheckpointError: It cannot be read.
        ConfigurationError: ``transformers`` is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise _missing("transformers", "hf", f"hf:{name}") from None
    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        kind = getattr(transformers, (config.architectures or ["AutoModel"])[0], None)
        if kind is None:
            raise ValueError(f"transformers has no {config.architectures[0]}")
        found = kind.from_pretrained(
            name, config=config, use_safetensors=True, attn_implementation="eager"
        )
    except Exception as error:
        raise _unreadable(f"hf:{name}", error, f"look into it: ls {name}") from None
    module: nn.Module = found.eval()
    return _state(module), lambda device: module.to(device)


def load_timm(name: str) -> Loaded:
    """Pretrained weights and network of a timm model.

    Raises:
        CheckpointError: There is no such model, or its weights cannot be fetched.
        ConfigurationError: ``timm`` is not installed.
    """
    try:
        import timm
    except ImportError:
        raise _missing("timm", "timm", f"timm:{name}") from None
    try:
        module: nn.Module = timm.create_model(name, pretrained=True).eval()
    except Exception as error:
        remedy = f"look for it: python -c \"import timm; print(timm.list_models('*{name[:8]}*'))\""
        raise _unreadable(f"timm:{name}", error, remedy) from None
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


def _missing(package: str, extra: str, reference: str) -> ConfigurationError:
    return ConfigurationError(
        f"{reference} needs the package {package}, which is not installed",
        f'install it: pip install "loss-landscape-lla[{extra}]"',
    )


def _unreadable(reference: str, error: Exception, remedy: str) -> CheckpointError:
    detail = (str(error) or type(error).__name__).strip().splitlines()[0]
    known = Path(reference.partition(":")[2]).exists()
    return CheckpointError(
        f"{reference} cannot be read: {detail}",
        remedy if known else f"{remedy}; or is it the name of a folder? then give its path",
    )
