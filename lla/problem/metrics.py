"""Further numbers of a network's outputs, from the pass that gives the loss.

A metric is a mean over predictions. Of a batch it adds a sum and a count, as the loss does: how the
data is cut changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from lla.errors import ConfigurationError, LlaError, ProblemError, nearest
from lla.problem.code import as_guest, function_at
from lla.problem.dataset import Batch
from lla.problem.forward import tensor_in
from lla.problem.problem import Problem
from lla.problem.standard_losses import labelled, next_token

__all__ = ["METRICS", "OutputMetric", "with_metrics"]

_IGNORED = -100
_TOP = 5


@dataclass(frozen=True)
class OutputMetric:
    """A named function of a network's outputs and its targets.

    Attributes:
        name: What figures and reports call it.
        function: (outputs, targets) → values of any shape, whose mean counts, or (sum, count).
        version: Digest of the code it comes from; "" for built-in ones.
    """

    name: str
    function: Callable[[torch.Tensor, torch.Tensor], Any]
    version: str = ""

    def __call__(self, returned: list[Any], batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What a batch adds: sum and count, scalars.

        Args:
            returned: What the network returned, once for each call by the loss.
            batch: The samples.

        Raises:
            ProblemError: The loss does not call the network once, or the function does not do.
        """
        output = tensor_in(returned[0]) if len(returned) == 1 else None
        if output is None:
            raise ProblemError(
                f"the metric '{self.name}' is of the network's outputs, and the loss calls the "
                f"network {len(returned)} times for a batch"
                if len(returned) != 1
                else f"the network returns a {type(returned[0]).__name__}: which tensor of it the "
                f"metric '{self.name}' is of, is not known",
                "leave it out of [landscape] metrics",
            )
        try:
            with as_guest(f"the metric '{self.name}'", "find the call of sys.exit"):
                found = self.function(output, batch.targets)
        except LlaError:
            raise
        except Exception as error:
            raise ProblemError(
                f"the metric '{self.name}' failed on outputs {tuple(output.shape)} and targets "
                f"{tuple(batch.targets.shape)}: {type(error).__name__}: {error}",
                "correct it, or leave it out of [landscape] metrics",
            ) from error
        return self._summed(found, output)

    def _summed(self, found: Any, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(found, torch.Tensor):
            values = found.to(torch.float64)
            return values.sum(), torch.full_like(values.sum(), values.numel())
        if isinstance(found, (tuple, list)) and len(found) == 2:
            total, count = (
                torch.as_tensor(part, dtype=torch.float64, device=output.device) for part in found
            )
            if not total.ndim and not count.ndim:
                return total, count
        raise ProblemError(
            f"the metric '{self.name}' returned a {type(found).__name__}, no tensor of values",
            "return a value for each sample, or (sum, count) of two numbers",
        )


def with_metrics(problem: Problem, names: Iterable[str], folder: Path = Path()) -> Problem:
    """The same problem, whose evaluations give further metrics too; each is tried once.

    Args:
        problem: Network, data, loss.
        names: Among ``METRICS``, or ``file.py:function``.
        folder: Where relative files are looked for.

    Raises:
        ConfigurationError: There is no such metric, or two have one name.
        ProblemError: One does not fit the outputs.
    """
    made = [_resolved(name, problem, folder) for name in names]
    twice = [
        one.name for index, one in enumerate(made) if one.name in {m.name for m in made[:index]}
    ]
    if twice:
        raise ConfigurationError(
            f"two metrics are called '{twice[0]}'", "rename one of the functions, or name it once"
        )
    if not made:
        return problem
    found = replace(problem, metrics=tuple(made))
    found.evaluate(found.theta)
    return found


def _resolved(name: str, problem: Problem, folder: Path) -> OutputMetric:
    if ":" in name:
        function = function_at(name, folder, role="metric")
        source, _, called = name.rpartition(":")
        file = folder / source
        content = file.read_bytes() if file.is_file() else b""
        return OutputMetric(called, function, hashlib.sha256(content).hexdigest())
    if name not in METRICS:
        raise ConfigurationError(
            f"there is no metric '{name}'{nearest(name, METRICS)}",
            f"choose among {', '.join(METRICS)}, or write file.py:function",
        )
    of_classes = METRICS[name]
    options = problem.loss_args

    def of_outputs(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Values of the predictions that the loss counts: its own options say which."""
        shift = bool(options.get("shift"))
        if shift:
            outputs, targets = next_token(outputs, targets)
        ignored = options.get("ignore_index", _IGNORED)
        ignored = ignored if isinstance(ignored, int) else _IGNORED
        along = -1 if shift else options.get("class_dim")
        along = along if isinstance(along, int) else None
        flat, labels = labelled(outputs, targets, along, ignored)
        kept = labels != ignored
        return of_classes(flat[kept], labels[kept])

    return OutputMetric(name, of_outputs)


def _top(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Whether the label is among the five largest outputs."""
    most = logits.topk(min(_TOP, logits.shape[-1]), dim=-1).indices
    return (most == labels[:, None]).any(-1)


def _nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """−log p of the label, by the softmax of the outputs."""
    return F.cross_entropy(logits, labels, reduction="none")


def _margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The label's output less the largest other one; negative where the prediction is wrong."""
    right = logits.gather(-1, labels[:, None])[:, 0]
    others = logits.scatter(-1, labels[:, None], -torch.inf)
    return right - others.amax(-1)


def _confidence(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Largest probability."""
    return logits.softmax(-1).amax(-1)


def _brier(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Squared distance of the probabilities from the label's (Brier 1950)."""
    wanted = F.one_hot(labels, logits.shape[-1])
    return (logits.softmax(-1) - wanted).square().sum(-1)


METRICS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "top5": _top,
    "nll": _nll,
    "margin": _margin,
    "confidence": _confidence,
    "brier": _brier,
}
