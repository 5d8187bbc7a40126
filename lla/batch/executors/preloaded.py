"""What the server of processes imports once, so that each worker finds it there."""

from importlib import import_module

import lla.pipeline
from lla.analyses.registry import available

for _analysis in available().values():
    import_module(_analysis.run.partition(":")[0])
