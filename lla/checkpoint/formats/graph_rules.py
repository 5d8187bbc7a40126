"""What an exported graph may say: each string of its JSON is held against what a network needs.

``torch.export.load`` evaluates symbolic expressions as Python, looks operators up by any path of
attributes under ``torch``, and puts argument names into generated code. What is allowed here is
arithmetic on sizes, operators on tensors, and names.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lla.errors import UnsafeCheckpointError

__all__ = ["cleaned", "refusal"]

# Node targets. aten computes on tensors alone, but for the operator that opens files.
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file)"
    r"(_?[a-z]\w*|__(and|or|xor|lshift|rshift|iand|ior|ixor|ilshift|irshift)__)(\.[A-Za-z]\w*)?"
    r"|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond)"
    r"|torch\.sym_(int|float|ite|max|min|not|sum|sqrt)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs|getitem|eq|ne|lt|le|gt|ge"
    r"|and_|or_|not_)"
    r"|math\.(ceil|floor|trunc|sqrt)"
)
# Names, numbers and versions: nothing that Python could take for a call.
_PLAIN = re.compile(r"(?!(.*\.)?__\w+__(\.|$))[\w.+\-/]{0,400}")
_SYMBOL_CALL = re.compile(
    r"Symbol\('[a-z]{1,4}\d{1,9}'(, (positive|integer|nonnegative|real)=(True|False))*\)"
)
_EXPRESSION_PART = re.compile(
    r"\s+|[a-z]{1,4}\d{1,9}\b|\d{1,19}\b|(Add|Mul|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv"
    r"|Integer|Eq|Ne|Lt|Le|Gt|Ge|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|Equality"
    r"|Unequality|IntTrueDiv|TruncToInt|ModularIndexing|true|false|True|False)\b"
    r"|//|[-+*/(),]|[<>=]=?"
)
_TREE_TYPES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
# Graphs nest in their operators (cond), a few levels for each.
_DEPTH = 200
# What sympy may be given to work out: its time grows without bound in any of them.
_LONGEST, _SYMBOLS, _OPERATORS, _PARENTHESES = 2000, 8, 100, 50
_PRODUCTS = 3
_DROPPED = {"metadata", "guards_code"}
_STRINGS = {"as_string", "as_strings", "stack_trace"}


def cleaned(item: Any, path: Path, key: str = "", depth: int = 0) -> Any:
    """A copy of JSON in which every string passed; devices are the CPU, metadata is left out.

    Args:
        item: Parsed JSON.
        path: The file, for messages.
        key: The key under which the item stands.
        depth: How many lists and tables it stands in.

    Raises:
        UnsafeCheckpointError: A string is no part of an exported network.
    """
    if depth > _DEPTH:
        raise refusal(path, f"it nests more than {_DEPTH} lists in each other")
    if isinstance(item, dict):
        if set(item) == {"type", "index"} and isinstance(item["type"], str):
            return {"type": "cpu", "index": None}
        names = "expr_str" if key == "range_constraints" else "name"
        return {
            _passed(name, path, names): _empty(part)
            if name in _DROPPED
            else cleaned(part, path, name, depth + 1)
            for name, part in item.items()
        }
    if isinstance(item, list):
        kept = [part for part in item if not _is_assertion(part)]
        return [cleaned(part, path, key, depth + 1) for part in kept]
    return _passed(item, path, key) if isinstance(item, str) else item


def _is_assertion(item: Any) -> bool:
    """Checks of dtypes, which an analysis in float64 would fail."""
    target = item.get("target") if isinstance(item, dict) else None
    return target == "torch.ops.aten._assert_tensor_metadata.default"


def _empty(part: Any) -> Any:
    return {} if isinstance(part, dict) else []


def _passed(text: str, path: Path, key: str) -> str:
    if key in ("target", "as_operator"):
        good = bool(_TARGET.fullmatch(text))
    elif key == "expr_str":
        good = _is_arithmetic(text)
    elif key in ("in_spec", "out_spec"):
        good = _is_plain_tree(text)
    elif key in _STRINGS:
        good = len(text) < 1000 and text.isprintable()
    elif key == "forward_arg_names":
        good = text.isidentifier()
    else:
        good = bool(_PLAIN.fullmatch(text))
    if not good:
        what = f"its {key} '{text[:100]}'" if key else f"'{text[:100]}'"
        raise refusal(path, f"{what} is no part of an exported network")
    return text


def _is_arithmetic(text: str) -> bool:
    if len(text) > _LONGEST * 10:
        return False
    symbols = set(re.findall(r"[a-z]{1,4}\d{1,9}", text))
    rest = _SYMBOL_CALL.sub("s0", text)
    # A power may take for ever to evaluate.
    if len(rest) >= _LONGEST or "**" in rest or _EXPRESSION_PART.sub("", rest):
        return False
    return (
        len(symbols) <= _SYMBOLS
        and len(re.findall(r"[-+*/,<>=]", rest)) <= _OPERATORS
        and rest.count("(") <= _PARENTHESES
        and (len(symbols) <= 1 or len(re.findall(r"Max|Min", rest)) <= _PRODUCTS)
    )


def _is_plain_tree(text: str) -> bool:
    """Whether a pytree specification holds tuples, lists and dictionaries of names only."""
    try:
        stack = [json.loads(text)[1]]
        while stack:
            node = stack.pop()
            context = json.loads(node["context"]) if node["context"] else None
            names = context if isinstance(context, list) else []
            if node["type"] not in _TREE_TYPES or not (context is None or names == context):
                return False
            if not all(isinstance(name, (str, int)) for name in names):
                return False
            stack.extend(node["children_spec"])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return False
    return True


def refusal(path: Path, why: str) -> UnsafeCheckpointError:
    """The error that says why an exported program is not trusted."""
    return UnsafeCheckpointError(
        f"{path} is an exported program that could run code: {why}",
        "use the weights with the network's code instead; or, if you trust the file: --unsafe-load",
    )
