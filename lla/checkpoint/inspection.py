"""Say what a checkpoint is and holds, without running, or even loading, anything of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lla.checkpoint.contents import hyper_parameters, optimizer_state, training_facts
from lla.checkpoint.files import sha256_of, split_scheme
from lla.checkpoint.formats.hugging_face import architecture_of
from lla.checkpoint.hints import architecture_hints
from lla.checkpoint.looking import Found, look
from lla.checkpoint.measuring import Block, Measured, measure
from lla.checkpoint.recognize import Format, recognize
from lla.errors import CheckpointError

__all__ = ["Inspection", "TensorFacts", "inspect"]


@dataclass(frozen=True)
class TensorFacts:
    """One tensor: name, shape, dtype, Euclidean norm (None if unknown), non-finite elements."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    norm: float | None
    non_finite: int


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint holds.

    Attributes:
        path: The checkpoint.
        format: Name of its format.
        size: Bytes.
        sha256: Digest, as in reports.
        tensors: The weights that an analysis would take.
        weights: All sets of weights by their path of keys; the first one is taken.
        facts: What it tells of the training.
        hyper_parameters: Plain values that the training script saved.
        has_optimizer_state: Whether the optimizer's buffers are there.
        hints: What names and shapes tell of the network.
        findings: What in it would run code; empty if nothing would.
        brings_network: Whether it needs no factory.
    """

    path: str
    format: str
    size: int
    sha256: str
    tensors: tuple[TensorFacts, ...]
    weights: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    hyper_parameters: Mapping[str, Any] = field(default_factory=dict)
    has_optimizer_state: bool = False
    hints: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    brings_network: bool = False

    @property
    def elements(self) -> int:
        """Number of elements of all tensors; buffers such as running means are among them."""
        return sum(math.prod(item.shape) for item in self.tensors)


def inspect(reference: str | Path) -> Inspection:
    """Inspect a checkpoint; nothing in it is run, no network is needed.

    Args:
        reference: A file or folder.

    Raises:
        CheckpointError: It is missing, damaged or no checkpoint.
    """
    format = named = recognize(reference)
    if format in (Format.HUGGING_FACE, Format.TIMM):
        reference, format = _folder_of(reference)
    path = Path(reference)
    found = look(path, format)
    files = found.files or [path]
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(sha256_of, path, found.files)
        known: dict[Block, Measured] = {}
        tensors = tuple(_facts(name, block, found, known) for name, block in found.blocks.items())
    return Inspection(
        path=str(path),
        format=format.value,
        size=sum(file.stat().st_size for file in files),
        sha256=digest.result(),
        tensors=tensors,
        weights=found.weights,
        facts=training_facts(found.content),
        hyper_parameters=hyper_parameters(found.content),
        has_optimizer_state=bool(optimizer_state(found.content)),
        hints=tuple(_hints(path, named, tensors)),
        findings=tuple(found.findings),
        brings_network=named in (Format.EXPORTED, Format.TORCHSCRIPT, Format.HUGGING_FACE),
    )


def _hints(path: Path, named: Format, tensors: tuple[TensorFacts, ...]) -> Iterator[str]:
    architecture = architecture_of(path) if path.is_dir() else ""
    if architecture:
        how = "" if named is Format.HUGGING_FACE else f"; hf:{path} brings it along"
        yield f"a {architecture} of transformers, by config.json{how}"
    yield from architecture_hints({item.name: item.shape for item in tensors})


def _folder_of(reference: str | Path) -> tuple[Path, Format]:
    scheme, rest = split_scheme(reference)
    if scheme == "timm" or not Path(rest).is_dir():
        raise CheckpointError(
            f"{reference} is a name, not a folder: its weights would have to be fetched",
            f"lla analyze {reference} fetches them; lla inspect takes files and folders",
        )
    return Path(rest), recognize(rest)


def _facts(
    name: str, block: Block | Measured, found: Found, known: dict[Block, Measured]
) -> TensorFacts:
    if isinstance(block, Measured):
        shape, dtype = found.shapes[name]
        return TensorFacts(name, shape, dtype, block.norm, block.non_finite)
    try:
        # Tied weights, and a tensor that stands under many names, are read once.
        measured = known[block] if block in known else known.setdefault(block, measure(block))
    except (OSError, ValueError, MemoryError) as error:
        raise CheckpointError(
            f"{block.path} is damaged: {name[:80]} cannot be read ({error})",
            "copy or save the checkpoint again",
        ) from None
    return TensorFacts(name, block.shape, block.dtype, measured.norm, measured.non_finite)
