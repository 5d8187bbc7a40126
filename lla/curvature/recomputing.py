"""Blocks of a network whose activations are computed again where they are needed.

A block is a function y = f(x, w) of its inputs and parameters. Its backward pass is one more,
(x̄, w̄) = g(ȳ, x, w); both are functions of autograd here that save what they are given and nothing
of what is in between. Where the first or the second derivative comes to a block, the block alone is
computed again with a graph, and differentiated. What is held at a time is what goes from block to
block, and the graph of one block, twice differentiated (Chen et al. 2016, "Training deep nets with
sublinear memory cost", for products of the Hessian).

``torch.utils.checkpoint`` does this for the forward pass only: of a backward pass that is to be
differentiated, everything is saved.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

__all__ = ["blocks_of", "recomputing", "within_block"]

_LEAST = 2  # blocks: one alone would have to be held whole


_Block = Callable[[Sequence[torch.Tensor]], tuple[torch.Tensor, ...]]
"""A block's outputs as a function of its tensors: its inputs, then its parameters, in one list."""


class _Here(threading.local):
    """Whether this thread is within a block that is computed again."""

    within = False


_here = _Here()


def within_block() -> bool:
    """Whether what is saved now for a derivative is gone as soon as one block has been seen."""
    return _here.within


@contextmanager
def _passing() -> Iterator[None]:
    """Within it, a graph is made of one block, and not for longer than that."""
    before, _here.within = _here.within, True
    try:
        with torch.enable_grad():
            yield
    finally:
        _here.within = before


class _Forward(torch.autograd.Function):
    """A block's outputs, as a function of its inputs and parameters."""

    @staticmethod
    def forward(ctx: Any, block: _Block, *tensors: torch.Tensor) -> Any:
        ctx.block = block
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return block(tensors)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor | None) -> Any:
        apply: Any = _Backward.apply
        wanted = ctx.needs_input_grad[1:]
        return None, *apply(ctx.block, wanted, len(slopes), *slopes, *ctx.saved_tensors)


class _Backward(torch.autograd.Function):
    """A block's gradients, as a function of its outputs' slopes, its inputs and parameters."""

    @staticmethod
    def forward(
        ctx: Any,
        block: _Block,
        wanted: tuple[bool, ...],
        count: int,
        *given: torch.Tensor | None,
    ) -> Any:
        ctx.block, ctx.wanted, ctx.count = block, wanted, count
        ctx.save_for_backward(*given)
        ctx.set_materialize_grads(False)
        leaves = _leaves(given, (*[False] * count, *wanted))
        return tuple(_gradients(block, leaves[count:], leaves[:count], wanted, graph=False))

    @staticmethod
    def backward(ctx: Any, *along: torch.Tensor | None) -> Any:
        given, count = ctx.saved_tensors, ctx.count
        needs = ctx.needs_input_grad[3:]
        # Inputs and parameters are leaves of the first derivative, and all that is needed of the
        # second.
        wanted = (*needs[:count], *map(max, needs[count:], ctx.wanted))
        leaves = _leaves(given, wanted)
        with _passing():
            first = _gradients(ctx.block, leaves[count:], leaves[:count], ctx.wanted, graph=True)
            return None, None, None, *_by(leaves, needs, zip(first, along, strict=True))


def _leaves(
    given: Sequence[torch.Tensor | None], wanted: Sequence[bool]
) -> list[torch.Tensor | None]:
    """The tensors without their history; those wanted as leaves."""
    return [
        None if tensor is None else tensor.detach().requires_grad_(bool(want))
        for tensor, want in zip(given, wanted, strict=True)
    ]


def _gradients(
    block: _Block,
    leaves: Sequence[torch.Tensor | None],
    slopes: Sequence[torch.Tensor | None],
    wanted: Sequence[bool],
    *,
    graph: bool,
) -> list[torch.Tensor | None]:
    """Gradients of Σ ȳ · y by the leaves that are wanted, None for others."""
    with _passing():
        outputs = block(leaves)  # type: ignore[arg-type]
        return _by(leaves, wanted, zip(outputs, slopes, strict=True), graph=graph)


