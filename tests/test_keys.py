"""What a key has to know: everything that moves a number, and nothing else."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lla
from lla.analyses.analysis import imported
from lla.analyses.registry import available
from lla.analyses.workspace import Workspace
from lla.keys import Keys, base_key, digest_of
from lla.problem import Problem, Training
from lla.report import CheckpointFacts
from lla.settings import Settings, resolve
from lla.sources import Source

FACTS = CheckpointFacts("m.pt", "00", "torch", 10)


class Net(nn.Module):
    """A network whose code can change while its weights and its description do not."""

    def __init__(self, sharper: float = 1.0) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.register_buffer("scale", torch.ones(3))
        self._sharper = sharper

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layer(x) * self._sharper) * self.scale


def problem_of(net: nn.Module | None = None, **changed: Any) -> Problem:
    torch.manual_seed(0)
    module = Net()
    if net is not None:
        net.load_state_dict(module.state_dict())
    data = changed.pop("data", (torch.randn(12, 4), torch.arange(12) % 3))
    facts = {"loss": "cross_entropy", "training": Training(lr=0.1, batch_size=4, samples=24)}
    return lla.Problem(net or module, data, **{**facts, **changed})


def key(problem: Problem, **run: Any) -> str:
    return base_key(problem, FACTS, resolve([Source("test", {"run": run})]))


def test_the_same_problem_has_the_same_key() -> None:
    assert key(problem_of()) == key(problem_of())
    assert key(problem_of(), tolerance=0.1, memory="1GiB", only="baseline") == key(problem_of())


def test_whatever_moves_a_number_moves_the_key() -> None:
    torch.manual_seed(0)
    inputs, targets = torch.randn(12, 4), torch.arange(12) % 3
    scaled = Net()
    scaled.scale *= 2
    last = inputs.clone()
    last[-1, -1] += 1e-6
    found = {
        "plain": key(problem_of(data=(inputs, targets))),
        "code": key(problem_of(Net(1 + 1e-6), data=(inputs, targets))),
        "a buffer": key(_with_buffer(2.0, (inputs, targets))),
        "one input's last digits": key(problem_of(data=(last, targets))),
        "targets": key(problem_of(data=(inputs, targets.flip(0)))),
        "the loss' code": key(
            problem_of(
                data=(inputs, targets), loss=lambda out, y: nn.functional.cross_entropy(out, y)
            )
        ),
        "its options": key(
            problem_of(
                data=(inputs, targets),
                loss=lla.problem.LossSpec(name="cross_entropy", args={"label_smoothing": 0.1}),
            )
        ),
        "which parameters": key(problem_of(data=(inputs, targets), params=["layer.bias"])),
        "dtype": key(problem_of(data=(inputs, targets), dtype="float64")),
        "a domain": key(problem_of(data=(inputs, targets), domains={"a": (last, targets)})),
        "its data": key(problem_of(data=(inputs, targets), domains={"a": (inputs, targets)})),
        "seed": key(problem_of(data=(inputs, targets)), seed=1),
    }
    assert len(set(found.values())) == len(found)


def _with_buffer(value: float, data: Any) -> Problem:
    torch.manual_seed(0)
    module = Net()
    module.scale.fill_(value)
    return lla.Problem(module, data)


def test_a_run_goes_on_with_more_threads() -> None:
    """And with more ranks, each of fewer threads: what they move is the last bits."""
    before = torch.get_num_threads()
    found = key(problem_of())
    try:
        torch.set_num_threads(before + 1)
        assert key(problem_of()) == found
    finally:
        torch.set_num_threads(before)


def test_canonical() -> None:
    assert digest_of({"b": 1, "a": [1.0, "é"]}) == digest_of({"a": [1.0, "é"], "b": 1})
    # From outside: printf '{"a":[1.0,"é"],"b":1}' | sha256sum
    assert digest_of({"b": 1, "a": [1.0, "é"]}) == EXPECTED


EXPECTED = "fb66f45f3d258fc27a0380435cd375513ca0d6c1f2be9a60790baf8045316986"


def keys(**sections: Any) -> dict[str, str]:
    made = Keys("base", {"chunk": 4}, resolve([Source("test", sections)]).sections())
    return {name: made.stage(entry) for name, entry in available().items()}


@pytest.mark.parametrize(
    ("sections", "moved"),
    [
        ({"run": {"only": "baseline", "memory": "2GiB"}}, set()),
        ({"landscape": {"points": 9}}, {"landscape"}),
        ({"saliency": {"images": 3}}, {"saliency"}),
        ({"training": {"lr": 0.5}}, {"stability"}),
        ({"training": {"batch_size": 5}}, {"stability", "sharpness"}),
        (
            {"training": {"samples": 500}},
            {"spectrum", "stability", "sharpness", "landscape", "saliency"},
        ),
        ({"run": {"tolerance": 0.3}}, {"spectrum", "stability", "sharpness", "align"}),
        (
            {"run": {"confidence": 0.9}},
            {"spectrum", "stability", "sharpness", "saliency", "align"},
        ),
        ({"align": {"scope": "all"}}, {"align"}),
        (
            {"spectrum": {"steps": 7}},
            {"spectrum", "stability", "sharpness", "landscape", "saliency"},
        ),
        ({"spectrum": {"max_probes": 7}}, {"spectrum", "stability", "sharpness"}),
        ({"sharpness": {"rho": 0.1}}, {"sharpness"}),
        ({"spectrum": {"diagonal": True}}, {"spectrum"}),
    ],
)
def test_changed_settings_move_what_depends_on_them(sections: Any, moved: set[str]) -> None:
    before, after = keys(), keys(**sections)
    assert {name for name in before if before[name] != after[name]} == moved


def test_an_analysis_that_declares_nothing_depends_on_everything() -> None:
    entry = dataclasses.replace(available()["baseline"], depends=None, run="json:dumps")

    def made(**sections: Any) -> str:
        found = resolve([Source("test", sections)]).sections()
        return Keys("base", {}, found).stage(entry)

    assert made() != made(landscape={"points": 9})
    assert made() == made(run={"memory": "1GiB"})


class Recorded(Workspace):
    """Notes which settings are read."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(configs=settings.analyses)
        self.read: set[str] = set()
        for name in ("confidence", "tolerance"):
            self.__dict__.pop(name, None)

    def config(self, name: str, type: Any) -> Any:
        return noting(super().config(name, type), name, self.read)

    def __getattribute__(self, name: str) -> Any:
        if name in ("confidence", "tolerance"):
            self.read.add(f"run.{name}")
            return {"confidence": 0.95, "tolerance": 0.02}[name]
        return super().__getattribute__(name)


