"""Draft a recipe for a checkpoint: what can be told is filled in, the rest is marked."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lla.checkpoint.inspection import Inspection

__all__ = ["Draft", "draft"]

_STABILITY = ("lr", "batch_size", "samples")
_ABOUT = {
    "lr": "learning rate at this checkpoint",
    "batch_size": "samples per training step",
    "samples": "size of the whole training set",
}


@dataclass
class Draft:
    """A recipe's text, and what is left to fill in.

    Attributes:
        lines: The text.
        open: Keys that the user has to fill in before an analysis can run.
    """

    lines: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The recipe as a file's content."""
        return "\n".join(self.lines) + "\n"

    def add(self, *lines: str) -> None:
        """Append lines."""
        self.lines.extend(lines)

    def ask(self, key: str, example: str, why: str) -> None:
        """Append a line that the user has to fill in."""
        self.open.append(key)
        name = key.rpartition(".")[2]
        self.add(f"# FILL IN: {why}", f"# {name} = {example}")


def draft(found: Inspection, place: Path) -> Draft:
    """A recipe for an inspected checkpoint.

    Args:
        found: What the checkpoint holds.
        place: The folder that the recipe will lie in; code and data there are suggested.
    """
    made = Draft()
    made.add(
        f"# What lla needs to know of {Path(found.path).name} ({found.format}, "
        f"{found.elements:,} elements).",
        "# Paths are relative to this file. Keys that are left out have defaults:",
        f"# lla config {found.path}",
        "schema = 1",
        "",
    )
    _model(made, found, place)
    _data(made, place)
    made.add(
        "[loss]",
        "# also mse, bce_with_logits, …, or file.py:function",
        'name = "cross_entropy"',
        "",
    )
    _training(made, found)
    return made


def _model(made: Draft, found: Inspection, place: Path) -> None:
    made.add("[model]")
    for hint in found.hints:
        made.add(f"# likely: {hint}")
    for finding in found.findings:
        made.add(f"# {finding}", "# lla reads such a file only with --unsafe-load")
    if found.brings_network:
        made.add("# the checkpoint brings its network along: no factory is needed", "")
        return
    factories = list(_in_code(place, _makes_network))
    stem = Path(found.path).stem
    alike = [name for name in factories if name.rpartition(":")[2] == stem]
    # Functions that do not say what they return are listed, never chosen.
    listed = [*factories, *_in_code(place, _may_make_network)]
    if len(factories) == 1 or len(alike) == 1:
        why = "named like the checkpoint" if alike else "the only network beside the checkpoint"
        made.add(f"# {why}; correct it if it is another")
        made.add(f'factory = "{(alike or factories)[0]}"', "args = { }")
    else:
        example = listed[0] if listed else "models.py:make_model"
        if listed:
            made.add(f"# found beside the checkpoint: {', '.join(listed[:12])}")
        made.ask("model.factory", f'"{example}"', "the function or class that makes the network")
        made.add("# args = { width = 16 }")
    if len(found.weights) > 1:
        made.add(f"# the file holds several weights: {', '.join(found.weights)}")
        made.add(f'weights = "{found.weights[0]}"')
    made.add("")


def _data(made: Draft, place: Path) -> None:
    made.add("[data]")
    files = list(_data_files(place))
    if len(files) == 1:
        name, splits = files[0]
        made.add(f'source = "{name}"')
        if splits:
            made.add(f"# its splits: {', '.join(splits)}", f'split = "{splits[0]}"')
    else:
        if files:
            made.add(f"# found beside the checkpoint: {', '.join(name for name, _ in files)}")
        made.ask(
            "data.source",
            f'"{files[0][0] if files else "data.npz"}"',
            "samples: .npz, .pt, .safetensors or IDX file, folder of images, "
            "factory:file.py:function, torchvision:NAME or hf:NAME",
        )
        made.add('# split = "train"')
    made.add(
        "# limit = 2048            # a seeded subset; the whole split if left out",
        "# mean = 0.5              # subtracted from the inputs; a number, or one per channel",
        "# std = 0.5               # the inputs are divided by it",
        "",
    )


def _training(made: Draft, found: Inspection) -> None:
    told = {key: value for key, value in found.facts.items() if key != "epoch"}
    made.add("[training]               # what stability needs to know")
    if told:
        words = ", ".join(f"{key} = {value}" for key, value in told.items())
        made.add(f"# told by the checkpoint, and used: {words}")
    for key in _STABILITY:
        if key not in told:
            made.add(f"# {key} = …             # {_ABOUT[key]}; without it, no verdict")


def _in_code(place: Path, wanted: Callable[[ast.stmt], bool]) -> Iterator[str]:
    """What a folder's Python files define, by reading the code without running it."""
    for path in sorted(place.glob("*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError, RecursionError):
            continue
        for node in tree.body:
            if wanted(node):
                assert isinstance(node, (ast.ClassDef, ast.FunctionDef))
                yield f"{path.name}:{node.name}"


def _makes_network(node: ast.stmt) -> bool:
    if isinstance(node, ast.ClassDef):
        names = [ast.unparse(base) for base in node.bases]
        return any(name in ("nn.Module", "torch.nn.Module", "Module") for name in names)
    if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.returns:
        return "Module" in ast.unparse(node.returns) or "Sequential" in ast.unparse(node.returns)
    return False


def _may_make_network(node: ast.stmt) -> bool:
    """A public function that can be called without arguments and returns something unannotated."""
    if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or node.returns:
        return False
    given = node.args
    without_default = len(given.posonlyargs + given.args) - len(given.defaults)
    if without_default or any(default is None for default in given.kw_defaults):
        return False
    return any(isinstance(part, ast.Return) and part.value for part in ast.walk(node))


def _data_files(place: Path) -> Iterator[tuple[str, list[str]]]:
    """Archives of arrays in a folder that have x and y, with their splits."""
    for path in sorted(place.glob("*.npz")):
        try:
            with zipfile.ZipFile(path) as archive:
                keys = {name.removesuffix(".npy") for name in archive.namelist()}
        except (OSError, zipfile.BadZipFile):
            continue
        splits = sorted(key[2:] for key in keys if key.startswith("x_") and f"y_{key[2:]}" in keys)
        if splits or {"x", "y"} <= keys:
            yield path.name, sorted(splits, key=lambda name: name != "train")
