"""The table of layers under a spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lla.estimate import Estimate
from lla.numbers import interval, number

if TYPE_CHECKING:
    from rich.table import Table

    from lla.analyses.spectrum import Layers

__all__ = ["layers_table"]

_MOST = 20


def layers_table(layers: Layers) -> Table:
    """Trace and largest eigenvalue of each layer; of many, those with the largest traces."""
    from rich.table import Table

    table = Table(box=None, header_style="dim")
    table.add_column("layer")
    for name in ("parameters", "trace", "share", "largest eigenvalue"):
        table.add_column(name, justify="right")
    order = np.argsort(-np.abs(np.nan_to_num(layers.trace)), kind="stable")[:_MOST]
    for index in sorted(order):
        trace = _spread(layers.trace, layers.low, layers.high, index)
        top = _spread(layers.lambda_max, layers.lambda_max_low, layers.lambda_max_high, index)
        share = f"{100 * layers.share[index]:.1f} %"
        table.add_row(layers.names[index], number(int(layers.parameters[index])), trace, share, top)
    if len(layers.names) > _MOST:
        table.caption = f"{len(layers.names) - _MOST} layers with smaller traces left out"
    return table


def _spread(value: np.ndarray, low: np.ndarray, high: np.ndarray, index: int) -> str:
    return interval(Estimate(float(value[index]), float(low[index]), float(high[index])))
