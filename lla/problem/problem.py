"""The problem that every analysis works on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from lla.errors import ProblemError, some
from lla.problem.batch_norm import (
    averaging_statistics,
    coupled_layers,
    fixed_layers,
    has_batch_norm,
    normalizing_by,
)
from lla.problem.dataset import Batch, Dataset
from lla.problem.moments import Moments
from lla.problem.objective import Evaluation, Metric, Objective, Terms, copied
from lla.problem.parameters import ParameterSpace
from lla.problem.pooling import fast_pooling
from lla.problem.recipe import Statistics, Training
from lla.team import ALONE, Team, by_first

__all__ = ["Problem", "Relatives"]


T = TypeVar("T")


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """Switch cuDNN off; ``cudnn.flags`` does so too, but refuses where TF32 is set as here."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.enabled
    cudnn.enabled = False
    try:
        yield
    finally:
        cudnn.enabled = before


@dataclass(frozen=True)
class Relatives:
    """How to read what belongs to the same network.

    Attributes:
        at: The same problem at another checkpoint, by its path: weights, buffers, the optimizer's
            moments, and what that checkpoint tells of the training where this one's told it.
        data: Other samples, by a source as ``data.npz?split=test``, on the problem's device.
        pictures: Image files at a size (C, H, W), scaled as the recipe says, on the problem's
            device: shape (n, C, H, W).
    """

    at: Callable[[str], Problem]
    data: Callable[[str], Dataset]
    pictures: Callable[[Sequence[str], torch.Size], torch.Tensor] | None = None


