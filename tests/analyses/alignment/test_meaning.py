"""Boundaries, confidences, attributes and carriers with answers from elsewhere."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lla.analyses.alignment.calibration import Tally, area_under_risk
from lla.analyses.alignment.tilting import Centroids, tilted
from tests.analyses.alignment.cases import (
    Net,
    features_of,
    inputs_of,
    labels_of,
)
from tests.analyses.alignment.test_align import aligned, live


def test_a_boundary_tilted_by_an_angle() -> None:
    """Centroids ±e₁ and w tilted by 0.9 rad: strength 1/cos 0.9 = 1.6087 (Tanay & Griffin)."""
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    weight = torch.tensor([[math.cos(0.9), math.sin(0.9)], [0.0, 0.0]], dtype=torch.float64)
    angle, strength = tilted(means, weight, torch.zeros(2, dtype=torch.float64))
    assert float(angle[0, 1]) == pytest.approx(0.9, rel=1e-12)
    assert float(angle[1, 0]) == pytest.approx(0.9, rel=1e-12)
    assert float(strength[0, 1]) == pytest.approx(1.6087, abs=5e-5)
    assert float(strength[1, 0]) == pytest.approx(1 / math.cos(0.9), rel=1e-12)
    assert math.isnan(float(angle[0, 0]))
    # A bias moves the boundary towards one of them, and beyond it.
    _, moved = tilted(means, weight, torch.tensor([-0.3, 0.0], dtype=torch.float64))
    assert float(moved[0, 1]) == pytest.approx(1 / (math.cos(0.9) - 0.3), rel=1e-12)
    assert float(moved[1, 0]) == pytest.approx(1 / (math.cos(0.9) + 0.3), rel=1e-12)
    _, beyond = tilted(means, weight, torch.tensor([-1.0, 0.0], dtype=torch.float64))
    assert math.isnan(float(beyond[0, 1]))


def test_centroids_are_means_by_class() -> None:
    features, labels = torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 4 - 1
    found = Centroids.empty(5, 4, torch.device("cpu"))
    found.add(features[:11], labels[:11])
    found.add(features[11:], labels[11:])
    for label in range(3):
        assert torch.allclose(found.means[label], features[labels == label].mean(dim=0))
    assert bool(found.means[3:].isnan().all())


@pytest.mark.parametrize(("confidence", "right"), [(0.9, 6), (0.55, 8), (0.65, 0)])
def test_constant_confidence(confidence: float, right: int) -> None:
    """ECE is |c − a|; NLL and Brier follow from c; every coverage has the same risk: AURC 1 − a."""
    logit = math.log(confidence / (1 - confidence))
    outputs = torch.tensor([[logit, 0.0]] * 10, dtype=torch.float64)
    labels = torch.tensor([0] * right + [1] * (10 - right))
    tally = Tally(2)
    tally.add(0, outputs[:5], labels[:5])
    tally.add(1, outputs[5:], labels[5:])
    nll, brier, ece, aurc = tally.scores("a", 0, 0, 0.95).value
    share = right / 10
    assert ece == pytest.approx(abs(confidence - share), rel=1e-12)
    assert nll == pytest.approx(
        -share * math.log(confidence) - (1 - share) * math.log(1 - confidence), rel=1e-12
    )
    wrong = 1 - confidence
    expected = share * 2 * wrong**2 + (1 - share) * 2 * confidence**2
    assert brier == pytest.approx(expected, rel=1e-12)
    assert aurc == pytest.approx(1 - share, rel=1e-12)


def test_neighbouring_bins_are_kept_apart() -> None:
    """0.95 and 0.92 are in two of 15 bins: too sure and not sure enough do not cancel."""
    logits = [math.log(c / (1 - c)) for c in (0.95, 0.92)]
    outputs = torch.tensor([[logit, 0.0] for logit in logits], dtype=torch.float64)
    tally = Tally(1)
    tally.add(0, outputs, torch.tensor([1, 0]))
    scores = tally.scores("a", 0, 0, 0.95)
    assert scores.value[2] == pytest.approx((0.95 + 0.08) / 2, rel=1e-12)
    assert scores.count.tolist() == [0] * 13 + [1, 1]
    assert scores.accuracy[13:].tolist() == [1.0, 0.0]


def test_the_area_under_the_risk_curve_by_hand() -> None:
    confidence, wrong = np.array([0.9, 0.5, 0.8, 0.6]), np.array([0.0, 1.0, 1.0, 0.0])
    assert area_under_risk(confidence, wrong) == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    counts = np.array([2.0, 0.0, 1.0, 1.0])
    assert area_under_risk(confidence, wrong, counts) == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)


def test_scores_of_a_run_are_those_of_its_outputs() -> None:
    problem = live()
    found = aligned(problem).calibration
    data = problem.domains["far"]
    with torch.no_grad():
        logits = problem.module(data.inputs)
    share = logits.softmax(1)
    assert found.nll[1] == pytest.approx(float(F.cross_entropy(logits, data.targets)), rel=1e-12)
    truth = F.one_hot(data.targets, 3)
    assert found.brier[1] == pytest.approx(float((share - truth).square().sum(1).mean()), rel=1e-12)
    confidence, chosen = share.max(1)
    right = (chosen == data.targets).double()
    ece = 0.0
    for place in range(15):
        inside = (confidence > place / 15) & (confidence <= (place + 1) / 15)
        ece += abs(float((confidence[inside] - right[inside]).sum())) / len(right)
    assert found.ece[1] == pytest.approx(ece, rel=1e-12)
    assert found.count[1].sum() == len(right)
    assert np.all(found.nll_low < found.nll)
    assert np.all(found.nll < found.nll_high)


def test_attributes_against_their_definitions() -> None:
    problem = live()
    found = aligned(problem).attributes
    net, values = problem.module, []
    for data in problem.domains.values():
        z = features_of(net, data.inputs)
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        logits = net(data.inputs).detach()
        (slope,) = torch.autograd.grad(F.cross_entropy(logits * scale, data.targets), scale)
        r = logits.softmax(1) - F.one_hot(data.targets, 3)
        each = (r[:, :, None] * z[:, None, :]).flatten(1)
        values.append(
            {
                "V-REx": F.cross_entropy(logits, data.targets),
                "IRM": slope,
                "IGA": each.mean(0),
                "Fish": each.mean(0) / each.mean(0).norm(),
                "Fishr": each.var(0, correction=0),
                "CORAL": torch.cov(z.T, correction=0),
            }
        )
    assert found.pairs == ("near, far",)
    for place, method in enumerate(found.methods):
        expected = float((values[0][method] - values[1][method]).norm())
        assert found.distance[place, 0] == pytest.approx(expected, rel=1e-9), method
        size = float((values[0][method].norm() + values[1][method].norm()) / 2)
        assert found.relative[place, 0] == pytest.approx(expected / size, rel=1e-9), method
    # The far domain lies two standard deviations away: its features differ beyond chance.
    assert found.differs[found.methods.index("IGA"), 0] == 1.0
    data = (inputs_of(60, 0), labels_of(60, 0))
    same = aligned(live(domains={"a": data, "b": data})).attributes
    assert not same.differs.any()
    assert same.noise.min() > 0


def test_a_feature_that_moves_carries_the_difference() -> None:
    """Two domains that differ in one feature: that feature's rows hold most of ΔH."""

    class Scaled(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x[:, :4])

    near = torch.randn(400, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    far = near.clone()
    far[:, 1] *= 3
    labels = labels_of(400, 0)
    net = Scaled()
    nn.init.zeros_(net.head.weight)
    nn.init.zeros_(net.head.bias)
    found = aligned(live(net, domains={"near": (near, labels), "far": (far, labels)}), replicates=0)
    pair = found.pairs["near, far"]
    assert int(pair.feature_share.argmax()) == 1
    assert pair.feature_share[1] > 0.9
    assert pair.feature_share.sum() == pytest.approx(1.0)
    assert pair.class_share.sum() == pytest.approx(1.0)
    # A head at zero: all classes alike, each block 1/9 of ΔE[zzᵀ] but the diagonal's 2/9.
    assert np.allclose(pair.class_share, 1 / 3)
    assert np.allclose(pair.blocks.diagonal(), 2 * pair.blocks[0, 1])
    assert pair.eigenvector_features[0, 1] > 0.9
    assert abs(pair.eigenvalues[0]) == pytest.approx(found.spectral_distance.value, rel=1e-9)
    assert np.allclose(pair.eigenvector_classes.sum(axis=1), 1)
    norm = np.sqrt(np.square(pair.blocks).sum())
    assert norm == pytest.approx(found.frobenius_distance.value, rel=1e-9)


def test_a_class_that_a_domain_lacks_has_no_boundary() -> None:
    domains = {
        "all": (inputs_of(30, 0), torch.arange(30) % 3),
        "two": (inputs_of(30, 1), torch.arange(30) % 2),
    }
    found = aligned(live(domains=domains)).tilting
    assert found.counts.tolist() == [[10, 10, 10], [15, 15, 0]]
    assert np.isfinite(found.angle[0][~np.eye(3, dtype=bool)]).all()
    assert np.isnan(found.angle[1, 2]).all()
    assert np.isnan(found.strength[1, :, 2]).all()
    assert np.isfinite(found.angle[1, 0, 1])
