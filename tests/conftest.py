"""Shared by all tests."""

import os

# Before torch loads: threads that wait for each other spin but shortly, so that the suite keeps its
# speed on a machine that runs something else as well.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")
if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side: one core for each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent / "sample_checkpoints"


@pytest.fixture
def samples() -> Path:
    """The folder of the sample checkpoints."""
    return SAMPLES
