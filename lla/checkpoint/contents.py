"""What a checkpoint holds: the weights, and what it tells of the training run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lla.checkpoint.choosing import OPTIMIZER_KEYS
from lla.checkpoint.trust import told

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "Checkpoint",
    "hyper_parameters",
    "optimizer_state",
    "training_facts",
]

_SCALAR_FACTS = ("lr", "momentum", "nesterov", "weight_decay", "batch_size", "samples", "epoch")
_SYNONYMS = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "train_batch_size": "batch_size",
    "bs": "batch_size",
}
_SETTING_KEYS = ("hyper_parameters", "hparams", "config", "cfg", "args", "hyperparameters")
_LARGEST = 1 << 63


@dataclass(frozen=True)
class Checkpoint:
    """Weights and facts of one checkpoint.

    Attributes:
        path: The file or folder, or what follows a scheme such as ``hf:``.
        sha256: Digest of its bytes.
        format: Name of the file format.
        tensors: The model's tensors by their names in the file, on the CPU.
        facts: What the file tells of the training: optimizer, lr, momentum, nesterov,
            weight_decay, betas, eps, batch_size, samples, epoch; only what it holds.
        optimizer_state: Per-parameter optimizer state as saved, or None.
        hyper_parameters: Plain values that the training script saved beside the weights.
        network: Makes the network on a device, where the checkpoint brings it along.
        batch: The number of samples that this network takes, if it takes no other.
        weights: Which of several sets of weights these are, as "state_dict_ema"; "" if there is
            nothing to choose.
    """

    path: Path
    sha256: str
    format: str
    tensors: Mapping[str, torch.Tensor]
    facts: Mapping[str, Any] = field(default_factory=dict)
    optimizer_state: Mapping[Any, Any] | None = None
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    network: Callable[[str], nn.Module] | None = None
    batch: int | None = None
    weights: str = ""


def training_facts(content: Any) -> dict[str, Any]:
    """What a training checkpoint tells of its run; the optimizer's own settings come first."""
    if not isinstance(content, Mapping):
        return {}
    facts = _scalars(hyper_parameters(content))
    facts.update(_scalars(content))
    if isinstance(content.get("optimizer"), str):
        facts["optimizer"] = content["optimizer"].lower()
    facts.update(_optimizer_facts(_optimizer(content)))
    return facts


def hyper_parameters(content: Any) -> dict[str, Any]:
    """The plain values under the usual keys of settings, such as Lightning's."""
    found: dict[str, Any] = {}
    for key in _SETTING_KEYS if isinstance(content, Mapping) else ():
        values = content.get(key)
        values = getattr(values, "fields", None) or values  # a scanned argparse.Namespace
        values = values if isinstance(values, Mapping) else getattr(values, "__dict__", {})
        for name, value in values.items():
            if isinstance(name, str) and (isinstance(value, str) or _is_number(value)):
                found[name] = value
    return found


def optimizer_state(content: Any) -> Mapping[Any, Any] | None:
    """The per-parameter state (momentum buffers, Adam moments) of a training checkpoint."""
    saved = _optimizer(content) if isinstance(content, Mapping) else None
    state = saved.get("state") if saved else None
    return state if isinstance(state, Mapping) else None


def _optimizer(content: Mapping[Any, Any]) -> Mapping[Any, Any] | None:
    for key in OPTIMIZER_KEYS:
        saved = content.get(key)
        if isinstance(saved, (list, tuple)) and len(saved) == 1:
            saved = saved[0]
        if not isinstance(saved, Mapping):
            continue
        groups = saved.get("param_groups")
        if isinstance(groups, (list, tuple)) and groups and isinstance(groups[0], Mapping):
            return saved
    return None


def _scalars(values: Mapping[Any, Any]) -> dict[str, Any]:
    renamed = {name: values[key] for key, name in _SYNONYMS.items() if key in values}
    plain = {key: values[key] for key in _SCALAR_FACTS if key in values}
    return {key: value for key, value in {**renamed, **plain}.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    """Whether it is a number that can be printed and computed with."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGEST)


def _rate(group: Any) -> Any:
    return group.get("lr") if isinstance(group, Mapping) else None


def _optimizer_facts(saved: Mapping[Any, Any] | None) -> dict[str, Any]:
    if not saved:
        return {}
    groups = saved["param_groups"]
    facts = _scalars(groups[0])
    # Groups with different learning rates have no single threshold: leave it to the user.
    if len({told(_rate(group)) for group in groups}) > 1:
        facts.pop("lr", None)
    if "betas" in groups[0]:
        facts["betas"] = groups[0]["betas"]
        facts["eps"] = groups[0].get("eps", 1e-8)
        decoupled = groups[0].get("decoupled_weight_decay", False)
        facts["optimizer"] = "adamw" if decoupled else "adam"
    elif "alpha" in groups[0]:
        facts["optimizer"] = "rmsprop"
    elif "momentum" in groups[0]:
        facts["optimizer"] = "sgd"
    return facts
