"""What a checkpoint holds: the weights, and what it tells of the training run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lla.errors import CheckpointError, nearest

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "Checkpoint",
    "find_weights",
    "hyper_parameters",
    "optimizer_state",
    "strip_prefixes",
    "training_facts",
    "weight_sets",
]

_WEIGHT_KEYS = (
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "module",
    "weights",
    "params",
)
_EMA_KEYS = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "ema_model",
    "ema",
    "ema_weights",
    "averaging_state",
)
_OPTIMIZER_KEYS = ("optimizer", "optimizer_state_dict", "optim", "optimizer_states")
_SCALAR_FACTS = ("lr", "momentum", "nesterov", "weight_decay", "batch_size", "samples", "epoch")
_SYNONYMS = {
    "learning_rate": "lr",
    "wd": "weight_decay",
    "train_batch_size": "batch_size",
    "bs": "batch_size",
}
_SETTING_KEYS = ("hyper_parameters", "hparams", "config", "cfg", "args", "hyperparameters")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_DEPTH = 3


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


def _is_tensor(value: Any) -> bool:
    # By name, so that what a scan found (no torch, no values) counts as well.
    return type(value).__name__ == "TensorRecord" or hasattr(value, "is_floating_point")


def _is_weights(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    if not all(isinstance(key, str) for key in value):
        return False
    extra = {key for key in value if key.endswith("_extra_state")}
    return len(extra) < len(value) and all(
        key in extra or _is_tensor(item) for key, item in value.items()
    )


def weight_sets(content: Any) -> dict[str, Mapping[str, Any]]:
    """Every state dict in a loaded object by its path of keys, "" for the object itself.

    Those under the usual keys come first, averages (EMA) after them, others last; what belongs
    to an optimizer is no weights.
    """
    found = dict(_searched(content, "", 0))

    def order(path: str) -> tuple[int, int]:
        last = path.rpartition(".")[2]
        if last in _EMA_KEYS or any(part in _EMA_KEYS for part in path.split(".")):
            return 1, 0
        return (0, _WEIGHT_KEYS.index(last)) if last in _WEIGHT_KEYS else (0 if not path else 2, 0)

    return {path: found[path] for path in sorted(found, key=order)}


def _searched(content: Any, path: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if _is_weights(content):
        yield path, content
    elif isinstance(content, Mapping) and depth < _DEPTH:
        for key, value in content.items():
            if isinstance(key, str) and key not in _OPTIMIZER_KEYS:
                yield from _searched(value, f"{path}.{key}" if path else key, depth + 1)


def find_weights(content: Any, wanted: str = "") -> tuple[str, Mapping[str, Any]] | None:
    """The state dict to analyse and its path of keys, or None if there is none.

    Args:
        content: A loaded object.
        wanted: Path of keys, "ema" for the averaged weights, "" for the usual ones.

    Raises:
        CheckpointError: The wanted one is not there, or several are and none is usual.
    """
    sets = weight_sets(content)
    if not sets:
        return None
    averages = [path for path in sets if any(part in _EMA_KEYS for part in path.split("."))]
    if wanted:
        path = averages[0] if wanted == "ema" and wanted not in sets and averages else wanted
        if path not in sets:
            raise CheckpointError(
                f"there are no weights '{wanted}' in the checkpoint{nearest(wanted, sets)}",
                f"choose by --weights: {', '.join(name for name in sets if name) or 'only one'}",
            )
        return path, _plain(sets[path])
    first = next(iter(sets))
    usual = not first or first.rpartition(".")[2] in (*_WEIGHT_KEYS, *_EMA_KEYS)
    if not usual and len(sets) > 1:
        raise CheckpointError(
            f"the checkpoint holds {len(sets)} sets of weights: {', '.join(sets)}",
            f"choose one: --weights {first}",
        )
    return first, _plain(sets[first])


def _plain(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors without what wrappers add: module state that is none, an average's counter."""
    kept = {key: value for key, value in weights.items() if not key.endswith("_extra_state")}
    wrapped = [key for key in kept if key != "n_averaged"]
    if len(wrapped) < len(kept) and all(key.startswith("module.") for key in wrapped):
        del kept["n_averaged"]
    return kept


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
            if isinstance(name, str) and isinstance(value, (bool, int, float, str)):
                found[name] = value
    return found


def optimizer_state(content: Any) -> Mapping[Any, Any] | None:
    """The per-parameter state (momentum buffers, Adam moments) of a training checkpoint."""
    saved = _optimizer(content) if isinstance(content, Mapping) else None
    state = saved.get("state") if saved else None
    return state if isinstance(state, Mapping) else None


def _optimizer(content: Mapping[Any, Any]) -> Mapping[Any, Any] | None:
    for key in _OPTIMIZER_KEYS:
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
    return {
        key: value for key, value in {**renamed, **plain}.items() if isinstance(value, (int, float))
    }


def _rate(group: Any) -> Any:
    return group.get("lr") if isinstance(group, Mapping) else None


def _optimizer_facts(saved: Mapping[Any, Any] | None) -> dict[str, Any]:
    if not saved:
        return {}
    groups = saved["param_groups"]
    facts = _scalars(groups[0])
    # Groups with different learning rates have no single threshold: leave it to the user.
    if len({str(_rate(group)) for group in groups}) > 1:
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
