"""What a checkpoint holds: the weights, and what it tells of the training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "find_weights", "optimizer_state", "strip_prefixes", "training_facts"]

_WEIGHT_KEYS = ("model", "state_dict", "model_state_dict", "net", "module", "weights", "params")
_OPTIMIZER_KEYS = ("optimizer", "optimizer_state_dict", "optim", "optimizer_states")
_SCALAR_FACTS = ("lr", "momentum", "nesterov", "weight_decay", "batch_size", "samples", "epoch")
_SETTING_KEYS = ("hyper_parameters", "hparams", "config", "args")
_PREFIXES = ("module.", "_orig_mod.", "model.")


@dataclass(frozen=True)
class Checkpoint:
    """Weights and facts of one checkpoint file.

    Attributes:
        path: The file.
        sha256: Digest of the file's bytes.
        format: Name of the file format.
        tensors: The model's tensors by their names in the file, on the CPU.
        facts: What the file tells of the training: optimizer, lr, momentum, nesterov,
            weight_decay, betas, eps, batch_size, samples, epoch; only what it holds.
        optimizer_state: Per-parameter optimizer state as saved, or None.
    """

    path: Path
    sha256: str
    format: str
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)
    optimizer_state: Mapping[Any, Any] | None = None


def _is_weights(value: Any) -> bool:
    import torch

    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) for key in value)
        and all(isinstance(item, torch.Tensor) for item in value.values())
    )


def find_weights(content: Any) -> Mapping[str, torch.Tensor] | None:
    """The state dict in a loaded object: the object itself, or under one of the usual keys."""
    if _is_weights(content):
        weights: Mapping[str, torch.Tensor] = content
        return weights
    if isinstance(content, Mapping):
        for key in _WEIGHT_KEYS:
            if _is_weights(content.get(key)):
                found: Mapping[str, torch.Tensor] = content[key]
                return found
    return None


def strip_prefixes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Drop the prefixes that wrappers add to every name (DDP, torch.compile, Lightning)."""
    names = dict(tensors)
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            if names and all(name.startswith(prefix) for name in names):
                names = {name[len(prefix) :]: tensor for name, tensor in names.items()}
                changed = True
    return names


def training_facts(content: Any) -> dict[str, Any]:
    """What a training checkpoint tells of its run; the optimizer's own settings come first."""
    if not isinstance(content, Mapping):
        return {}
    facts: dict[str, Any] = {}
    for key in _SETTING_KEYS:
        if isinstance(content.get(key), Mapping):
            facts.update(_scalars(content[key]))
    facts.update(_scalars(content))
    if isinstance(content.get("optimizer"), str):
        facts["optimizer"] = content["optimizer"].lower()
    facts.update(_optimizer_facts(_optimizer(content)))
    return facts


def optimizer_state(content: Any) -> Mapping[Any, Any] | None:
    """The per-parameter state (momentum buffers, Adam moments) of a training checkpoint."""
    saved = _optimizer(content) if isinstance(content, Mapping) else None
    return saved.get("state") if saved else None


def _optimizer(content: Mapping[Any, Any]) -> Mapping[Any, Any] | None:
    for key in _OPTIMIZER_KEYS:
        saved = content.get(key)
        if isinstance(saved, (list, tuple)) and len(saved) == 1:
            saved = saved[0]
        if isinstance(saved, Mapping) and saved.get("param_groups"):
            return saved
    return None


def _scalars(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        key: values[key]
        for key in _SCALAR_FACTS
        if isinstance(values.get(key), (int, float)) and values[key] is not None
    }


def _optimizer_facts(saved: Mapping[Any, Any] | None) -> dict[str, Any]:
    if not saved:
        return {}
    groups = saved["param_groups"]
    facts = _scalars(groups[0])
    # Groups with different learning rates have no single threshold: leave it to the user.
    if len({group.get("lr") for group in groups}) > 1:
        facts.pop("lr", None)
    if "betas" in groups[0]:
        facts["betas"] = tuple(groups[0]["betas"])
        facts["eps"] = groups[0].get("eps", 1e-8)
        decoupled = groups[0].get("decoupled_weight_decay", False)
        facts["optimizer"] = "adamw" if decoupled else "adam"
    elif "alpha" in groups[0]:
        facts["optimizer"] = "rmsprop"
    elif "momentum" in groups[0]:
        facts["optimizer"] = "sgd"
    return facts
