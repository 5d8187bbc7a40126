"""The analysis as a whole: domains, scopes, settings, what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lla
from lla.analyses.alignment import ANALYSIS, MEASURES, AlignConfig
from lla.analyses.alignment.domains import domains_of
from lla.analyses.alignment.run import run
from lla.analyses.workspace import Workspace
from lla.errors import ConfigurationError, DataError, LlaError, NotApplicableError
from lla.pipeline import refuse_unusable
from lla.settings import Settings, gather
from tests.analyses.alignment.cases import Net, inputs_of, labels_of
from tests.cli.test_commands import lla as command


def plain_net() -> Net:
    torch.manual_seed(1)
    return Net()


def live(net: nn.Module | None = None, **more) -> lla.Problem:
    facts = {
        "domains": {
            "near": (inputs_of(31, 1, 0.3), labels_of(31, 1)),
            "far": (inputs_of(25, 2, 2.0), labels_of(25, 2)),
        },
        "dtype": "float64",
    }
    return lla.Problem(
        net or plain_net(), (inputs_of(20, 0), labels_of(20, 0)), **{**facts, **more}
    )


def aligned(problem: lla.Problem, **settings):
    workspace = Workspace(configs={}, memory=1 << 30)
    return run(problem, AlignConfig(**{"replicates": 20, **settings}), workspace)


def test_heads_by_products_agree_with_the_closed_form() -> None:
    closed = aligned(live())
    glob = aligned(live(), scope="head.*")
    products = aligned(live(Unseen()))
    assert "closed form" in closed.scope.why
    assert "closed form of the linear head" in glob.scope.why
    assert "are not those of inner.head" in products.scope.why
    for name in MEASURES:
        exact, other = closed.distances[name], products.distances[name]
        # Twice the 95 % interval: a value outside is no chance.
        assert np.all(2 * other.low - other.value <= exact.value + 1e-6), name
        assert np.all(exact.value <= 2 * other.high - other.value + 1e-6), name
    assert products.spectral_distance.value == pytest.approx(
        closed.spectral_distance.value, rel=1e-5
    )
    assert products.hgp_penalty.value == pytest.approx(closed.hgp_penalty.value, rel=1e-8)
    assert products.spectral_distance.sampling_stderr is None
    assert closed.spectral_distance.sampling_stderr > 0


class Unseen(nn.Module):
    """The same network with its outputs copied, so that its head is not seen to be linear."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = plain_net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + 0.0


def test_a_whole_network_contains_its_head() -> None:
    """H by the head is a block of H by all parameters: its distance is no larger."""
    head, whole = aligned(live()), aligned(live(), scope="all", probes=50)
    for name in ("spectral", "frobenius", "gradient"):
        one, other = head.distances[name].value, whole.distances[name].high
        assert np.all(one <= other * (1 + 1e-9)), name
    assert whole.scope.value == "all analysed parameters, 39 parameters"
    assert whole.spectral_distance.value > head.spectral_distance.value


def test_the_analysed_data_is_the_other_domain_of_one() -> None:
    problem = live(domains={"far": (inputs_of(25, 2, 2.0), labels_of(25, 2))})
    found = aligned(problem)
    assert found.domains.names == ("analysed", "far")
    assert found.farthest.value == "analysed and far"
    base = problem.evaluate(problem.theta)
    assert found.domains.loss[0] == pytest.approx(base.loss, rel=1e-12)
    assert found.loss_difference.value == pytest.approx(
        abs(found.domains.loss[1] - found.domains.loss[0]), rel=1e-12
    )


def test_the_same_data_twice_is_at_no_distance_but_within_noise() -> None:
    data = (inputs_of(40, 0), labels_of(40, 0))
    found = aligned(live(domains={"a": data, "b": data}), replicates=50)
    for name in ("spectral", "frobenius", "gradient", "hgp", "diagonal", "loss", "accuracy"):
        assert np.abs(found.distances[name].value).max() < 1e-14, name
    for name in ("spectral", "frobenius", "gradient", "hgp", "diagonal"):
        noise = found.distances[name].noise
        assert noise[0, 1] == noise[1, 0] > 0
        assert found.distances[name].sampling_low.max() == 0


def test_samples_of_one_distribution_stay_within_the_noise() -> None:
    """Of eight pairs of samples that do not differ, hardly any is beyond the 95 % level."""
    beyond = 0
    for seed in range(8):
        domains = {
            n: (inputs_of(60, 10 * seed + k), labels_of(60, 10 * seed + k))
            for k, n in enumerate("ab")
        }
        found = aligned(live(domains=domains), replicates=40).distances["frobenius"]
        beyond += found.value[0, 1] > found.noise[0, 1]
    assert beyond <= 2
    apart = aligned(live(), replicates=40).distances
    for name in ("spectral", "frobenius", "gradient", "diagonal"):
        assert apart[name].value[0, 1] > apart[name].noise[0, 1], name