def noting(model: Any, section: str, read: set[str]) -> Any:
    """The same values, in an object of the same kind that notes what is read."""
    kind = type(model)

    class Noting(kind):  # type: ignore[misc, valid-type]
        def __getattribute__(self, name: str) -> Any:
            if name in kind.model_fields:
                read.add(f"{section}.{name}")
            return super().__getattribute__(name)

    return Noting(**model.model_dump())


@pytest.mark.parametrize("name", list(available()))
@pytest.mark.parametrize("method", ["hutchinson", "xtrace"])
def test_what_an_analysis_reads_is_what_it_declares(name: str, method: str) -> None:
    entry = available()[name]
    spectrum = {"steps": 30, "trace_method": method, "diagonal": True, "layer_steps": 3}
    more = {"landscape": {"points": 3}, "saliency": {"curvature": 1}}
    settings = resolve([Source("test", {"spectrum": spectrum, **more})])
    workspace = Recorded(settings)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 3))
    data = (torch.rand(12, 1, 6, 6), torch.arange(12) % 3)
    facts = Training(lr=0.1, batch_size=4, samples=24)
    other = (torch.rand(12, 1, 6, 6), torch.arange(12) % 3)
    problem = lla.Problem(module, data, training=facts, domains={"other": other})
    training = noting(problem.training, "training", workspace.read)
    problem = Problem(**{**vars(problem), "training": training})
    config = workspace.config(entry.name, entry.config)
    imported(entry.run)(problem, config, workspace)

    declared = {name, *(entry.depends or ())}
    undeclared = {
        path
        for path in workspace.read
        if path not in declared and path.partition(".")[0] not in declared
    }
    assert undeclared == set()
    if name == "stability":  # the recording itself must be able to fail
        assert {"run.confidence", "spectrum.steps", "training.lr"} <= workspace.read


def test_products_that_are_kept_depend_on_what_they_read() -> None:
    from lla.analyses.spectral import spectral

    torch.manual_seed(0)
    data = (torch.rand(12, 4), torch.arange(12) % 3)
    for what in ("ends", "lambda_max", "lambda_min", "trace", "frobenius"):
        shared = getattr(spectral(), what)
        workspace = Recorded(resolve([Source("test", {"spectrum": {"steps": 20}})]))
        problem = lla.Problem(nn.Linear(4, 3), data, training=Training(samples=24))
        training = noting(problem.training, "training", workspace.read)
        workspace.get(shared, Problem(**{**vars(problem), "training": training}))
        assert workspace.read <= set(shared.keep.depends), what


def test_products_come_back_to_the_last_bit() -> None:
    from lla.analyses.spectral import spectral

    problem = problem_of()
    for what in ("ends", "lambda_max", "trace"):
        shared = getattr(spectral(), what)
        value = Workspace(configs={}).get(shared, problem)
        again = shared.keep.unpack(shared.keep.pack(value), problem)
        for item in dataclasses.fields(value):
            one, other = getattr(value, item.name), getattr(again, item.name)
            if isinstance(one, (torch.Tensor, np.ndarray)):
                assert one.dtype == other.dtype
                assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
            else:
                assert repr(one) == repr(other)
