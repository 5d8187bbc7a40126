"""What the server of processes imports once, so that each worker finds it there.

It computes nothing: threads of a computation would not be there in the processes forked from it.
"""

import gc
from contextlib import suppress
from importlib import import_module

from lla.analyses.registry import available

import_module("lla.pipeline")
for _analysis in available().values():
    import_module(_analysis.run.partition(":")[0])
# torch takes these in with the first derivative along a vector, and sympy with them: a third of a
# second in each worker. A torch that has them elsewhere does without.
with suppress(ImportError):
    import_module("torch.fx.experimental.symbolic_shapes")
import_module("lla.keys").source()
# What is there stays: workers that looked through it for garbage would copy all of it, at a
# quarter of a second each.
gc.collect()
gc.freeze()
