"""Eigenpairs at both ends of matrices whose spectrum is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lla.krylov import Search, certified, extreme_eigenpairs
from lla.seeding import gaussian
from tests.krylov.runs import SPECTRUM, draw_gaussian, relation_error
from tests.oracles import MatrixOperator, rotated


def pairs_of(eigenvalues: list[float], seed: int = 0, **options: object):
    operator = MatrixOperator(rotated(eigenvalues))
    settings = {"largest": 3, "smallest": 2, "tolerance": 1e-8, "products": 200, **options}
    draw = draw_gaussian(operator.size, seed)
    return operator, extreme_eigenpairs(operator, draw, Search(**settings))


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


def test_certified_pairs_are_the_eigenvectors_that_vectors_mix() -> None:
    """Any basis of the space of some eigenvectors tells which they are."""
    operator, pairs = pairs_of(SPECTRUM)
    turn, _ = torch.linalg.qr(rotated([*range(5)], seed=4))
    found = certified(replace(pairs, vectors=turn @ pairs.vectors), operator)
    np.testing.assert_allclose(found.values, pairs.values, rtol=1e-12)
    torch.testing.assert_close(found.vectors, pairs.vectors, rtol=0, atol=1e-7)
    assert found.residuals.max() < 1e-7


@pytest.mark.parametrize(("largest", "smallest"), [(7, 1), (1, 7), (8, 0), (0, 8)])
def test_as_few_rows_as_can_be_suffice(largest: int, smallest: int) -> None:
    """Each restart keeps the pairs that are wanted at either end, and no other end's number."""
    tops = [3.0, 2.7, 2.4, 2.1, 1.9, 1.7, 1.6, 1.5]
    spectrum = [*tops, *np.linspace(-1, 1, 50), *(-value for value in tops)]
    options = {"largest": largest, "smallest": smallest, "rows": 1, "tolerance": 1e-6}
    _, pairs = pairs_of(spectrum, products=400, **options)
    assert pairs.converged.all()
    ends = [*tops[:largest], *reversed([-value for value in tops[:smallest]])]
    np.testing.assert_allclose(pairs.values, ends, rtol=1e-9)


def test_residuals_are_what_they_say_and_unconverged_pairs_are_told() -> None:
    operator, pairs = pairs_of(SPECTRUM, products=8)
    for value, vector, residual in zip(pairs.values, pairs.vectors, pairs.residuals, strict=True):
        image = operator.matrix @ vector
        assert residual == pytest.approx(float((image - value * vector).norm()), abs=1e-12)
        # A residual bounds the distance to the nearest eigenvalue.
        assert min(abs(value - true) for true in SPECTRUM) <= residual + 1e-12
    assert not pairs.converged.all()


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


def test_an_outer_eigenvalue_that_appears_late_is_waited_for() -> None:
    """Its direction is all but missing in the start: inner values settle before it appears."""
    matrix = torch.diag(torch.tensor([3.0, *np.linspace(0.0, 1.0, 60), 2.0], dtype=torch.float64))
    operator = MatrixOperator(matrix)
    start = torch.ones(62, dtype=torch.float64)
    start[0] = 1e-9
    pairs = extreme_eigenpairs(operator, lambda index: start, Search(1, 1, 1e-3, 60))
    assert pairs.values[0] == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize("block", [1, 4])
def test_it_stops_when_the_residuals_are_small_and_not_before(block: int) -> None:
    """A dense spectrum, on which values settle long before their residuals are small."""
    spectrum = np.array([*np.linspace(-1.0, 1.0, 395), 1.1, 1.3, 1.5, -1.15, -1.35])
    search = Search(3, 2, 1e-4, 390, block=block)
    operator = MatrixOperator(rotated([*spectrum]))
    told: list[int] = []
    pairs = extreme_eigenpairs(operator, draw_gaussian(400), search, on_products=told.append)
    np.testing.assert_allclose(pairs.values, np.sort(spectrum)[[399, 398, 397, 1, 0]], atol=1e-7)
    images = pairs.vectors @ operator.matrix
    rest = images - torch.from_numpy(pairs.values)[:, None] * pairs.vectors
    np.testing.assert_allclose(pairs.residuals, rest.norm(dim=1).numpy(), atol=1e-12)
    assert pairs.residuals.max() <= 1e-4 * 1.5
    assert told == [*range(block, operator.products + 1, block)]
    assert operator.products == pairs.krylov.products < 250
    more = replace(search, least=operator.products + 40)
    again = extreme_eigenpairs(MatrixOperator(operator.matrix), draw_gaussian(400), more)
    assert more.least <= again.krylov.products < more.least + 8 + block


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("block", [1, 2, 9])
def test_small_matrices_have_each_eigenvalue_once(size: int, block: int) -> None:
    """Three from above, two from below of what is left."""
    spectrum = np.array([5.0, 3.0, 1.0, 0.5, -2.0, -4.0][:size])
    _, pairs = pairs_of([*spectrum], block=block)
    wanted = [5.0, 3.0, 1.0, 0.5, -2.0, -4.0][: min(3, size)]
    wanted += [*spectrum[3:]][-2:]
    np.testing.assert_allclose(pairs.values, wanted, rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 12, 20, 40, 1 << 30])
