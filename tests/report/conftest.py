"""Reports of real runs, made once for all tests of this room."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import lla
from lla.problem import Training
from lla.report import Report


@pytest.fixture(scope="session")
def report() -> Report:
    """Every analysis, with all that is stored only when asked for."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    data = (torch.rand(20, 1, 8, 8), torch.randint(0, 3, (20,)))
    problem = lla.Problem(
        module,
        data,
        training=Training(optimizer="sgd", lr=0.1, batch_size=4, samples=20),
        domains={"other": (torch.rand(12, 1, 8, 8), torch.arange(12) % 3)},
    )
    return lla.analyze(
        problem,
        settings={
            "align": {"replicates": 5},
            "landscape": {"points": 5},
            "spectrum": {"steps": 60, "eigenvectors": True, "diagonal": True},
        },
    )


@pytest.fixture(scope="session")
def plain_report() -> Report:
    """No images, no classes, no learning rate: what does not apply is told, or not there."""
    torch.manual_seed(0)
    data = (torch.randn(16, 4), torch.randn(16, 2))
    settings = {"landscape": {"points": 5}, "spectrum": {"steps": 20}}
    domains = {"other": (torch.randn(6, 4), torch.randn(6, 2))}
    problem = lla.Problem(nn.Linear(4, 2), data, "mse", domains=domains)
    return lla.analyze(problem, settings=settings)


@pytest.fixture
def file(report: Report, tmp_path: Path) -> Iterator[Path]:
    """The first of them in a file; its folder holds nothing else when the test ends."""
    lla.write(report, tmp_path / "r.h5")
    yield tmp_path / "r.h5"
    assert os.listdir(tmp_path) == ["r.h5"]
