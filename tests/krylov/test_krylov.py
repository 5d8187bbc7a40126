"""Lanczos, quadrature and probes on matrices whose answers are known."""

import numpy as np
import pytest
import torch

from lla.estimate import mean_of
from lla.krylov import (
    ProbePlan,
    Quadrature,
    Restart,
    Search,
    block_lanczos,
    certified,
    draw_probes,
    extreme_eigenpairs,
    gauss_rule,
    orthonormalized,
    smoothed_density,
)
from lla.seeding import gaussian, rademacher
from tests.oracles import MatrixOperator, rotated

SPECTRUM = [-1.5, -0.4, *np.linspace(-0.05, 0.1, 40), 1.0, 2.5, 7.0]


def draw_gaussian(size: int, seed: int = 0):
    return lambda index: gaussian(size, seed, "test", index)


def pairs_of(eigenvalues: list[float], seed: int = 0, **options: object):
    operator = MatrixOperator(rotated(eigenvalues))
    settings = {"largest": 3, "smallest": 2, "tolerance": 1e-8, "products": 200, **options}
    draw = draw_gaussian(operator.size, seed)
    return operator, extreme_eigenpairs(operator, draw, Search(**settings))


def started(size: int, *, seed: int = 0, block: int = 1) -> torch.Tensor:
    drawn = torch.stack([gaussian(size, seed, "start", index) for index in range(block)])
    return orthonormalized(drawn, 0.0)[0]


def relation_error(matrix: torch.Tensor, run) -> float:
    """How far A Qᵀ = Qᵀ T + Nᵀ F, Q and N orthonormal, is from holding."""
    q = run.basis.matrix()
    t, f = torch.from_numpy(run.projected), torch.from_numpy(run.coupling)
    rest = matrix @ q.T - q.T @ t - run.beyond.T @ f
    rows = torch.cat([q, run.beyond])
    return float(
        max(rest.abs().max(), (rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype)).abs().max())
    )


def test_eigenpairs_of_a_rotated_matrix() -> None:
    operator, pairs = pairs_of(SPECTRUM)
    np.testing.assert_allclose(pairs.values, [7.0, 2.5, 1.0, -0.4, -1.5], rtol=1e-10)
    assert pairs.converged.all()
    images = torch.stack([operator.matrix @ vector for vector in pairs.vectors])
    expected = pairs.vectors * torch.from_numpy(pairs.values)[:, None]
    torch.testing.assert_close(images, expected, atol=1e-7, rtol=0)
    np.testing.assert_allclose((pairs.vectors @ pairs.vectors.T).numpy(), np.eye(5), atol=1e-8)


def test_certified_pairs_are_those_of_the_precise_operator() -> None:
    """Products that are off move the Ritz values; precise ones say by how much."""
    matrix = rotated(SPECTRUM)
    noise = 1e-4 * rotated([*np.linspace(-1, 1, len(SPECTRUM))], seed=3)
    settings = Search(3, 2, 1e-6, 200)
    draw = draw_gaussian(len(matrix))
    rough = extreme_eigenpairs(MatrixOperator(matrix + noise), draw, settings)
    found = certified(rough, MatrixOperator(matrix))
    truth = np.array([7.0, 2.5, 1.0, -0.4, -1.5])
    assert (np.abs(found.values - truth) <= found.residuals).all()
    assert (np.abs(found.values - truth) < 1e-7).all()  # quadratic in the vectors' error
    assert np.abs(rough.values - truth).max() > 1e-6
    images = torch.stack([matrix @ vector for vector in found.vectors])
    rest = images - torch.from_numpy(found.values)[:, None] * found.vectors
    np.testing.assert_allclose(found.residuals, rest.norm(dim=1).numpy(), rtol=1e-10)


def test_residuals_are_what_they_say_and_unconverged_pairs_are_told() -> None:
    operator, pairs = pairs_of(SPECTRUM, products=8)
    for value, vector, residual in zip(pairs.values, pairs.vectors, pairs.residuals, strict=True):
        image = operator.matrix @ vector
        assert residual == pytest.approx(float((image - value * vector).norm()), abs=1e-12)
        # A residual bounds the distance to the nearest eigenvalue.
        assert min(abs(value - true) for true in SPECTRUM) <= residual + 1e-12
    assert not pairs.converged.all()


def test_no_ghosts_after_convergence() -> None:
    """Without reorthogonalization, copies of the dominant eigenvalue appear."""
    operator = MatrixOperator(rotated([*np.linspace(0, 1, 120), 1000.0]))
    run = block_lanczos(operator, started(operator.size), 100)
    values, *_ = run.ritz()
    assert (values > 500).sum() == 1
    assert run.basis.rows == 100
    assert relation_error(operator.matrix, run) < 1e-11


