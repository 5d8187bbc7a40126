"""Hugging Face folders and names (``hf:``): the installed library's code, the folder's weights.

``transformers`` runs Python that lies in a folder when it is told to, or when a user who is asked
says yes. Here it is told not to at every step, what would make it ask is taken out, and what a
folder names as its class has to be a network of the installed library.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lla.checkpoint.files import regular
from lla.checkpoint.formats.safetensors_files import read_header, shards_of
from lla.checkpoint.trust import listed
from lla.errors import CheckpointError
from lla.optional import optional

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Loaded", "architecture_of", "load_hugging_face"]

_LARGEST_CONFIG = 1 << 22
_CONFIG = "config.json"

Loaded = tuple["dict[str, torch.Tensor]", "Callable[[str], nn.Module]"]


def load_hugging_face(name: str) -> Loaded:
    """Weights and network of a folder of ``save_pretrained``, or of a name on the hub.

    The architecture comes from the folder's ``config.json``, its code from the installed
    ``transformers``; code in the folder is never run, and weights are read from safetensors only.

    Raises:
        CheckpointError: It cannot be read, or has not all weights of its network.
        ConfigurationError: ``transformers`` is not installed.
    """
    transformers = optional("transformers", "hf", f"hf:{name}")
    if Path(name).is_dir():
        _check_folder(Path(name))
    try:
        with _quiet(transformers):
            config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
            _without_code(config, transformers, depth=0)
            kind = _network_of(config, transformers)
            found, told = kind.from_pretrained(
                name,
                config=config,
                use_safetensors=True,
                attn_implementation="eager",
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:
        # transformers raises whatever its readers meet.
        raise _unreadable(name, error) from None
    _refuse_partial(name, type(found).__name__, told)
    module: nn.Module = found.eval()
    tensors = {key: tensor.detach().cpu() for key, tensor in module.state_dict().items()}
    return tensors, lambda device: module.to(device)


def architecture_of(folder: Path) -> str:
    """The class that a folder's ``config.json`` names, "" if there is none."""
    path = folder / _CONFIG
    try:
        if regular(path).st_size > _LARGEST_CONFIG:
            return ""
        named = json.loads(path.read_text(encoding="utf-8"))["architectures"]
        named = named[0] if isinstance(named, list) else named
    except (CheckpointError, OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return ""
    return named if isinstance(named, str) and named.isidentifier() else ""


def _check_folder(folder: Path) -> None:
    """What ``transformers`` would open is a file of the folder, and of no more than its size."""
    path = folder / _CONFIG
    if not path.exists():
        raise _unreadable(str(folder), f"it has no {_CONFIG}")
    size = regular(path).st_size
    if size > _LARGEST_CONFIG:
        raise _unreadable(str(folder), f"its {_CONFIG} has {size} bytes")
    shards = shards_of(folder)
    if not shards[0].exists():
        raise _unreadable(str(folder), "it has no weights in safetensors")
    for shard in shards:
        read_header(shard)


def _without_code(config: Any, transformers: Any, depth: int) -> None:
    """Take out of a configuration, and of those in it, what names code in the folder."""
    if hasattr(config, "auto_map"):
        config.auto_map = {}
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError("its weights are quantized, which leaves nothing to differentiate")
    for part in vars(config).values() if depth < 8 else ():
        if isinstance(part, transformers.PreTrainedConfig):
            _without_code(part, transformers, depth + 1)


def _network_of(config: Any, transformers: Any) -> Any:
    named = getattr(config, "architectures", None)
    if not named:
        return transformers.AutoModel
    first = named[0] if isinstance(named, (list, tuple)) else named
    kind = getattr(transformers, first, None) if isinstance(first, str) else None
    # A class that finds classes (AutoModel…), a tokenizer, a function: all of them are attributes
    # too, and some run what a folder's other files name.
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise ValueError(f"transformers has no network {str(first)[:80]}, which {_CONFIG} names")
    return kind


def _refuse_partial(name: str, kind: str, told: Any) -> None:
    """Weights that the files lack were drawn at random."""
    missing = sorted(str(key) for key in told.get("missing_keys") or ())
    if missing or told.get("mismatched_keys"):
        raise CheckpointError(
            f"hf:{name} lacks {len(missing)} of the weights of {kind}: {listed(missing)}",
            f"name the class that was saved under 'architectures' in {_CONFIG}, "
            "or save the whole network: model.save_pretrained(FOLDER)",
        )


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bars, no log lines; no question whether to run code, whose answer is no."""
    from transformers import dynamic_module_utils
    from transformers.utils import logging as messages

    logging: Any = messages
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    wait = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    try:
        logging.set_verbosity(logging.CRITICAL)
        logging.disable_progress_bar()
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = wait
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _unreadable(name: str, error: Exception | str) -> CheckpointError:
    detail = (str(error) or type(error).__name__).strip().splitlines()[0][:200]
    if "custom code" in detail:
        detail = "its network is code that lies beside it, which is never run"
        remedy = "name a factory of your own for its weights: --model FILE.py:FUNCTION"
    elif "ignore_mismatched_sizes" in detail:
        detail = f"its weights have other shapes than its {_CONFIG} says"
        remedy = f"correct {_CONFIG}, or copy the whole folder again"
    elif Path(name).is_dir():
        remedy = f"it needs {_CONFIG} and safetensors weights, as save_pretrained writes: ls {name}"
    else:
        remedy = "give the path of a folder that save_pretrained wrote, or a name on the hub"
    return CheckpointError(f"hf:{name} cannot be read: {detail}", remedy)
