"""Workers share out evaluations: the same values, in order, and nothing is left behind."""

import threading

import pytest
import torch
from torch import nn

from lla.problem import from_objects
from lla.problem.crew import Crew


@pytest.fixture
def problem():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    x, y = torch.randn(40, 3), torch.randint(0, 2, (40,))
    return from_objects(module, (x, y), batch_size=16)


def direct(problem, theta):
    """The loss by setting the parameters of a plain network."""
    with torch.no_grad():
        weights = problem.space.named(theta)
        hidden = torch.tanh(problem.data.inputs @ weights["0.weight"].T + weights["0.bias"])
        outputs = hidden @ weights["2.weight"].T + weights["2.bias"]
        return float(nn.functional.cross_entropy(outputs, problem.data.targets))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_each_point_gets_its_own_loss_in_order(problem, workers):
    points = [problem.theta * scale for scale in torch.linspace(-2, 2, 23)]
    found = list(Crew(problem, workers).map(type(problem).evaluate, points))
    assert [one.loss for one in found] == pytest.approx(
        [direct(problem, theta) for theta in points], rel=1e-6
    )


def test_several_threads_work_each_on_a_network_of_its_own(problem):
    crew = Crew(problem, 3)
    together = threading.Barrier(3, timeout=20)
    seen = []

    def meet(own, item):
        together.wait()  # passes only if three are at it at once
        seen.append((item, id(own.module)))
        return item

    assert list(crew.map(meet, range(3))) == [0, 1, 2]
    assert len({module for _, module in seen}) == 3


def test_an_error_ends_it_and_the_threads_are_as_before(problem):
    threads = torch.get_num_threads()
    asked = []

    def failing(own, item):
        if item == 3:
            raise ValueError("broken")
        return item

    def items():
        for item in range(1000):
            asked.append(item)
            yield item

    with pytest.raises(ValueError, match="broken"):
        list(Crew(problem, 2).map(failing, items()))
    assert len(asked) < 20
    assert torch.get_num_threads() == threads
    assert not [one for one in threading.enumerate() if "ThreadPool" in one.name]
