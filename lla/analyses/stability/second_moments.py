"""When second moments of linearized SGD stay bounded: without and with momentum, exactly.

At a minimum with positive semi-definite sample curvatures H_i, SGD multiplies the distance x from
it by I − ηH_B. The second moments X = E[xxᵀ] then stay bounded up to the learning rate at which
X = K(η) ∘ D(X) has a solution, where D(X) = H X H + p (mean H_i X H_i − H X H) is what the
gradients' second moment is, ∘ multiplies entry by entry in the eigenbasis of H = mean H_i, and K
depends on the rule alone:

- plain SGD: 1/K_ab = (h_a + h_b)/η, which is η* = 2/λ_max(C†D) with C = ½(H ⊕ H) of Mulayoff &
  Michaeli, "Exact mean square linear stability analysis for SGD" (COLT 2024);
- heavy ball: 1/K_ab = (1−β)(h_a + h_b)/η + β(h_a² + h_b² − 2βh_ah_b)/(1−β²);
- Nesterov: :func:`_nesterov`.

The last two follow from eliminating E[xmᵀ] and E[mmᵀ] from the stationary equations of the state
(x, m): an operator that preserves positive semi-definite matrices has its spectral radius among its
eigenvalues (Krein & Rutman 1948), so that the moments first grow where one is 1. λ_max of the
symmetric √K ∘ D(√K ∘ ·) grows with η and is 1 at the threshold. By the same token every symmetric
X ≠ 0 gives a necessary condition: ⟨X, D(X)⟩ ≤ ⟨X, X/K⟩.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lla.krylov import Search, extreme_eigenpairs
from lla.seeding import gaussian

__all__ = ["MomentOperator", "Rule", "Threshold", "exact_threshold", "gradient_descent_factor",
           "limit_of_form", "linear_parts"]  # fmt: skip

_TOLERANCE = 1e-9
_PRODUCTS = 400
_BISECTIONS = 60
_CLOSE = 1e-13
_EDGE = 1e-10  # where there is no noise, the limit is the highest itself, to rounding


@dataclass(frozen=True)
class Rule:
    """How a step is made of gradients, as ``torch.optim.SGD`` does.

    Attributes:
        beta: Momentum β.
        nesterov: Whether it is Nesterov's.
    """

    beta: float = 0.0
    nesterov: bool = False

    @property
    def looks_ahead(self) -> bool:
        """Whether it is Nesterov's momentum, and there is some."""
        return self.nesterov and self.beta > 0


@dataclass(frozen=True)
class Threshold:
    """A largest stable learning rate between two bounds.

    Attributes:
        value: η*.
        low: Where an eigenvalue that was missed by its residual would put it.
        high: η* itself for all that Ritz values say, which lie inside the spectrum.
    """

    value: float
    low: float
    high: float


def gradient_descent_factor(rule: Rule) -> float:
    """What gradient descent's largest stable η is, times λ_max: 2, 2(1+β), 2(1+β)/(1+2β)."""
    factor = 2 * (1 + rule.beta)
    return factor / (1 + 2 * rule.beta) if rule.nesterov else factor


