"""What a map explains: a class of each image, and which number of the network's answer to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from lla.errors import ConfigurationError, ProblemError
from lla.problem import Batch, Problem
from lla.problem.forward import outputs_of
from lla.problem.objective import LossFunction

__all__ = [
    "Score",
    "class_targets",
    "classes_to_explain",
    "cross_entropy",
    "refuse_other_targets",
]


@dataclass(frozen=True)
class Score:
    """The number φ that a map explains, summed over images.

    Attributes:
        of: "logit" or "probability" of the class, or "loss": the problem's, of the class as target.
        loss: The problem's loss.
    """

    of: str
    loss: LossFunction

    def __call__(self, module: nn.Module, batch: Batch) -> torch.Tensor:
        """Σ φ over the images of a batch, whose targets are the classes to explain."""
        if self.of == "loss":
            return self.loss(module, batch).total
        logits = outputs_of(module, batch)
        values = F.softmax(logits, 1) if self.of == "probability" else logits
        return values.gather(1, batch.targets[:, None]).sum()


def cross_entropy(module: nn.Module, batch: Batch) -> torch.Tensor:
    """Σ −log p(class) over the images of a batch: what a meta-saliency step descends."""
    return F.cross_entropy(outputs_of(module, batch), batch.targets, reduction="sum")


def class_targets(batch: Batch) -> torch.Tensor | None:
    """The images' own classes, shape (n,), or None where the targets are no class labels."""
    found = batch.targets
    whole = found.ndim == 1 and not found.is_floating_point()
    return found if whole and len(found) else None


def classes_to_explain(
    target: str, logits: torch.Tensor, given: torch.Tensor | None
) -> torch.Tensor:
    """The class of each image whose score is explained, shape (n,).

    Args:
        target: "predicted", "true", "least" (the least likely), or a class as a number.
        logits: Shape (n, K).
        given: The images' own classes, shape (n,), or None.

    Raises:
        ConfigurationError: There are no true classes, or no such class.
    """
    classes = logits.shape[1]
    if target == "predicted":
        return logits.argmax(1)
    if target == "least":
        return logits.argmin(1)
    if target == "true":
        if given is None:
            raise ConfigurationError(
                "the images have no class labels, and target = true explains their own class",
                "explain another class: --target predicted, least or a number",
            )
        if int(given.max()) >= classes or int(given.min()) < 0:
            raise ConfigurationError(
                f"an image has the label {int(given.max())}, and the network tells {classes} "
                "classes apart, from 0",
                "explain another class: --target predicted",
            )
        return given
    number = int(target)
    if number >= classes:
        raise ConfigurationError(
            f"there is no class {number}: the network tells {classes} classes apart, from 0",
            f"choose one from 0 to {classes - 1}",
        )
    return torch.full_like(logits.argmax(1), number)


def refuse_other_targets(problem: Problem, of: str) -> None:
    """Refuse to explain the loss of a class where targets are no classes.

    Raises:
        ProblemError: They are not.
    """
    if of == "loss" and class_targets(problem.data.whole) is None:
        raise ProblemError(
            "the loss is to be explained for a class, and the targets are no class labels "
            f"(shape {tuple(problem.data.targets.shape)}, {problem.data.targets.dtype})",
            "explain the logit or the probability: --score logit",
        )
