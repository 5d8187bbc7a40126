"""Answers from outside the code under test: dense matrices and networks with known curvature."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from lla.problem import LossSpec, Problem, from_objects


class MatrixOperator:
    """A dense symmetric matrix as an operator that counts its products."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix
        self.size = len(matrix)
        self.device = matrix.device
        self.eps = torch.finfo(torch.float64).eps
        self.products = 0

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        self.products += 1 if vectors.ndim == 1 else len(vectors)
        return vectors @ self.matrix


def rotated(eigenvalues: list[float], seed: int = 0) -> torch.Tensor:
    """QΛQᵀ with a random rotation Q: a diagonal matrix has no Hutchinson variance at all."""
    generator = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    gaussian = torch.randn(size, size, generator=generator, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(gaussian)
    return rotation @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ rotation.T


class Attention(nn.Module):
    """One head of attention over a short sequence, with the fused kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x)[:, None].chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q, k, v)[:, 0]
        return self.head(mixed.mean(dim=1))


class TiedText(nn.Module):
    """Embedding whose weights are the output head's too; gives (n, time, vocabulary)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.mix(self.embedding(x))))


class Unused(nn.Module):
    """A network with a layer that the output does not depend on, and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 3)
        self.unused = nn.Linear(2, 2)
        self.frozen = nn.Linear(3, 3)
        self.frozen.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.frozen(torch.tanh(self.used(x)))


@dataclass(frozen=True)
class Case:
    """A small network with data, and its mean loss written out anew."""

    name: str
    module: Callable[[], nn.Module]
    inputs: Callable[[], torch.Tensor]
    targets: Callable[[], torch.Tensor]
    loss: LossSpec
    mean_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

    def problem(self, batch_size: int = 256) -> Problem:
        """The problem in float64."""
        torch.manual_seed(3)
        module = self.module()
        torch.manual_seed(4)
        data = (self.inputs(), self.targets())
        return from_objects(module, data, self.loss, batch_size=batch_size, dtype="float64")


def _padded_targets() -> torch.Tensor:
    targets = torch.randint(0, 5, (10, 6))
    for row, kept in enumerate([6, 1, 3, 6, 2, 5, 4, 6, 1, 2]):
        targets[row, kept:] = -100
    return targets


CASES = (
    Case(
        "mlp",
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)),
        lambda: torch.randn(10, 4),
        lambda: torch.randint(0, 3, (10,)),
        LossSpec(name="mse", args={"one_hot": True}),
        lambda out, y: ((out - F.one_hot(y, 3)) ** 2).mean(),
    ),
    Case(
        "conv",
        lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.BatchNorm2d(3),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(3, 3),
        ),
        lambda: torch.randn(10, 1, 5, 5),
        lambda: torch.randint(0, 3, (10,)),
        LossSpec(name="cross_entropy"),
        lambda out, y: -out.log_softmax(1).gather(1, y[:, None]).mean(),
    ),
    Case(
        "attention",
        Attention,
        lambda: torch.randn(10, 5, 4),
        lambda: torch.randint(0, 3, (10,)),
        LossSpec(name="cross_entropy"),
        lambda out, y: -out.log_softmax(1).gather(1, y[:, None]).mean(),
    ),
    Case(
        "text",
        TiedText,
        lambda: torch.randint(0, 5, (10, 6)),
        _padded_targets,
        LossSpec(name="cross_entropy", args={"ignore_index": -100}),
        lambda out, y: -out.log_softmax(-1)[y >= 0].gather(1, y[y >= 0][:, None]).mean(),
    ),
    Case(
        "unused",
        Unused,
        lambda: torch.randn(10, 4),
        lambda: torch.randn(10, 3),
        LossSpec(name="mse"),
        lambda out, y: ((out - y) ** 2).mean(),
    ),
)


def dense_hessian(case: Case, problem: Problem) -> torch.Tensor:
    """The Hessian of the case's own mean loss over all data at once, by nested reverse mode."""
    space, module = problem.space, problem.module
    inputs, targets = problem.data.inputs, problem.data.targets

    def loss(theta: torch.Tensor) -> torch.Tensor:
        return case.mean_loss(functional_call(module, space.named(theta), (inputs,)), targets)

    with problem.second_order():
        return torch.autograd.functional.hessian(loss, problem.theta)


def dense_gauss_newton(case: Case, problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Jᵀ∇²ℓJ of the case's own mean loss over all data, and Σ g gᵀ over its samples.

    The mean divides by the number of its terms, so that one sample's part is the mean's change
    when the other samples' outputs are held.
    """
    space, data = problem.space, problem.data

    def network(theta: torch.Tensor) -> torch.Tensor:
        return functional_call(problem.module, space.named(theta), (data.inputs,))

    with problem.second_order():
        outputs = network(problem.theta).detach()
        jacobian = torch.autograd.functional.jacobian(network, problem.theta)
    flat = jacobian.reshape(outputs.numel(), space.size)

    def loss(values: torch.Tensor) -> torch.Tensor:
        return case.mean_loss(values.view_as(outputs), data.targets)

    curvature = torch.autograd.functional.hessian(loss, outputs.reshape(-1))
    slope = torch.autograd.functional.jacobian(loss, outputs.reshape(-1)).view_as(outputs)
    rows = [
        jacobian[i].reshape(-1, space.size).T @ slope[i].reshape(-1) for i in range(len(outputs))
    ]
    gradients = torch.stack(rows)
    return flat.T @ curvature @ flat, gradients.T @ gradients


def columns(operator: Callable[[torch.Tensor], torch.Tensor], size: int) -> torch.Tensor:
    """The matrix of an operator, one product for each unit vector."""
    return torch.stack([operator(unit) for unit in torch.eye(size, dtype=torch.float64)], dim=1)


def second_moment_limit(hessians: np.ndarray, p: float) -> float:
    """η* of SGD on quadratic samples by its dense second-moment operator.

    E[(I − ηH_B) M (I − ηH_B)ᵀ] as a matrix on vec(M); the largest η with spectral radius ≤ 1 is
    2/λ_max(C†D) with C = ½(H⊕H), D = (1−p)H⊗H + (p/n)ΣH_i⊗H_i (Mulayoff & Michaeli).
    """
    mean = hessians.mean(axis=0)
    size = len(mean)
    eye = np.eye(size)
    c = (np.kron(mean, eye) + np.kron(eye, mean)) / 2
    d = (1 - p) * np.kron(mean, mean) + p * np.mean([np.kron(h, h) for h in hessians], axis=0)
    return float(2 / np.linalg.eigvals(np.linalg.pinv(c) @ d).real.max())


def second_moment_radius(
    hessians: np.ndarray, p: float, lr: float, beta: float, nesterov: bool
) -> float:
    """Spectral radius of E[A ⊗ A] for the step A of SGD with momentum on (x, buffer), dense.

    buffer ← β buffer + Hx and x ← x − η buffer; Nesterov: x ← x − η(Hx + β buffer).
    """
    size = hessians.shape[1]
    eye = np.eye(size)

    def step(hessian: np.ndarray) -> np.ndarray:
        ahead, kept = (1 + beta, beta**2) if nesterov else (1.0, beta)
        return np.block([[eye - lr * ahead * hessian, -lr * kept * eye], [hessian, beta * eye]])

    mean = step(hessians.mean(axis=0))
    moments = (1 - p) * np.kron(mean, mean)
    moments += p * np.mean([np.kron(step(h), step(h)) for h in hessians], axis=0)
    return float(np.abs(np.linalg.eigvals(moments)).max())


def largest_in_ball(hessian: torch.Tensor, gradient: torch.Tensor, radius: float) -> float:
    """The maximum of gᵀε + ½εᵀHε over ‖ε‖ ≤ ρ, H positive: the trust region's secular equation.

    (μ − H)ε = g with μ > λ_max and ‖ε‖ = ρ (Conn, Gould & Toint 2000, chapter 7); g must have a
    part along λ_max's eigenvector.
    """
    from scipy.optimize import brentq

    values, vectors = np.linalg.eigh(hessian.numpy())
    along = vectors.T @ gradient.numpy()

    def excess(shift: float) -> float:
        return float(np.linalg.norm(along / (values[-1] + shift - values))) - radius

    shift = brentq(excess, 1e-14, 1e8, xtol=1e-15, rtol=1e-14)
    point = along / (values[-1] + shift - values)
    return float(along @ point + (values * point**2).sum() / 2)


def dense_flatness(hessian: torch.Tensor, weight: torch.Tensor) -> float:
    """Σ_s,s' ⟨w_s, w_s'⟩ tr(H_ss') of a weight (d, m) with its Hessian (dm, dm), as defined."""
    rows, columns = weight.shape
    blocks = hessian.view(rows, columns, rows, columns)
    return sum(
        float(weight[s] @ weight[t]) * float(torch.trace(blocks[s, :, t, :]))
        for s in range(rows)
        for t in range(rows)
    )
