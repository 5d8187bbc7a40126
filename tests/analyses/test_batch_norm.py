"""What the analyses say where batch norm normalizes by the statistics of all samples."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from lla_plots.provenance import facts
from torch import nn
from torch.func import functional_call

import lla
from lla.analyses.analysis import imported
from lla.analyses.registry import available
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError
from lla.settings import gather

SETTINGS = {"run": {"dtype": "float64"}, "landscape": {"points": 5}}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(27, 2)
    )
    made.train()(torch.randn(12, 1, 5, 5) + 1)
    return made


def samples(count: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(count, 1, 5, 5), torch.randint(0, 2, (count,))


def analyzed(only: list[str], **training: object) -> lla.Report:
    return lla.analyze(
        network(),
        samples(),
        only=only,
        training={"optimizer": "sgd", "lr": 0.1} | training,
        settings=SETTINGS,
        batch_norm="batch",
    )


def test_rule_1_holds_for_the_full_batch_that_was_trained_on() -> None:
    """2/λ_max by the dense Hessian of torch's own training mode, and a verdict on either side."""
    module, (x, y) = network().double().train(), samples()
    shapes = dict(module.named_parameters())

    def loss(theta: torch.Tensor) -> torch.Tensor:
        sizes = [part.numel() for part in shapes.values()]
        parts = zip(shapes, theta.split(sizes), strict=True)
        named = {name: part.view_as(shapes[name]) for name, part in parts}
        return nn.functional.cross_entropy(functional_call(module, named, (x.double(),)), y)

    theta = torch.cat([part.detach().reshape(-1) for part in shapes.values()])
    top = float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, theta))[-1])
    report = analyzed(["stability"], batch_size=24)
    limit = report.metrics["stability/gd_max_lr"]
    assert limit.value == pytest.approx(2 / top, rel=1e-6)
    verdicts = {found.id: found for found in report.verdicts}
    assert verdicts["stability.gd"].verdict == "consistent"
    assert report.metrics["stability/sgd_max_lr"].exists
    too_large = analyzed(["stability"], batch_size=24, lr=1.1 * limit.value)
    assert {found.id: found for found in too_large.verdicts}["stability.gd"].verdict == "violated"


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"batch_size": 8}, "statistics of all samples, and training used those of batches of 8"),
        ({}, "pass --batch-size"),
        ({"batch_size": 24, "samples": 100}, "those of batches of 24"),
    ],
)
def test_rules_do_not_apply_to_another_loss(training: dict[str, int], words: str) -> None:
    verdicts = {found.id: found for found in analyzed(["stability"], **training).verdicts}
    assert verdicts["stability.gd"].verdict == "not_applicable"
    assert words in verdicts["stability.gd"].why


def test_running_statistics_of_a_full_batch_point_to_the_batchs() -> None:
    for size, told in ((24, True), (8, False)):
        training = {"optimizer": "sgd", "lr": 0.1, "batch_size": size}
        found = lla.analyze(network(), samples(), only=["stability"], training=training)
        why = {verdict.id: verdict.why for verdict in found.verdicts}["stability.gd"]
        assert "running statistics" in why
        assert ("--batch-norm batch" in why) == told


def test_batch_sharpness_is_of_each_batch_in_both_modes() -> None:
    training = {"optimizer": "sgd", "lr": 0.1, "batch_size": 6}
    both = [
        lla.analyze(
            network(),
            samples(),
            only=["stability"],
            training=training,
            settings=SETTINGS,
            batch_norm=mode,
        ).metrics["stability/batch_sharpness"]
        for mode in ("running", "batch")
    ]
    assert both[0].value == pytest.approx(both[1].value, rel=1e-10)
    assert both[0].method == both[1].method


def test_the_landscape_is_of_the_loss_of_the_batch() -> None:
    report = analyzed(["baseline", "spectrum", "landscape"])
    module, (x, y) = network().double().train(), samples()
    expected = float(nn.functional.cross_entropy(module(x.double()), y).detach())
    assert report.metrics["loss/value"].value == pytest.approx(expected, rel=1e-12)
    surface = report.results["landscape"].surface
    assert surface.loss[2, 2] == pytest.approx(expected, rel=1e-12)
    top, curvature = (
        report.metrics[name] for name in ("hessian/lambda_max", "landscape/curvature_alpha")
    )
    assert curvature.low <= top.value <= curvature.high
    assert curvature.converged


def test_saliency_maps_are_of_an_image_alone() -> None:
    maps = []
    for mode in ("running", "batch"):
        found = lla.analyze(
            network(), samples(), only=["saliency"], settings=SETTINGS, batch_norm=mode
        )
        maps.append(found.results["saliency"])
    assert np.array_equal(maps[0].combined, maps[1].combined)
    assert np.array_equal(maps[0].predicted, maps[1].predicted)
    assert "running statistics" not in maps[0].class_sensitivity.method
    assert "by running statistics" in maps[1].class_sensitivity.method