def linear_parts(a: np.ndarray, b: np.ndarray, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """1/K = first/η + second, entry by entry, of plain SGD (β = 0) and heavy-ball momentum."""
    second = beta / (1 - beta**2) * (a**2 + b**2 - 2 * beta * a * b)
    return (1 - beta) * (a + b), second


def _nesterov(a: np.ndarray, b: np.ndarray, lr: float, beta: float) -> np.ndarray:
    """1/K of Nesterov's momentum, entry by entry.

    With r = 1−β+ηβh, Y = E[xmᵀ] and Z = E[mmᵀ] are entrywise Y_ab r_a = X_ab h_b − η(D + βZ)_ab
    and (1−β²)Z_ab = h_aβY_ab + h_bβY_ba + D_ab; what is left in E[xxᵀ] is αX = δD.
    """
    ra, rb = 1 - beta + lr * beta * a, 1 - beta + lr * beta * b
    along, across = a * b * (1 / ra + 1 / rb), a / ra + b / rb
    below = 1 - beta**2 + beta**2 * lr * across
    z_x, z_d = beta * along / below, (1 - beta * lr * across) / below
    y_x = (1 - lr * a) * b / ra + (1 - lr * b) * a / rb
    y_d = (1 - lr * a) / ra + (1 - lr * b) / rb
    coupling = lr * beta**2 * (1 + beta * y_d)
    alpha = (1 + beta) * (a + b) + beta**2 * y_x - coupling * z_x
    delta = lr * (1 + 2 * beta + beta**2 * y_d) + coupling * z_d
    found: np.ndarray = alpha / delta
    return found


def limit_of_form(noise: float, nodes: np.ndarray, weights: np.ndarray, rule: Rule) -> float:
    """The learning rate up to which ⟨X, D(X)⟩ ≤ ⟨X, X/K(η)⟩ for X = vvᵀ.

    Args:
        noise: ⟨X, D(X)⟩ = (vᵀHv)² + p Var_i(vᵀH_iv).
        nodes: Eigenvalues of H with the weights of v's spectral measure, or quadrature nodes of
            it; shape (k,).
        weights: Shape (k,), in all 1.
        rule: Of the steps.

    Returns:
        The limit; infinity where this X gives none.
    """
    a, b = nodes[:, None], nodes[None, :]
    mass = weights[:, None] * weights[None, :]
    if not rule.looks_ahead:
        first, second = linear_parts(a, b, rule.beta)
        left = noise - float((mass * second).sum())
        return float((mass * first).sum()) / left if left > 0 else math.inf

    def exceeds(lr: float) -> bool:
        return noise >= float((mass * _nesterov(a, b, lr, rule.beta)).sum())

    highest = gradient_descent_factor(rule) / float(nodes.max())
    return _crossing(exceeds, highest)


def _crossing(exceeds: Callable[[float], bool], highest: float) -> float:
    """The smallest η at which something that sets in once has set in; infinity beyond highest."""
    if not exceeds(highest * (1 + _EDGE)):
        return math.inf
    low, high = 0.0, highest
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if exceeds(middle) else (middle, high)
        if high - low <= _CLOSE * high:
            break
    return (low + high) / 2


class MomentOperator:
    """s ∘ D(s ∘ X) − t ∘ X on symmetric matrices X, for entrywise s and t; D is never formed.

    X is packed: its upper triangle with off-diagonal entries times √2, so that dot products are
    those of the matrices.

    Attributes:
        size: r(r+1)/2.
        device: Where vectors have to be.
        eps: float64's.
    """

    eps = torch.finfo(torch.float64).eps

    def __init__(
        self, factors: torch.Tensor, values: torch.Tensor, p: float, shift: float = 0.0
    ) -> None:
        """Make D.

        Args:
            factors: A_i with H_i = A_iᵀA_i in the eigenbasis of H, float64, shape (n, K, r).
            values: H's eigenvalues h, shape (r,).
            p: The share of the samples' noise in a batch.
            shift: Weight decay: what is added to every H_i and to H.
        """
        n, _, r = factors.shape
        self.size, self.device = r * (r + 1) // 2, factors.device
        self.values = values + shift
        self._factors, self._plain, self._p, self._count = factors, values, p, n
        self._rows, self._columns = torch.triu_indices(r, r, device=factors.device)
        self._scale = torch.where(self._rows == self._columns, 1.0, math.sqrt(2)).to(values)
        self._s = torch.ones(r, r, dtype=values.dtype, device=self.device)
        self._t = torch.zeros_like(self._s)

    def scaled(self, s: torch.Tensor, t: torch.Tensor) -> MomentOperator:
        """The same with other s and t, shape (r, r), symmetric."""
        self._s, self._t = s, t
        return self

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """The products of packed matrices, shape (size,) or (b, size)."""
        if vectors.ndim == 1:
            return self._packed(self._product(self._matrix(vectors)))
        return torch.stack([self(vector) for vector in vectors])

    def _product(self, matrix: torch.Tensor) -> torch.Tensor:
        return self._s * self.moments(self._s * matrix) - self._t * matrix

    def moments(self, matrix: torch.Tensor) -> torch.Tensor:
        """D(X) of a symmetric X, shape (r, r)."""
        h, plain, rows = self.values, self._plain, self._factors
        found = h[:, None] * matrix * h
        if self._p:
            inner = (rows @ matrix) @ rows.transpose(1, 2)
            mean = (inner @ rows).flatten(0, 1).T @ rows.flatten(0, 1) / self._count
            found = found + self._p * (mean - plain[:, None] * matrix * plain)
        return (found + found.T) / 2

    def _matrix(self, vector: torch.Tensor) -> torch.Tensor:
        made = torch.zeros_like(self._s)
        made[self._rows, self._columns] = vector / self._scale
        made[self._columns, self._rows] = vector / self._scale
        return made

    def _packed(self, matrix: torch.Tensor) -> torch.Tensor:
        return matrix[self._rows, self._columns] * self._scale

    def largest(self, start: torch.Tensor | None) -> tuple[float, float, torch.Tensor]:
        """Its largest eigenvalue, the residual, and the eigenvector, packed."""
        identity = self._packed(torch.eye(len(self.values), dtype=torch.float64)).to(self.device)

        def draw(index: int) -> torch.Tensor:
            if index:
                return gaussian(self.size, 0, "second moments", index)
            # Near a positive matrix: the eigenvector of a cone's operator is one.
            noise = gaussian(self.size, 0, "second moments", 0).to(self.device)
            base = identity if start is None else start
            return base + 0.05 * float(base.norm()) / math.sqrt(self.size) * noise

        pairs = extreme_eigenpairs(self, draw, Search(1, 0, _TOLERANCE, _PRODUCTS))
        return float(pairs.values[0]), float(pairs.residuals[0]), pairs.vectors[0]


def exact_threshold(
    operator: MomentOperator, rule: Rule, start: torch.Tensor | None = None
) -> tuple[Threshold, torch.Tensor]:
    """The exact largest stable learning rate of SGD at a batch size.

    Args:
        operator: D at that batch size; its scales are changed.
        rule: Of the steps.
        start: Packed eigenmatrix of a similar problem, to begin from.

    Returns:
        The threshold, and its eigenmatrix.
    """
    h = operator.values
    a, b = h[:, None].cpu().numpy(), h[None, :].cpu().numpy()
    if not rule.looks_ahead:
        first, second = (torch.from_numpy(x).to(h) for x in linear_parts(a, b, rule.beta))
        top, residual, vector = operator.scaled(first.rsqrt(), second / first).largest(start)
        return Threshold(1 / top, 1 / (top + residual), 1 / top), vector
    held = start

    def exceeds(lr: float) -> bool:
        nonlocal held
        inverse = torch.from_numpy(_nesterov(a, b, lr, rule.beta)).to(h)
        zeros = torch.zeros_like(inverse)
        top, _, held = operator.scaled(inverse.rsqrt(), zeros).largest(held)
        return top >= 1.0

    highest = gradient_descent_factor(rule) / float(h.max())
    # Gradient descent's own threshold is where full batches end; rounding may be on either side.
    found = min(_crossing(exceeds, highest), highest)
    assert held is not None
    return Threshold(found, found * (1 - _TOLERANCE), found * (1 + _TOLERANCE)), held
