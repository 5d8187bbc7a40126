"""Every matrix entry against dense Hessians; Hutchinson's variance; the bootstrap's spread."""

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch

from lla.analyses.alignment.bootstrap import (
    counts_of,
    exact_measures,
    moments_of,
    replicates,
    spectral_norm_near,
    spread_of,
)
from lla.analyses.alignment.closed import groups_of_samples, head_sums
from lla.analyses.alignment.distances import pairs_of
from lla.analyses.alignment.head import find_head
from lla.analyses.alignment.products import (
    distance_of_diagonals,
    hutchinson_diagonal,
    moments_by_products,
    random_products,
    spectral_difference,
)
from lla.curvature import Hessian, gradient
from lla.seeding import gaussian, rademacher
from tests.analyses.alignment.cases import problem_of, three
from tests.oracles import MatrixOperator, columns, rotated

HGP, HUTCHINSON = (1e-4, 5e-3), (1e-3, 5e-3)


def dense_of(problem, data, space):
    """Loss, gradient and Hessian of a domain by the head's parameters, by the engine."""
    part = problem.altered(space=space, theta=space.flat(problem.module), data=data)
    return part, gradient(part), columns(Hessian(part), space.size)


@pytest.fixture(scope="module")
def setting():
    problem = problem_of()
    domains = three(problem)
    head = find_head(problem, domains[0].select(torch.arange(2)))
    assert head is not None
    sums = [
        head_sums(problem, head, one, groups_of_samples(len(one), 9, 0, str(place)))
        for place, one in enumerate(domains)
    ]
    return problem, domains, head, sums


def test_every_entry_against_dense_hessians(setting) -> None:
    problem, domains, head, sums = setting
    found, _ = exact_measures(*moments_of(sums), HGP, HUTCHINSON)
    parts, slopes, matrices = zip(*(dense_of(problem, d, head.space) for d in domains), strict=True)
    values = [part.evaluate(part.theta) for part in parts]
    for one, other in product(range(3), repeat=2):
        change = matrices[one] - matrices[other]
        step = slopes[one] - slopes[other]
        cosine = slopes[one] @ slopes[other] / (slopes[one].norm() * slopes[other].norm())
        hgp = matrices[one] @ slopes[one] - matrices[other] @ slopes[other]
        expected = {
            "gradient": step.norm(),
            "cosine": cosine,
            "hgp": hgp.norm(),
            "diagonal": change.diagonal().norm(),
            "spectral": np.abs(np.linalg.eigvalsh(change.numpy())).max(),
            "frobenius": change.square().sum().sqrt(),
            "loss": values[other].loss - values[one].loss,
            "accuracy": values[other].accuracy - values[one].accuracy,
        }
        for name, value in expected.items():
            entry = float(getattr(found, name)[one, other])
            assert entry == pytest.approx(float(value), rel=1e-9, abs=1e-12), (name, one, other)


def test_the_penalties_are_the_papers(setting) -> None:
    """(1/E) Σ [α‖v_e − v̄‖² + β‖g_e − ḡ‖²] with v̄ of the mean loss, written out."""
    problem, domains, head, sums = setting
    found, _ = exact_measures(*moments_of(sums), HGP, HUTCHINSON)
    _, slopes, matrices = zip(*(dense_of(problem, d, head.space) for d in domains), strict=True)
    mean, whole = sum(slopes) / 3, sum(matrices) / 3
    hgp = hutchinson = 0.0
    for slope, matrix in zip(slopes, matrices, strict=True):
        apart = 5e-3 * float((slope - mean) @ (slope - mean))
        hgp += (1e-4 * float((matrix @ slope - whole @ mean).square().sum()) + apart) / 3
        curved = (matrix.diagonal() - whole.diagonal()).square().sum()
        hutchinson += (1e-3 * float(curved) + apart) / 3
    assert float(found.hgp_penalty) == pytest.approx(hgp, rel=1e-9)
    assert float(found.hutchinson_penalty) == pytest.approx(hutchinson, rel=1e-9)
    # H̄ḡ is not the mean of the H_e g_e: with that the penalty would be another.
    apart = sum(m @ s for m, s in zip(matrices, slopes, strict=True)) / 3 - whole @ mean
    assert float(apart.norm()) > 1e-3


def test_products_of_the_engine_give_the_same(setting) -> None:
    problem, domains, head, sums = setting
    moments, _ = moments_of(sums)
    exact, _ = exact_measures(moments, moments_of(sums)[1], HGP, HUTCHINSON)
    parts = [dense_of(problem, one, head.space)[0] for one in domains]
    operators = [Hessian(part) for part in parts]
    size = head.space.size
    draw = partial(rademacher, size, 0, "probes")
    random = random_products(operators, draw, 200)
    found = moments_by_products(
        operators,
        moments.loss,
        moments.accuracy,
        torch.stack([gradient(part) for part in parts]),
        random.diagonal,
    )
    assert float((found.mean_hgp.norm() / moments.mean_hgp.norm()) - 1) == pytest.approx(
        0, abs=1e-9
    )
    sizes = [float(columns(operator, size).norm()) for operator in operators]
    assert random.norms.tolist() == pytest.approx(sizes, rel=0.1)
    for one, other in pairs_of(3):
        assert float((found.hgp[one] - found.hgp[other]).norm()) == pytest.approx(
            float(exact.hgp[one, other]), rel=1e-9
        )
        lanczos = spectral_difference(
            operators[one],
            operators[other],
            lambda index: gaussian(size, 0, "start", index),
            tolerance=1e-6,
            products=2 * size,
        )
        expected = float(exact.spectral[one, other])
        assert lanczos.converged
        assert lanczos.low <= expected * (1 + 1e-9)
        assert expected <= lanczos.high * (1 + 1e-9)
        assert lanczos.value == pytest.approx(expected, rel=1e-6)
        square = random.squares[one, other]
        stderr = square.std(ddof=1) / math.sqrt(len(square))
        assert abs(square.mean() - float(exact.frobenius[one, other]) ** 2) < 4 * stderr
        value, low, high = distance_of_diagonals(random.batches[one] - random.batches[other], 0.99)
        assert low < float(exact.diagonal[one, other]) < high
        assert high - low < float(exact.diagonal[one, other])
        assert low <= value <= high


