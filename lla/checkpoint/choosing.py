"""Which of the tables in a checkpoint are weights, and which of several to take."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lla.checkpoint.formats.records import TensorRecord
from lla.checkpoint.trust import listed
from lla.errors import CheckpointError, ConfigurationError, nearest

if TYPE_CHECKING:
    import torch

__all__ = ["OPTIMIZER_KEYS", "find_weights", "strip_prefixes", "weight_sets"]

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
OPTIMIZER_KEYS = ("optimizer", "optimizer_state_dict", "optim", "optimizer_states")
_PREFIXES = ("module.", "model.")
# What wrappers put between the parts of a name: torch.compile, FSDP, activation checkpoints.
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Usual depth of state dicts, and that of nested networks which are saved part by part.
_DEPTH, _DEEPEST = 3, 8


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor, or the record of one."""
    if isinstance(value, TensorRecord):
        return True
    torch = sys.modules.get("torch")  # who holds a tensor has imported it
    return torch is not None and isinstance(value, torch.Tensor)


def _is_weights(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    if not all(isinstance(key, str) for key in value):
        return False
    # Parameters that a module does not have are None in some state dicts.
    held = {key: item for key, item in value.items() if item is not None}
    extra = {key for key in held if key.endswith("_extra_state")}
    return len(extra) < len(held) and all(
        key in extra or is_tensor(item) for key, item in held.items()
    )


def _is_average(path: str) -> bool:
    return any(part in _EMA_KEYS for part in path.split("."))


def weight_sets(content: Any) -> dict[str, Mapping[str, Any]]:
    """Every state dict in a loaded object by its path of keys, "" for the object itself.

    Those under the usual keys come first, averages (EMA) after them, others last; what belongs
    to an optimizer is no weights.
    """
    found = dict(_searched(content))
    shallow = [path for path, (depth, _) in found.items() if depth <= _DEPTH]

    def counts(path: str, depth: int) -> bool:
        return depth <= _DEPTH or not shallow or path.partition(".")[0] in _WEIGHT_KEYS

    def order(path: str) -> tuple[int, int]:
        last = path.rpartition(".")[2]
        if last in _EMA_KEYS or _is_average(path):
            return 1, 0
        return (0, _WEIGHT_KEYS.index(last)) if last in _WEIGHT_KEYS else (0 if not path else 2, 0)

    kept = {path: weights for path, (depth, weights) in found.items() if counts(path, depth)}
    return {path: kept[path] for path in sorted(kept, key=order)}


def _searched(content: Any) -> Iterator[tuple[str, tuple[int, Mapping[str, Any]]]]:
    """State dicts with their depth, the shallow ones first; each table is opened once."""
    queue: deque[tuple[str, Any, int]] = deque([("", content, 0)])
    known: dict[int, bool] = {}
    opened: set[int] = set()
    while queue:
        path, item, depth = queue.popleft()
        if not isinstance(item, Mapping):
            continue
        if id(item) not in known:
            known[id(item)] = _is_weights(item)
        if known[id(item)]:
            yield path, (depth, item)
        elif depth < _DEEPEST and id(item) not in opened:
            opened.add(id(item))
            queue.extend(
                (f"{path}.{key}" if path else key, value, depth + 1)
                for key, value in item.items()
                if isinstance(key, str) and key not in OPTIMIZER_KEYS
            )


def find_weights(content: Any, wanted: str = "") -> tuple[str, Mapping[str, Any]] | None:
    """The state dict to analyse and its path of keys, or None if there is none.

    Args:
        content: A loaded object.
        wanted: Path of keys, "ema" for the averaged weights, "" for the usual ones; a path that
            leads to several state dicts takes them as the parts of one network.

    Raises:
        CheckpointError: Several are there and none is usual.
        ConfigurationError: The wanted one is not there.
    """
    sets = weight_sets(content)
    if not sets:
        return None
    averages = [path for path in sets if _is_average(path)]
    if wanted:
        path = averages[0] if wanted == "ema" and wanted not in sets and averages else wanted
        return path, _plain(sets[path] if path in sets else _whole(sets, path))
    first = next(iter(sets))
    usual = not first or first.rpartition(".")[2] in (*_WEIGHT_KEYS, *_EMA_KEYS)
    if not usual and len(sets) > 1:
        top = first.partition(".")[0]
        together = len(list(_below(sets, top))) == len(sets)
        raise CheckpointError(
            f"the checkpoint holds {len(sets)} sets of weights: {listed(list(sets))}",
            f"choose one: --weights {first}"
            + (f"; or all as the parts of one network: --weights {top}" if together else ""),
        )
    return first, _plain(sets[first])


def _below(sets: Mapping[str, Any], path: str) -> Iterator[str]:
    return (name for name in sets if name.startswith(f"{path}."))


def _whole(sets: Mapping[str, Mapping[str, Any]], path: str) -> dict[str, Any]:
    """The state dicts below a path as one, with the rest of their paths before the names."""
    below = list(_below(sets, path))
    if below:
        start = len(path) + 1
        return {f"{name[start:]}.{key}": item for name in below for key, item in sets[name].items()}
    if len(sets) == 1:
        raise ConfigurationError(
            f"there are no weights '{path}' in the checkpoint: it holds one set of weights",
            "leave --weights out (and model.weights in the recipe)",
        )
    raise ConfigurationError(
        f"there are no weights '{path}' in the checkpoint{nearest(path, sets)}",
        f"choose by --weights: {listed([name for name in sets if name])}",
    )


def _plain(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors without what wrappers add: module state that is none, an average's counter."""
    kept = {
        key: value
        for key, value in weights.items()
        if is_tensor(value) and not key.endswith("_extra_state")
    }
    wrapped = [key for key in kept if key != "n_averaged"]
    if len(wrapped) < len(kept) and all(key.startswith("module.") for key in wrapped):
        del kept["n_averaged"]
    return kept


def strip_prefixes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Drop the prefixes that wrappers add to every name (DDP, torch.compile, Lightning)."""
    names = _unwrapped(tensors)
    changed = True
    while changed:
        changed = False
        for prefix in _PREFIXES:
            if names and all(name.startswith(prefix) for name in names):
                names = {name[len(prefix) :]: tensor for name, tensor in names.items()}
                changed = True
    return names


def _unwrapped(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names without the parts that wrappers put in, wherever they stand."""
    short = {
        name: ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        for name in tensors
    }
    if len(set(short.values())) < len(short):
        return dict(tensors)
    return {short[name]: tensor for name, tensor in tensors.items()}