def test_multiple_eigenvalues_of_a_small_invariant_space() -> None:
    """Rank 4 with a triple eigenvalue: each restart at the invariant space finds a further copy."""
    _, pairs = pairs_of([3.0, 3.0, 3.0, 1.0, *[0.0] * 30], largest=4, smallest=1)
    np.testing.assert_allclose(pairs.values, [3.0, 3.0, 3.0, 1.0, 0.0], atol=1e-10)


def test_one_parameter() -> None:
    _, pairs = pairs_of([2.0])
    assert pairs.values.tolist() == [2.0]
    assert pairs.residuals[0] == 0.0


@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("rows", [1 << 30, 24])
def test_blocks_and_restarts_find_the_same_pairs(block: int, rows: int) -> None:
    """With a triple and a double eigenvalue, whose copies a block of three sees at once."""
    spectrum = [-1.5, -1.5, -0.4, *np.linspace(-0.05, 0.1, 120), 2.5, 7.0, 7.0, 7.0]
    operator, pairs = pairs_of(
        spectrum, largest=4, smallest=2, block=block, rows=rows, tolerance=1e-7
    )
    assert pairs.krylov.basis.rows <= max(rows, 26)
    assert relation_error(operator.matrix, pairs.krylov) < 1e-11
    if block == 3:
        np.testing.assert_allclose(pairs.values, [7.0, 7.0, 7.0, 2.5, -1.5, -1.5], rtol=1e-9)
    else:  # each value found is an eigenvalue, and the extreme ones are among them
        assert [pairs.values[0], pairs.values[-1]] == pytest.approx([7.0, -1.5])
        assert all(np.abs(np.array(spectrum) - value).min() < 1e-8 for value in pairs.values)


def test_a_restart_keeps_the_wanted_ends_and_the_relation() -> None:
    operator = MatrixOperator(rotated([*np.linspace(-1, 1, 90), 3.0, -4.0]))
    run = block_lanczos(operator, started(92, block=2), 60, restart=Restart(20, 4, 3))
    assert run.products == 60
    assert run.basis.rows <= 20
    assert relation_error(operator.matrix, run) < 1e-12
    values, columns, residuals = run.ritz()
    np.testing.assert_allclose(values[[-1, 0]], [3.0, -4.0], rtol=1e-8)
    vectors = torch.from_numpy(columns.T.copy()) @ run.basis.matrix()
    for value, vector, residual in zip(values, vectors, residuals, strict=True):
        image = operator.matrix @ vector - value * vector
        assert residual == pytest.approx(float(image.norm()), abs=1e-12)


def test_locked_rows_leave_the_compression_to_the_complement() -> None:
    matrix = rotated(SPECTRUM)
    known = block_lanczos(MatrixOperator(matrix), started(len(matrix)), 7)
    start = gaussian(len(matrix), 5, "start", 0)[None]
    known.basis.remove(start)
    rows, _ = orthonormalized(start, 0.0)
    run = block_lanczos(MatrixOperator(matrix), rows, 12, locked=known.basis)
    q = known.basis.matrix()
    rest = torch.eye(len(matrix), dtype=torch.float64) - q.T @ q
    assert relation_error(rest @ matrix @ rest, run) < 1e-12


def test_quadrature_integrates_polynomials_exactly() -> None:
    """m nodes of Gauss quadrature are exact up to degree 2m − 1, and not beyond."""
    matrix = rotated(SPECTRUM)
    start = gaussian(len(matrix), 0, "start", 0)
    unit = start / start.norm()
    nodes, weights = gauss_rule(matrix.numpy(), start.numpy(), 5)
    moment = unit.clone()
    for degree in range(11):
        expected = float(unit @ moment)
        found = float((weights * nodes**degree).sum())
        if degree <= 9:
            assert found == pytest.approx(expected, rel=1e-9)
        else:
            assert found != pytest.approx(expected, rel=1e-9)
        moment = matrix @ moment


def test_density_keeps_its_mass_and_place() -> None:
    quadrature = Quadrature(np.array([[0.0, 2.0]]), np.array([[0.75, 0.25]]))
    edges = np.linspace(-1, 3, 401)
    (curve,) = smoothed_density(quadrature, edges, 0.05)
    centres, cell = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    assert curve.sum() * cell == pytest.approx(1.0)
    assert curve[centres > 1].sum() * cell == pytest.approx(0.25)
    assert centres[curve.argmax()] == pytest.approx(0.0, abs=cell)
    peak = 0.75 / (0.05 * np.sqrt(2 * np.pi))
    assert curve.max() == pytest.approx(peak, rel=1e-2)


