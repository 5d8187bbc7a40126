"""Rank correlations against scipy, and on the sample whose digits are turned."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import lla
from lla.analyses.alignment.ranking import rank_correlation, ranks_of
from tests.cli.test_commands import lla as command


def test_rank_correlation_is_spearmans() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=12), generator.integers(0, 4, 12)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert np.isnan(rank_correlation(one, np.ones(12)))


def test_ranks_of_replicates() -> None:
    """A distance that is the drop itself has correlation 1 in every replicate."""
    generator = np.random.default_rng(0)

    def drawn() -> dict[str, np.ndarray]:
        drop = generator.uniform(size=(7, 7))
        names = ("spectral", "frobenius", "gradient", "hgp")
        return {**dict.fromkeys(names, drop), "accuracy": -drop, "diagonal": 1 - drop}

    replicates = [drawn() for _ in range(50)]
    series = {name: [one[name] for one in replicates] for name in replicates[0]}
    found = ranks_of(drawn(), series, 0, 0.95)
    assert found is not None
    assert found.correlation[:4].tolist() == pytest.approx([1.0] * 4)
    assert found.low[0] == pytest.approx(1.0)
    assert found.high[4] == pytest.approx(-1.0)
    assert found.domains_low[0] == pytest.approx(1.0)
    assert ranks_of({"accuracy": np.zeros((4, 4))}, series, 0, 0.95) is None


@pytest.mark.long
def test_distance_grows_with_the_angle(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of this follows from a theorem: it is what the sample network shows."""
    monkeypatch.chdir(tmp_path)
    source = samples / "digits_shift.npz"
    names = ("clean", "rot10", "rot20", "rot30", "rot45")
    flags = [f"--domain={name}={source}?split={name}" for name in names]
    few = ("--set=align.replicates=30", "--no-html", "-q")
    done = command("align", samples / "digits_cnn.pt", *flags, *few)
    assert done.exit_code == 0, done.stderr
    found = lla.read("digits_cnn.lla.h5").results["align"]
    # As in sample_checkpoints/README.md.
    assert found.domains.accuracy.round(3).tolist() == [0.989, 0.886, 0.639, 0.331, 0.169]
    for name in ("spectral", "frobenius", "gradient", "hgp", "diagonal"):
        matrix = found.distances[name]
        assert np.all(np.diff(matrix.value[0]) > 0), name
        assert np.all(matrix.value[0, 1:] > matrix.noise[0, 1:]), name
    assert found.drop_correlation.value == pytest.approx(1.0)
    assert np.all(np.diff(found.calibration.ece) > 0)
