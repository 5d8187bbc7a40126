"""Maps at other parameters: after a step on the image itself, and beside the checkpoint."""

from __future__ import annotations

import torch

from lla.analyses.saliency.explaining import Explainer
from lla.analyses.saliency.maps import Network
from lla.analyses.saliency.targets import cross_entropy
from lla.problem import Batch, Problem
from lla.seeding import gaussian

__all__ = ["at_parameters", "beside", "meta_maps", "stepped"]


def at_parameters(problem: Problem, theta: torch.Tensor) -> Network:
    """The network with θ in place of the analysed parameters; nothing in it is changed."""
    return Network(problem.module, problem.space.named(theta))


def stepped(problem: Problem, image: torch.Tensor, label: torch.Tensor, lr: float) -> torch.Tensor:
    """θ′ = θ − lr ∇CE(f_θ(x), t), a step of gradient descent on one image, shape (P,).

    Args:
        problem: Network and θ.
        image: x, shape (1, C, H, W).
        label: t, shape (1,).
        lr: The learning rate.
    """
    theta = problem.theta.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        loss = at_parameters(problem, theta).score(cross_entropy, Batch(image, label))
        (slope,) = torch.autograd.grad(loss, theta, allow_unused=True, materialize_grads=True)
    return theta.detach() - lr * slope


def meta_maps(
    problem: Problem,
    explainer: Explainer,
    images: torch.Tensor,
    classes: torch.Tensor,
    lr: float,
) -> torch.Tensor:
    """Meta-saliency: each image's combined map after a step on that image, shape (n, H, W).

    (Rebuffi et al. 2020, section 3.4.) The checkpoint's own parameters and buffers stay as they
    are: θ′ is put in place of θ for the call.

    Args:
        problem: Network and θ.
        explainer: How maps are made; its layers have to be named.
        images: Shape (n, C, H, W).
        classes: The class that is explained, and the step's target, shape (n,).
        lr: The step's learning rate; 0 gives the plain maps.
    """
    found = []
    for index in range(len(images)):
        place = slice(index, index + 1)
        theta = stepped(problem, images[place], classes[place], lr)
        found.append(explainer(at_parameters(problem, theta), images[place], classes[place]))
    return torch.cat(found)


def beside(problem: Problem, noise: float, seed: int, index: int) -> Network:
    """The network with Gaussian noise on each parameter tensor.

    Args:
        problem: Network and θ.
        noise: Its standard deviation, relative to the tensor's root mean square.
        seed: Of the run.
        index: Of the draw.
    """
    drawn = gaussian(problem.space.size, seed, "saliency noise", index)
    theta = problem.theta.detach().clone()
    for _, place in problem.space.slices():
        scale = noise * theta[place].square().mean().sqrt()
        theta[place] += scale * drawn[place].to(theta)
    return at_parameters(problem, theta)
