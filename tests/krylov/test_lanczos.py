"""The Lanczos iteration: what it says of A holds, whatever it started from and was cut down to."""

import numpy as np
import pytest
import torch

from lla.krylov import Basis, Restart, block_lanczos, orthonormalized
from lla.seeding import gaussian
from tests.krylov.runs import SPECTRUM, relation_error, started
from tests.oracles import MatrixOperator, rotated


def test_no_ghosts_after_convergence() -> None:
    """Without reorthogonalization, copies of the dominant eigenvalue appear."""
    operator = MatrixOperator(rotated([*np.linspace(0, 1, 120), 1000.0]))
    run = block_lanczos(operator, started(operator.size), 100)
    values, *_ = run.ritz()
    assert (values > 500).sum() == 1
    assert run.basis.rows == 100
    assert relation_error(operator.matrix, run) < 1e-11


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


def test_fresh_starts_stay_orthogonal():
    op = MatrixOperator(rotated([2.0] * 30 + [1.0] * 30))

    def fresh(step):
        return op.matrix @ (op.matrix @ gaussian(60, 1, "f", 0)) + 1e-7 * gaussian(60, 1, "f", step)

    start, _ = orthonormalized(gaussian(60, 1, "f", 0)[None], 0.0)
    run = block_lanczos(op, start, 30, fresh=fresh)
    assert run.basis.rows == 30
    assert relation_error(op.matrix, run) < 1e-12


@pytest.mark.parametrize(
    ("size", "block", "locked"), [(12, 1, 0), (12, 5, 0), (12, 3, 4), (2, 2, 0)]
)
def test_the_whole_space_is_known_whole(size: int, block: int, locked: int) -> None:
    """As many products as there is space for, and nothing beyond."""
    operator = MatrixOperator(rotated([*np.linspace(-1, 2, size)]))
    values, vectors = torch.linalg.eigh(operator.matrix)
    basis = Basis(size, operator.device)
    basis.append(vectors.T[:locked])
    start = started(size, block=block)
    basis.remove(start)
    run = block_lanczos(
        operator, orthonormalized(start, 0.0)[0], 100, locked=basis if locked else None
    )
    assert run.basis.rows == run.products == operator.products == size - locked
    assert run.beyond.shape == (0, size)
    np.testing.assert_allclose(run.ritz()[0], values[locked:].numpy(), atol=1e-13)
    np.testing.assert_allclose(run.ritz()[2], 0.0)


@pytest.mark.parametrize(("products", "made"), [(9, 9), (10, 9), (11, 9), (12, 12)])
def test_a_block_that_exceeds_the_products_is_not_begun(products: int, made: int) -> None:
    operator = MatrixOperator(rotated([*np.linspace(-1, 2, 40)]))
    run = block_lanczos(operator, started(40, block=3), products)
    assert run.products == operator.products == run.basis.rows == made
    assert run.last == made - 3
    assert relation_error(operator.matrix, run) < 1e-13


def test_no_curvature_at_all_is_an_invariant_space() -> None:
    operator = MatrixOperator(torch.zeros(5, 5, dtype=torch.float64))
    run = block_lanczos(operator, started(5), 10)
    assert (run.products, len(run.beyond), run.projected.tolist()) == (1, 0, [[0.0]])


def test_known_images_of_the_start_save_its_products() -> None:
    operator = MatrixOperator(rotated(SPECTRUM))
    start = started(operator.size, block=2)
    image = operator(start)
    kept = image.clone()
    expected = block_lanczos(operator, start, 8)
    before = operator.products
    run = block_lanczos(operator, start, 8, image=image)
    assert operator.products - before == 6
    assert run.products == 8
    np.testing.assert_allclose(run.projected, expected.projected)
    assert torch.equal(image, kept)