def _by(
    leaves: Sequence[torch.Tensor | None],
    wanted: Sequence[bool],
    along: Iterable[tuple[torch.Tensor | None, torch.Tensor | None]],
    *,
    graph: bool = False,
) -> list[torch.Tensor | None]:
    """Gradients of Σ a · y over pairs (y, a) by the leaves that are wanted; None for others."""
    pairs = [(y, a) for y, a in along if y is not None and a is not None and y.requires_grad]
    by = [leaf for leaf, want in zip(leaves, wanted, strict=True) if want and leaf is not None]
    found: Iterator[torch.Tensor | None] = iter([None] * len(by))
    if pairs and by:
        values, vectors = zip(*pairs, strict=True)
        found = iter(
            torch.autograd.grad(values, by, vectors, create_graph=graph, allow_unused=True)
        )
    return [
        next(found) if want and leaf is not None else None
        for leaf, want in zip(leaves, wanted, strict=True)
    ]


def _recomputed(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    """A block's forward pass that keeps nothing of itself."""

    @functools.wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        flat, spec = pytree.tree_flatten((args, kwargs))
        places = [index for index, item in enumerate(flat) if isinstance(item, torch.Tensor)]
        # Whatever stands for the parameters now stands for them when they are looked at again.
        named = dict(module.named_parameters(remove_duplicate=False))
        structure: list[Any] = []

        def call(tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
            items = list(flat)
            for place, tensor in zip(places, tensors, strict=False):
                items[place] = tensor
            inputs, options = pytree.tree_unflatten(items, spec)
            held = dict(zip(named, tensors[len(places) :], strict=True))
            with _plain(module, forward):
                output = functional_call(module, held, inputs, options, tie_weights=False)
            outputs, layout = pytree.tree_flatten(output)
            structure[:] = [layout]
            return tuple(outputs)

        given = [flat[place] for place in places]
        for place in places:
            flat[place] = None  # what is held of the inputs is held once, by autograd
        apply: Any = _Forward.apply
        outputs = apply(call, *given, *named.values())
        return pytree.tree_unflatten(list(outputs), structure[0])

    return run


@contextmanager
def _plain(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Within it, the module's forward pass is its own."""
    before = module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = before


@contextmanager
def recomputing(module: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Within it, the named submodules keep no activations when they are called.

    Args:
        module: The network.
        names: Blocks, none within another, each called at most once in a pass.
    """
    with ExitStack() as stack:
        for name in names:
            part = module.get_submodule(name)
            stack.enter_context(_plain(part, _recomputed(part, part.forward)))
        yield


def blocks_of(module: nn.Module, run: Callable[[], object]) -> tuple[str, ...]:
    """Names of the blocks that a network's forward pass goes through one after another.

    They are the members of its lists and sequences that consist of several layers, the outermost
    ones; of those, the ones that are called once and give tensors.

    Args:
        module: The network.
        run: One pass.

    Returns:
        Their names; none where there are fewer than two.
    """
    candidates: dict[str, nn.Module] = {}
    for name, part in module.named_modules():
        if not isinstance(part, (nn.ModuleList, nn.Sequential)):
            continue
        if any(name == known or name.startswith(f"{known}.") for known in candidates):
            continue
        for key, child in part.named_children():
            if len(list(child.modules())) > 2 and any(True for _ in child.parameters()):
                candidates[f"{name}.{key}" if name else key] = child
    calls: dict[str, int] = dict.fromkeys(candidates, 0)
    handles = [
        part.register_forward_hook(functools.partial(_count, calls, name))
        for name, part in candidates.items()
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    found = tuple(name for name, count in calls.items() if count == 1)
    return found if len(found) >= _LEAST else ()


def _count(calls: dict[str, int], name: str, module: nn.Module, args: Any, output: Any) -> None:
    tensors = pytree.tree_leaves(output)
    usable = tensors and all(isinstance(one, torch.Tensor) for one in tensors)
    calls[name] += 1 if usable else 2
