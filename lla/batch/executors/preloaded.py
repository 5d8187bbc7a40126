"""What the server of processes imports once, so that each worker finds it there."""

from importlib import import_module

from lla.analyses.registry import available

import_module("lla.pipeline")
for _analysis in available().values():
    import_module(_analysis.run.partition(":")[0])