@pytest.mark.parametrize("block", [1, 3])
def test_a_restart_keeps_what_is_wanted_and_leaves_room_to_go_on(rows: int, block: int) -> None:
    search = Search(4, 2, 1e-6, 100, rows=rows, block=block).within(1 << 40)
    kept = search.restart
    assert kept.largest >= 4
    assert kept.smallest >= 2
    assert kept.rows >= rows
    # At least two more blocks fit before the next one.
    assert kept.largest + kept.smallest + 2 * block <= kept.rows


def test_no_curvature_at_all_has_converged() -> None:
    _, pairs = pairs_of([0.0] * 7)
    assert pairs.values.tolist() == [0.0] * 5
    assert pairs.tolerance == 0.0
    assert pairs.converged.all()


class Single:
    """A matrix that is multiplied in float32, as a network's Hessian is."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix, self.size, self.device = matrix.float(), len(matrix), matrix.device
        self.eps = torch.finfo(torch.float32).eps

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        return (vectors.float() @ self.matrix).double()


@pytest.mark.parametrize("rows", [9, 1 << 30])
def test_a_basis_in_float32_is_as_good_as_products_in_float32(rows: int) -> None:
    """What it costs is of the size of the products' own rounding, restarted or not."""
    matrix, truth = rotated(SPECTRUM), np.array([7.0, 2.5, -1.5])
    search = Search(2, 1, 1e-4, 300, rows=rows)
    found = {
        kind: extreme_eigenpairs(
            Single(matrix), draw_gaussian(len(matrix)), replace(search, kind=kind)
        )
        for kind in (torch.float64, torch.float32)
    }
    for pairs in found.values():
        assert pairs.converged.all()
        np.testing.assert_allclose(pairs.values, truth, rtol=3e-6)
    pairs = found[torch.float32]
    if rows < 100:
        assert pairs.krylov.basis.rows <= rows
    # Certified values are of unit vectors, whatever the basis was kept in: at the upper end never
    # above the largest eigenvalue, at the lower never below the smallest, to float64's rounding.
    np.testing.assert_allclose(pairs.vectors.norm(dim=1).numpy(), 1.0, rtol=1e-14)
    sure = certified(pairs, MatrixOperator(matrix), one_by_one=True)
    assert (np.abs(sure.values - truth) <= sure.residuals + 1e-13).all()
    assert sure.values[0] <= 7.0 + 1e-13
    assert sure.values[2] >= -1.5 - 1e-13
    assert sure.residuals.max() < 1e-3


def test_pairs_certified_singly_are_in_order_with_their_residuals() -> None:
    matrix = rotated(SPECTRUM)
    operator, pairs = pairs_of(SPECTRUM)
    # In a wrong order, and a little off.
    order = [1, 0, 2, 4, 3]
    vectors = pairs.vectors[order] + 1e-4 * pairs.vectors[[2, 3, 4, 0, 1]]
    vectors /= vectors.norm(dim=1, keepdim=True)
    asked: list[int] = []

    def multiply(block: torch.Tensor) -> torch.Tensor:
        asked.append(len(block))
        return operator(block)

    found = certified(replace(pairs, vectors=vectors.clone()), multiply, one_by_one=True)
    assert asked == [1] * 5
    assert (np.diff(found.values) < 0).all()
    np.testing.assert_allclose(found.values, [7.0, 2.5, 1.0, -0.4, -1.5], atol=1e-6)
    rest = found.vectors @ matrix - torch.from_numpy(found.values)[:, None] * found.vectors
    np.testing.assert_allclose(found.residuals, rest.norm(dim=1).numpy(), rtol=1e-9)


def test_a_run_may_give_up_rows_when_it_has_ended() -> None:
    """What is left is a Krylov relation all the same, and holds the wanted pairs."""
    _, pairs = pairs_of(SPECTRUM, kept=8, products=60)
    assert pairs.krylov.basis.rows == 7  # five, and one more at each end
    assert relation_error(rotated(SPECTRUM), pairs.krylov) < 1e-12
    whole = pairs_of(SPECTRUM, products=60)[1]
    np.testing.assert_allclose(pairs.values, whole.values, rtol=1e-12)
    np.testing.assert_allclose(pairs.residuals, whole.residuals, atol=1e-12)
