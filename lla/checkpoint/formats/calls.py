"""Which names a file of ``torch.save`` may hold, and with what it may call them.

A harmless type is not harmless whatever it is called with: ``bytearray`` of a number asks for so
much memory, ``numpy.ndarray`` of type "O" takes bytes for addresses of objects. What is called
is held against what pickles of intact files do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lla.checkpoint.trust import told

__all__ = ["HARMLESS", "NOT_PLAIN", "NUMPY_CODE", "is_light", "misuse"]

# What tensors are made of in a file of torch.save, and the few harmless types around them.
HARMLESS = re.compile(
    r"collections\.(OrderedDict|Counter|defaultdict)"
    r"|torch\.(\w*Storage|Size|device|Tensor|[a-z]+\d\w*|bool|nn\.parameter\.Parameter)"
    r"|torch\.storage\.(Untyped|Typed)Storage"
    r"|torch\._utils\._rebuild_(tensor(_v2|_v3)?|parameter(_with_state)?)"
    r"|torch\._tensor\._rebuild_from_type_v2"
    r"|torch\.torch_version\.TorchVersion|torch\.serialization\._get_layout"
    r"|argparse\.Namespace|pathlib\.(Pure)?(Posix)?Path"
    r"|numpy\.(dtype|ndarray)"
    r"|numpy\._?core\.multiarray\.(scalar|_reconstruct)|_codecs\.encode"
    r"|builtins\.(set|frozenset|complex|bytearray|bytes|int|float|str|bool|list|dict|tuple)"
)
# What other tensors than plain ones are made of.
NOT_PLAIN = re.compile(
    r"torch\._utils\._rebuild_(sparse_\w+|qtensor|nested_\w+|meta_\w+|wrapper_\w+|device_\w+)"
    r"|torch\.nested\..*|torch\.per_(tensor|channel)_\w+|torch\.storage\._load_from_bytes"
    r"|torch\.distributed\.tensor\..*|torch\.distributed\._tensor\..*"
    r"|torch\.distributed\.device_mesh\.\w+|torch\._dynamo\.decorators\._DimRange"
    r"|torch\.(jagged|sparse_\w+)|torch\._subclasses\..*"
)
NUMPY_CODE = re.compile(r"b1|[biufc](1|2|4|8|16|32)|[SU][1-9]\d{0,6}")

# These are named to say of what type something is; nothing intact calls them.
_NEVER = re.compile(
    r"torch\.(\w*Storage|Tensor|[a-z]+\d\w*|bool)|torch\.storage\.\w+|numpy\.ndarray"
    r"|builtins\.(int|float|str|bool|list|dict|tuple)"
)
_LATIN = ("latin1", "latin-1")
_LIGHT = 1000


def misuse(name: str, args: tuple[Any, ...]) -> str:
    """What is odd about a call in a pickle, "" if intact files have such calls.

    Args:
        name: The harmless name that is called.
        args: Scanned arguments: stand-ins for everything but plain data.
    """
    if _NEVER.fullmatch(name):
        return f"it calls {name} with {_kinds(args)}"
    if name == "numpy.dtype" and args and isinstance(args[0], str) and not _dtype(args):
        return f"it holds numpy values of type '{args[0][:20]}', which are no numbers or texts"
    rule = _RULES.get(name)
    return "" if rule is None or rule(args) else f"it calls {name} with {_kinds(args)}"


def is_light(*values: Any) -> bool:
    """Whether values have no more than a few parts, so that they can be hashed and compared.

    A tuple that holds another twice, that one a third, and so on, is walked for ever.
    """
    left = _LIGHT
    stack = list(values)
    while stack:
        left -= 1
        item = stack.pop()
        if left < 0:
            return False
        if isinstance(item, (tuple, frozenset)):
            stack.extend(item)
    return True


def _kinds(args: tuple[Any, ...]) -> str:
    kinds = [_kind(arg) for arg in args[:3]]
    return ", ".join(kinds) or "nothing"


def _kind(arg: Any) -> str:
    name = getattr(arg, "name", "")
    return f"a {name}" if isinstance(name, str) and name else f"'{told(arg)}'"


def _is_bytes(arg: Any) -> bool:
    # Pickles of the second protocol write bytes as a text to be encoded.
    return isinstance(arg, (bytes, bytearray)) or getattr(arg, "name", "") in (
        "_codecs.encode",
        "builtins.bytes",
    )


def _bytearray(args: tuple[Any, ...]) -> bool:
    if len(args) == 2:
        return isinstance(args[0], str) and args[1] in _LATIN
    return not args or (len(args) == 1 and _is_bytes(args[0]))


def _encode(args: tuple[Any, ...]) -> bool:
    return len(args) == 2 and isinstance(args[0], str) and args[1] in _LATIN


def _collection(args: tuple[Any, ...]) -> bool:
    if not args:
        return True
    (parts,) = args if len(args) == 1 else (None,)
    if isinstance(parts, dict):
        return True  # its keys were looked at when it was filled
    return isinstance(parts, list) and all(_is_light_part(part) for part in parts)


def _is_light_part(part: Any) -> bool:
    return is_light(*part) if isinstance(part, list) else is_light(part)


def _dtype(args: tuple[Any, ...]) -> bool:
    return 1 <= len(args) <= 3 and isinstance(args[0], str) and bool(NUMPY_CODE.fullmatch(args[0]))


def _scalar(args: tuple[Any, ...]) -> bool:
    return len(args) == 2 and _is_named(args[0], "numpy.dtype") and _is_bytes(args[1])


def _reconstruct(args: tuple[Any, ...]) -> bool:
    return (
        len(args) == 3
        and getattr(args[0], "name", "") == "numpy.ndarray"
        and args[1] == (0,)
        and (_is_bytes(args[2]) or args[2] == "b")
    )


def _is_named(arg: Any, name: str) -> bool:
    return not isinstance(arg, type) and getattr(arg, "name", "") == name


def _parameter(args: tuple[Any, ...]) -> bool:
    return 1 <= len(args) <= 2 and type(args[0]).__name__ == "TensorRecord"


_RULES: dict[str, Callable[[tuple[Any, ...]], bool]] = {
    "builtins.bytearray": _bytearray,
    "builtins.bytes": lambda args: not args,
    "_codecs.encode": _encode,
    "builtins.set": _collection,
    "builtins.frozenset": _collection,
    "collections.Counter": _collection,
    "collections.OrderedDict": _collection,
    "collections.defaultdict": lambda args: len(args) <= 1,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "torch.nn.parameter.Parameter": _parameter,
}