@dataclass(frozen=True)
class Problem:
    """A network at a checkpoint, its data and its loss: L(θ) = Σ sums / Σ counts.

    Attributes:
        objective: Network and loss; in evaluation mode, batch norm perhaps as in training; never
            changed by an analysis.
        space: Which parameters θ holds, and in which order.
        theta: The checkpoint's parameters, shape (P,).
        data: The analysed samples.
        training: How the network was trained.
        loss_name: What the recipe calls the loss.
        loss_args: Its options.
        moments: The optimizer's running means at the checkpoint, if it saved them.
        relatives: Reads what belongs to the same network: other checkpoints, other data; None for
            live objects.
        metrics: What evaluations give besides loss and accuracy.
        domains: Further data sets by name, to be compared; of live objects.
        team: Ranks that share out sums over the samples: evaluations, gradients, products.
    """

    objective: Objective
    space: ParameterSpace
    theta: torch.Tensor
    data: Dataset
    training: Training = field(default_factory=Training)
    loss_name: str = ""
    loss_args: dict[str, object] = field(default_factory=dict)
    moments: Moments | None = None
    relatives: Relatives | None = None
    metrics: tuple[Metric, ...] = ()
    domains: Mapping[str, Dataset] = field(default_factory=dict)
    team: Team = ALONE

    @property
    def module(self) -> nn.Module:
        """The network."""
        return self.objective.module

    @property
    def device(self) -> torch.device:
        """Where parameters and data are."""
        return self.theta.device

    @property
    def home(self) -> torch.device:
        """Where vectors of all P parameters are."""
        return self.device

    def share_of(self, vectors: torch.Tensor) -> torch.Tensor:
        """What θ holds of vectors of all parameters: (…, P) to θ's length, on its device."""
        return vectors

    def whole_of(self, shares: torch.Tensor) -> torch.Tensor:
        """The vectors of all parameters, at home, from what θ holds of them: to (…, P)."""
        return shares

    def batches(self, given: Sequence[Batch] | None = None) -> Iterator[Batch]:
        """What a loss is summed over: the given batches, or all data in chunks.

        Every sum over samples asks here, because some may not be cut.

        Raises:
            ProblemError: There are several, and layers take the statistics of each.
        """
        cut = len(self.data) > self.data.chunk if given is None else len(given) > 1
        if cut:
            self.refuse_cut()
        return self.data.chunks() if given is None else iter(given)

    def share(self, given: Sequence[Batch] | None = None) -> Iterator[Batch]:
        """This rank's share of what :meth:`batches` gives: sums over it are added up by the team.

        Every rank takes a contiguous share of the samples, whatever the batches are; some may be
        left without any. A batch that may not be cut is rank 0's.

        Raises:
            ProblemError: There are several batches, and layers take the statistics of each.
        """
        if self.team.size == 1 or self.coupled_layers:
            if self.team.rank == 0:
                yield from self.batches(given)
            return
        if given is None:
            mine = self.team.share(len(self.data))
            yield from self.data.whole.select(mine).chunks(self.data.chunk)
            return
        mine, start = self.team.share(sum(batch.samples for batch in given)), 0
        for batch in given:
            first, last = max(mine.start - start, 0), min(mine.stop - start, batch.samples)
            if first < last:
                whole = last - first == batch.samples
                yield batch if whole else batch.select(slice(first, last))
            start += batch.samples

    def summed(self, sums: torch.Tensor) -> torch.Tensor:
        """The sum over ranks of what each made of its :meth:`share`."""
        return self.team.sum(sums)

    def decided(self, action: Callable[[Problem], T]) -> T:
        """What rank 0 finds on the problem by itself, on every rank.

        Raises:
            LlaError: What rank 0 raised of that kind, on every rank.
        """
        return by_first(self.team, lambda: action(self.alone()))

    def others(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Parameters that are not analysed, and buffers, with their names."""
        analysed = set(self.space.names)
        found = itertools.chain(self.module.named_parameters(), self.module.named_buffers())
        return ((name, tensor) for name, tensor in found if name not in analysed)

    def alone(self) -> Problem:
        """The same problem for this rank by itself: nothing that it computes asks the others."""
        return self if self.team.size == 1 else self.shared_by(ALONE)

    def shared_by(self, team: Team) -> Problem:
        """The same problem, with what belongs to it, for the ranks of a team."""
        known = self.relatives
        if known is not None:
            at = known.at
            known = replace(known, at=lambda path: at(path).shared_by(team))
        return self.altered(team=team, relatives=known)

    def refuse_cut(self) -> None:
        """Refuse to sum over several batches where layers take the statistics of each.

        Raises:
            ProblemError: There are such layers.
        """
        if self.coupled_layers:
            raise ProblemError(
                f"{some(self.coupled_layers)} normalize by the statistics of the batch they are "
                "given: the loss of data cut into chunks is another function, with another "
                "gradient and Hessian",
                "give all samples as one chunk: leave [data] batch_size out; or take running "
                'statistics, as in evaluation mode: batch_norm = "running"',
            )

    def terms(
        self,
        theta: torch.Tensor,
        batch: Batch,
        buffers: Mapping[str, torch.Tensor] | None = None,
    ) -> Terms:
        """Loss terms of one batch at the parameters ``theta``, shape (P,); differentiable.

        Args:
            theta: Shape (P,).
            batch: The samples.
            buffers: The network's buffers to use in place of its own, by name.
        """
        held = {**self.named(theta), **(buffers or {})}
        named = {f"module.{name}": part for name, part in held.items()}
        terms: Terms = functional_call(self.objective, named, (batch,))
        return terms

    def named(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """All parameters by name: those of ``theta``, shape (P,), and the others as constants.

        What does not lead to the analysed parameters is then not saved to be differentiated.
        """
        others = {
            name: own.detach() for name, own in self.module.named_parameters() if own.requires_grad
        }
        return {**others, **self.space.named(theta)}

    # Not inference mode: what a network keeps from one call for the next could not be
    # differentiated afterwards.
    @torch.no_grad()
    def evaluate(
        self, theta: torch.Tensor, buffers: Mapping[str, torch.Tensor] | None = None
    ) -> Evaluation:
        """Loss and accuracy over all data at ``theta``, summed in float64 on the device.

        Args:
            theta: Shape (P,).
            buffers: The network's buffers to use in place of its own, by name.
        """
        sums = torch.zeros(4 + 2 * len(self.metrics), dtype=torch.float64, device=self.device)
        has_accuracy = True
        with fast_pooling(), self._returned() as returned:
            for batch in self.share():
                returned.clear()
                terms = self.terms(theta, batch, buffers)
                correct, predictions = terms.correct or (terms.weight, terms.weight)
                has_accuracy &= terms.correct is not None
                further = [part for metric in self.metrics for part in metric(returned, batch)]
                parts = (terms.total, terms.weight, correct, predictions, *further)
                sums += torch.stack([part.to(torch.float64) for part in parts])
        if self.team.size > 1:
            has_accuracy = not self.team.any(not has_accuracy)
        total, weight, correct_sum, prediction_sum, *rest = self.summed(sums).tolist()
        accuracy = correct_sum / prediction_sum if has_accuracy and prediction_sum else math.nan
        means = [a / b if b else math.nan for a, b in zip(rest[::2], rest[1::2], strict=True)]
        return Evaluation(total / weight, accuracy, weight, tuple(means))

    @contextmanager
    def _returned(self) -> Iterator[list[Any]]:
        """What the network returns at each call, if a metric wants it; nothing stays behind."""
        found: list[Any] = []
        if not self.metrics:
            yield found
            return
        handle = self.module.register_forward_hook(lambda _, __, output: found.append(output))
        try:
            yield found
        finally:
            handle.remove()

    def altered(self, **changes: Any) -> Problem:
        """The same problem but for some attributes; a subclass may be made otherwise than this."""
        return Problem(**{**vars(self), **changes})

    def in_float64(self) -> Problem:
        """The same problem computed in float64, on copies of network and data."""
        return self._cast(torch.float64, nn.Module.double)

    def in_bfloat16(self) -> Problem:
        """The same problem with parameters, data and computation rounded to bfloat16, on copies."""
        return self._cast(torch.bfloat16, nn.Module.bfloat16)

    def _cast(self, kind: torch.dtype, cast: Callable[[nn.Module], nn.Module]) -> Problem:
        whole = self.data.whole.in_dtype(kind)
        data = replace(self.data, inputs=whole.inputs, targets=whole.targets)
        theta = self.theta.to(kind)
        objective = copied(self.objective, self._parameters_in(theta))
        cast(objective)  # in place: it is a copy
        return self.altered(objective=objective, theta=theta, data=data, domains={})

    def _parameters_in(self, theta: torch.Tensor) -> dict[int, Any]:
        """Parameters of θ's dtype to stand in a copy for the module's: the analysed ones in θ.

        So that a copy in another precision neither holds the module in this one nor θ twice.
        """
        views = self.space.named(theta)
        return {
            id(own): nn.Parameter(
                views[name] if name in views else own.detach().to(theta.dtype),
                requires_grad=own.requires_grad,
            )
            for name, own in self.module.named_parameters()
            if type(own) is nn.Parameter and own.is_floating_point()
        }

    def replica(self, device: torch.device) -> Problem:
        """The same problem on a copy of the network, for another thread or device."""
        whole = self.data.whole.to(device)
        return self.altered(
            objective=copied(self.objective).to(device),
            theta=self.theta.to(device),
            data=replace(self.data, inputs=whole.inputs, targets=whole.targets),
        )

    @contextmanager
    def second_order(self) -> Iterator[None]:
        """Choose kernels that can be differentiated twice.

        The fused attention kernels have no second derivative, nor do cuDNN's recurrent ones.
        """
        with ExitStack() as stack:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            if any(isinstance(part, nn.RNNBase) for part in self.module.modules()):
                stack.enter_context(_without_cudnn())
            yield

    @property
    def has_batch_norm(self) -> bool:
        """Whether training used each batch's statistics in a layer."""
        return has_batch_norm(self.module)

    @property
    def has_fixed_batch_norm(self) -> bool:
        """Whether a program (exported, TorchScript) has batch norm, which cannot be switched."""
        return bool(fixed_layers(self.module))

    @property
    def coupled_layers(self) -> tuple[str, ...]:
        """Names of the layers that take the statistics of the batch they are given."""
        return coupled_layers(self.module)

    @property
    def batch_norm(self) -> Statistics | None:
        """What batch norm normalizes by in the loss; None without batch norm."""
        if not self.has_batch_norm:
            return None
        return "batch" if self.coupled_layers else "running"

    def batch_statistics(self) -> AbstractContextManager[None]:
        """Let batch norm use each batch's own statistics, as in training; no buffer is changed.

        The loss of a batch then depends on how samples are put together: cut into chunks, it is
        another function.
        """
        return normalizing_by(self.module, "batch")

    def running_statistics(self) -> AbstractContextManager[None]:
        """Let batch norm use its running statistics, for what is asked of each sample alone."""
        return normalizing_by(self.module, "running")

    @torch.no_grad()
    def recomputed_statistics(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        """Batch norm's running statistics at ``theta``, from all data; no buffer is changed.

        Means and variances of the chunks are averaged, as ``torch.optim.swa_utils.update_bn`` does.

        Returns:
            New buffers by name, for :meth:`evaluate`; none where layers take batch statistics.
        """
        with averaging_statistics(self.module) as buffers:
            for batch in self.data.chunks() if buffers else ():
                self.terms(theta, batch, buffers)
        return buffers