def probes_of(
    matrix: torch.Tensor,
    seed: int,
    *,
    known_steps: int,
    probes: int = 10,
    more: int = 0,
    steps: int = 3,
    grouped=None,
):
    operator = MatrixOperator(matrix)
    known = block_lanczos(operator, started(operator.size, seed=999), known_steps)
    half = operator.size // 2
    return draw_probes(
        operator,
        lambda index: rademacher(operator.size, seed, "probes", index),
        known,
        ProbePlan(probes, steps, min(probes, 10)),
        blocks=(slice(0, half), slice(half, operator.size)),
        enough=lambda samples: probes + more,
        grouped=grouped,
    )


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


def test_further_probes_and_groups_of_samples() -> None:
    """Groups are asked of whole probes; what follows for the complement is the same."""
    first, second = rotated(SPECTRUM, 1), rotated(SPECTRUM[::-1], 2)
    matrix = (first + 3 * second) / 4

    def grouped(vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        forms = torch.stack([vectors @ part @ vectors.T for part in (first, second)])
        return vectors @ matrix, forms

    plain = probes_of(matrix, 1, known_steps=6, more=5)
    found = probes_of(matrix, 1, known_steps=6, more=5, grouped=grouped)
    assert len(found.samples) == 15
    for one, other in zip(plain.samples, found.samples, strict=True):
        assert one.trace == pytest.approx(other.trace)
        assert one.square == pytest.approx(other.square)
        np.testing.assert_allclose(one.parts, other.parts)
    np.testing.assert_allclose(plain.quadrature.nodes, found.quadrature.nodes, atol=1e-9)
    probe = rademacher(len(matrix), 1, "probes", 4)
    expected = [float(probe @ part @ probe) for part in (first, second)]
    np.testing.assert_allclose(found.groups[:, 4], expected)
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


def test_fresh_vectors_follow_those_of_the_start() -> None:
    """An invariant space at once: the next vectors drawn are others than the block's."""
    operator = MatrixOperator(rotated([2.0] * 8))
    asked: list[int] = []

    def draw(index: int) -> torch.Tensor:
        asked.append(index)
        return gaussian(8, 0, "fresh", index)

    pairs = extreme_eigenpairs(operator, draw, Search(3, 1, 1e-8, 50, block=2))
    assert asked[:4] == [0, 1, 2, 3]
    np.testing.assert_allclose(pairs.values, 2.0)


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


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_stop_rule_and_tolerance_scale_with_the_operator(scale):
    op = MatrixOperator(rotated([scale * v for v in SPECTRUM]))
    pairs = extreme_eigenpairs(op, lambda i: gaussian(op.size, 0, "t", i), Search(3, 2, 1e-6, 200))
    assert pairs.converged.all()
    assert pairs.tolerance == pytest.approx(7e-6 * scale, rel=1e-6)
    base = MatrixOperator(rotated(SPECTRUM))
    extreme_eigenpairs(base, lambda i: gaussian(base.size, 0, "t", i), Search(3, 2, 1e-6, 200))
    assert op.products == base.products


def test_norm_is_the_largest_magnitude():
    op = MatrixOperator(rotated([-9.0, *np.linspace(0, 1, 20)]))
    assert extreme_eigenpairs(
        op, lambda i: gaussian(op.size, 0, "t", i), Search(2, 1, 1e-8, 50)
    ).norm == pytest.approx(9.0)


def test_fresh_starts_stay_orthogonal():
    op = MatrixOperator(rotated([2.0] * 30 + [1.0] * 30))

    def fresh(step):
        return op.matrix @ (op.matrix @ gaussian(60, 1, "f", 0)) + 1e-7 * gaussian(60, 1, "f", step)

    start, _ = orthonormalized(gaussian(60, 1, "f", 0)[None], 0.0)
    run = block_lanczos(op, start, 30, fresh=fresh)
    assert run.basis.rows == 30
    assert relation_error(op.matrix, run) < 1e-12


def test_an_outer_eigenvalue_that_appears_late_is_waited_for() -> None:
    """Its direction is all but missing in the start: inner values settle before it appears."""
    matrix = torch.diag(torch.tensor([3.0, *np.linspace(0.0, 1.0, 60), 2.0], dtype=torch.float64))
    operator = MatrixOperator(matrix)
    start = torch.ones(62, dtype=torch.float64)
    start[0] = 1e-9
    pairs = extreme_eigenpairs(operator, lambda index: start, Search(1, 1, 1e-3, 60))
    assert pairs.values[0] == pytest.approx(3.0, rel=1e-6)
