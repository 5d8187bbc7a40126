"""A linear layer, the features that it is given, and the curvature of the loss in its outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from lla.curvature.gauss_newton import loss_at, network_at
from lla.curvature.operators import slopes_along
from lla.errors import ConfigurationError, NotApplicableError, nearest
from lla.problem import Batch, Problem
from lla.problem.forward import outputs_if_any
from lla.problem.losses import named_losses

__all__ = ["Layer", "exact_flatness", "layer_of"]


@dataclass(frozen=True)
class Layer:
    """A linear layer whose weight is analysed.

    Attributes:
        name: Its name in the network.
        place: Where its weight lies in θ.
        shape: (d, m): outputs and features.
    """

    name: str
    place: slice
    shape: tuple[int, int]


@dataclass
class _Calls:
    """What went through layers: their names in order, and the last call's features and outputs."""

    names: list[str]
    features: torch.Tensor | None = None
    outputs: torch.Tensor | None = None


def layer_of(problem: Problem, name: str = "") -> Layer:
    """The layer of a name; by default the last linear layer that is called.

    Raises:
        ConfigurationError: There is no linear layer of that name.
        NotApplicableError: No linear layer is called, or its weight is not analysed, or it is
            another layer's too.
    """
    linear = _linear(problem.module)
    if name and name not in linear:
        raise ConfigurationError(
            f"there is no linear layer '{name}'{nearest(name, linear)}",
            f"choose among: {', '.join(linear) or 'there is none'}",
        )
    if not name:
        batch = next(problem.data.whole.chunks(2 if len(problem.data) > 1 else 1))
        with torch.no_grad(), problem.running_statistics(), _watched(linear) as calls:
            outputs_if_any(problem.module, batch)
        if not calls.names:
            raise NotApplicableError("the network calls no linear layer")
        name = calls.names[-1]
    weight = linear[name].weight
    owners = [key for key, part in problem.module.named_parameters(remove_duplicate=False)
              if part is weight]  # fmt: skip
    if len(owners) > 1:
        raise NotApplicableError(f"the weight of {name} is also {owners[0]}: it is not one layer's")
    places = dict(problem.space.slices())
    if not owners or owners[0] not in places:
        raise NotApplicableError(f"the weight of {name} is not among the analysed parameters")
    return Layer(name, places[owners[0]], (weight.shape[0], weight.shape[1]))


def exact_flatness(double: Problem, layer: Layer) -> float | None:
    """Σ_s,s' ⟨w_s, w_s'⟩ tr(H_ss') where the layer's outputs z = Wφ + b are the network's.

    H_ss' is then mean ∂²ℓ/∂z_s∂z_s' φφᵀ, and the sum mean ‖φ‖² tr(WWᵀ ∂²ℓ/∂z∂z): products of the
    loss' own curvature, none of the network. It takes losses that treat each position of the
    outputs by itself, as all named ones do.

    Args:
        double: The problem in float64.
        layer: The layer.

    Returns:
        The sum, or None where the loss or the layer is not of that kind.
    """
    if double.loss_name not in named_losses():
        return None
    weight = double.theta[layer.place].view(layer.shape).double()
    values, turns = torch.linalg.eigh(weight @ weight.T)
    roots = (turns * values.clamp_min(0).sqrt()).T  # rows q with Σ qqᵀ = WWᵀ
    total, count = 0.0, 0.0
    for batch in double.batches():
        found = _captured(double, layer, batch)
        if found is None:
            return None
        features, outputs = found
        leaf = outputs.detach().requires_grad_(True)
        terms = loss_at(double, leaf, batch)
        (slope,) = torch.autograd.grad(terms.total, leaf, create_graph=True)
        count += float(terms.weight)
        if not slope.requires_grad:
            continue
        squares = features.double().square().sum(dim=-1)
        for root in roots:
            along = root.to(leaf.dtype).expand_as(leaf)[None]
            (curved,) = slopes_along(slope, leaf, along, keep=True)
            total += float((squares * (curved.double() @ root)).sum())
    return total / count


def _captured(
    problem: Problem, layer: Layer, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Features and outputs of the layer, or None where these are not the network's outputs."""
    chosen = {layer.name: _linear(problem.module)[layer.name]}
    with torch.no_grad(), _watched(chosen) as calls:
        outputs = network_at(problem, problem.theta, batch)
    if len(calls.names) != 1 or calls.outputs is not outputs or calls.features is None:
        return None
    return calls.features, outputs


def _linear(module: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers by name."""
    return {name: part for name, part in module.named_modules() if type(part) is nn.Linear}


@contextmanager
def _watched(layers: dict[str, nn.Linear]) -> Iterator[_Calls]:
    """Note the calls of layers within a block; no hook is left behind."""
    calls = _Calls([])
    handles = []

    def note(name: str, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        calls.names.append(name)
        calls.features, calls.outputs = inputs[0], output

    try:
        for name, layer in layers.items():
            handles.append(
                layer.register_forward_hook(
                    lambda _, inputs, output, name=name: note(name, inputs, output)
                )
            )
        yield calls
    finally:
        for handle in handles:
            handle.remove()
