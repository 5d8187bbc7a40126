"""Networks that timm knows by name (``timm:``), and the digest of what no file of ours holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lla.checkpoint.formats.hugging_face import Loaded, load_hugging_face
from lla.errors import CheckpointError
from lla.optional import optional

if TYPE_CHECKING:
    from torch import nn

__all__ = ["digest_of", "load_hugging_face", "load_timm"]


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
        detail = (str(error) or type(error).__name__).strip().splitlines()[0][:200]
        raise CheckpointError(
            f"timm:{name} cannot be read: {detail}",
            f"correct the name (python -c \"import timm; print(timm.list_models('{name[:4]}*'))\")",
        ) from None
    tensors = {key: tensor.detach().cpu() for key, tensor in module.state_dict().items()}
    return tensors, lambda device: module.to(device)


def digest_of(tensors: Mapping[str, Any]) -> str:
    """SHA-256 over names, shapes and values, where there is no file of ours to digest."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