def test_the_problem_stays_as_it_was() -> None:
    problem = live()
    before = {name: part.clone() for name, part in problem.module.state_dict().items()}
    state = torch.get_rng_state()
    aligned(problem)
    aligned(problem, scope="all", probes=20, max_products=8)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[n], part) for n, part in problem.module.state_dict().items())
    assert not problem.module.training
    assert all(not part._forward_hooks for part in problem.module.modules())
    assert all(part.grad is None for part in problem.module.parameters())


def test_a_domain_without_its_file_is_told_before_anything_runs() -> None:
    problem, config = live(), AlignConfig(domains={"new": "nope.npz?split=test", "hub": "hf:some"})
    settings = Settings(analyses={"align": config})
    with pytest.raises(DataError, match=r"domain 'new': there is no data file nope\.npz$"):
        refuse_unusable([ANALYSIS], problem, settings)


def test_what_cannot_be_compared_is_told() -> None:
    with pytest.raises(NotApplicableError, match="no domains are given"):
        aligned(live(domains={}))
    with pytest.raises(ConfigurationError, match="'x' names a data file"):
        aligned(live(), domains={"x": "a.npz"})
    with pytest.raises(LlaError, match="domain 'wide'"):
        aligned(live(domains={"wide": (torch.rand(5, 7), labels_of(5, 0))}))
    with pytest.raises(LlaError, match="domain 'more'"):
        aligned(live(domains={"more": (inputs_of(5, 0), torch.full((5,), 7))}))
    with pytest.raises(ConfigurationError, match="match nothing"):
        aligned(live(), scope="nothing")


def test_few_samples_have_no_bootstrap() -> None:
    small = (inputs_of(5, 0), labels_of(5, 0))
    found = aligned(live(domains={"a": small, "b": (inputs_of(50, 1), labels_of(50, 1))}))
    assert found.spectral_distance.sampling_stderr is None
    assert np.isnan(found.distances["spectral"].noise).all()


def test_domains_by_a_column(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = np.load(samples / "digits.npz")
    inputs, targets = data["x_test"], data["y_test"]
    week = (np.arange(len(inputs)) % 3).astype(np.int64)
    np.savez(tmp_path / "d.npz", x_test=inputs, y_test=targets, week=week)
    arguments = ["align", str(samples / "digits_cnn.pt"), "--no-html", "--json", "-q"]
    done = command(
        *arguments, "--data", "d.npz?split=test", "--by", "week", "--set", "align.replicates=10"
    )
    assert done.exit_code == 0, done.stderr
    report = lla.read(tmp_path / "digits_cnn.lla.h5")
    found = report.results["align"]
    assert found.domains.names == ("week 0", "week 1", "week 2")
    assert found.domains.samples.tolist() == [120, 120, 120]
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["alignment/spectral_distance"]["sampling_stderr"] > 0
    whole = np.average(found.domains.loss, weights=found.domains.samples)
    assert whole == pytest.approx(metrics["loss/value"]["value"], rel=1e-5)


def test_domains_of_a_recipe_and_of_the_command_line(
    tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text('[domains]\na = "d.npz?split=test"\nb = "?split=test"\n')
    found = gather(tmp_path / "x.pt", recipe=tmp_path / "r.toml")
    domains = found.analyses["align"].domains
    assert Path(domains["a"].partition("?")[0]).resolve() == (tmp_path / "d.npz").resolve()
    assert domains["b"] == "?split=test"
    arguments = ["align", str(samples / "digits_cnn.pt"), "--no-html", "-q"]
    for more in ([], ["--dry-run"]):
        done = command(*arguments, *more)
        assert done.exit_code == 2
        assert "given neither domains nor by" in done.stderr
        assert f"lla align {samples / 'digits_cnn.pt'} --domain NAME=VALUE, or --by" in done.stderr
    done = command(*arguments, "--domain", "missing")
    assert (done.exit_code, "--domain missing is not of the form K=V" in done.stderr) == (2, True)
    done = command(*arguments, "--domain", "a=nowhere.npz")
    assert done.exit_code == 5
    assert "domain 'a'" in done.stderr


def test_domains_need_data_of_some_form() -> None:
    with pytest.raises(ConfigurationError, match="two domains 'far'"):
        domains_of(live(), AlignConfig(domains={"far": "x.npz"}))


def test_it_is_among_all_analyses_where_there_are_domains() -> None:
    few = {"skip": ["spectrum", "stability", "landscape", "saliency"]}
    with_domains = lla.analyze(live(), **few)
    assert with_domains.stages["align"].status == "done"
    without = lla.analyze(live(domains={}), **few)
    assert "align" not in without.stages
    asked = lla.analyze(live(domains={}), only=["align"])
    assert asked.stages["align"].status == "not_applicable"
    assert "--domain NAME=DATA" in asked.stages["align"].why
