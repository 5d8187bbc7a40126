"""The direction along which the samples' curvature, and its noise, is largest: condition 6c."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lla.curvature.samples import SampleForms

__all__ = ["ascended"]

_STEPS = 8
_MORE = 60  # steps where a step costs next to nothing
_FEW = 64
_GAIN = 1e-12
_HALVINGS = 6


def ascended(
    forms: SampleForms,
    starts: Sequence[torch.Tensor],
    probe: torch.Tensor,
    shares: torch.Tensor,
    p: float,
    unit: float,
) -> list[torch.Tensor]:
    """Unit vectors at which c(v) = vᵀHv + p Var_i(vᵀH_iv)/(vᵀHv) is locally largest.

    A power-like iteration, v ← ∇c(v) + s v with the smallest shift s at which c grows, from each
    start and from the sample whose curvature is the largest. c of any unit v is a lower bound of
    the maximum, so that nothing rests on the ascent having found it.

    Args:
        forms: Products of the samples that the ascent is made on.
        starts: Vectors, shape (P,).
        probe: A random vector, shape (P,), by which that sample is found.
        shares: What each sample weighs in a mean, shape (u,).
        p: The share of the samples' noise in a batch.
        unit: Mean weight of a sample in the loss.
    """
    ascent = _Ascent(forms, shares, p, unit)
    own, _ = forms.forms(probe[None], sums=False)
    single = torch.zeros_like(shares)
    single[int((shares * own[0]).argmax())] = 1.0
    _, along = forms.forms(probe[None], single[None])
    return [found for start in (*starts, along[0]) for found in ascent.run(start)]


class _Ascent:
    def __init__(self, forms: SampleForms, shares: torch.Tensor, p: float, unit: float) -> None:
        self._forms, self._shares, self._p, self._unit = forms, shares, p, unit
        self._steps = _MORE if len(shares) <= _FEW else _STEPS

    def run(self, start: torch.Tensor) -> list[torch.Tensor]:
        length = float(start.norm())
        if not length:
            return []
        vector = start / length
        value, q = self._value(vector)
        if not value > 0:
            return []
        for _ in range(self._steps):
            slope = self._slope(vector, q)
            better = self._better(vector, slope, value)
            if better is None:
                break
            gained = better[1] - value
            vector, value, q = better
            if gained <= _GAIN * value:
                break
        return [vector]

    def _better(
        self, vector: torch.Tensor, slope: torch.Tensor, value: float
    ) -> tuple[torch.Tensor, float, torch.Tensor] | None:
        shift = 0.0
        for _ in range(_HALVINGS):
            moved = slope + shift * vector
            length = float(moved.norm())
            if length:
                moved = moved / length
                found, q = self._value(moved)
                if found > value:
                    return moved, found, q
            shift = 4 * shift if shift else float(slope.norm())
        return None

    def _value(self, vector: torch.Tensor) -> tuple[float, torch.Tensor]:
        forms, _ = self._forms.forms(vector[None], sums=False)
        q = forms[0] / self._unit
        mean = float(self._shares @ q)
        if not mean > 0:
            return 0.0, q
        return mean + self._p * (float(self._shares @ q.square()) / mean - mean), q

    def _slope(self, vector: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """∇c / 2 = (1−p)Hv + p[(2/a) mean q_iH_iv − (mean q²/a²)Hv], a = vᵀHv."""
        mean, square = float(self._shares @ q), float(self._shares @ q.square())
        weights = 1 - self._p + self._p * (2 * q / mean - square / mean**2)
        _, sums = self._forms.forms(vector[None], (self._shares * weights / self._unit)[None])
        return sums[0]