def test_hutchinsons_variance_is_as_predicted() -> None:
    """Var(d̂_i) = Σ_{j≠i} A_ij² / m, by many independent estimates and by its own estimate."""
    matrix = rotated([5.0, 3.0, 1.0, -2.0, 0.5, 0.1])
    operator = MatrixOperator(matrix)
    off = matrix - torch.diag(matrix.diagonal())
    repeats, probes = 400, 20
    estimates, claimed = [], []
    for repeat in range(repeats):
        mean, variance = hutchinson_diagonal(
            operator, partial(rademacher, 6, 0, f"repeat {repeat}"), probes
        )
        estimates.append(mean)
        claimed.append(variance)
    predicted = off.square().sum(dim=1) / probes
    seen = torch.stack(estimates).var(dim=0)
    assert torch.allclose(torch.stack(estimates).mean(dim=0), matrix.diagonal(), atol=0.1)
    # The variance of a variance from 400 draws is 7 % of it; 30 % leaves four of those.
    assert float((seen / predicted - 1).abs().max()) < 0.3
    assert float((torch.stack(claimed).mean(dim=0) / predicted - 1).abs().max()) < 0.05


def test_a_distance_of_diagonals_has_no_bias() -> None:
    """Of equal diagonals, the plain norm of the estimates' difference would never be near zero."""
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(200):
        noise = torch.randn(10, 50, generator=generator, dtype=torch.float64)
        offset = torch.full((50,), 0.5, dtype=torch.float64)
        _, low, high = distance_of_diagonals(noise + offset, 0.95)
        covered += low <= 0.5 * math.sqrt(50) <= high
    assert covered >= 180


def test_a_replicates_spectral_norm_is_found_from_nearby() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = rotated([3.0, 2.5, 1.0, 0.5, *([0.1] * 50), -0.4, -1.5, -2.8])
    size = len(matrix)
    noise = torch.randn(size, size, generator=generator, dtype=torch.float64)
    _, vectors = torch.linalg.eigh(matrix)
    start = vectors[:, [0, 1, 2, -3, -2, -1]]
    for scale in (0.01, 0.05):
        other = matrix + scale * (noise + noise.T) / 2
        expected = float(torch.linalg.eigvalsh(other).abs().max())
        assert spectral_norm_near(other, start) == pytest.approx(expected, rel=1e-3)
        assert spectral_norm_near(other, start) <= expected * (1 + 1e-12)


def test_the_bootstrap_of_a_mean_has_its_textbook_error(setting) -> None:
    """The loss is a mean over samples: its standard error is s/√n."""
    problem, domains, head, _ = setting
    domains = domains[:2]
    sums = [
        head_sums(problem, head, one, groups_of_samples(len(one), len(one), 0, "a"))
        for one in domains
    ]
    moments, matrices = moments_of(sums)
    exact, ends = exact_measures(moments, matrices, HGP, HUTCHINSON)
    known = (moments, matrices)
    drawn = list(replicates(sums, ["a", "b"], known, ends, 600, 0, (HGP, HUTCHINSON)))
    losses = np.stack([one.moments.loss.numpy() for one in drawn])
    found = spread_of(moments.loss.numpy(), losses, 20, 0.95)
    for place, one in enumerate(sums):
        own = one.loss / one.weight
        assert found.stderr[place] == pytest.approx(float(own.std()) / math.sqrt(len(own)), rel=0.2)
    # Domains are drawn independently of each other.
    correlation = np.corrcoef(losses.T)[0, 1]
    assert abs(correlation) < 0.15
    norms = np.stack([one.measures.spectral.numpy() for one in drawn])[:, 0, 1]
    value = float(exact.spectral[0, 1])
    spread = spread_of(np.array(value), norms, 20, 0.95, least=0.0)
    assert 0 <= spread.low < value
    assert spread.high > spread.low


def test_the_basic_interval_is_reflected_at_the_value() -> None:
    """Replicates from 1 to 3 around the value 1: the interval goes down to −1, or to 0 at least."""
    drawn = np.linspace(1.0, 3.0, 2001)
    groups = 5
    scale = math.sqrt(groups / (groups - 1))
    found = spread_of(np.array(1.0), drawn, groups, 0.9)
    assert float(found.low) == pytest.approx(1 - 1.9 * scale)
    assert float(found.high) == pytest.approx(1 - 0.1 * scale)
    assert float(found.stderr) == pytest.approx(scale * drawn.std())
    assert float(spread_of(np.array(1.0), drawn, groups, 0.9, least=0.0).low) == 0.0


def test_counts_are_poisson_and_seeded() -> None:
    drawn = torch.stack([counts_of(50, index, 0, "a") for index in range(200)])
    assert float(drawn.mean()) == pytest.approx(1.0, abs=0.05)
    assert float(drawn.var()) == pytest.approx(1.0, abs=0.06)
    assert torch.equal(counts_of(50, 3, 0, "a"), counts_of(50, 3, 0, "a"))
    assert not torch.equal(counts_of(50, 3, 0, "a"), counts_of(50, 3, 0, "b"))
