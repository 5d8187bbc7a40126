"""The sample checkpoints' verdicts: what applies to which, and what the training's log says."""

import re
from pathlib import Path

import pytest

import lla

pytestmark = pytest.mark.long
SAMPLES = Path(__file__).parent.parent.parent / "sample_checkpoints"


def verdicts_of(report):
    return {verdict.id: verdict for verdict in report.verdicts}


def test_digits_mlp_is_where_its_training_log_says() -> None:
    """Full-batch descent went to the edge: λ·lr/2 as the script noted it, in 4 digits."""
    log = (SAMPLES / "README.md").read_text()
    (noted,) = re.findall(r"λ · lr / 2 = ([0-9]\.[0-9]+)", log)
    report = lla.analyze(SAMPLES / "digits_mlp.pt", only="stability")
    product = report.metrics["stability/sharpness_times_lr"]
    assert round(product.low, 3) == round(product.high, 3) == float(noted)
    found = verdicts_of(report)
    assert found["stability.gd"].verdict == "at_edge"
    # Full batches have no noise: what is about noise does not apply, and says so.
    for name in ("trace", "trace_frobenius", "eigenvector", "norms", "directions"):
        assert found[f"stability.{name}"].verdict == "not_applicable", name
    assert report.metrics["stability/interpolates"].value == 0
    assert report.metrics["loss/value"].low > 1e-3  # of the square loss: zero where all are fitted
    assert "not fitted" in found["stability.trace"].why


@pytest.mark.parametrize("name", ["digits_cnn.pt", "digits_cnn_adam.pt"])
def test_batch_norm_leaves_the_batch_sharpness_alone(name: str) -> None:
    report = lla.analyze(
        SAMPLES / name, only="stability", settings={"stability": {"max_batches": 20}}
    )
    found = verdicts_of(report)
    adam = "adam" in name
    for key, verdict in found.items():
        if key == "stability.batch_sharpness" and not adam:
            assert verdict.verdict in ("consistent", "at_edge", "inconclusive"), verdict
        else:
            assert verdict.verdict == "not_applicable", verdict
            assert "batch norm" in verdict.why or "adam" in verdict.why.lower(), verdict
    assert ("stability.preconditioned" in found) == adam
    limit = report.metrics["stability/preconditioned_max_lr"]
    assert limit.exists == adam
    if adam:  # 38/η at β₁ = 0.9 (Cohen et al. 2022)
        largest = report.metrics["stability/preconditioned_lambda_max"]
        assert limit.value * largest.value == pytest.approx(38, rel=1e-6)
