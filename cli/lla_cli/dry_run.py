"""What ``--dry-run`` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lla.foresight import Foresight

__all__ = ["print_foresight"]

_METHODS = {
    "reverse": "backwards through the gradient's graph",
    "forward": "forwards through the gradient",
    "difference": "by central differences of gradients",
}


def print_foresight(found: Foresight, *, as_json: bool) -> None:
    """Print how a run would be carried out: for people, or as one JSON document."""
    if as_json:
        print(json.dumps(found.document(), indent=2))
        return
    plan, costs = found.plan, found.plan.costs
    print(found.checkpoint.path)
    print(f"size       {found.checkpoint.parameters:,} parameters, {found.samples:,} samples")
    print(f"chunks     of {plan.chunk} samples")
    chunks = -(-found.samples // plan.chunk)
    kept = min(chunks, plan.keep // plan.graph) if plan.graph else 0
    print(f"products   {_METHODS[plan.way.method]}, {plan.way.together} at once;")
    if plan.way.note:
        print(f"           made{plan.way.note}")
    if plan.way.approximate:
        print(f"           approximate: doubling their step changes one by {plan.error:.1e}")
    print(f"           graphs of {kept} of {chunks} chunks kept ({_size(plan.graph)} each)")
    if plan.way.recompute:
        count = len(plan.way.recompute)
        print(f"           activations of {count} blocks computed again, not kept")
    where = "the host's memory" if plan.on_host else "memory"
    print(f"basis      at most {plan.rows} vectors, in {where}")
    if plan.tight:
        print("           in the model's precision, because memory is tight; restarted when full;")
        print(
            f"           {plan.kept_rows} of them held for the probes, {plan.probe_rows} for each"
        )
    print(f"measured   evaluation {_time(costs.evaluation)}, gradient {_time(costs.gradient)},")
    print(f"           product {_time(costs.product)}, in blocks {_time(costs.block)} a vector")
    print(f"memory     about {_size(plan.predicted)} at the peak, of {_size(plan.memory)}")
    for phase, held in plan.phases.items():
        print(f"           {phase:13} {_size(held):>9}")
    total = [sum(pair[i] for pair in found.seconds.values()) for i in (0, 1)]
    print(f"time       about {_time(total[0])}, at most {_time(total[1])}:")
    for name, (usual, most) in found.seconds.items():
        print(f"           {name:10} {_time(usual):>8}, at most {_time(most)}")
    for name in found.unpredicted:
        print(f"           {name:10} not predicted, and not in the sum")
    print("nothing was computed; run it without --dry-run")


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
