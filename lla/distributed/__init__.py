"""One analysis on many ranks: a team over ``torch.distributed``, and how a process joins it."""

from lla.distributed.joining import Joined, Place, joined
from lla.distributed.team import TorchTeam
from lla.distributed.watch import Watch

__all__ = ["Joined", "Place", "TorchTeam", "Watch", "joined"]
