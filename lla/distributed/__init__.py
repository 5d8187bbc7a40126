"""One analysis on many ranks: a team over ``torch.distributed``, and how a process joins it."""

from lla.distributed.team import TorchTeam

__all__ = ["TorchTeam"]
