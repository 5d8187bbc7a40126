"""Other libraries as oracles, where they are installed (extra ``bench``)."""

import pytest
import torch
from torch import nn

import lla
from lla.curvature import GaussNewton, Hessian


@pytest.fixture
def stated() -> tuple[nn.Module, list[tuple[torch.Tensor, torch.Tensor]], lla.Problem]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 4)).double()
    x, y = torch.randn(9, 1, 6, 6, dtype=torch.float64), torch.randint(0, 4, (9,))
    problem = lla.Problem(module, (x, y), batch_size=4, dtype="float64")
    return module, [(x[:4], y[:4]), (x[4:], y[4:])], problem


@pytest.mark.filterwarnings("ignore")  # on the libraries' own imports
@pytest.mark.parametrize("name", ["Hessian", "GGN"])
def test_curvlinops(stated, name: str) -> None:
    curvlinops = pytest.importorskip("curvlinops")
    module, batches, problem = stated
    make = getattr(curvlinops, f"{name}LinearOperator")
    other = make(module, nn.CrossEntropyLoss(), list(module.parameters()), batches)
    vector = torch.randn(problem.space.size, dtype=torch.float64)
    ours = (Hessian if name == "Hessian" else GaussNewton)(problem)(vector)
    torch.testing.assert_close(ours, other @ vector, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_hessian_eigenthings(stated) -> None:
    """Its batches have to be equal: it averages unequal ones alike."""
    other = pytest.importorskip("hessian_eigenthings")
    module, batches, problem = stated
    whole = [(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))]
    operator = other.HessianOperator(module, whole, other.supervised_loss(nn.CrossEntropyLoss()))
    vector = torch.randn(problem.space.size, dtype=torch.float64)
    torch.testing.assert_close(
        Hessian(problem)(vector), operator.matvec(vector), rtol=1e-9, atol=1e-12
    )