def test_no_map_where_a_layer_keeps_no_running_statistics() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.Flatten(),
        nn.Linear(27, 2),
    )
    training = {"optimizer": "sgd", "lr": 0.1, "batch_size": 24}
    found = lla.analyze(
        module,
        samples(),
        only=["saliency", "stability"],
        training=training,
        batch_norm="batch",
    )
    why = found.metrics["saliency/class_sensitivity"].why
    assert why == "1 keep no running statistics: a map would be of all images together"
    assert found.metrics["stability/batch_sharpness"].exists


def test_the_error_of_a_subset_is_not_known() -> None:
    """The loss of all samples is no mean over groups of them."""
    found = {
        mode: lla.analyze(
            network(),
            samples(),
            only=["spectrum"],
            training={"samples": 100},
            settings=SETTINGS,
            batch_norm=mode,
        )
        for mode in ("running", "batch")
    }
    for path in ("hessian/lambda_max", "hessian/trace"):
        assert found["running"].metrics[path].sampling_stderr > 0
        assert found["batch"].metrics[path].sampling_stderr is None
    assert np.isnan(found["batch"].results["spectrum"].sampling).all()
    whole = analyzed(["spectrum"])
    assert whole.metrics["hessian/lambda_max"].sampling_stderr == 0


def test_the_report_tells_the_mode(tmp_path: Path) -> None:
    report = lla.write(analyzed(["baseline"]), tmp_path / "r.lla.h5")
    again = lla.read(report.path)
    assert "batch norm by the statistics of these samples" in again.caption
    assert again.provenance["batch_norm"] == "batch"
    assert again.provenance["configuration"]["model"]["batch_norm"] == "batch"
    assert again.plan["chunk"] == 24
    rows = {row[0].text: row[1].text for table in facts(again) for row in table.rows}
    assert rows["batch norm normalizes by"].startswith("the statistics of all analysed samples")
    other = lla.analyze(network(), samples(), only="baseline")
    assert "batch norm" not in other.caption
    assert other.provenance["batch_norm"] == "running"
    assert lla.analyze(nn.Linear(2, 2), (torch.ones(3, 2), torch.ones(3).long()), only="baseline")
    with h5py.File(report.path) as file:
        assert "batch_norm" in json.loads(file["provenance/provenance"].asstr()[()])


FACTORY = """
from torch import nn

def net():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
"""


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(FACTORY)
    scope: dict[str, object] = {}
    exec(FACTORY, scope)
    torch.manual_seed(0)
    torch.save(scope["net"]().state_dict(), "m.pt")  # type: ignore[operator]
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.normal(size=(300, 3)).astype("f4"), y=rng.integers(0, 2, 300))
    Path("m.toml").write_text(
        '[model]\nfactory = "models.py:net"\nbatch_norm = "batch"\n[data]\nsource = "d.npz"\n'
    )
    return tmp_path / "m.pt"


def test_the_recipe_says_it(checkpoint: Path) -> None:
    found = lla.analyze("m.pt", only="baseline")
    assert (found.provenance["batch_norm"], found.plan["chunk"]) == ("batch", 300)
    other = lla.analyze("m.pt", only="baseline", batch_norm="running")
    assert other.provenance["batch_norm"] == "running"
    assert other.metrics["loss/value"].value != found.metrics["loss/value"].value
    with pytest.raises(ConfigurationError, match="batch_size = 256 cuts the 300 samples"):
        lla.analyze("m.pt", only="baseline", settings={"data": {"batch_size": 256}})
    variable = gather("m.pt", environment={"LLA_MODEL_BATCH_NORM": "running"})
    assert variable.model.batch_norm == "running"
    with pytest.raises(ConfigurationError, match="none of 'running' or 'batch'"):
        gather("m.pt", flags={"model": {"batch_norm": "each"}})


def test_a_problem_says_it_once() -> None:
    problem = lla.Problem(network(), samples(), batch_norm="batch")
    with pytest.raises(ConfigurationError, match="batch_norm is given, but the problem has it"):
        lla.analyze(problem, batch_norm="batch")
    with pytest.raises(ConfigurationError, match="no batch_norm 'each'"):
        lla.Problem(network(), samples(), batch_norm="each")  # type: ignore[arg-type]
    assert lla.analyze(problem, only="baseline").provenance["batch_norm"] == "batch"


def test_a_third_partys_analysis_sees_the_mode() -> None:
    problem = lla.Problem(network(), samples(), batch_norm="batch")
    run = imported(available()["baseline"].run)
    run(problem, available()["baseline"].config(), Workspace({}))
    assert problem.batch_norm == "batch"
