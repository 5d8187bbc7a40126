"""What both schemas are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from lla.estimate import OUTCOMES, Estimate, Label, Verdict

__all__ = [
    "COUNT",
    "DIALECT",
    "DIGEST",
    "ESTIMATE",
    "LABEL",
    "NUMBER",
    "TEXT",
    "TIME",
    "VERDICT",
    "Schema",
    "one_of",
    "record",
]

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": ["number", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$"}


def record(properties: Mapping[str, Schema], optional: Iterable[str] = (), **more: Any) -> Schema:
    """An object with these properties and no others."""
    left_out = set(optional)
    return {
        "type": "object",
        **more,
        "properties": dict(properties),
        "required": [name for name in properties if name not in left_out],
        "additionalProperties": False,
    }


def one_of(words: Mapping[Any, str]) -> Schema:
    """One of some words, each with its meaning."""
    return {"oneOf": [{"const": word, "description": about} for word, about in words.items()]}


def _of(type: Any, known: Mapping[str, Schema]) -> dict[str, Schema]:
    """The schemas of a dataclass's fields, in their order; KeyError where one is not described."""
    return {item.name: known[item.name] for item in fields(type)}


ESTIMATE = _of(
    Estimate,
    {
        "value": {**NUMBER, "description": "the value; not a number where it does not exist"},
        "low": {**NUMBER, "description": "lower end of the interval, for the data analysed"},
        "high": {**NUMBER, "description": "upper end of the interval; may be infinite"},
        "confidence": {
            **NUMBER,
            "description": "probability that the interval holds the value; 1: certified, or exact "
            "where low = high; not a number: the interval indicates the error without a level",
        },
        "stderr": {**NUMBER, "description": "standard error of a stochastic estimate"},
        "sampling_stderr": {
            **NUMBER,
            "description": "standard error from having analysed a sample of a larger set",
        },
        "converged": {"type": "boolean", "description": "whether it is as exact as was asked for"},
        "method": {**TEXT, "description": "how it was obtained"},
        "units": {**TEXT, "description": "its units; none for a pure number"},
        "why": {**TEXT, "description": "why the value does not exist"},
    },
)
LABEL = _of(
    Label,
    {
        "value": {**TEXT, "description": "the result in a word"},
        "why": {**TEXT, "description": "what it rests on"},
    },
)
VERDICT = _of(
    Verdict,
    {
        "id": {**TEXT, "description": "name of the condition"},
        "verdict": {"description": "what it says", **one_of(OUTCOMES)},
        "why": {**TEXT, "description": "the reason in a sentence"},
    },
)
