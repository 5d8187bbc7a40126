"""A checkpoint and a recipe become a problem: module, parameters, data, loss as sum and count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lla.lazy import lazy_exports

if TYPE_CHECKING:
    from lla.problem.assembly import build, from_objects
    from lla.problem.dataset import Batch, Dataset
    from lla.problem.inputs import Inputs
    from lla.problem.objective import Evaluation
    from lla.problem.parameters import ParameterSpace
    from lla.problem.problem import Problem
    from lla.problem.readers.batches import Data
    from lla.problem.recipe import DataSpec, LossSpec, ModelSpec, Training

__all__ = [
    "Batch",
    "Data",
    "DataSpec",
    "Dataset",
    "Evaluation",
    "Inputs",
    "LossSpec",
    "ModelSpec",
    "ParameterSpace",
    "Problem",
    "Training",
    "build",
    "from_objects",
]

# The specifications are needed where torch is not: everything else loads on first use.
__getattr__ = lazy_exports(
    __name__,
    {
        "lla.problem.assembly": ("build", "from_objects"),
        "lla.problem.readers.batches": ("Data",),
        "lla.problem.inputs": ("Inputs",),
        "lla.problem.parameters": ("ParameterSpace",),
        "lla.problem.dataset": ("Batch", "Dataset"),
        "lla.problem.objective": ("Evaluation",),
        "lla.problem.problem": ("Problem",),
        "lla.problem.recipe": ("DataSpec", "LossSpec", "ModelSpec", "Training"),
    },
)
