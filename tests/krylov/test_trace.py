"""Hutch++ and XTrace against their definitions, written out with projections."""

import numpy as np
import pytest
import torch

from lla.krylov import Difference, Restricted, hutchpp, xtrace
from lla.seeding import gaussian, rademacher
from tests.oracles import MatrixOperator, rotated

SPECTRUM = [-1.5, -0.4, *np.linspace(-0.05, 0.1, 60), 1.0, 2.5, 7.0]
PROBES = 12


def drawn(seed: int):
    return lambda index: rademacher(len(SPECTRUM), seed, "trace", index)


def outside(vectors: torch.Tensor, sketch: torch.Tensor) -> torch.Tensor:
    q, _ = torch.linalg.qr(sketch.T)
    return vectors - (vectors @ q) @ q.T


@pytest.mark.parametrize("kind", [rademacher, gaussian])
def test_xtrace_leaves_each_probe_out_of_its_own_sketch(kind) -> None:
    matrix = rotated(SPECTRUM)
    draw = lambda index: kind(len(SPECTRUM), 0, "trace", index)  # noqa: E731
    probes = torch.stack([draw(index) for index in range(PROBES)])
    expected = []
    for index in range(PROBES):
        others = torch.cat([probes[:index], probes[index + 1 :]]) @ matrix
        q, _ = torch.linalg.qr(others.T)
        rest = outside(probes[index : index + 1], others)[0]
        scale = (len(SPECTRUM) - PROBES + 1) / float(rest @ rest)
        expected.append(float((q.T @ matrix @ q).trace() + scale * (rest @ matrix @ rest)))
    operator = MatrixOperator(matrix)
    np.testing.assert_allclose(xtrace(operator, draw, PROBES), expected, rtol=1e-10)
    assert operator.products == 2 * PROBES


def test_hutchpp_projects_the_sketch_out_of_other_probes() -> None:
    matrix = rotated(SPECTRUM)
    probes = torch.stack([drawn(0)(index) for index in range(2 * PROBES)])
    sketch = probes[:PROBES] @ matrix
    q, _ = torch.linalg.qr(sketch.T)
    rest = outside(probes[PROBES:], sketch)
    expected = (q.T @ matrix @ q).trace() + ((rest @ matrix) * rest).sum(dim=1)
    operator = MatrixOperator(matrix)
    np.testing.assert_allclose(hutchpp(operator, drawn(0), PROBES), expected, rtol=1e-10)
    assert operator.products == 3 * PROBES


@pytest.mark.parametrize("estimate", [hutchpp, xtrace])
def test_low_rank_is_exact(estimate) -> None:
    operator = MatrixOperator(rotated([3.0, -1.0, 0.5, *[0.0] * 40]))
    draw = lambda index: rademacher(43, 0, "low", index)  # noqa: E731
    np.testing.assert_allclose(estimate(operator, draw, 8), 2.5, rtol=1e-10)
    nothing = MatrixOperator(torch.zeros(43, 43, dtype=torch.float64))
    assert estimate(nothing, draw, 8).tolist() == [0.0] * 8


@pytest.mark.parametrize("estimate", [hutchpp, xtrace])
def test_the_mean_over_seeds_is_the_trace(estimate) -> None:
    operator = MatrixOperator(rotated(SPECTRUM))
    means = [estimate(operator, drawn(seed), PROBES).mean() for seed in range(200)]
    error = abs(np.mean(means) - sum(SPECTRUM))
    assert error <= 4 * np.std(means) / np.sqrt(200)


def test_restrictions_and_differences() -> None:
    first, second = rotated(SPECTRUM, 1), rotated(SPECTRUM, 2)
    operator = MatrixOperator(first)
    block = torch.randn(3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    chosen = [*range(4), *range(10, 15)]
    part = Restricted(operator, (slice(0, 4), slice(10, 15)))
    expected = block @ first[chosen][:, chosen]
    torch.testing.assert_close(part(block), expected)
    torch.testing.assert_close(part(block[0]), expected[0])
    whole = torch.randn(len(SPECTRUM), dtype=torch.float64)
    other = MatrixOperator(second)
    other.eps = 1e-3
    difference = Difference(operator, other)
    torch.testing.assert_close(difference(whole), (first - second) @ whole)
    for made, size, eps in ((part, 9, operator.eps), (difference, len(SPECTRUM), 1e-3)):
        assert (made.size, made.eps, made.device) == (size, eps, operator.device)
    with pytest.raises(ValueError, match="differ"):
        Difference(operator, MatrixOperator(first[:3, :3]))
