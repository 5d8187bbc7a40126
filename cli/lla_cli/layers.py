"""The table of layers under a spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lla.estimate import Estimate
from lla.numbers import number, spread

if TYPE_CHECKING:
    from rich.table import Table

    from lla.analyses.spectrum import Layers

__all__ = ["layers_table"]


def layers_table(layers: Layers, most: int = 20) -> Table:
    """Trace and largest eigenvalue of each layer; of many, those with the largest traces.

    Args:
        layers: All layers.
        most: Rows, at most.
    """
    from rich.markup import escape
    from rich.table import Table

    from lla.errors import printable

    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("  layer", overflow="fold", min_width=10)
    table.add_column("parameters", justify="right", no_wrap=True)
    for name in ("trace", "share", "largest eigenvalue"):
        table.add_column(name, justify="right", overflow="fold")
    order = np.argsort(-np.abs(np.nan_to_num(layers.trace)), kind="stable")[:most]
    for index in sorted(order):
        trace = _spread(layers.trace, layers.low, layers.high, index)
        top = _spread(layers.lambda_max, layers.lambda_max_low, layers.lambda_max_high, index)
        share = f"{100 * layers.share[index]:.1f} %"
        name = escape(printable(layers.names[index]))
        table.add_row(f"  {name}", number(int(layers.parameters[index])), trace, share, top)
    if len(layers.names) > most:
        left = len(layers.names) - most
        table.caption = f"  {left} more with smaller traces left out"
        table.caption_justify = "left"
    return table


def _spread(value: np.ndarray, low: np.ndarray, high: np.ndarray, index: int) -> str:
    return spread(Estimate(float(value[index]), float(low[index]), float(high[index])), digits=4)
