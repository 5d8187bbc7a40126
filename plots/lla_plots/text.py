"""Text that fits: how wide it is in the figures' font, lines of a width, names cut short."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

__all__ = ["FONT", "distinct", "fitted", "said", "short", "symbols", "text_width", "wrapped"]

FONT = "DejaVu Sans"
_POINTS_PER_INCH = 72.0
_EM = 100.0
# On a screen letters are moved to whole pixels: small ones at 100 per inch take so much more.
_HINTED = 1.055


def said(figure: Figure, part: str) -> str:
    """What a figure says in its "title", "notes" or "footer", on one line; "" without that part."""
    texts = (text.get_text() for text in figure.texts if text.get_gid() == part)
    return " ".join(" ".join(texts).split())


def text_width(text: str, size: float) -> float:
    """The width of a line in inches, at a font size in points.

    Known without drawing, so that a layout can be decided from it.
    """
    return _HINTED * size / _POINTS_PER_INCH * sum(map(_advance, text))


def wrapped(
    text: str, width: float, size: float, most: int = 0, joint: str = " ", *, whole: bool = False
) -> list[str]:
    """A text as lines no wider than asked.

    Args:
        text: Words between joints; a word wider than a line is cut in its middle.
        width: Of a line, in inches.
        size: Of the font, in points.
        most: Lines at most, the last then ends with an ellipsis; 0: any number.
        joint: Where a line may end; its visible part stays at the line's end.
        whole: A word wider than a line goes on in the next instead of being cut.

    Returns:
        The lines, none for an empty text.
    """
    lines: list[str] = []
    words = text.split(joint)
    if whole:
        words = [piece for word in words for piece in _pieces(word, width, size)]
    for word in words:
        piece = fitted(word, width - text_width(joint.rstrip(), size), size)
        longer = f"{lines[-1]}{joint}{piece}" if lines else piece
        if lines and text_width(longer + joint.rstrip(), size) > width:
            lines[-1] += joint.rstrip()
            lines.append(piece)
        else:
            lines[-1:] = [longer]
    if most and len(lines) > most:
        kept = f"{lines[most - 1]} …"
        while text_width(kept, size) > width and " " in kept[:-2]:
            kept = kept[:-2].rpartition(" ")[0] + " …"
        lines = [*lines[: most - 1], kept]
    return [line for line in lines if line]


def _pieces(word: str, width: float, size: float) -> list[str]:
    pieces = [""]
    for letter in word:
        if text_width(pieces[-1] + letter, size) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def distinct(names: list[str], width: float, size: float) -> list[str]:
    """Dotted names, where one is too wide without the parts that all of them begin or end with.

    Args:
        names: As ``model.layers.3.weight``.
        width: In inches.
        size: Of the font, in points.
    """
    if len(names) < 2 or all(text_width(name, size) <= width for name in names):
        return names
    parts = [name.split(".") for name in names]
    head, tail = _common(parts), _common([part[::-1] for part in parts])
    # The last common part says what the first different one is, as "layers" in "layers.3".
    head = max(head - 1, 0)
    shown = names
    for dropped in range(min(tail, min(map(len, parts)) - head - 1) + 1):
        before, after = "…" * (head > 0), "…" * (dropped > 0)
        shown = [f"{before}{'.'.join(part[head : len(part) - dropped])}{after}" for part in parts]
        if all(text_width(name, size) <= width for name in shown):
            break
    return shown


def _common(parts: list[list[str]]) -> int:
    """How many first parts are the same in all; fewer than any has."""
    most = min(map(len, parts)) - 1
    return next((k for k in range(most) if len({part[k] for part in parts}) > 1), most)


def fitted(name: str, width: float, size: float) -> str:
    """A name, cut in its middle until it is no wider than asked."""
    length = len(name)
    while length > 3 and text_width(short(name, length), size) > width:
        length -= 1
    return short(name, length)


def short(text: str, length: int) -> str:
    """A name cut in its middle to a length, since its ends tell it apart."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def symbols(text: str) -> str:
    """Text with dollar signs kept from starting a formula, and the indices of λ set low."""
    escaped = text.replace("$", r"\$")
    return re.sub(r"λ_(max|min)", r"λ$_{\\mathrm{\1}}$", escaped)


@lru_cache(maxsize=4096)
def _advance(letter: str) -> float:
    """Of a letter, in multiples of the font's size."""
    font = _font()
    # By index: a letter that the font lacks has the width of the box that stands for it.
    glyph = font.load_glyph(font.get_char_index(ord(letter)))
    return float(glyph.linearHoriAdvance) / 65536 / _EM


@cache
def _font() -> FT2Font:
    font = FT2Font(findfont(FontProperties(family=FONT)))
    font.set_size(_EM, _POINTS_PER_INCH)
    return font
