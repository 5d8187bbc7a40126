"""What is wrong with a value, in words of ours rather than the validator's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

__all__ = ["Mistake", "first_mistake"]

_WORDS = {
    "int_parsing": "it is no whole number",
    "int_type": "it is no whole number",
    "int_from_float": "it is no whole number",
    "float_parsing": "it is no number",
    "float_type": "it is no number",
    "finite_number": "it is not finite",
    "bool_parsing": "it is neither true nor false",
    "bool_type": "it is neither true nor false",
    "string_type": "it is no text",
    "tuple_type": "it is no list",
    "list_type": "it is no list",
    "dict_type": "it is no table",
    "missing": "it has too few values",
    "too_long": "it has too many values",
    "too_short": "it has too few values",
}
_BOUNDS = {
    "greater_than": "it is not greater than {gt}",
    "greater_than_equal": "it is less than {ge}",
    "less_than": "it is not less than {lt}",
    "less_than_equal": "it is greater than {le}",
    "literal_error": "it is none of {expected}",
}


@dataclass(frozen=True)
class Mistake:
    """One mistake in some values.

    Attributes:
        key: Which value.
        value: What it is.
        why: What is wrong with it.
    """

    key: str
    value: Any
    why: str


def first_mistake(error: ValidationError) -> Mistake:
    """The first mistake that a validation found."""
    found = error.errors()[0]
    kind = found["type"]
    if kind in _BOUNDS:
        why = _BOUNDS[kind].format(**found.get("ctx", {}))
    else:
        why = _WORDS.get(kind, found["msg"].removeprefix("Value error, "))
    return Mistake(str(found["loc"][0]) if found["loc"] else "", found["input"], why)
