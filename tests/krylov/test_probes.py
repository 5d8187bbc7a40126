"""Probes for density, trace, norm and diagonal of matrices that are known."""

import numpy as np
import pytest
import torch

from lla.estimate import mean_of
from lla.krylov import ProbePlan, Quadrature, block_lanczos, draw_probes
from lla.seeding import rademacher
from tests.krylov.runs import SPECTRUM, started
from tests.oracles import MatrixOperator, rotated


def probes_of(
    matrix: torch.Tensor,
    seed: int,
    *,
    known_steps: int,
    probes: int = 10,
    more: int = 0,
    steps: int = 3,
    together: int = 10,
    grouped=None,
    on_products=lambda done, total: None,
):
    operator = MatrixOperator(matrix)
    known = block_lanczos(operator, started(operator.size, seed=999), known_steps)
    half = operator.size // 2
    return draw_probes(
        operator,
        lambda index: rademacher(operator.size, seed, "probes", index),
        known,
        ProbePlan(probes, steps, min(probes, together)),
        blocks=(slice(0, half), slice(half, operator.size)),
        enough=lambda samples: probes + more,
        grouped=grouped,
        on_products=on_products,
    )


def complement(matrix: torch.Tensor, known_steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The known space of ``probes_of`` in rows, and A compressed to what is beyond it, dense."""
    known = block_lanczos(MatrixOperator(matrix), started(len(matrix), seed=999), known_steps)
    q = known.basis.matrix()
    rest = torch.eye(len(matrix), dtype=torch.float64) - q.T @ q
    return q, rest @ matrix @ rest


def test_probes_are_unbiased_and_deflation_only_narrows() -> None:
    matrix = rotated(SPECTRUM)
    half = len(matrix) // 2
    truth = {
        "trace": float(matrix.trace()),
        "square": float(matrix.square().sum()),
        "first": float(matrix.diagonal()[:half].sum()),
    }
    spread = {}
    for steps in (1, 6, 12):
        found = probes_of(matrix, 5, known_steps=steps, probes=600).samples
        columns = {
            "trace": [sample.trace for sample in found],
            "square": [sample.square for sample in found],
            "first": [sample.parts[0] for sample in found],
        }
        for name, values in columns.items():
            error = abs(np.mean(values) - truth[name])
            assert error <= 4 * np.std(values) / np.sqrt(600), name
        for sample in found[:5]:
            assert sample.parts.sum() == pytest.approx(sample.trace)
        spread[steps] = np.std(columns["trace"])
    assert spread[12] < 0.2 * spread[1]


def test_what_the_quadrature_found_is_taken_out_as_well() -> None:
    matrix = rotated([-1.5, -0.4, *np.linspace(-0.05, 0.1, 200), 1.0, 2.5, 7.0])
    half = len(matrix) // 2
    truths = np.array(
        [matrix.trace(), matrix.square().sum(), matrix.diagonal()[:half].sum()], dtype=float
    )
    spread = {}
    for steps in (1, 4):
        rows = [
            (sample.trace, sample.square, sample.parts[0])
            for seed in range(40)
            for sample in probes_of(matrix, seed, known_steps=6, steps=steps).samples
        ]
        errors = np.abs(np.mean(rows, axis=0) - truths)
        assert (errors <= 4 * np.std(rows, axis=0) / np.sqrt(400)).all()
        spread[steps] = np.std(rows, axis=0)
    assert (spread[4] < 0.9 * spread[1]).all()


def test_full_krylov_space_leaves_no_variance() -> None:
    matrix = rotated([-1.0, 0.5, 2.0, 3.0])
    (sample, *_) = probes_of(matrix, 0, known_steps=4).samples
    assert sample.trace == pytest.approx(4.5)
    assert sample.square == pytest.approx(1 + 0.25 + 4 + 9)
    assert sample.parts.tolist() == pytest.approx(
        [float(matrix.diagonal()[:2].sum()), float(matrix.diagonal()[2:].sum())]
    )


@pytest.mark.parametrize("size", [32, 37])
@pytest.mark.parametrize("zeros", [0, 5])
def test_blocks_that_reach_the_whole_space_end_there(size: int, zeros: int) -> None:
    """Where a block has more rows than directions are left, the others are rounding."""
    for seed in range(5):
        values = torch.randn(size - zeros, generator=torch.Generator().manual_seed(seed))
        matrix = rotated([*values.tolist(), *[0.0] * zeros], seed)
        found = probes_of(matrix, seed, known_steps=15, steps=5)
        for sample in found.samples:
            assert sample.trace == pytest.approx(float(matrix.trace()), abs=1e-11)
            assert sample.square == pytest.approx(float(matrix.square().sum()), rel=1e-11)


def test_the_block_rules_bracket_and_integrate_exactly() -> None:
    """Known part and block rule together give each probe's moments; the trace is exact."""
    matrix = rotated(SPECTRUM)
    found = probes_of(matrix, 3, known_steps=5, steps=4)
    size = len(matrix)
    for index in range(10):
        bulk = size - 5
        probe = _in_complement(matrix, index)
        for rule in (found.quadrature, found.below, found.above):
            weights, nodes = rule.weights[index], rule.nodes[index]
            kept = np.isfinite(nodes)
            assert weights.sum() == pytest.approx(1.0)
            # The rest's mass is set to its mean, which scales its moments.
            inner = weights[kept][5:] * nodes[kept][5:]
            raw, length = float(probe @ matrix @ probe), float(probe @ probe)
            assert inner.sum() * size == pytest.approx(raw * bulk / length, rel=1e-8)
    totals = [
        float((np.abs(np.nan_to_num(rule.nodes)) * rule.weights).sum(axis=1).mean()) * size
        for rule in (found.below, found.above)
    ]
    many = probes_of(matrix, 3, known_steps=5, steps=30).quadrature
    truth = float((np.abs(np.nan_to_num(many.nodes)) * many.weights).sum(axis=1).mean()) * size
    assert min(totals) <= truth <= max(totals)


def _in_complement(matrix: torch.Tensor, index: int) -> torch.Tensor:
    """z⊥ of the probe that ``probes_of(matrix, 3, known_steps=5)`` draws as this one."""
    known = block_lanczos(MatrixOperator(matrix), started(len(matrix), seed=999), 5)
    probe = rademacher(len(matrix), 3, "probes", index)[None]
    known.basis.remove(probe)
    return probe[0]


@pytest.mark.parametrize("together", [10, 4])
def test_further_probes_and_groups_of_samples(together: int) -> None:
    """Groups are asked of whole probes; what follows for the complement is the same."""
    first, second = rotated(SPECTRUM, 1), rotated(SPECTRUM[::-1], 2)
    matrix = (first + 3 * second) / 4

    def grouped(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        forms = torch.stack([vectors @ part @ vectors.T for part in (first, second)])
        return vectors @ matrix, forms

    plain = probes_of(matrix, 1, known_steps=6, more=5, together=together)
    found = probes_of(matrix, 1, known_steps=6, more=5, together=together, grouped=grouped)
    assert len(found.samples) == 15
    for one, other in zip(plain.samples, found.samples, strict=True):
        assert one.trace == pytest.approx(other.trace)
        assert one.square == pytest.approx(other.square)
        np.testing.assert_allclose(one.parts, other.parts)
    np.testing.assert_allclose(plain.quadrature.nodes, found.quadrature.nodes, atol=1e-9)
    drawn = torch.stack([rademacher(len(matrix), 1, "probes", index) for index in range(10)])
    expected = [((drawn @ part) * drawn).sum(dim=1).numpy() for part in (first, second)]
    np.testing.assert_allclose(found.groups, expected)
    assert not plain.groups.size


def test_the_reach_of_the_complement() -> None:
    matrix = rotated(SPECTRUM)
    known = block_lanczos(MatrixOperator(matrix), started(len(matrix), seed=999), 5)
    q = known.basis.matrix()
    rest = torch.eye(len(matrix), dtype=torch.float64) - q.T @ q
    values = torch.linalg.eigvalsh(rest @ matrix @ rest)
    found = probes_of(matrix, 0, known_steps=5, steps=30).reach
    assert found == pytest.approx((float(values[0]), float(values[-1])), rel=1e-6)
    # What is left of the spectrum beside the five known Ritz values.
    shares = probes_of(matrix, 0, known_steps=5).rest.weights.sum(axis=1)
    np.testing.assert_allclose(shares, 1 - 5 / len(matrix))


def test_the_diagonal_and_its_error() -> None:
    matrix = rotated(SPECTRUM)
    value, stderr = probes_of(matrix, 2, known_steps=6, probes=200).diagonal
    off = (value - matrix.diagonal()) / stderr
    assert float(off.square().mean()) == pytest.approx(1.0, abs=0.35)
    twice, _ = probes_of(matrix, 2, known_steps=len(matrix), probes=2).diagonal
    torch.testing.assert_close(twice, matrix.diagonal(), atol=1e-10, rtol=0)


@pytest.mark.long
def test_trace_intervals_cover_at_their_level_and_are_not_too_wide() -> None:
    """Nominal 95 % over 400 seeds, with outliers and a bulk: at least 92 %, at most 1.3 × ideal."""
    matrix = rotated(SPECTRUM)
    truth = float(matrix.trace())
    found = [probes_of(matrix, seed, known_steps=6, probes=12).samples for seed in range(400)]
    estimates = [mean_of([s.trace for s in samples], 0.95, method="") for samples in found]
    covered = np.mean([e.low <= truth <= e.high for e in estimates])
    deviation = np.std([s.trace for samples in found for s in samples])
    ideal = 2.201 * deviation / np.sqrt(12)  # Student's quantile at 11 degrees of freedom
    assert covered >= 0.92
    assert np.mean([(e.high - e.low) / 2 for e in estimates]) <= 1.3 * ideal


@pytest.mark.parametrize(("together", "deflated"), [(10, True), (3, False)])
def test_each_sample_is_that_of_the_dense_matrices(together: int, deflated: bool) -> None:
    """A less its compression D to what no space knows is exact; zᵀDz and so on are added to it."""
    matrix, steps = rotated([*SPECTRUM, *np.linspace(-0.2, 0.3, 40)]), 2
    size, half = len(matrix), len(matrix) // 2
    q, compressed = complement(matrix, 6)
    if deflated:  # the pilot's own block Krylov space of two steps is known by then
        pilot = torch.stack([rademacher(size, 1, "probes", index) for index in range(10)])
        pilot -= pilot @ q.T @ q
        space = torch.cat([q, pilot, pilot @ compressed])
        whole, _ = torch.linalg.qr(space.T)
        rest = torch.eye(size, dtype=torch.float64) - whole @ whole.T
        compressed = rest @ matrix @ rest
    known = matrix - compressed
    found = probes_of(matrix, 1, known_steps=6, steps=steps, more=4, together=together)
    assert len(found.samples) == 14
    rows = []
    for index, sample in enumerate(found.samples):
        probe = rademacher(size, 1, "probes", 10 + index)
        image = compressed @ probe
        local = known.diagonal() + probe * image
        rows.append(local)
        square = matrix.square().sum() - compressed.square().sum() + image @ image
        assert sample.trace == pytest.approx(float(known.trace() + probe @ image), rel=1e-9)
        assert sample.square == pytest.approx(float(square), rel=1e-9)
        expected = [float(local[:half].sum()), float(local[half:].sum())]
        np.testing.assert_allclose(sample.parts, expected, rtol=1e-9)
    mean, stderr = found.diagonal
    torch.testing.assert_close(mean, torch.stack(rows).mean(dim=0))
    torch.testing.assert_close(stderr, torch.stack(rows).std(dim=0) / 14**0.5)


@pytest.mark.parametrize("together", [10, 4, 1])
def test_rules_integrate_what_their_steps_allow(together: int) -> None:
    """Moments of each probe in the complement against those of the dense compression.

    m nodes, or m block steps, are exact up to degree 2m − 1. The rules of one step less and of the
    anti-Gauss kind (Laurie 1996) are off beyond 2m − 3, by as much in opposite directions.
    """
    matrix, steps, nodes = rotated([*SPECTRUM, *np.linspace(-0.2, 0.3, 40)]), 3, 20
    size = len(matrix)
    q, compressed = complement(matrix, 5)
    found = probes_of(matrix, 3, known_steps=5, steps=steps, together=together)
    values = torch.linalg.eigvalsh(q @ matrix @ q.T).numpy()
    np.testing.assert_allclose(found.outer, values)
    assert (found.coupled, found.size, found.pilot) == (1, size, 10)
    share = 1 - 5 / size
    for index in range(10):
        probe = rademacher(size, 3, "probes", index)
        inside = probe - q.T @ (q @ probe)
        moments, moment = [], inside
        for _ in range(2 * steps):
            moments.append(float(inside @ moment / (inside @ inside)) * share)
            moment = compressed @ moment

        def seen(rule: Quadrature, degree: int, skip: int, row: int = index) -> float:
            kept = np.isfinite(rule.nodes[row])
            terms = rule.weights[row] * np.where(kept, rule.nodes[row], 0.0) ** degree
            return float(terms[skip:].sum())

        for degree, moment in enumerate(moments):
            below, above = seen(found.below, degree, 5), seen(found.above, degree, 5)
            close = pytest.approx(moment, rel=1e-8, abs=1e-13)
            assert seen(found.quadrature, degree, 5) == close
            assert seen(found.rest, degree, 0) == close
            assert (below + above) / 2 == close
            assert (below == close) == (degree <= 2 * steps - 3)
        for rule in (found.quadrature, found.below, found.above):
            np.testing.assert_allclose(rule.nodes[index, :5], values)
            np.testing.assert_allclose(rule.weights[index, :5], 1 / size)
        # The plain rule is of the probe itself, in the known space and out of it, uncoupled.
        apart = q.T @ q @ matrix @ q.T @ q + compressed
        expected = [float(probe @ probe), float(probe @ apart @ probe)]
        plain = [seen(found.rules, degree, 0) * size for degree in range(2)]
        np.testing.assert_allclose(plain, expected, rtol=1e-9)
        assert found.rules.nodes.shape[1] <= nodes


def test_products_are_told_as_they_are_made() -> None:
    """Blocks of two steps, the probes of the trace, those decided on; the total is the last."""
    told: list[tuple[int, int]] = []
    probes_of(
        rotated(SPECTRUM),
        0,
        known_steps=4,
        probes=5,
        more=3,
        steps=2,
        together=2,
        on_products=lambda done, total: told.append((done, total)),
    )
    first = [(4, 15), (8, 15), (10, 15), (12, 15), (14, 15), (15, 15)]
    assert told == [*first, (17, 18), (18, 18)]


def test_a_complement_of_nothing_has_no_reach() -> None:
    matrix = rotated([-1.0, 0.5, 2.0, 3.0])
    found = probes_of(matrix, 0, known_steps=4)
    assert found.coupled == 0
    assert np.isnan(found.reach).all()
    np.testing.assert_allclose(found.quadrature.nodes, np.tile([-1.0, 0.5, 2.0, 3.0], (10, 1)))
    np.testing.assert_allclose(found.quadrature.weights, 0.25)
    np.testing.assert_allclose(found.diagonal[0], matrix.diagonal())
    np.testing.assert_allclose(found.diagonal[1], 0.0, atol=1e-12)
