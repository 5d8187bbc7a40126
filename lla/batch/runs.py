"""Which checkpoints of a batch are of one run, and in what order: by their names alone.

Names that are the same but for numbers are of one run, as ``epoch_01.pt`` and ``epoch_02.pt``. The
number that counts the run on is the one that varies in the last part of the path; where several do,
the one behind a word for it ("epoch", "step"). The others, as in ``lr0.1/epoch_01``, tell runs
apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lla.batch.entry import Entry

__all__ = ["Place", "places"]

_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"([A-Za-z]+)[\s_\-=.:]*$")
_KINDS = {
    **dict.fromkeys(("epoch", "epochs", "ep", "e"), "epoch"),
    **dict.fromkeys(("step", "steps", "iter", "iters", "iteration", "iterations", "it"), "step"),
}
# Numbers behind these words are names: they have no order that a trend could follow.
_NAMES = {"seed", "fold", "trial", "rank", "replica", "version", "v", "run", "worker", "shard"}
# Between the parts of what is looked at: the checkpoint's path, and the name in the batch.
_BREAK = "\n"

Columns = dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Place:
    """Where a checkpoint stands by its name.

    Attributes:
        run: The run it is of: its name with a star for what varies in it.
        number: Its number in the run; NaN if no one number counts the run on.
        kind: What the number counts: "epoch", "step", or the word in front of it; "" if none.
        epoch: The epoch that the name tells; NaN if none.
        step: The step that the name tells; NaN if none.
    """

    run: str
    number: float = math.nan
    kind: str = ""
    epoch: float = math.nan
    step: float = math.nan


def places(entries: Sequence[Entry]) -> list[Place]:
    """Where each checkpoint stands."""
    texts = [f"{entry.checkpoint}{_BREAK}{entry.name}" for entry in entries]
    alike: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        alike.setdefault(_NUMBER.sub("#", text), []).append(index)
    found: dict[int, Place] = {}
    for members in alike.values():
        found.update(_within([texts[index] for index in members], members))
    return _distinct([found[index] for index in range(len(entries))], texts)


def _within(texts: Sequence[str], members: Sequence[int]) -> dict[int, Place]:
    """The places of checkpoints whose names are the same but for numbers."""
    slots = list(_NUMBER.finditer(texts[0]))
    numbers = [[int(found) for found in _NUMBER.findall(text)] for text in texts]
    columns = {at: tuple(row[at] for row in numbers) for at in range(len(slots))}
    varying = _varying(columns)
    words = {at: _word(texts[0][: slots[at].start()]) for at in varying}
    chosen = _counting(varying, words, _leaves(texts[0], slots))
    runs = _runs(columns, varying, chosen, _leaves(texts[0], slots), len(texts))
    kinds = {_KINDS[word]: at for at, word in words.items() if word in _KINDS}
    found = {}
    for row, index in enumerate(members):
        told = {kind: float(columns[at][row]) for kind, at in kinds.items()}
        number = math.nan if chosen is None else float(columns[chosen][row])
        kind = "" if chosen is None else _KINDS.get(words[chosen], words[chosen] or "number")
        starred = {at for at in varying if runs[at] is None}
        label = _label(texts[row], [columns[at][row] for at in columns], starred, columns)
        found[index] = Place(label, number, kind, **told)
    return found


def _varying(columns: Columns) -> list[int]:
    """The numbers that vary; those that vary alike, once."""
    seen: set[tuple[int, ...]] = set()
    found = []
    for at, values in columns.items():
        if len(set(values)) > 1 and values not in seen:
            seen.add(values)
            found.append(at)
    return found


def _word(before: str) -> str:
    """The word right before a number."""
    found = _WORD.search(re.split(r"[/\\\n]", before)[-1])
    return found[1].lower() if found else ""


def _leaves(text: str, slots: Sequence[re.Match[str]]) -> set[int]:
    """Which numbers are in the last part of the path, or of the name."""
    path, _, _ = text.partition(_BREAK)
    starts = (path.rfind("/") + 1, len(path)), (text.rfind("/", len(path)) + 1, len(text))
    ends = (starts[0], (max(starts[1][0], len(path) + 1), len(text)))
    return {
        at for at, slot in enumerate(slots) if any(low <= slot.start() < high for low, high in ends)
    }


def _counting(varying: Sequence[int], words: dict[int, str], leaves: set[int]) -> int | None:
    """The number that counts a run on, or None if it is not clear which."""
    able = [at for at in varying if words[at] not in _NAMES]
    near = [at for at in able if at in leaves] or able
    if len(near) == 1:
        return near[0]
    for kind in ("epoch", "step"):
        told = [at for at in near if _KINDS.get(words[at]) == kind]
        if len(told) == 1:
            return told[0]
    return None


def _runs(
    columns: Columns, varying: Sequence[int], chosen: int | None, leaves: set[int], count: int
) -> dict[int, bool | None]:
    """For each varying number whether it tells runs apart (True) or varies within (None)."""
    if chosen is None:
        return dict.fromkeys(varying)
    folders = [at for at in varying if at != chosen and (at not in leaves or chosen not in leaves)]

    def distinct(apart: Iterable[int]) -> bool:
        keys = {(*(columns[at][row] for at in apart), columns[chosen][row]) for row in range(count)}
        return len(keys) == count

    apart = folders if distinct(folders) else [at for at in varying if at != chosen]
    return {at: True if at in apart else None for at in varying}


def _label(text: str, numbers: Sequence[int], starred: set[int], columns: Columns) -> str:
    """A name with a star for each number that varies within the run."""
    hidden = {columns[at] for at in starred}
    at = -1

    def shown(found: re.Match[str]) -> str:
        nonlocal at
        at += 1
        return "*" if columns[at] in hidden else found[0]

    return _NUMBER.sub(shown, text)


def _distinct(found: Sequence[Place], texts: Sequence[str]) -> list[Place]:
    """The runs by the shortest label that tells them apart: the name's, or the path's with it."""
    wholes: dict[str, set[str]] = {}
    for place in found:
        wholes.setdefault(place.run.partition(_BREAK)[2], set()).add(place.run)
    return [
        replace(place, run=_shortest(place.run, wholes[place.run.partition(_BREAK)[2]]))
        for place in found
    ]


def _shortest(run: str, alike: set[str]) -> str:
    path, _, name = run.partition(_BREAK)
    return name if len(alike) == 1 else f"{name} ({path})"
