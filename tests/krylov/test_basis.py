"""The growing basis against the matrix of its rows."""

import pytest
import torch

from lla.krylov import Basis, orthonormalized

CPU = torch.device("cpu")
SIZE = 23


def rows_of(seed: int, count: int, size: int = SIZE) -> torch.Tensor:
    """Orthonormal rows, by torch's own decomposition."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(size, count, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(drawn)[0].T.contiguous()


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs of three rows, turned five columns at a time."""
    monkeypatch.setattr("lla.krylov.basis._ROWS", 3)
    monkeypatch.setattr("lla.krylov.basis._COLUMNS", 5)


@pytest.mark.parametrize("kept", [1, 3, 4, 7])
@pytest.mark.parametrize("on_host", [False, True])
def test_a_turned_basis_goes_on_growing(small_pieces: None, kept: int, on_host: bool) -> None:
    rows, turn = rows_of(0, 12), rows_of(1, kept, 7)
    basis = Basis(SIZE, CPU, on_host=on_host)
    basis.append(rows[:7])
    assert torch.equal(basis.matrix(), rows[:7])
    basis.compress(turn)
    basis.append(rows[7:])
    expected = torch.cat([turn @ rows[:7], rows[7:]])
    assert basis.rows == kept + 5
    torch.testing.assert_close(basis.matrix(), expected)

    block = rows_of(2, 4)
    torch.testing.assert_close(basis.project(block), expected @ block.T)
    torch.testing.assert_close(
        basis.combine(rows_of(3, 2, kept + 5)), rows_of(3, 2, kept + 5) @ expected
    )
    places = [slice(0, 2), slice(5, 6), slice(6, SIZE)]
    over = torch.cat([expected[:, place] for place in places], dim=1)
    torch.testing.assert_close(basis.gram(places), over @ over.T)


def test_what_is_removed_is_told_and_nothing_of_it_is_left(small_pieces: None) -> None:
    """Of a block that is all but in the basis, what is left is orthogonal to it all the same."""
    rows = rows_of(0, 9)
    basis = Basis(SIZE, CPU)
    basis.append(rows[:8])
    turn = rows_of(1, 8, 8)[:3]
    block = turn @ rows[:8] + 1e-10 * rows[8]
    whole = block.clone()
    coordinates = basis.remove(block)
    torch.testing.assert_close(coordinates, turn.T)
    torch.testing.assert_close(coordinates.T @ rows[:8] + block, whole, atol=1e-15, rtol=0)
    torch.testing.assert_close(block, 1e-10 * rows[8].expand(3, -1), atol=1e-15, rtol=0)
    assert float((block @ rows[:8].T).abs().max()) < 1e-24
    assert Basis(SIZE, CPU).remove(block.clone()).shape == (0, 3)


@pytest.mark.parametrize("scale", [1.0, 1e-12])
def test_rows_that_depend_on_others_are_dropped(scale: float) -> None:
    given = rows_of(0, 2) * torch.tensor([[3.0], [0.5]]) * scale
    mixed = torch.stack([given[0], 2 * given[0], given[0] - given[1], given[1], 0 * given[0]])
    rows, factors = orthonormalized(mixed, 1e-14 * scale)
    assert rows.shape == (2, SIZE)
    torch.testing.assert_close(rows @ rows.T, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(
        torch.from_numpy(factors).T @ rows, mixed, rtol=1e-13, atol=1e-15 * scale
    )
    # A row of exactly the floor is dropped: so is a zero row with a floor of zero.
    none, empty = orthonormalized(torch.zeros(3, SIZE, dtype=torch.float64), 0.0)
    assert none.shape == (0, SIZE)
    assert empty.shape == (0, 3)
    assert torch.equal(given, rows_of(0, 2) * torch.tensor([[3.0], [0.5]]) * scale)


def test_rows_are_orthonormal_where_normalizing_enlarges_rounding() -> None:
    """Rows that differ in their last digits, whose remains lean on the space they should avoid."""
    known, rows = rows_of(0, 6).split([2, 4])
    basis = Basis(SIZE, CPU)
    basis.append(known)
    tiny = 1e-13 * (rows[1] + 0.3 * known[0])
    block = torch.stack([rows[0], rows[0] + tiny, rows[2]])
    made, _ = orthonormalized(block, 1e-15, basis)
    assert len(made) == 3
    gram = torch.cat([known, made]) @ torch.cat([known, made]).T
    torch.testing.assert_close(gram, torch.eye(5, dtype=torch.float64), atol=1e-12, rtol=0)


def test_rows_that_were_taken_out_before_are_cleaned_or_dropped() -> None:
    """What is left of a row of length 1 is 1e-13 long, and rounding leans it on the space."""
    known, rows = rows_of(0, 6).split([4, 2])
    basis = Basis(SIZE, CPU)
    basis.append(known)
    left = 1e-13 * torch.stack([rows[0] + 0.5 * known[0], known[1] + 1e-3 * rows[1]])
    made, factors = orthonormalized(left, 1e-15, basis, before=1.0)
    torch.testing.assert_close(made.abs(), rows[:1].abs(), atol=1e-12, rtol=0)
    assert factors.shape == (1, 2)
    assert factors[0, 1] == pytest.approx(0.0, abs=1e-13)


@pytest.mark.parametrize("on_host", [False, True])
def test_rows_kept_in_float32_are_what_products_are_made_of(
    monkeypatch: pytest.MonkeyPatch, on_host: bool
) -> None:
    """Rows are rounded once; every sum over them is of float64 products of the rounded rows."""
    monkeypatch.setattr("lla.krylov.basis._ROWS", 3)
    monkeypatch.setattr("lla.krylov.basis._CONVERTED", 40)
    given = rows_of(0, 9)
    basis = Basis(SIZE, CPU, on_host=on_host, kind=torch.float32)
    kept = torch.cat([basis.append(given[:5].clone()), basis.append(given[5:].clone())])
    assert torch.equal(kept, given.float().double())
    assert torch.equal(basis.matrix(), kept)
    block = rows_of(2, 4)
    exact = {"rtol": 0.0, "atol": 1e-15}
    torch.testing.assert_close(basis.project(block), kept @ block.T, **exact)
    turn = rows_of(3, 2, 9)
    torch.testing.assert_close(basis.combine(turn), turn @ kept, **exact)
    places = [slice(0, 2), slice(5, 6), slice(6, SIZE)]
    over = torch.cat([kept[:, place] for place in places], dim=1)
    torch.testing.assert_close(basis.gram(places), over @ over.T, **exact)
    whole = block.clone()
    coordinates = basis.remove(block)
    torch.testing.assert_close(coordinates.T @ kept + block, whole, **exact)
    assert float((block @ kept.T).abs().max()) < 1e-14  # "twice" undoes the rows' rounding
    basis.compress(turn)
    torch.testing.assert_close(basis.matrix(), (turn @ kept).float().double(), rtol=0, atol=1e-8)


def test_a_block_may_be_spent() -> None:
    mixed = rows_of(0, 3) + rows_of(1, 3)
    rows, factors = orthonormalized(mixed, 0.0)
    spent = mixed.clone()
    again, same = orthonormalized(spent, 0.0, spend=True)
    assert again.data_ptr() == spent.data_ptr()
    torch.testing.assert_close(again, rows, rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.from_numpy(same).T @ again, mixed, rtol=0, atol=1e-14)
    torch.testing.assert_close(torch.from_numpy(factors).T @ rows, mixed, rtol=0, atol=1e-14)
